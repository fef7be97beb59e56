package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// gcm is for suites 0x02 and 0x04. Of SEK ‖ SAK ‖ IV it leaves SAK unused: GCM has one key.
type gcm struct {
	aead   cipher.AEAD
	header [headerSize]byte
	iv     uint32       // its last four bytes
	nonce  [ivSize]byte // of the message ready
	ready  uint32
}

func newGCM(keys []byte) (*gcm, error) {
	block, err := aes.NewCipher(keys[:keySize])
	if err != nil {
		return nil, fmt.Errorf("e2e: make cipher: %w", err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("e2e: make cipher: %w", err)
	}
	g := &gcm{aead: a}
	g.iv = binary.BigEndian.Uint32(keys[keysSize-4:])
	copy(g.nonce[:], keys[2*keySize:]) // of counter 0
	return g, nil
}

// number makes the nonce of a message. It is made for the next one as soon as the last is done: the processor would have to wait for bytes
// that were just written.
func (g *gcm) number(counter uint32) {
	binary.BigEndian.PutUint32(g.nonce[8:], g.iv^counter)
	g.ready = counter
}

// set puts a record's header and counter in their places.
func (g *gcm) set(h header) {
	if n := h.counter(); n != g.ready {
		g.number(n)
	}
	h.put(g.header[:])
}

func (g *gcm) seal(dst []byte, h header, plaintext []byte) []byte {
	g.set(h)
	dst = g.aead.Seal(dst, g.nonce[:], plaintext, g.header[:])
	g.number(g.ready + 1)
	return dst
}

func (g *gcm) open(dst []byte, h header, sealed []byte) ([]byte, bool) {
	g.set(h)
	out, err := g.aead.Open(dst, g.nonce[:], sealed, g.header[:])
	g.number(g.ready + 1)
	if err != nil {
		return dst, false
	}
	return out, true
}
