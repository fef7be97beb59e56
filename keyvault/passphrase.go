package keyvault

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	"golang.org/x/crypto/scrypt"

	"github.com/semio-iot/semio/internal/secret"
)

const (
	// MinPassphrase is the least number of bytes of a passphrase.
	MinPassphrase = 12

	passMagic   = "SEMP"
	passVersion = 1
	passLogN    = 16 // 64 MiB and a fifth of a second on a server core
	maxLogN     = 20 // 1 GiB: what a file may make us allocate
	passSalt    = 16
	passHeader  = 4 + 1 + 1 + passSalt
)

// NewPassphrase returns a [Sealer] that seals under a passphrase: scrypt (RFC 7914; N 2^16, r 8, p 1) and AES-256-GCM. It
// protects a file at rest, for example a back-end's in a backup, as well as the passphrase is hard to guess and is kept elsewhere; it
// keeps no attacker out who runs on the machine. The caller clears passphrase. Errors: ErrArgument for less than [MinPassphrase] bytes.
//
// The sealed form is "SEMP" ‖ u8 1 ‖ u8 log2 N ‖ salt 16 ‖ nonce 12 ‖ ciphertext ‖ tag 16.
func NewPassphrase(passphrase []byte) (Sealer, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fmt.Errorf("keyvault: %w: passphrase of %d bytes, want at least %d", ErrArgument, len(passphrase), MinPassphrase)
	}
	return &passphraseSealer{passphrase: secret.New(passphrase), logN: passLogN}, nil
}

type passphraseSealer struct {
	secret.Opaque
	passphrase secret.Bytes
	logN       byte
}

func (p *passphraseSealer) Seal(_ context.Context, plaintext []byte) ([]byte, error) {
	header := append(make([]byte, 0, passHeader+lockExtra+len(plaintext)), passMagic...)
	header = append(header, passVersion, p.logN)
	header = header[:passHeader]
	rand.Read(header[passHeader-passSalt:])
	a, err := p.aead(header)
	if err != nil {
		return nil, err
	}
	return a.Seal(header, nil, plaintext, additional(labelPassphrase, header)), nil
}

func (p *passphraseSealer) Unseal(_ context.Context, sealed []byte) ([]byte, error) {
	if len(sealed) < passHeader+lockExtra || !bytes.HasPrefix(sealed, append([]byte(passMagic), passVersion)) || sealed[5] < 1 || sealed[5] > maxLogN {
		return nil, fmt.Errorf("keyvault: no secret sealed under a passphrase: %w", ErrUnlock)
	}
	a, err := p.aead(sealed[:passHeader])
	if err != nil {
		return nil, err
	}
	plaintext, err := a.Open(nil, nil, sealed[passHeader:], additional(labelPassphrase, sealed[:passHeader]))
	if err != nil {
		return nil, fmt.Errorf("keyvault: wrong passphrase, or a damaged file: %w", ErrUnlock)
	}
	return plaintext, nil
}

func (p *passphraseSealer) aead(header []byte) (cipher.AEAD, error) {
	key, err := scrypt.Key(p.passphrase.Expose(), header[passHeader-passSalt:], 1<<header[5], 8, 1, lockKeySize)
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
