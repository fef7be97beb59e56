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

// aead seals the payloads of one direction under one generation of keys. It is not safe for concurrent use.
type aead interface {
	// seal appends ciphertext ‖ tag to dst. h is the record's; the caller never uses its counter twice.
	seal(dst []byte, h header, plaintext []byte) []byte
	// open appends the plaintext to dst, or returns dst unchanged and false. sealed holds at least a tag.
	open(dst []byte, h header, sealed []byte) ([]byte, bool)
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

// ctrHMAC is for suites 0x01 and 0x03. Its buffers and its HMAC are kept and reset: making them anew for each message would cost more
// than the hash.
type ctrHMAC struct {
	block  cipher.Block
	mac    hash.Hash
	header [headerSize]byte
	iv     uint32              // its last four bytes
	nonce  [aes.BlockSize]byte // all of it but those, and four bytes that stay 0
	sum    [sha256.Size]byte
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

func (c *ctrHMAC) tag(h header, ciphertext []byte) []byte {
	h.put(c.header[:])
	c.mac.Reset()
	c.mac.Write(c.header[:])
	c.mac.Write(ciphertext)
	return c.mac.Sum(c.sum[:0])[:tagSize]
}

func (c *ctrHMAC) seal(dst []byte, h header, plaintext []byte) []byte {
	dst, out := extend(dst, len(plaintext))
	c.stream(h.counter()).XORKeyStream(out, plaintext)
	return append(dst, c.tag(h, out)...)
}

func (c *ctrHMAC) open(dst []byte, h header, sealed []byte) ([]byte, bool) {
	ciphertext, tag := sealed[:len(sealed)-tagSize], sealed[len(sealed)-tagSize:]
	if subtle.ConstantTimeCompare(tag, c.tag(h, ciphertext)) != 1 {
		return dst, false
	}
	dst, out := extend(dst, len(ciphertext))
	c.stream(h.counter()).XORKeyStream(out, ciphertext)
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
