package e2e

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
)

// random is where a handshake takes what is new in it. Tests and vectors have their own.
type random struct {
	key         func() (*ecdh.PrivateKey, error)
	kemKey      func() (*mlkem.DecapsulationKey768, error)
	encapsulate func(*mlkem.EncapsulationKey768) (shared, ciphertext []byte)
}

// system is the operating system's.
var system = random{
	key:         func() (*ecdh.PrivateKey, error) { return ecdh.P256().GenerateKey(rand.Reader) },
	kemKey:      mlkem.GenerateKey768,
	encapsulate: (*mlkem.EncapsulationKey768).Encapsulate,
}
