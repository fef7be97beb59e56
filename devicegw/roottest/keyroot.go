package roottest

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"io"
	"sync"

	"github.com/semio-iot/semio/devicegw"
)

// ErrDestroyed is what a KeyRoot returns after Destroy.
var ErrDestroyed = errors.New("roottest: root is destroyed")

// KeyRoot is a root of trust in software: everything follows from a seed, as from a key file. It is for tests: nothing
// protects the seed.
type KeyRoot struct {
	helper [32]byte
	gone   func() bool
	wipe   func()
	derive func(info string, n int) ([]byte, error)
}

var _ devicegw.Root = (*KeyRoot)(nil)

// NewKeyRoot returns the root of a seed. Its helper hash is that of the seed's name under the seed: another for each.
func NewKeyRoot(seed string) *KeyRoot {
	secret := sha256.Sum256([]byte("roottest seed " + seed))
	prk, err := hkdf.Extract(sha256.New, secret[:], nil)
	if err != nil {
		panic(err) // not with these lengths
	}
	var mu sync.Mutex // guards prk
	return &KeyRoot{
		helper: sha256.Sum256([]byte("roottest helper " + seed)),
		gone: func() bool {
			mu.Lock()
			defer mu.Unlock()
			return prk == nil
		},
		wipe: func() {
			mu.Lock()
			defer mu.Unlock()
			clear(prk)
			prk = nil
		},
		derive: func(info string, n int) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if prk == nil {
				return nil, ErrDestroyed
			}
			return hkdf.Expand(sha256.New, prk, info, n)
		},
	}
}

// scalar is FIPS 186-5, A.2.2: candidates until one is a private key of the curve.
func (r *KeyRoot) scalar(label string, use func([]byte) error) error {
	for i := byte(0); ; i++ {
		b, err := r.derive(label+string([]byte{0, i}), 32)
		if err != nil {
			return err
		}
		err = use(b)
		clear(b)
		if err == nil || i == 255 {
			return err
		}
	}
}

type keySigner struct {
	r   *KeyRoot
	key func() *ecdsa.PrivateKey
}

func (s keySigner) Public() crypto.PublicKey { return s.key().Public() }

func (s keySigner) Sign(rand io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if s.r.gone() {
		return nil, ErrDestroyed
	}
	return s.key().Sign(rand, digest, o)
}

// Signer implements devicegw.Root.
func (r *KeyRoot) Signer() crypto.Signer {
	var key *ecdsa.PrivateKey
	_ = r.scalar("sign", func(b []byte) (err error) {
		key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), b)
		return err
	})
	if key == nil { // destroyed: any key will do, it does not sign
		key, _ = ecdsa.GenerateKey(elliptic.P256(), nil)
	}
	return keySigner{r, func() *ecdsa.PrivateKey { return key }}
}

type keyExchanger struct {
	r   *KeyRoot
	key func() *ecdh.PrivateKey
}

func (x keyExchanger) PublicKey() *ecdh.PublicKey { return x.key().PublicKey() }
func (x keyExchanger) Curve() ecdh.Curve          { return ecdh.P256() }

func (x keyExchanger) ECDH(p *ecdh.PublicKey) ([]byte, error) {
	if x.r.gone() {
		return nil, ErrDestroyed
	}
	return x.key().ECDH(p)
}

// KeyExchanger implements devicegw.Root.
func (r *KeyRoot) KeyExchanger() ecdh.KeyExchanger {
	var key *ecdh.PrivateKey
	_ = r.scalar("agree", func(b []byte) (err error) {
		key, err = ecdh.P256().NewPrivateKey(b)
		return err
	})
	if key == nil {
		key, _ = ecdh.P256().GenerateKey(nil)
	}
	return keyExchanger{r, func() *ecdh.PrivateKey { return key }}
}

// Derive implements devicegw.Root.
func (r *KeyRoot) Derive(label string, context []byte, n int) ([]byte, error) {
	if n < 1 || n > 255*32 {
		return nil, errors.New("roottest: derive 1 to 8,160 bytes")
	}
	sum := sha256.Sum256(context)
	return r.derive("derive "+label+"\x00"+string(sum[:]), n)
}

func (r *KeyRoot) aead(label string) (cipher.AEAD, error) {
	key, err := r.derive("lock "+label, 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Lock implements devicegw.Root.
func (r *KeyRoot) Lock(label string, plaintext []byte) ([]byte, error) {
	a, err := r.aead(label)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nil, plaintext, nil), nil
}

// Unlock implements devicegw.Root.
func (r *KeyRoot) Unlock(label string, blob []byte) ([]byte, error) {
	a, err := r.aead(label)
	if err != nil {
		return nil, err
	}
	plaintext, err := a.Open(nil, nil, blob, nil)
	if err != nil {
		return nil, errors.New("roottest: locked under another root or label, or changed")
	}
	return plaintext, nil
}

// HelperHash implements devicegw.Root.
func (r *KeyRoot) HelperHash() [32]byte { return r.helper }

// Destroy implements devicegw.Root.
func (r *KeyRoot) Destroy(context.Context) error {
	r.wipe()
	return nil
}

// String prints nothing of the seed.
func (r *KeyRoot) String() string { return "key root for tests" }
