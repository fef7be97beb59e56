package control

import (
	"errors"
	"fmt"

	"github.com/semio-iot/semio/identity"
)

// ErrEvidence reports an order to destroy something that nobody entitled to it has asked for. The order is refused: the
// platform is broken, or somebody holds its keys.
var ErrEvidence = errors.New("control: order lacks evidence")

// Evidence is why something may be destroyed, signed by others than the platform: a disconnect request of the application
// whose connection ends, or a revocation list of the certificate authority. Exactly one is set. Encoding, behind the version:
// LP24 signed request or empty ‖ LP24 credential or empty ‖ LP24 revocation list or empty.
type Evidence struct {
	Request *SignedRequest
	CRL     []byte // a bundle
	// Application is the credential that Request was signed under, or that CRL names. A device that was away while the application had it renewed
	// knows the one before.
	Application identity.Credential
}

// Marshal encodes the evidence.
func (e Evidence) Marshal() ([]byte, error) {
	if (e.Request == nil) == (len(e.CRL) == 0) {
		return nil, errors.New("control: evidence is either a request or a revocation list")
	}
	b := build()
	var req []byte
	if e.Request != nil {
		var err error
		if req, err = e.Request.Marshal(); err != nil {
			return nil, err
		}
	}
	b.lp24(req)
	b.credential(e.Application)
	b.lp24(e.CRL)
	return b.Bytes()
}

// ParseEvidence parses what Marshal made. It verifies nothing; see Permits.
func ParseEvidence(b []byte) (Evidence, error) {
	p := parse(b, MaxMessage)
	req, app, crl := p.lp24(), p.credential(true), p.lp24()
	if err := p.done("evidence"); err != nil {
		return Evidence{}, err
	}
	if (req == nil) == (crl == nil) {
		return Evidence{}, malformed("evidence")
	}
	e := Evidence{Application: app, CRL: crl}
	if req == nil {
		return e, nil
	}
	var err error
	if e.Request, err = ParseSignedRequest(req); err != nil {
		return Evidence{}, err
	}
	return e, nil
}

// Parties are the two ends of a connection as the peer that judges an order knows them, from its own memory, never from the order.
type Parties struct {
	Device      identity.Credential // of the order's device; it need not verify any more, as when it has been revoked
	Application *identity.Verified  // nil where a device to be wiped is not connected
}

// Permits tells whether the evidence of a remove or wipe order is enough; if not, the error is [ErrEvidence].
//
// A binding ends by the application's own signed request for exactly this binding, or by a list of the certificate authority
// that names either side's certificate. The application's may be a later one than the one that is known. A device is wiped only by a list that names its own certificate.
func (e Evidence) Permits(o Order, v *identity.Verifier, p Parties) error {
	switch {
	case e.Request != nil && o.Op == OrderRemove && p.Application != nil:
		r := e.Request.Request
		if r.Op != OpDisconnect || r.Device != o.Device || r.Binding != o.Binding {
			return fmt.Errorf("%w: request %s is for another connection", ErrEvidence, r.ID)
		}
		if err := e.signed(v, p.Application); err != nil {
			return fmt.Errorf("%w: %w", ErrEvidence, err)
		}
		return nil
	case len(e.CRL) > 0 && (o.Op == OrderRemove || o.Op == OrderWipe):
		if v.VerifyRevoked(e.CRL, p.Device) == nil {
			return nil
		}
		if o.Op == OrderRemove && p.Application != nil && e.revokes(v, p.Application) {
			return nil
		}
		return fmt.Errorf("%w: the revocation list does not name the certificate", ErrEvidence)
	}
	return fmt.Errorf("%w: %s of %s", ErrEvidence, o.Op, o.Device)
}

// signed verifies the request's signature: by the application as it is known, or by what it became after that. An earlier key is good for nothing:
// it may have been replaced because somebody else has it.
func (e Evidence) signed(v *identity.Verifier, known *identity.Verified) error {
	err := e.Request.Verify(known)
	if err == nil {
		return nil
	}
	if app := e.became(v, known); app != nil {
		return e.Request.Verify(app)
	}
	return err
}

// revokes says whether the list names the application as it is known, or what it became after that.
func (e Evidence) revokes(v *identity.Verifier, known *identity.Verified) bool {
	if v.VerifyRevoked(e.CRL, known.Credential()) == nil {
		return true
	}
	app := e.became(v, known)
	return app != nil && v.VerifyRevoked(e.CRL, app.Credential()) == nil
}

// became returns what the application is by the evidence, if that follows what is known of it, or nil.
//
// That a list names its certificate by now plays no part. The order may have waited since the application asked, and refused for that it would
// not come again; and such a list is evidence itself. But with the key of a CA that is revoked anybody can be made to follow.
func (e Evidence) became(v *identity.Verifier, known *identity.Verified) *identity.Verified {
	if len(e.Application.Chain) == 0 {
		return nil
	}
	app, err := verifyEver(e.Application, v, identity.RoleApplication)
	if err != nil || app.Follows(known) != nil {
		return nil
	}
	if cas := e.Application.Chain[1:]; len(cas) > 0 && v.CheckRevocation(identity.Credential{Chain: cas}) != nil {
		return nil
	}
	return app
}
