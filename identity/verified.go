package identity

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"time"
)

// Verified is a peer that a [Verifier] found to be who its credential says, at the time when it was verified. Only
// [Verifier.Verify] makes one. It never changes, and is safe for concurrent use.
type Verified struct {
	id         ID
	leaf       *x509.Certificate
	hash       [sha256.Size]byte
	agreement  *ecdh.PublicKey // nil: none
	generation uint32
	notAfter   time.Time
	helper     [sha256.Size]byte
	hasHelper  bool
	credential Credential
}

// ID returns the peer's name.
func (p *Verified) ID() ID { return p.id }

// Role returns the role of the name.
func (p *Verified) Role() Role { return p.id.Role() }

// Certificate returns the peer's certificate. It is shared: do not change it.
func (p *Verified) Certificate() *x509.Certificate { return p.leaf }

// CertificateHash returns the SHA-256 of the certificate's DER.
func (p *Verified) CertificateHash() [32]byte { return p.hash }

// SigningKey returns the certified key.
func (p *Verified) SigningKey() *ecdsa.PublicKey { return key(p.leaf) }

// Agreement returns the endorsed agreement key, on P-256. It is nil for a registrar or operator without endorsement.
func (p *Verified) Agreement() *ecdh.PublicKey { return p.agreement }

// Generation returns the generation that the endorsement states.
func (p *Verified) Generation() uint32 { return p.generation }

// NotAfter returns the end of the validity: of the certificate, its CAs or the endorsement, whichever comes first.
func (p *Verified) NotAfter() time.Time { return p.notAfter }

// HelperHash returns the SHA-256 of the device's helper data that the CA certified, and whether it did.
func (p *Verified) HelperHash() ([32]byte, bool) { return p.helper, p.hasHelper }

// Credential returns a copy of what was verified.
func (p *Verified) Credential() Credential { return p.credential.clone() }
