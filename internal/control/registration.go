package control

import (
	"crypto"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// ErrForeign reports a signed message whose signer, receiver or subject is not the one it must be.
var ErrForeign = errors.New("control: message is not for this peer or not from the right signer")

// Registration is what a factory station tells the platform about a new device (initial commissioning, Schrijen et al. 2019,
// section II.C). Body, behind the version:
//
//	LP8 device ID ‖ LP24 credential ‖ binding ID 16 ‖ LP8 claim key (33 or 0) ‖ LP24 credential of the registrar
type Registration struct {
	Device     identity.DeviceID
	Credential identity.Credential
	Binding    e2e.BindingID // of the device with the platform; random
	ClaimKey   []byte        // compressed P-256 point, empty where the sticker has no claim code
}

// Sign makes the signed record. cred is the registrar's own credential, which travels along.
func (r Registration) Sign(registrar crypto.Signer, cred identity.Credential) ([]byte, error) {
	b := build()
	b.id(r.Device.ID)
	b.credential(r.Credential)
	b.AddBytes(r.Binding[:])
	b.lp8(r.ClaimKey)
	b.credential(cred)
	body, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode registration of %s: %w", r.Device, err)
	}
	sig, err := identity.Sign(registrar, identity.ContextRegistration, body)
	if err != nil {
		return nil, fmt.Errorf("sign registration of %s: %w", r.Device, err)
	}
	return marshalSigned(body, sig)
}

// OpenRegistration parses b and verifies the registrar's certificate and signature and the device's credential. The device's
// certificate must name the registered device.
func OpenRegistration(b []byte, v *identity.Verifier) (r Registration, device, registrar *identity.Verified, err error) {
	fail := func(err error) (Registration, *identity.Verified, *identity.Verified, error) {
		return Registration{}, nil, nil, fmt.Errorf("open registration: %w", err)
	}
	body, sig, err := parseSigned(b, "registration")
	if err != nil {
		return fail(err)
	}
	p := parse(body, MaxMessage)
	r.Device = p.device()
	r.Credential = p.credential(false)
	r.Binding = p.binding()
	r.ClaimKey = p.lp8()
	cred := p.credential(false)
	if err := p.done("registration"); err != nil {
		return fail(err)
	}
	if n := len(r.ClaimKey); n != 0 && n != identity.PublicKeySize {
		return fail(malformed("claim key"))
	}
	if registrar, err = v.Verify(cred, identity.RoleRegistrar); err != nil {
		return fail(err)
	}
	if err := identity.VerifySignature(registrar.SigningKey(), identity.ContextRegistration, body, sig); err != nil {
		return fail(err)
	}
	if device, err = v.Verify(r.Credential, identity.RoleDevice); err != nil {
		return fail(err)
	}
	if device.ID() != r.Device.ID {
		return fail(fmt.Errorf("%w: registration of %s carries the certificate of %s", ErrForeign, r.Device, device.ID()))
	}
	return r, device, registrar, nil
}
