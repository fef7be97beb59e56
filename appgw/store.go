package appgw

import (
	"fmt"

	"github.com/semio-iot/semio/internal/kv"
)

// Store is the gateway's memory: keys, values and transactions. Package appgw/storetest has the suite that an implementation
// passes. Tx is its transaction.
type (
	Store = kv.Store
	Tx    = kv.Tx
)

// What a Store's transactions return, for implementations.
var (
	ErrNotFound    = kv.ErrNotFound
	ErrStoreClosed = kv.ErrClosed
	ErrReadOnly    = kv.ErrReadOnly
	ErrSize        = kv.ErrSize
	// ErrStoreLocked means that another process has the file open: one gateway to a store.
	ErrStoreLocked = kv.ErrLocked
)

// StoreSchema names what a gateway's store holds, for implementations: they keep it and refuse a store that says something else. The
// keys:
//
//	self                           the credential that the platform knows, identity.Credential
//	own/<SHA-256 of certificate>   the same, and those that devices still know the application by
//	admission                      the platform's admission, signed
//	crl/<n, 2 digits>              revocation list, one of each authority: identity.CRLBundle
//	claim/<device>                 locked: pre-shared key of a connection that was asked for
//	device/<device>                locked: deviceRecord
//	epoch/<binding>                issued u64 ‖ accepted u64
//	restored/<binding>             empty: the store came from a backup, and the other side has not yet proved to be alive
//	tomb/<binding>                 accepted u64: a binding that has ended
//	prekey/<number, 8 hex>         locked: prekeyRecord
//	prekeys                        u64: highest number of a prekey
//	next/<binding>, mark/<binding>/<n>   u64
//	out/<binding>/<seq, 16 hex>    locked: frame
const StoreSchema = "semio appgw 1"

// OpenBoltStore opens or creates a store in one file. ErrStoreLocked reports that another process has it open.
func OpenBoltStore(path string) (Store, error) {
	s, err := kv.OpenBolt(path, StoreSchema)
	if err != nil {
		return nil, fmt.Errorf("appgw: %w", err)
	}
	return s, nil
}

// NewMemStore returns a store that forgets, for tests.
func NewMemStore() Store { return new(kv.Mem) }
