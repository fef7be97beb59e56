// Package seam is where checkers of this module look into package e2e: which key seals under which nonce. Go lets nobody outside of e2e/
// import it, so it is no part of the interface, and while nobody watches it costs a look at a pointer for each new key.
package seam

import "sync/atomic"

// NonceSize is that of the nonces of package e2e, without the block counter of CTR.
const NonceSize = 12

// Watcher sees every key that is made while it watches. Its functions are called from whatever goroutine seals.
type Watcher struct {
	// Sealed is called for each payload sealed, with the first bytes of the hash of SEK, and the nonce.
	Sealed func(key [8]byte, nonce [NonceSize]byte)

	// Counter, when set, plants a bug: what it returns takes the counter's place in the nonce, at both ends.
	Counter func(counter uint32) uint32
}

var watcher atomic.Pointer[Watcher]

// Watch makes w the watcher of keys made from now on, until stop is called. There is one at a time.
func Watch(w *Watcher) (stop func()) {
	watcher.Store(w)
	return func() { watcher.CompareAndSwap(w, nil) }
}

// Watching returns the watcher, or nil.
func Watching() *Watcher { return watcher.Load() }
