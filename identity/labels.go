package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/internal/hkdf"
)

// Every key derivation of the package. Extract is HKDF-Extract (RFC 5869, SHA-256) with the device's name as salt and the claim
// code as input; Expand's info is the label, for keys on P-256 followed by the attempt as one byte.
const (
	labelClaim = "semio-identity/1 claim" // 32 bytes, the proof key's scalar, by rejection
	labelPSK   = "semio-identity/1 psk"   // 32 bytes, mixed into the device-application keys
)

// deriveP256 tries candidates until one is in [1, n-1] (FIPS 186-5, A.2.2). One in 2^32 fails, so a second attempt is all but
// unknown and a 256th means a fault.
func deriveP256(prk []byte, label string) (*ecdsa.PrivateKey, error) {
	for i := range 256 {
		d, err := hkdf.Expand(prk, label+string([]byte{byte(i)}), 32)
		if err != nil {
			return nil, fmt.Errorf("derive key: %w", err)
		}
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
		clear(d)
		if err == nil {
			return k, nil
		}
	}
	return nil, errors.New("derive key: no candidate was in range; SHA-256 is broken on this machine")
}
