package keyvault_test

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf/pufsim"
)

// flash is a memory that keeps the helper data.
type flash map[string][]byte

func (f flash) Get(_ context.Context, name string) ([]byte, error) {
	if b, ok := f[name]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (f flash) Put(_ context.Context, name string, value []byte) error {
	f[name] = append([]byte(nil), value...)
	return nil
}

func (f flash) Delete(_ context.Context, name string) error {
	delete(f, name)
	return nil
}

// A device is enrolled in production, and finds its keys again at the next power-up.
func Example() {
	ctx := context.Background()
	chip := pufsim.New(7, pufsim.Config{}) // on hardware: a puf.Source of its SRAM
	store := flash{}

	// In production, once.
	vault, err := keyvault.Enroll(ctx, chip, store, nil)
	if err != nil {
		log.Fatal(err)
	}
	public := vault.Signer().Public().(*ecdsa.PublicKey)
	blob, err := vault.Lock("wifi password", []byte("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	vault.Close()

	// At every boot.
	vault, err = keyvault.Open(ctx, chip, store, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer vault.Close()
	digest := sha256.Sum256([]byte("hello"))
	signature, err := vault.Signer().Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		log.Fatal(err)
	}
	password, err := vault.Unlock("wifi password", blob)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("same key:", ecdsa.VerifyASN1(public, digest[:], signature))
	fmt.Println("unlocked:", string(password))
	fmt.Println("bits corrected:", vault.Report().Corrected > 0)
	fmt.Println("the vault:", vault)

	// Another chip with this chip's memory.
	_, err = keyvault.Open(ctx, pufsim.New(8, pufsim.Config{}), store, nil)
	fmt.Println("another chip refused:", errors.Is(err, fuzzy.ErrReconstruct))
	// Output:
	// same key: true
	// unlocked: correct horse
	// bits corrected: true
	// the vault: [redacted]
	// another chip refused: true
}

// hsm stands for a hardware security module that holds an AES key and encrypts with it on request, as PKCS #11's C_Encrypt or a
// cloud's key service do. What they return is what is stored; the key stays there.
type hsm struct{ cipher.AEAD }

func (h hsm) Seal(_ context.Context, secret []byte) ([]byte, error) {
	return h.AEAD.Seal(nil, nil, secret, []byte("semio root")), nil
}

func (h hsm) Unseal(_ context.Context, sealed []byte) ([]byte, error) {
	return h.AEAD.Open(nil, nil, sealed, []byte("semio root"))
}

// A back-end without a PUF: its hardware security module seals the root secret.
func ExampleEnrollSealed() {
	ctx := context.Background()
	block, err := aes.NewCipher(make([]byte, 32)) // inside the module
	if err != nil {
		log.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		log.Fatal(err)
	}
	module, store := hsm{aead}, flash{}

	vault, err := keyvault.EnrollSealed(ctx, module, store, "")
	if err != nil {
		log.Fatal(err)
	}
	public := vault.Signer().Public().(*ecdsa.PublicKey)
	vault.Close()

	vault, err = keyvault.OpenSealed(ctx, module, store, "") // at every start
	if err != nil {
		log.Fatal(err)
	}
	defer vault.Close()
	fmt.Println("same identity:", public.Equal(vault.Signer().Public()))
	// Output: same identity: true
}

// A key that only this device can use: it signs, and nobody ever sees it.
func ExampleVault_GenerateKey() {
	ctx := context.Background()
	vault, err := keyvault.Enroll(ctx, pufsim.New(7, pufsim.Config{}), flash{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer vault.Close()
	code, err := vault.GenerateKey(keyvault.KeyInfo{
		Type: keyvault.TypeSign, Usage: keyvault.UsageSign, Index: 1, Version: 1, Label: "firmware attestation",
	})
	if err != nil {
		log.Fatal(err)
	}
	// The code may lie in any memory.
	key, err := vault.OpenKey(ctx, code, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.Info())
	fmt.Println("the key itself:", key)
	err = key.Export(func([]byte) error { return nil })
	fmt.Println("refused:", errors.Is(err, keyvault.ErrUsage))
	// Output:
	// ECDSA P-256 key 1 "firmware attestation" version 1 for sign
	// the key itself: [redacted]
	// refused: true
}
