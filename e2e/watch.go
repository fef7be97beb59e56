package e2e

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/semio-iot/semio/e2e/internal/seam"
)

// watched tells a checker of this module under which nonces a key seals.
type watched struct {
	aead
	w   *seam.Watcher
	key [8]byte // of SHA-256(SEK)
	iv  [ivSize]byte
}

// watch wraps a where somebody watches, which is in the adversary's runs and nowhere else.
func watch(a aead, keys []byte) aead {
	w := seam.Watching()
	if w == nil {
		return a
	}
	sum := sha256.Sum256(keys[:keySize])
	return &watched{aead: a, w: w, key: [8]byte(sum[:8]), iv: [ivSize]byte(keys[2*keySize:])}
}

// count puts the checker's counter into h, where it wants another one.
func (a *watched) count(h header) header {
	if a.w.Counter != nil {
		h.lo = h.lo&^(1<<32-1) | uint64(a.w.Counter(h.counter()))
	}
	return h
}

func (a *watched) seal(dst []byte, h header, plaintext []byte) []byte {
	h = a.count(h)
	a.w.Sealed(a.key, nonceOf(a.iv, h.counter()))
	return a.aead.seal(dst, h, plaintext)
}

func (a *watched) open(dst []byte, h header, sealed []byte) ([]byte, bool) {
	return a.aead.open(dst, a.count(h), sealed)
}

// nonceOf is the nonce of a message: IV with its last four bytes xor counter.
func nonceOf(iv [ivSize]byte, counter uint32) [ivSize]byte {
	binary.BigEndian.PutUint32(iv[8:], binary.BigEndian.Uint32(iv[8:])^counter)
	return iv
}
