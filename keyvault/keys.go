package keyvault

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	_ "crypto/sha256" // the hashes that Sign accepts
	_ "crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/semio-iot/semio/internal/secret"
)

// Every label of this package (docs/keyvault.md). Labels of the vault's users go into the context of
// labelDerive and labelLock, so that none of them gives a key of this table.
const (
	labelSign   = "semio-keyvault/1 signing key"   // context: counter; P-256 scalar of Signer
	labelAgree  = "semio-keyvault/1 agreement key" // context: counter; P-256 scalar of KeyExchanger
	labelDerive = "semio-keyvault/1 derive"        // context: u8 length ‖ label ‖ context; output of Derive
	labelLock   = "semio-keyvault/1 lock"          // context: label; AES key of Lock, and prefix of its additional data
	labelProof  = "semio-keyvault/1 proof"         // compares two reconstructions at enrolment
	labelKEM    = "semio-keyvault/1 ml-kem key"    // context: none; 64-byte seed of Decapsulator
	labelCode   = "semio-keyvault/1 key code"      // context: header of the code; AES key of a key code, and prefix of its additional data

	labelKey = "semio-keyvault/1 derived key" // context: header as of a key code ‖ context; key of DeriveKey

	// Not under the root key but under a locked or derived key.
	labelCodeDerive = "semio-keyvault/1 key derive" // prefix of info: ‖ u8 length ‖ label ‖ context ‖ u16 n; output of Key.Derive

	// A root key from FromSecret has its own Extract and its own Expand, so that no secret gives the keys of a chip's root key.
	labelSecret       = "semio-keyvault/1 root secret" // salt of HKDF-Extract over the secret
	labelSecretDerive = "semio-secret/1 "              // prefix of info under the root key, where a chip's has "semio-root/1 "

	// Under no key: prefix of the additional data, ‖ header, of what NewPassphrase seals.
	labelPassphrase = "semio-keyvault/1 passphrase"
)

const scalarSize = 32

// maxCandidates bounds the search for a scalar. A candidate fails with probability 2^-32.
const maxCandidates = 8

// scalar finds a P-256 private scalar by testing candidates (FIPS 186-5, A.2.2): the first of expand(0), expand(1), … in [1, n-1].
// The caller clears the result.
func scalar(expand func(counter byte) ([]byte, error)) ([]byte, error) {
	for i := range byte(maxCandidates) {
		b, err := expand(i)
		if err != nil {
			return nil, err
		}
		if isScalar(b) {
			return b, nil
		}
		clear(b)
	}
	return nil, errors.New("keyvault: no candidate is a P-256 scalar; the key derivation is broken")
}

// isScalar tells whether b is in [1, n-1], in constant time.
func isScalar(b []byte) bool {
	if len(b) != scalarSize {
		return false
	}
	var order [scalarSize]byte
	elliptic.P256().Params().N.FillBytes(order[:])
	var borrow, ones uint64
	for i := scalarSize - 8; i >= 0; i -= 8 {
		limb := binary.BigEndian.Uint64(b[i:])
		ones |= limb
		_, borrow = bits.Sub64(limb, binary.BigEndian.Uint64(order[i:]), borrow)
	}
	return borrow == 1 && ones != 0
}

// withScalar calls use with the private scalar of a label and clears it afterwards. No private key is held between calls.
func (v *Vault) withScalar(label string, use func([]byte) error) error {
	return v.use(func() error {
		b, err := scalar(func(counter byte) ([]byte, error) { return v.root.Derive(label, []byte{counter}, scalarSize) })
		if err != nil {
			return err
		}
		defer clear(b)
		return use(b)
	})
}

func (v *Vault) withSigningKey(use func(*ecdsa.PrivateKey) error) error {
	return v.withScalar(labelSign, func(b []byte) error {
		// Not GenerateKey with a reader over b: it ignores the reader, and the key would be a random one.
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b)
		if err != nil {
			return err
		}
		return use(key)
	})
}

func (v *Vault) withAgreementKey(use func(*ecdh.PrivateKey) error) error {
	return v.withScalar(labelAgree, func(b []byte) error {
		key, err := ecdh.P256().NewPrivateKey(b)
		if err != nil {
			return err
		}
		return use(key)
	})
}

// signer is an opaque signing key. It holds none, so nothing of it can show one.
type signer struct {
	secret.Opaque
	public []byte // uncompressed
	with   func(use func(*ecdsa.PrivateKey) error) error
}

func (s *signer) Public() crypto.PublicKey {
	// A copy: the caller may change what it is given. The bytes came from a key, so they parse.
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), s.public)
	if err != nil {
		return nil
	}
	return key
}

func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	if opts == nil {
		return nil, fmt.Errorf("sign: %w: no hash given", ErrArgument)
	}
	switch h := opts.HashFunc(); h {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
		if len(digest) != h.Size() {
			return nil, fmt.Errorf("sign: %w: digest of %d bytes, %v has %d", ErrArgument, len(digest), h, h.Size())
		}
	default:
		return nil, fmt.Errorf("sign: %w: hash %v, want SHA-256, SHA-384 or SHA-512", ErrArgument, h)
	}
	err = s.with(func(key *ecdsa.PrivateKey) error {
		// Without a reader the nonce is that of RFC 6979: a device's random numbers after power-up need not be trusted.
		signature, err = key.Sign(nil, digest, opts)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signature, nil
}

// exchanger is an opaque agreement key. It holds none.
type exchanger struct {
	secret.Opaque
	public *ecdh.PublicKey
	with   func(use func(*ecdh.PrivateKey) error) error
}

func (x *exchanger) PublicKey() *ecdh.PublicKey { return x.public }

func (x *exchanger) Curve() ecdh.Curve { return ecdh.P256() }

func (x *exchanger) ECDH(remote *ecdh.PublicKey) (shared []byte, err error) {
	if remote == nil || remote.Curve() != ecdh.P256() {
		return nil, fmt.Errorf("agree on a key: %w: the peer's key is none of P-256", ErrArgument)
	}
	err = x.with(func(key *ecdh.PrivateKey) error {
		shared, err = key.ECDH(remote)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("agree on a key: %w", err)
	}
	return shared, nil
}
