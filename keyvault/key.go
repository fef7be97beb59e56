package keyvault

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/internal/hkdf"
	"github.com/semio-iot/semio/internal/keywrap"
	"github.com/semio-iot/semio/internal/secret"
)

// Key is a locked key, open for use, which [Vault.OpenKey] makes, or a derived one, which [Vault.DeriveKey] makes. It holds the key code
// or what it derives from and no key, has the key for each use and clears it afterwards. It is safe for concurrent use, ends with its vault
// ([ErrClosed]), and prints as "[redacted]".
//
// A use that the key is not for is [ErrUsage].
type Key struct {
	secret.Opaque

	v      *Vault
	info   KeyInfo
	unlock func(f func(key []byte) error) error // runs within use, clears the key afterwards
	public []byte                               // TypeSign, TypeAgree: uncompressed point; TypeMLKEM: encapsulation key
}

// Info returns what the key code says.
func (k *Key) Info() KeyInfo { return k.info }

// with calls f with the key's bytes.
func (k *Key) with(f func(key []byte) error) error {
	if k.v == nil {
		return ErrClosed
	}
	return k.v.use(func() error { return k.unlock(f) })
}

// mayBe refuses what the key is not for.
func (k *Key) mayBe(u Usage, t KeyType) error {
	if k.info.Type == t && k.info.Usage&u == u {
		return nil
	}
	return fmt.Errorf("%w: %v, wanted for %v", ErrUsage, k.info, u)
}

func (k *Key) setPublic(key []byte) error {
	switch k.info.Type {
	case TypeSign, TypeAgree:
		p, err := ecdh.P256().NewPrivateKey(key)
		if err != nil {
			return err
		}
		k.public = p.PublicKey().Bytes()
	case TypeMLKEM:
		d, err := mlkem.NewDecapsulationKey768(key)
		if err != nil {
			return err
		}
		k.public = d.EncapsulationKey().Bytes()
	}
	return nil
}

// Signer returns the key as [Vault.Signer] is one: for TypeSign with UsageSign.
func (k *Key) Signer() (crypto.Signer, error) {
	if err := k.mayBe(UsageSign, TypeSign); err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	return &signer{public: k.public, with: func(use func(*ecdsa.PrivateKey) error) error {
		return k.with(func(key []byte) error {
			p, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), key)
			if err != nil {
				return err
			}
			return use(p)
		})
	}}, nil
}

// KeyExchanger returns the key as [Vault.KeyExchanger] is one: for TypeAgree with UsageDerive.
func (k *Key) KeyExchanger() (ecdh.KeyExchanger, error) {
	if err := k.mayBe(UsageDerive, TypeAgree); err != nil {
		return nil, fmt.Errorf("key exchanger: %w", err)
	}
	public, err := ecdh.P256().NewPublicKey(k.public)
	if err != nil {
		return nil, fmt.Errorf("key exchanger: %w", err)
	}
	return &exchanger{public: public, with: func(use func(*ecdh.PrivateKey) error) error {
		return k.with(func(key []byte) error {
			p, err := ecdh.P256().NewPrivateKey(key)
			if err != nil {
				return err
			}
			return use(p)
		})
	}}, nil
}

// Decapsulator returns the key as [Vault.Decapsulator] is one: for TypeMLKEM with UsageDerive.
func (k *Key) Decapsulator() (crypto.Decapsulator, error) {
	if err := k.mayBe(UsageDerive, TypeMLKEM); err != nil {
		return nil, fmt.Errorf("decapsulator: %w", err)
	}
	return &decapsulator{public: k.public, with: k.with}, nil
}

// Seal encrypts and authenticates plaintext, authenticates data with it, and appends nonce (12, random), ciphertext and tag (16) to
// dst: AES-256-GCM, for TypeAES with UsageEncrypt. A key is good for 2^32 messages. Errors: ErrUsage, ErrClosed.
func (k *Key) Seal(dst, plaintext, data []byte) (out []byte, err error) {
	err = k.gcm(func(a cipher.AEAD) error {
		out = a.Seal(dst, nil, plaintext, data)
		return nil
	})
	if err != nil {
		return dst, fmt.Errorf("seal: %w", err)
	}
	return out, nil
}

// Open undoes Seal and appends the plaintext to dst. Errors: ErrUsage, ErrUnlock for anything that Seal did not make, ErrClosed.
func (k *Key) Open(dst, sealed, data []byte) (out []byte, err error) {
	err = k.gcm(func(a cipher.AEAD) (err error) {
		if out, err = a.Open(dst, nil, sealed, data); err != nil {
			return ErrUnlock
		}
		return nil
	})
	if err != nil {
		return dst, fmt.Errorf("open: %w", err)
	}
	return out, nil
}

func (k *Key) gcm(f func(cipher.AEAD) error) error {
	if err := k.mayBe(UsageEncrypt, TypeAES); err != nil {
		return err
	}
	return k.with(func(key []byte) error {
		block, err := aes.NewCipher(key)
		if err != nil {
			return err
		}
		a, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return err
		}
		return f(a)
	})
}

// MAC returns HMAC-SHA-256 of message, 32 bytes: for TypeMAC with UsageSign.
func (k *Key) MAC(message []byte) (tag []byte, err error) {
	if err := k.mayBe(UsageSign, TypeMAC); err != nil {
		return nil, fmt.Errorf("mac: %w", err)
	}
	err = k.with(func(key []byte) error {
		h := hmac.New(sha256.New, key)
		h.Write(message)
		tag = h.Sum(nil)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("mac: %w", err)
	}
	return tag, nil
}

// VerifyMAC compares tag with MAC of message in constant time. A tag that does not hold is [ErrUnlock].
func (k *Key) VerifyMAC(message, tag []byte) error {
	want, err := k.MAC(message)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want, tag) != 1 {
		return fmt.Errorf("verify mac: %w", ErrUnlock)
	}
	return nil
}

// Derive returns n bytes that follow from the key, label and context, as [Vault.Derive] does from the root key: for TypeMAC with
// UsageDerive. HKDF-Expand, so the key must be uniform, as one of GenerateKey is. The caller clears the result.
func (k *Key) Derive(label string, context []byte, n int) (out []byte, err error) {
	if err = k.mayBe(UsageDerive, TypeMAC); err == nil {
		if err = checkDerive(label, context, n); err == nil {
			err = k.with(func(key []byte) (err error) {
				out, err = hkdf.Expand(key, labelCodeDerive+string(binary.BigEndian.AppendUint16(deriveInfo(label, context), uint16(n))), n)
				return err
			})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("derive: %w", err)
	}
	return out, nil
}

// Export calls f with the key's bytes, which are cleared when it returns: for keys with UsageExport. f must not use the vault.
func (k *Key) Export(f func(key []byte) error) error {
	if err := k.mayBe(UsageExport, k.info.Type); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := k.with(f); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// Wrap wraps another key of the same vault under this one, for another system: AES key wrap with padding (RFC 5649). This key is for
// TypeAES with UsageWrap, the other one has UsageExport; type, label and the rest do not travel along.
func (k *Key) Wrap(other *Key) (wrapped []byte, err error) {
	if err = k.mayBe(UsageWrap, TypeAES); err == nil {
		err = other.mayBe(UsageExport, other.info.Type)
	}
	if err == nil && k.v != other.v {
		err = fmt.Errorf("%w: keys of two vaults", ErrArgument)
	}
	if err == nil {
		err = k.with(func(kek []byte) error {
			return other.unlock(func(key []byte) (err error) {
				wrapped, err = keywrap.Wrap(kek, key)
				return err
			})
		})
	}
	if err != nil {
		return nil, fmt.Errorf("wrap key: %w", err)
	}
	return wrapped, nil
}

// Unwrap takes a key that another system wrapped under this one (RFC 5649), locks it and returns its key code. Errors: ErrUsage,
// ErrUnlock for what this key did not wrap, ErrArgument for info or a key that is none of its type, ErrClosed.
func (k *Key) Unwrap(info KeyInfo, wrapped []byte) (code []byte, err error) {
	if err = k.mayBe(UsageWrap, TypeAES); err == nil {
		err = info.check()
	}
	if err == nil {
		var key []byte
		defer func() { clear(key) }()
		err = k.with(func(kek []byte) (err error) {
			if key, err = keywrap.Unwrap(kek, wrapped); errors.Is(err, keywrap.ErrUnwrap) {
				return ErrUnlock
			}
			return err
		})
		if err == nil {
			if err = checkKeyBytes(info.Type, key); err == nil {
				code, err = k.v.seal(info, key)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("unwrap key: %w", err)
	}
	return code, nil
}
