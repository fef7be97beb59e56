package identity

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"math/big"
)

// PublicKeySize is the length of a compressed P-256 point, in bytes.
const PublicKeySize = 33

// MarshalPublicKey returns pub as a compressed point (SEC 1, 2.3.3), [PublicKeySize] bytes.
func MarshalPublicKey(pub *ecdsa.PublicKey) ([]byte, error) {
	if !isP256(pub) {
		return nil, fmt.Errorf("%w", ErrKey)
	}
	b, err := pub.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return compress(b), nil
}

// ParsePublicKey is the inverse of [MarshalPublicKey]. The point is checked to be on the curve.
func ParsePublicKey(b []byte) (*ecdsa.PublicKey, error) {
	u, err := decompress(b)
	if err != nil {
		return nil, err
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), u)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return pub, nil
}

func compress(uncompressed []byte) []byte {
	b := make([]byte, PublicKeySize)
	b[0] = 2 | uncompressed[64]&1
	copy(b[1:], uncompressed[1:33])
	return b
}

func decompress(b []byte) ([]byte, error) {
	if len(b) != PublicKeySize {
		return nil, fmt.Errorf("%w: %d bytes, want a compressed point of %d", ErrKey, len(b), PublicKeySize)
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), b)
	if x == nil {
		return nil, fmt.Errorf("%w: not a compressed point of the curve", ErrKey)
	}
	return uncompressed(x, y), nil
}

func uncompressed(x, y *big.Int) []byte {
	u := make([]byte, 65)
	u[0] = 4
	x.FillBytes(u[1:33])
	y.FillBytes(u[33:])
	return u
}

func isP256(pub *ecdsa.PublicKey) bool { return pub != nil && pub.Curve == elliptic.P256() }

// signerKey returns the public key of signer when it is one that can sign for a peer.
func signerKey(signer crypto.Signer) (*ecdsa.PublicKey, error) {
	if signer == nil {
		return nil, fmt.Errorf("%w: no signer given", ErrKey)
	}
	pub, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok || !isP256(pub) {
		return nil, fmt.Errorf("%w: the signer has a %T", ErrKey, signer.Public())
	}
	return pub, nil
}

func sameKey(a *ecdsa.PublicKey, b *ecdh.PublicKey) bool {
	p, err := a.ECDH()
	return err == nil && p.Equal(b)
}
