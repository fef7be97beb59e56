package control

import (
	"crypto"
	"errors"
	"fmt"
	"time"

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

// ErrOtherCertificate reports an admission of the same peer under another certificate: from before or after a renewal.
var ErrOtherCertificate = errors.New("control: bundle admits another certificate of this peer")

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

// AdmissionBinding returns the binding of an admission that nobody has verified.
func AdmissionBinding(b []byte) (binding e2e.BindingID, err error) {
	body, _, err := parseSigned(b, "admission")
	if err != nil {
		return binding, err
	}
	p := parse(body, MaxMessage)
	p.id(false)
	p.array(make([]byte, 32))
	binding = p.binding()
	if p.bad {
		return binding, malformed("admission")
	}
	return binding, nil
}

// OpenAdmission parses b, verifies the platform's credential and its signature, and that the bundle admits self with this
// certificate.
func OpenAdmission(b []byte, v *identity.Verifier, self *identity.Verified) (a Admission, platform *identity.Verified, err error) {
	return openAdmission(b, v.Verify, self)
}

// ReopenAdmission is OpenAdmission for the one that was opened and kept: the platform's certificate may be over or revoked since. A client then
// takes nothing from the platform but another admission, by which it comes back.
func ReopenAdmission(b []byte, v *identity.Verifier, self *identity.Verified) (a Admission, platform *identity.Verified, err error) {
	return openAdmission(b, func(c identity.Credential, want identity.Role) (*identity.Verified, error) {
		// Without revocation lists: who changed its keys because they were stolen has the old certificate revoked.
		return verifyEver(c, v, want)
	}, self)
}

// verifyEver verifies what was good once, without revocation lists.
func verifyEver(c identity.Credential, v *identity.Verifier, want identity.Role) (*identity.Verified, error) {
	ever, err := identity.NewVerifier(identity.VerifierConfig{Roots: v.Roots(), Now: func() time.Time { return endOfTime }})
	if err != nil {
		return nil, err
	}
	return ever.VerifyLapsed(c, want)
}

// endOfTime is when every certificate has begun: a device without a clock may be behind.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

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
	if a.Peer != self.ID() {
		return fail(fmt.Errorf("%w: bundle admits %s, this is %s", ErrForeign, a.Peer, self.ID()))
	}
	if a.CertificateHash != self.CertificateHash() {
		return fail(fmt.Errorf("%w: %w", ErrForeign, ErrOtherCertificate))
	}
	return a, platform, nil
}
