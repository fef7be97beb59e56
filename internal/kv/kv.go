// Package kv is the small transactional store that platform and appgw keep their state in: ordered keys, values, one
// serialisable transaction at a time. [Mem] forgets, [OpenBolt] keeps a file. An integrator with a database of his own
// implements [Store] and shows with kvtest.TestStore that he kept the contract.
package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Limits of keys and values, in bytes. They are what every implementation takes, not what any of them could.
const (
	MaxKey   = 512
	MaxValue = 4 << 20
)

// Errors of a store.
var (
	ErrNotFound = errors.New("kv: no such key")
	ErrClosed   = errors.New("kv: store is closed")
	ErrReadOnly = errors.New("kv: write in a View")
	ErrSize     = errors.New("kv: key or value has a size that a store does not take")
)

// Store keeps keys and values. Safe for concurrent use.
type Store interface {
	// View calls f with a consistent snapshot and returns its error.
	View(ctx context.Context, f func(Tx) error) error

	// Update calls f in a transaction of its own: no other Update runs between f's first read and the commit. When f returns
	// nil the changes become durable all at once before Update returns nil; when f or the commit fails nothing has changed.
	// f may be called again where a store resolves conflicts by retrying, so it has no effects but through its Tx.
	Update(ctx context.Context, f func(Tx) error) error

	// Close waits for transactions under way. Later ones return ErrClosed.
	Close() error
}

// Tx is a transaction. It ends when the function that got it returns, and is not safe for concurrent use.
type Tx interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(key string) ([]byte, error)

	// Put sets a value; it is not kept after the return. An empty value is a value.
	Put(key string, value []byte) error

	// Delete removes a key. An absent key is no error.
	Delete(key string) error

	// List yields the keys that begin with prefix, in ascending order of their bytes, with copies of their values. The
	// transaction may not be written while it runs.
	List(prefix string) iter.Seq2[string, []byte]
}

// CheckSize returns ErrSize for a key or value outside the limits.
func CheckSize(key string, value []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes, want 1 to %d", ErrSize, len(key), MaxKey)
	}
	if len(value) > MaxValue {
		return fmt.Errorf("%w: value of %d bytes under %q, want at most %d", ErrSize, len(value), key, MaxValue)
	}
	return nil
}
