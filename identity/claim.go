package identity

import (
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"io"

	"github.com/semio-iot/semio/internal/hkdf"
	"github.com/semio-iot/semio/internal/secret"
)

// ClaimCodeSize is the length of a claim code, in bytes.
const ClaimCodeSize = 15

// ClaimCode is the secret of a device's sticker: whoever knows it has seen the sticker, or a photograph of it. It is printed by
// [Sticker.Encode] and by nothing else: no fmt verb, log or encoder shows it. Compare with Equal. The zero ClaimCode is none.
type ClaimCode struct {
	secret.Opaque
	b secret.Bytes
}

// NewClaimCode returns the code of b, [ClaimCodeSize] bytes that are not all zero. It copies b.
func NewClaimCode(b []byte) (ClaimCode, error) {
	if len(b) != ClaimCodeSize {
		return ClaimCode{}, fmt.Errorf("%w: %d bytes, want %d", ErrClaimCode, len(b), ClaimCodeSize)
	}
	var or byte
	for _, x := range b {
		or |= x
	}
	if or == 0 {
		return ClaimCode{}, fmt.Errorf("%w: all bytes are zero", ErrClaimCode)
	}
	return ClaimCode{b: secret.New(b)}, nil
}

// IsZero reports whether there is no code.
func (c ClaimCode) IsZero() bool { return c.b.Len() == 0 }

// Equal compares in constant time.
func (c ClaimCode) Equal(d ClaimCode) bool { return c.b.Equal(d.b) }

// Wipe overwrites the code, also in all copies of c, which are the zero ClaimCode from then on.
func (c ClaimCode) Wipe() { c.b.Wipe() }

// extract returns the pseudorandom key of the code and a device. The caller clears it.
func (c ClaimCode) extract(dev DeviceID) ([]byte, error) {
	if c.IsZero() {
		return nil, fmt.Errorf("%w: the sticker has none", ErrClaimCode)
	}
	if dev.Role() != RoleDevice {
		return nil, fmt.Errorf("%w: %q is no device", ErrName, dev)
	}
	return hkdf.Extract(c.b.Expose(), []byte(dev.String()))
}

// ProofKey returns the P-256 key that code and device give. Its signature over a request shows the platform, which keeps [ClaimCode.ProofPublic]
// only, that the requester knows the code. It signs deterministically when it is given no randomness. The key does not print.
func (c ClaimCode) ProofKey(dev DeviceID) (crypto.Signer, error) {
	prk, err := c.extract(dev)
	if err != nil {
		return nil, fmt.Errorf("claim proof key: %w", err)
	}
	defer clear(prk)
	k, err := deriveP256(prk, labelClaim)
	if err != nil {
		return nil, fmt.Errorf("claim proof key: %w", err)
	}
	pub := k.PublicKey
	return proofKey{public: &pub, sign: k.Sign}, nil
}

// ProofPublic returns the public key of [ClaimCode.ProofKey], a compressed point of [PublicKeySize] bytes, for the registry.
func (c ClaimCode) ProofPublic(dev DeviceID) ([]byte, error) {
	k, err := c.ProofKey(dev)
	if err != nil {
		return nil, err
	}
	return MarshalPublicKey(k.(proofKey).public)
}

// PSK returns the pre-shared key that code and device give.
func (c ClaimCode) PSK(dev DeviceID) (PSK, error) {
	prk, err := c.extract(dev)
	if err != nil {
		return PSK{}, fmt.Errorf("claim pre-shared key: %w", err)
	}
	defer clear(prk)
	k, err := hkdf.Expand(prk, labelPSK, PSKSize)
	if err != nil {
		return PSK{}, fmt.Errorf("claim pre-shared key: %w", err)
	}
	defer clear(k)
	return NewPSK(k)
}

// proofKey hides the private key behind a method value, which reflection does not enter.
type proofKey struct {
	secret.Opaque
	public *ecdsa.PublicKey
	sign   func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)
}

func (k proofKey) Public() crypto.PublicKey { return k.public }

func (k proofKey) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	return k.sign(r, digest, o)
}

// PSKSize is the length of a pre-shared key, in bytes.
const PSKSize = 32

// PSK is a pre-shared key that goes into the keys between a device and an application. No fmt verb, log or encoder shows it. The
// zero PSK is none.
type PSK struct {
	secret.Opaque
	b secret.Bytes
}

// NewPSK returns the key of b, [PSKSize] bytes. It copies b.
func NewPSK(b []byte) (PSK, error) {
	if len(b) != PSKSize {
		return PSK{}, fmt.Errorf("%w: pre-shared key of %d bytes, want %d", ErrClaimCode, len(b), PSKSize)
	}
	return PSK{b: secret.New(b)}, nil
}

// Bytes returns a copy, for the key schedule and for locking it away; nil for the zero PSK. The caller clears it.
func (k PSK) Bytes() []byte { return append([]byte(nil), k.b.Expose()...) }

// IsZero reports whether there is no key.
func (k PSK) IsZero() bool { return k.b.Len() == 0 }

// Equal compares in constant time.
func (k PSK) Equal(l PSK) bool { return k.b.Equal(l.b) }

// Wipe overwrites the key, also in all copies of k, which are the zero PSK from then on.
func (k PSK) Wipe() { k.b.Wipe() }
