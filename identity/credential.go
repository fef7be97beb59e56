package identity

import (
	"bytes"
	"crypto/x509"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Caps of a credential. They are checked before anything is copied.
const (
	MaxCredential   = 16 << 10 // bytes of a marshalled credential
	MaxChain        = 4        // certificates of a chain, the root not counted
	maxCertificate  = 8 << 10
	maxEndorsement  = 256
	credentialV1    = 1
	credentialFixed = 1 + 1 + 2
)

// Credential is what peers hand each other to be known by: a certificate chain and the endorsement of the agreement key.
// Nothing of it is secret, and nothing of it is believed before [Verifier.Verify] made a [Verified] of it.
//
// Marshalled (integers big-endian):
//
//	version u8 = 1 ‖ n u8 (1…4) ‖ n x (length u16 ‖ certificate DER) ‖ length u16 ‖ endorsement
type Credential struct {
	// Chain is the peer's certificate, then the certificates of issuing CAs up to the one that a root signed. DER, without the
	// root.
	Chain [][]byte
	// Endorsement is what [Endorse] returned. Registrars and operators, who only sign, may have none.
	Endorsement []byte
}

// Marshal returns the one encoding of c.
func (c Credential) Marshal() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("marshal credential: %w", err)
	}
	var b cryptobyte.Builder
	b.AddUint8(credentialV1)
	b.AddUint8(uint8(len(c.Chain)))
	for _, der := range c.Chain {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
	}
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Endorsement) })
	return b.Bytes()
}

// ParseCredential is the inverse of [Credential.Marshal]: it accepts what Marshal returns and nothing else. It checks the
// frame only; the certificates in it may be anything. The result shares no memory with b.
func ParseCredential(b []byte) (Credential, error) {
	if len(b) > MaxCredential {
		return Credential{}, fmt.Errorf("%w: %d bytes, want at most %d", ErrCredential, len(b), MaxCredential)
	}
	s := cryptobyte.String(b)
	var version, n uint8
	if !s.ReadUint8(&version) || version != credentialV1 {
		return Credential{}, fmt.Errorf("%w: unknown version, or no bytes", ErrCredential)
	}
	if !s.ReadUint8(&n) || n < 1 || n > MaxChain {
		return Credential{}, fmt.Errorf("%w: %d certificates, want 1 to %d", ErrCredential, n, MaxChain)
	}
	c := Credential{Chain: make([][]byte, 0, n)}
	for range n {
		var der cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&der) {
			return Credential{}, fmt.Errorf("%w: truncated", ErrCredential)
		}
		c.Chain = append(c.Chain, bytes.Clone(der))
	}
	var e cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&e) || !s.Empty() {
		return Credential{}, fmt.Errorf("%w: truncated, or bytes after the end", ErrCredential)
	}
	if len(e) > 0 {
		c.Endorsement = bytes.Clone(e)
	}
	if err := c.check(); err != nil {
		return Credential{}, err
	}
	return c, nil
}

// Generation returns the generation that the endorsement states, 0 without one. It verifies nothing: it is for the holder, who counts on.
func (c Credential) Generation() uint32 {
	e, _, _, err := parseEndorsement(c.Endorsement)
	if err != nil {
		return 0
	}
	return e.generation
}

func (c Credential) check() error {
	if len(c.Chain) < 1 || len(c.Chain) > MaxChain {
		return fmt.Errorf("%w: %d certificates, want 1 to %d", ErrCredential, len(c.Chain), MaxChain)
	}
	size := credentialFixed + len(c.Endorsement)
	for i, der := range c.Chain {
		if len(der) == 0 || len(der) > maxCertificate {
			return fmt.Errorf("%w: certificate %d has %d bytes, want 1 to %d", ErrCredential, i, len(der), maxCertificate)
		}
		size += 2 + len(der)
	}
	if len(c.Endorsement) > maxEndorsement {
		return fmt.Errorf("%w: endorsement of %d bytes, want at most %d", ErrCredential, len(c.Endorsement), maxEndorsement)
	}
	if size > MaxCredential {
		return fmt.Errorf("%w: %d bytes, want at most %d", ErrCredential, size, MaxCredential)
	}
	return nil
}

// parse returns the certificates of c, at least one.
func (c Credential) parse() ([]*x509.Certificate, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return parseChain(c.Chain)
}

func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		var err error
		if chain[i], err = parseCertificate(der); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// clone returns a copy that shares no memory with c.
func (c Credential) clone() Credential {
	d := Credential{Chain: make([][]byte, len(c.Chain)), Endorsement: bytes.Clone(c.Endorsement)}
	for i := range c.Chain {
		d.Chain[i] = bytes.Clone(c.Chain[i])
	}
	return d
}
