package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// RekeyRequest is a request for a certificate of another key than before, whose sender has shown that he has the new one. That he
// has the old one too is for whoever knows the old one: see [RekeyRequest.Verify].
type RekeyRequest struct {
	*CSR
	Signature []byte
}

const rekeyV1 = 1

// MaxRekey is the longest request of [NewRekey] in bytes.
const MaxRekey = 1 + 2 + MaxCSR + 1 + maxSignature

// NewRekey has the key that a name is certified with vouch for the key that follows it. csr is what [NewCSR] made with the new key. The
// result, integers big-endian:
//
//	version u8 = 1 ‖ length u16 ‖ csr ‖ length u8 ‖ signature, [Sign] with [ContextRekey] over csr
//
// A device has one key for life, so it is refused: [ErrRole].
func NewRekey(old crypto.Signer, csr []byte) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("new rekey request: %w", err) }
	c, err := ParseCSR(csr)
	if err != nil {
		return fail(err)
	}
	if err := c.mayRekey(); err != nil {
		return fail(err)
	}
	pub, err := signerKey(old)
	if err != nil {
		return fail(err)
	}
	if pub.Equal(c.PublicKey) {
		return fail(fmt.Errorf("%w: it is for the old key; renew instead", ErrCSR))
	}
	sig, err := Sign(old, ContextRekey, csr)
	if err != nil {
		return fail(err)
	}
	var b cryptobyte.Builder
	b.AddUint8(rekeyV1)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(csr) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sig) })
	return b.Bytes()
}

// ParseRekey reads what [NewRekey] made, and verifies that the sender has the new key. Errors are [ErrCSR] and [ErrRole].
func ParseRekey(b []byte) (*RekeyRequest, error) {
	fail := func(err error) (*RekeyRequest, error) { return nil, fmt.Errorf("rekey request: %w", err) }
	if len(b) > MaxRekey {
		return fail(fmt.Errorf("%w: %d bytes, want at most %d", ErrCSR, len(b), MaxRekey))
	}
	s := cryptobyte.String(b)
	var version uint8
	var csr, sig cryptobyte.String
	if !s.ReadUint8(&version) || version != rekeyV1 || !s.ReadUint16LengthPrefixed(&csr) || !s.ReadUint8LengthPrefixed(&sig) || !s.Empty() {
		return fail(fmt.Errorf("%w: unknown version, truncated, or bytes after the end", ErrCSR))
	}
	c, err := ParseCSR(csr)
	if err != nil {
		return fail(err)
	}
	if err := c.mayRekey(); err != nil {
		return fail(err)
	}
	return &RekeyRequest{c, bytes.Clone(sig)}, nil
}

// Verify reports with [ErrSignature] that the holder of the old key does not vouch for the request.
func (r *RekeyRequest) Verify(old *ecdsa.PublicKey) error {
	return VerifySignature(old, ContextRekey, r.DER, r.Signature)
}

func (c *CSR) mayRekey() error {
	if c.ID.Role() == RoleDevice {
		return fmt.Errorf("%w: %s is a device, which keeps its key", ErrRole, c.ID)
	}
	return nil
}
