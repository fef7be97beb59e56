// Package hkdf is the key derivation under everything: HKDF with SHA-256 (RFC 5869), in one place, so that published vectors run through the
// code that derives our keys.
//
// In NIST's words [Extract] is the randomness extraction of SP 800-56C, and [Expand] the KDF in feedback mode of SP 800-108 (section 4.2) with
// HMAC-SHA-256, an empty IV and an 8-bit counter after the fixed input data: K(i) = HMAC(key, K(i-1) ‖ info ‖ i). Labels, contexts and lengths, which
// SP 800-108 wants in the fixed input data, are what the callers encode in info.
package hkdf

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// MaxSize is the most bytes that [Expand] gives.
const MaxSize = 255 * sha256.Size

// Extract returns the pseudorandom key of a secret, 32 bytes. The caller clears it. The only errors are those of a process that
// GODEBUG=fips140=only forbids such lengths.
func Extract(secret, salt []byte) ([]byte, error) { return hkdf.Extract(sha256.New, secret, salt) }

// Expand returns n bytes, 1 to [MaxSize], for the purpose that info names. The caller clears them.
func Expand(key []byte, info string, n int) ([]byte, error) {
	return hkdf.Expand(sha256.New, key, info, n)
}

// Key is Expand of Extract.
func Key(secret, salt []byte, info string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, salt, info, n)
}
