// Package keywrap is AES key wrap with padding (RFC 5649; KWP in NIST SP 800-38F): [Wrap] and [Unwrap]. It needs no nonce, which is
// why systems exchange keys with it; where both ends are ours, a key code of package keyvault is the better form.
package keywrap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	semiblock  = 8
	wrapPrefix = 0xa65959a6 // RFC 5649, section 3: the alternative initial value
	maxWrapped = 1 << 16    // no key is longer; the RFC's own limit is 2^32
)

var (
	// ErrUnwrap is the one answer for whatever Wrap did not make under the same key.
	ErrUnwrap = errors.New("keywrap: not a key wrapped under this one")
	// ErrSize reports a key that cannot be wrapped.
	ErrSize = errors.New("keywrap: key must have 1 to 65528 bytes")
)

// Wrap wraps key, 1 to 65,528 bytes, under kek, a key of AES. The result is 8 bytes longer than key, padded to a multiple of 8.
func Wrap(kek, key []byte) ([]byte, error) {
	if len(key) == 0 || len(key) > maxWrapped-semiblock {
		return nil, fmt.Errorf("%w, not %d", ErrSize, len(key))
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	padded := (len(key) + semiblock - 1) / semiblock * semiblock
	out := make([]byte, semiblock+padded)
	binary.BigEndian.PutUint32(out, wrapPrefix)
	binary.BigEndian.PutUint32(out[4:], uint32(len(key)))
	copy(out[semiblock:], key)
	if padded == semiblock {
		block.Encrypt(out, out) // section 4.1: a single block
		return out, nil
	}
	var a [aes.BlockSize]byte
	defer clear(a[:])
	copy(a[:], out[:semiblock])
	n := padded / semiblock
	for t := 1; t <= 6*n; t++ {
		r := out[semiblock*((t-1)%n+1):][:semiblock]
		copy(a[semiblock:], r)
		block.Encrypt(a[:], a[:])
		xorCounter(&a, t)
		copy(r, a[semiblock:])
	}
	copy(out, a[:semiblock])
	return out, nil
}

// Unwrap undoes Wrap. Whatever is wrong is ErrUnwrap; the prefix, the length and the padding are compared in one go, so that
// nothing tells which of them it was.
func Unwrap(kek, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 2*semiblock || len(wrapped)%semiblock != 0 || len(wrapped) > maxWrapped {
		return nil, ErrUnwrap
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), wrapped...)
	if len(out) == 2*semiblock {
		block.Decrypt(out, out)
	} else {
		unwrapSemiblocks(block, out)
	}
	padded := len(out) - semiblock
	length := int64(binary.BigEndian.Uint32(out[4:]))
	padding := int64(padded) - length // want 0 to 7
	ok := subtle.ConstantTimeEq(int32(binary.BigEndian.Uint32(out)^wrapPrefix), 0)
	ok &= subtle.ConstantTimeEq(int32(padding>>3), 0) // an arithmetic shift: of 0 to 7 alone
	for i := range int64(semiblock) {
		// Byte i from the end is padding if i < padding, and must then be zero.
		isPadding := int((i - padding) >> 63 & 1)
		isZero := subtle.ConstantTimeByteEq(out[len(out)-1-int(i)], 0)
		ok &= isZero | (1 ^ isPadding)
	}
	if ok != 1 {
		clear(out)
		return nil, ErrUnwrap
	}
	return out[semiblock : semiblock+int(length)], nil
}

// unwrapSemiblocks leaves the initial value and the padded key in out.
func unwrapSemiblocks(block cipher.Block, out []byte) {
	var a [aes.BlockSize]byte
	defer clear(a[:])
	copy(a[:], out[:semiblock])
	n := len(out)/semiblock - 1
	for t := 6 * n; t >= 1; t-- {
		r := out[semiblock*((t-1)%n+1):][:semiblock]
		xorCounter(&a, t)
		copy(a[semiblock:], r)
		block.Decrypt(a[:], a[:])
		copy(r, a[semiblock:])
	}
	copy(out, a[:semiblock])
}

func xorCounter(a *[aes.BlockSize]byte, t int) {
	binary.BigEndian.PutUint64(a[:], binary.BigEndian.Uint64(a[:])^uint64(t))
}
