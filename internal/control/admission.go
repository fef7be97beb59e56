package control

import (
	"crypto"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// Admission is the platform's answer to a registered device or an admitted application gateway: everything that the peer needs to
// find and verify the platform, once. Body, behind the version:
//
//	LP8 peer ID ‖ SHA-256 of the peer's certificate 32 ‖ binding ID 16 ‖ LP24 credential of the platform ‖ LP8 topic prefix
type Admission struct {
	Peer            identity.ID
	CertificateHash [32]byte
	Binding         e2e.BindingID
	Platform        identity.Credential
	Topics          Topics
}

// Sign makes the signed bundle with the platform's signing key.
func (a Admission) Sign(platform crypto.Signer) ([]byte, error) {
	b := build()
	b.id(a.Peer)
	b.AddBytes(a.CertificateHash[:])
	b.AddBytes(a.Binding[:])
	b.credential(a.Platform)
	b.lp8([]byte(a.Topics.Prefix()))
	body, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode admission of %s: %w", a.Peer, err)
	}
	sig, err := identity.Sign(platform, identity.ContextAdmission, body)
	if err != nil {
		return nil, fmt.Errorf("sign admission of %s: %w", a.Peer, err)
	}
	return marshalSigned(body, sig)
}

// OpenAdmission parses b, verifies the platform's credential and its signature, and that the bundle admits self with this
// certificate.
func OpenAdmission(b []byte, v *identity.Verifier, self *identity.Verified) (a Admission, platform *identity.Verified, err error) {
	return openAdmission(b, v.Verify, self)
}

// ReopenAdmission is OpenAdmission for the one that was opened and kept: the platform's certificate may be over since. A client then takes
// nothing from the platform but another admission.
func ReopenAdmission(b []byte, v *identity.Verifier, self *identity.Verified) (a Admission, platform *identity.Verified, err error) {
	return openAdmission(b, v.VerifyLapsed, self)
}

func openAdmission(b []byte, verify func(identity.Credential, identity.Role) (*identity.Verified, error), self *identity.Verified) (
	a Admission, platform *identity.Verified, err error) {
	fail := func(err error) (Admission, *identity.Verified, error) {
		return Admission{}, nil, fmt.Errorf("open admission: %w", err)
	}
	body, sig, err := parseSigned(b, "admission")
	if err != nil {
		return fail(err)
	}
	p := parse(body, MaxMessage)
	a.Peer = p.id(false)
	p.array(a.CertificateHash[:])
	a.Binding = p.binding()
	a.Platform = p.credential(false)
	prefix := p.lp8()
	if err := p.done("admission"); err != nil {
		return fail(err)
	}
	if a.Topics, err = ParsePrefix(string(prefix)); err != nil {
		return fail(err)
	}
	if platform, err = verify(a.Platform, identity.RolePlatform); err != nil {
		return fail(err)
	}
	if err := identity.VerifySignature(platform.SigningKey(), identity.ContextAdmission, body, sig); err != nil {
		return fail(err)
	}
	if a.Peer != self.ID() || a.CertificateHash != self.CertificateHash() {
		return fail(fmt.Errorf("%w: bundle admits %s, or another certificate of that name; this is %s", ErrForeign, a.Peer, self.ID()))
	}
	return a, platform, nil
}
