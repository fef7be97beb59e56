package keyvault_test

import (
	"context"
	"crypto"
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
