package e2e

import (
	"bytes"
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

// count returns a copy of b, which begins with a header, with the checker's counter where it wants another one.
func (a *watched) count(b []byte) []byte {
	b = bytes.Clone(b)
	if a.w.Counter != nil {
		binary.BigEndian.PutUint32(b[headerSize-4:], a.w.Counter(counterOf(b)))
	}
	return b
}

func (a *watched) seal(record, plaintext []byte) []byte {
	h := a.count(record[len(record)-headerSize:])
	a.w.Sealed(a.key, nonceOf(a.iv, counterOf(h)))
	return append(record, a.aead.seal(h, plaintext)[headerSize:]...)
}

func (a *watched) open(dst, record []byte) ([]byte, bool) {
	return a.aead.open(dst, a.count(record))
}

// nonceOf is the nonce of a message: IV with its last four bytes xor counter.
func nonceOf(iv [ivSize]byte, counter uint32) [ivSize]byte {
	binary.BigEndian.PutUint32(iv[8:], binary.BigEndian.Uint32(iv[8:])^counter)
	return iv
}
