package devicegw

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/semio-iot/semio/identity"
)

// NVM is the device's non-volatile memory: values by name. [OpenFileNVM] keeps it in a directory; a flash driver or an EEPROM
// implements it and shows with nvmtest.TestNVM that it kept the contract.
//
// Names are 1 to 64 of [0-9a-z-], beginning with a letter or digit. Values are up to [MaxValue] bytes. The methods are safe
// for concurrent use.
type NVM interface {
	// Get returns a copy of the value. An unknown name is fs.ErrNotExist; a value that the memory has damaged beyond repair
	// is [ErrDamaged]. It never returns bytes that were not Put.
	Get(ctx context.Context, name string) ([]byte, error)

	// Put sets a value, atomically: after a power cut at any moment Get finds the old value or the new one, whole. It is
	// durable when Put returns nil. After an error the value is the old one or the new one, whole. value is not kept.
	Put(ctx context.Context, name string, value []byte) error

	// Delete removes a value with all its copies, durable when it returns nil. An unknown name is no error.
	Delete(ctx context.Context, name string) error
}

// Lister is what an NVM may implement besides, to spare the gateway many questions at every start.
type Lister interface {
	// Names returns the names of all values, each once, in any order.
	Names(ctx context.Context) ([]string, error)
}

// present returns those of names that the memory may have.
func present(ctx context.Context, nvm NVM, names []string) ([]string, error) {
	l, ok := nvm.(Lister)
	if !ok {
		return names, nil
	}
	have, err := l.Names(ctx)
	if err != nil {
		return nil, err
	}
	set := make(map[string]bool, len(have))
	for _, name := range have {
		set[name] = true
	}
	return slices.DeleteFunc(names, func(name string) bool { return !set[name] }), nil
}

// MaxValue is the largest value in bytes that is put: a revocation list of the largest size, locked. All others are below
// 64 KiB and mostly below 4 KiB.
const MaxValue = identity.MaxCRLBundle + 1024

// ErrDamaged reports a value in NVM whose checksum or form is wrong in every copy. Restore the memory from a backup of this
// very device, or produce the device anew; nothing was guessed.
var ErrDamaged = errors.New("devicegw: value in non-volatile memory is damaged")

// StorageError is a failure of the medium: full, read-only, broken. What was stored before is still there, whole. It wraps the
// operating system's error.
type StorageError struct {
	Op   string // "read", "write", "delete"
	Name string // of the value
	Err  error
}

func (e *StorageError) Error() string {
	return fmt.Sprintf("devicegw: %s %q in non-volatile memory: %v (check that the medium is writable and has space)", e.Op, e.Name, e.Err)
}

func (e *StorageError) Unwrap() error { return e.Err }

func validName(name string) bool {
	if len(name) < 1 || len(name) > 64 || name[0] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return true
}

// The names that this package and the vault use. All are known beforehand, so that a memory can be cleared without being
// able to list it.
const (
	nameHelper     = "helper"     // written by the root of trust, through the same NVM
	nameProduction = "production" // between Produce and Complete
	nameCredential = "credential" // device chain and endorsement in the clear, for CertifiedHelper
	nameIdentity   = "identity"   // device chain, endorsement, roots, admission
	nameRenewal    = "renewal"    // the device's next credential, which the platform has not admitted yet
	nameState      = "state"      // application peer, last order, life-cycle number, tombstones
	nameRevoked    = "revoked"    // and a number: the revocation list of an authority each
	namePlatform   = "epoch-platform"
	nameApp        = "epoch-app"
	namePrekey     = "prekey" // the application's newest, a bundle
	nameMarks      = "marks"  // of the delivery channel
	nameOutbox     = "outbox" // and a number: a frame each

	outboxSlots  = 1024
	revokedSlots = 16 // as many as an identity.Verifier keeps
)

func slotName(slot int) string    { return fmt.Sprintf("%s-%04d", nameOutbox, slot) }
func revokedName(slot int) string { return fmt.Sprintf("%s-%d", nameRevoked, slot) }

func slotNames() []string {
	names := make([]string, outboxSlots)
	for slot := range names {
		names[slot] = slotName(slot)
	}
	return names
}

// allNames are all values that a device has, the most secret first.
func allNames() []string {
	names := []string{nameHelper, nameProduction, nameCredential, nameIdentity, nameRenewal, nameState, namePlatform, nameApp, namePrekey, nameMarks}
	names = append(names, slotNames()...)
	for slot := range revokedSlots {
		names = append(names, revokedName(slot))
	}
	return names
}
