package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// gcm is for suites 0x02 and 0x04. Of SEK ‖ SAK ‖ IV it leaves SAK unused: GCM has one key.
type gcm struct {
	aead  cipher.AEAD
	iv    uint32       // its last four bytes
	nonce [ivSize]byte // of the message ready
	ready uint32
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

// number returns the nonce of a message, which mostly is there: next has made it.
func (g *gcm) number(counter uint32) []byte {
	if counter != g.ready {
		binary.BigEndian.PutUint32(g.nonce[8:], g.iv^counter)
		g.ready = counter
	}
	return g.nonce[:]
}

// next makes the nonce of the message that most likely follows. The cipher would have to wait for bytes that were just written.
func (g *gcm) next() { g.number(g.ready + 1) }

func (g *gcm) seal(record, plaintext []byte) []byte {
	header := record[len(record)-headerSize:]
	record = g.aead.Seal(record, g.number(counterOf(header)), plaintext, header)
	g.next()
	return record
}

func (g *gcm) open(dst, record []byte) ([]byte, bool) {
	out, err := g.aead.Open(dst, g.number(counterOf(record)), record[headerSize:], record[:headerSize])
	g.next()
	if err != nil {
		return dst, false
	}
	return out, true
}
