package bench

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
)

var errTag = errors.New("the tag does not hold")

const tagSize = 16

// bareCTRHMAC is the primitives of suite 0x01 over the input of suite 0x01: 16 bytes of header before the ciphertext, and a tag cut to 16 bytes. It uses the standard library as one would at first sight.
type bareCTRHMAC struct {
	block       cipher.Block
	mac         hash.Hash
	header      [16]byte
	iv          [aes.BlockSize]byte
	sum         [sha256.Size]byte
	sent, taken uint32
}

func newBareCTRHMAC(*members) (channel, error) {
	var keys [64]byte
	rand.Read(keys[:])
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		return nil, err
	}
	c := &bareCTRHMAC{block: block, mac: hmac.New(sha256.New, keys[32:])}
	c.mac.Reset() // precomputes the padded key's state
	return c, nil
}

func (c *bareCTRHMAC) ready(int) error { return nil }

func (c *bareCTRHMAC) tag(n uint32, ciphertext []byte) []byte {
	binary.BigEndian.PutUint32(c.header[12:], n)
	c.mac.Reset()
	c.mac.Write(c.header[:])
	c.mac.Write(ciphertext)
	return c.mac.Sum(c.sum[:0])[:tagSize]
}

func (c *bareCTRHMAC) xor(n uint32, dst, src []byte) {
	binary.BigEndian.PutUint32(c.iv[8:], n)
	cipher.NewCTR(c.block, c.iv[:]).XORKeyStream(dst, src)
}

func (c *bareCTRHMAC) seal(dst, plaintext []byte) ([]byte, error) {
	dst, out := grow(dst, len(plaintext))
	c.xor(c.sent, out, plaintext)
	dst = append(dst, c.tag(c.sent, out)...)
	c.sent++
	return dst, nil
}

func (c *bareCTRHMAC) open(dst, record []byte) ([]byte, error) {
	if len(record) < tagSize {
		return nil, errTag
	}
	ciphertext, tag := record[:len(record)-tagSize], record[len(record)-tagSize:]
	if subtle.ConstantTimeCompare(tag, c.tag(c.taken, ciphertext)) != 1 {
		return nil, errTag
	}
	dst, out := grow(dst, len(ciphertext))
	c.xor(c.taken, out, ciphertext)
	c.taken++
	return dst, nil
}

// grow returns dst longer by n bytes, and those n bytes.
func grow(dst []byte, n int) (whole, added []byte) {
	if need := len(dst) + n + tagSize; need > cap(dst) {
		dst = append(make([]byte, 0, need), dst...)
	}
	whole = dst[:len(dst)+n]
	return whole, whole[len(dst):]
}

// bareGCM is AES-256-GCM over a header of 16 bytes.
type bareGCM struct {
	aead        cipher.AEAD
	header      [16]byte
	nonce       [12]byte
	sent, taken uint32
}

func newBareGCM(*members) (channel, error) {
	var key [32]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &bareGCM{aead: aead}, nil
}

func (c *bareGCM) ready(int) error { return nil }

func (c *bareGCM) number(n uint32) {
	binary.BigEndian.PutUint32(c.header[12:], n)
	binary.BigEndian.PutUint32(c.nonce[8:], n)
}

func (c *bareGCM) seal(dst, plaintext []byte) ([]byte, error) {
	c.number(c.sent)
	c.sent++
	return c.aead.Seal(dst, c.nonce[:], plaintext, c.header[:]), nil
}

func (c *bareGCM) open(dst, record []byte) ([]byte, error) {
	c.number(c.taken)
	out, err := c.aead.Open(dst, c.nonce[:], record, c.header[:])
	if err != nil {
		return nil, err
	}
	c.taken++
	return out, nil
}

// bareP256 is the curve's share of a handshake of e2e between the owners of a and b: a key pair and three Diffie-Hellman
// values on each side.
func bareP256(a, b *ecdh.PrivateKey) error {
	x, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	y, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	for _, p := range [...]struct{ initiator, responder *ecdh.PrivateKey }{{x, b}, {x, y}, {a, y}} {
		one, err := p.initiator.ECDH(p.responder.PublicKey())
		if err != nil {
			return err
		}
		other, err := p.responder.ECDH(p.initiator.PublicKey())
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare(one, other) != 1 {
			return errMismatch
		}
	}
	return nil
}

// bareKEM is bareP256 and one encapsulation to a fresh key of ML-KEM-768: what suites 0x03 and 0x04 rest on.
func bareKEM(a, b *ecdh.PrivateKey) error {
	if err := bareP256(a, b); err != nil {
		return err
	}
	own, err := mlkem.GenerateKey768()
	if err != nil {
		return err
	}
	other, err := mlkem.NewEncapsulationKey768(own.EncapsulationKey().Bytes())
	if err != nil {
		return err
	}
	one, ciphertext := other.Encapsulate()
	two, err := own.Decapsulate(ciphertext)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(one, two) != 1 {
		return errMismatch
	}
	return nil
}
