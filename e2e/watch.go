package e2e

import (
	"crypto/sha256"

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

func (a *watched) counter(n uint32) uint32 {
	if a.w.Counter == nil {
		return n
	}
	return a.w.Counter(n)
}

func (a *watched) seal(dst []byte, counter uint32, header, plaintext []byte) []byte {
	counter = a.counter(counter)
	a.w.Sealed(a.key, nonceOf(a.iv, counter))
	return a.aead.seal(dst, counter, header, plaintext)
}

func (a *watched) open(dst []byte, counter uint32, header, sealed []byte) ([]byte, bool) {
	return a.aead.open(dst, a.counter(counter), header, sealed)
}
