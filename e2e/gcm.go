package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

// gcm is for suites 0x02 and 0x04. Of SEK ‖ SAK ‖ IV it leaves SAK unused: GCM has one key.
type gcm struct {
	aead  cipher.AEAD
	ad    [hashSize + headerSize]byte // transcript hash, which stays, and the header of each record
	iv    [ivSize]byte
	nonce [ivSize]byte
}

func newGCM(keys []byte, th [hashSize]byte) (*gcm, error) {
	block, err := aes.NewCipher(keys[:keySize])
	if err != nil {
		return nil, fmt.Errorf("e2e: make cipher: %w", err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("e2e: make cipher: %w", err)
	}
	g := &gcm{aead: a}
	copy(g.ad[:], th[:])
	copy(g.iv[:], keys[2*keySize:])
	return g, nil
}

// set puts a record's header and counter in their places.
func (g *gcm) set(counter uint32, header []byte) {
	copyHeader(g.ad[hashSize:], header)
	g.nonce = nonceOf(g.iv, counter)
}

func (g *gcm) seal(dst []byte, counter uint32, header, plaintext []byte) []byte {
	g.set(counter, header)
	return g.aead.Seal(dst, g.nonce[:], plaintext, g.ad[:])
}

func (g *gcm) open(dst []byte, counter uint32, header, sealed []byte) ([]byte, bool) {
	g.set(counter, header)
	out, err := g.aead.Open(dst, g.nonce[:], sealed, g.ad[:])
	if err != nil {
		return dst, false
	}
	return out, true
}
