package devicegw

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"errors"
)

// Root is the device's root of trust: it holds one secret that never leaves it, and works with keys that follow from it.
// *keyvault.Vault is one, over an SRAM PUF; a TPM or a hardware module can be one, and roottest.TestRoot says whether it is.
//
// Everything follows from the secret alone: the same chip gives the same keys after every power-up, another chip gives
// others. Labels (1 to 255 bytes) and contexts separate uses; the methods are safe for concurrent use. After Destroy they fail.
type Root interface {
	// Signer is the device's signing key, ECDSA on P-256. The private key cannot be had from it.
	Signer() crypto.Signer

	// KeyExchanger is the device's agreement key, ECDH on P-256; never the same key as the Signer's.
	KeyExchanger() ecdh.KeyExchanger

	// Derive returns n bytes (1 to 255*32) that follow from secret, label and context, and tell nothing of any other.
	Derive(label string, context []byte, n int) ([]byte, error)

	// Lock encrypts and authenticates plaintext so that only this root opens it, under the same label.
	Lock(label string, plaintext []byte) ([]byte, error)

	// Unlock opens what Lock made. Bytes of another root, another label, or changed ones are an error.
	Unlock(label string, blob []byte) ([]byte, error)

	// HelperHash is the SHA-256 of the public data that the root needs at power-up, as the device's certificate carries it;
	// all zero where there is none.
	HelperHash() [32]byte

	// Destroy makes the secret unrecoverable, for ever: end of life.
	Destroy(ctx context.Context) error
}

// ErrWrongRoot reports a memory that was written under another root of trust: it was copied from another device, or the chip
// was enrolled anew. Put the device's own memory back, or produce the device anew.
var ErrWrongRoot = errors.New("devicegw: non-volatile memory belongs to another chip or another enrolment")

// Every use of the root's Derive and Lock in this package. Lock labels are followed by a space and the name of the value,
// and for values of a binding by its ID, so that none can stand in the place of another.
const (
	labelClaim = "claim code"       // Derive, context: device name; 15 bytes, printed on the sticker
	labelLock  = "semio-devicegw/1" // Lock
)
