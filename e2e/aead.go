package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"
)

// aead seals the payloads of one direction under one generation of keys. Header and payload lie in one piece, for the tag is over both. It
// is not safe for concurrent use.
type aead interface {
	// seal appends ciphertext ‖ tag to record, which ends with the record's header. The caller never uses a counter twice.
	seal(record, plaintext []byte) []byte
	// open appends to dst the plaintext of record, which is header ‖ ciphertext ‖ tag, or returns dst unchanged and false.
	open(dst, record []byte) ([]byte, bool)
}

// newAEAD splits keys into SEK ‖ SAK ‖ IV.
func newAEAD(s Suite, keys []byte) (a aead, err error) {
	if s.gcm() {
		a, err = newGCM(keys)
	} else {
		a, err = newCTRHMAC(keys)
	}
	if err != nil {
		return nil, err
	}
	return watch(a, keys), nil
}

// sealApart returns ciphertext ‖ tag of a payload whose header lies elsewhere, as in a handshake.
func sealApart(a aead, h header, plaintext []byte) []byte {
	return a.seal(h.append(make([]byte, 0, headerSize+len(plaintext)+tagSize)), plaintext)[headerSize:]
}

// openApart opens what sealApart made.
func openApart(a aead, h header, sealed []byte) ([]byte, bool) {
	return a.open(nil, append(h.append(make([]byte, 0, headerSize+len(sealed))), sealed...))
}

// ctrHMAC is for suites 0x01 and 0x03. Its buffers and its HMAC are kept and reset: making them anew for each message would cost more
// than the hash.
type ctrHMAC struct {
	block cipher.Block
	mac   hash.Hash
	iv    uint32              // its last four bytes
	nonce [aes.BlockSize]byte // all of it but those, and four bytes that stay 0
	sum   [sha256.Size]byte
}

func newCTRHMAC(keys []byte) (*ctrHMAC, error) {
	block, err := aes.NewCipher(keys[:keySize])
	if err != nil {
		return nil, fmt.Errorf("e2e: make cipher: %w", err)
	}
	c := &ctrHMAC{block: block, mac: hmac.New(sha256.New, keys[keySize:2*keySize])}
	c.iv = binary.BigEndian.Uint32(keys[keysSize-4:])
	copy(c.nonce[:], keys[2*keySize:])
	c.mac.Reset() // precomputes the padded key's state
	return c, nil
}

// stream is AES-CTR from block counter 0 under the message's nonce: IV with its last four bytes xor counter, then four
// bytes of block counter. NewCTR allocates; counting with block.Encrypt would not, and be 100 ns faster for a short message, but
// raw AES is no approved service of Go's FIPS 140-3 module, and NewCTR is.
func (c *ctrHMAC) stream(counter uint32) cipher.Stream {
	// In one word, as NewCTR reads it.
	binary.BigEndian.PutUint64(c.nonce[8:], uint64(c.iv^counter)<<32)
	return cipher.NewCTR(c.block, c.nonce[:])
}

func (c *ctrHMAC) tag(covered []byte) []byte {
	c.mac.Reset()
	c.mac.Write(covered)
	return c.mac.Sum(c.sum[:0])[:tagSize]
}

func (c *ctrHMAC) seal(record, plaintext []byte) []byte {
	start := len(record) - headerSize
	record, out := extend(record, len(plaintext))
	c.stream(counterOf(record[start:])).XORKeyStream(out, plaintext)
	return append(record, c.tag(record[start:])...)
}

func (c *ctrHMAC) open(dst, record []byte) ([]byte, bool) {
	covered, tag := record[:len(record)-tagSize], record[len(record)-tagSize:]
	if subtle.ConstantTimeCompare(tag, c.tag(covered)) != 1 {
		return dst, false
	}
	ciphertext := covered[headerSize:]
	dst, out := extend(dst, len(ciphertext))
	c.stream(counterOf(record)).XORKeyStream(out, ciphertext)
	return dst, true
}

// extend returns dst longer by n bytes, with room for a tag, and those n bytes.
func extend(dst []byte, n int) (whole, added []byte) {
	if need := len(dst) + n + tagSize; need > cap(dst) {
		grown := make([]byte, len(dst), need)
		copy(grown, dst)
		dst = grown
	}
	whole = dst[:len(dst)+n]
	return whole, whole[len(dst):]
}
