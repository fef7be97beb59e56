package platform

import "github.com/semio-iot/semio/internal/kv"

// Store keeps the platform's state: ordered keys and values with transactions. [NewMemStore] and [OpenBoltStore] are two; package
// storetest shows whether another one keeps the contract.
type Store = kv.Store

// Tx is a transaction of a [Store].
type Tx = kv.Tx

// What a store reports.
var (
	ErrNotFound    = kv.ErrNotFound
	ErrStoreClosed = kv.ErrClosed
	ErrReadOnly    = kv.ErrReadOnly
	ErrSize        = kv.ErrSize
	ErrStoreLocked = kv.ErrLocked // another process has the file open
	ErrStoreSchema = kv.ErrSchema // it is no platform's store, or one of a later version
)

// StoreSchema names what a platform's store holds, for implementations: they keep it and refuse a store that says something else. It
// changes when an older program could not read the store any more.
const StoreSchema = "semio platform 1"

// NewMemStore returns a store in memory, for tests: with it the platform forgets all devices when it ends.
func NewMemStore() Store { return new(kv.Mem) }

// OpenBoltStore opens or creates a store in one file.
func OpenBoltStore(path string) (Store, error) {
	s, err := kv.OpenBolt(path, StoreSchema)
	if err != nil {
		return nil, err // not a nil *kv.Bolt, which a Store would take for a store
	}
	return s, nil
}
