package platform

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// What Register, Admit, Retire and Device report. A refused credential comes as an error of package identity.
var (
	ErrUnknownDevice = registry.ErrUnknownDevice
	ErrRetired       = registry.ErrRetired
	ErrConflict      = registry.ErrConflict
)

// Register makes a device known, by the record that a registrar signed ([Registration].Sign), and returns the signed bundle for the device. It
// is durable when Register returns. Registering the same certificate and claim key again returns the bundle again, with
// the binding of the first time.
func (s *Service) Register(ctx context.Context, registration []byte) (admission []byte, err error) {
	r, device, registrar, err := control.OpenRegistration(registration, s.verifier)
	if err != nil {
		return nil, fmt.Errorf("register device: %w", err)
	}
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("register %s: %w", r.Device, err) }
	// What no exchange could ever be held with must not enter the registry.
	if _, err := s.newPeer(device, r.Binding); err != nil {
		return fail(err)
	}
	var rec registry.Device
	err = s.update(ctx, func(t *txn) error {
		eff, err := t.apply(registry.Register{Evidence: sha256.Sum256(registration), Actor: registrar.ID(), Device: registry.Device{
			ID: r.Device, Credential: r.Credential, CertificateHash: device.CertificateHash(), Generation: device.Generation(),
			PlatformBinding: r.Binding, ClaimKey: r.ClaimKey,
		}})
		if err != nil {
			return err
		}
		rec, _ = t.state.Device(r.Device)
		if !eff.Changed() {
			return nil
		}
		return t.keep(registration)
	})
	if err != nil {
		return fail(err)
	}
	if admission, err = s.admission(device, rec.PlatformBinding); err != nil {
		return fail(err)
	}
	s.log.Info("device registered", "device", r.Device, "registrar", registrar.ID())
	return admission, nil
}

// Admit makes an application known and returns the signed bundle for its gateway. The caller has decided that the application
// may use this platform. Admitting the same certificate again returns the bundle again.
func (s *Service) Admit(ctx context.Context, c identity.Credential) (admission []byte, err error) {
	app, err := s.verifier.Verify(c, identity.RoleApplication)
	if err != nil {
		return nil, fmt.Errorf("admit application: %w", err)
	}
	id, _ := app.ID().App()
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("admit %s: %w", id, err) }
	binding := e2e.NewBindingID()
	if _, err := s.newPeer(app, binding); err != nil {
		return fail(err)
	}
	cred, err := app.Credential().Marshal()
	if err != nil {
		return fail(err)
	}
	var rec registry.Application
	err = s.update(ctx, func(t *txn) error {
		eff, err := t.apply(registry.AdmitApplication{Evidence: sha256.Sum256(cred), Application: registry.Application{
			ID: id, Credential: app.Credential(), CertificateHash: app.CertificateHash(), Generation: app.Generation(), PlatformBinding: binding,
		}})
		rec, _ = t.state.Application(id)
		if err != nil || !eff.Changed() {
			return err
		}
		return t.keep(cred)
	})
	if err != nil {
		return fail(err)
	}
	if admission, err = s.admission(app, rec.PlatformBinding); err != nil {
		return fail(err)
	}
	s.log.Info("application admitted", "app", id)
	return admission, nil
}

func (s *Service) admission(peer *identity.Verified, b e2e.BindingID) ([]byte, error) {
	return control.Admission{
		Peer: peer.ID(), CertificateHash: peer.CertificateHash(), Binding: b, Platform: s.self.Credential(), Topics: s.topics,
	}.Sign(s.cfg.Signer)
}

// Retire ends a device's life. When it returns the retirement is durable: the certificate is refused, the application's topics are
// closed to the device, and the authority is being asked to revoke it. A live connection is cut within 2 seconds; until then
// the device may fetch its wipe order. The orders that tell device and application go out as soon as the authority's list
// names the device, see [Config].Revoker and [Service.AddCRL]. Retiring again is no error.
func (s *Service) Retire(ctx context.Context, id identity.DeviceID) error {
	err := s.update(ctx, func(t *txn) error {
		_, err := t.apply(registry.Retire{Device: id})
		return err
	})
	if err != nil {
		return fmt.Errorf("retire %s: %w", id, err)
	}
	s.log.Info("device retired", "device", id)
	return nil
}

// Device returns the record of a device, with the orders that its two sides have not acknowledged yet. The error is [ErrUnknownDevice].
func (s *Service) Device(_ context.Context, id identity.DeviceID) (registry.Device, error) {
	d, ok := s.state().Device(id)
	if !ok {
		return registry.Device{}, fmt.Errorf("device %s: %w", id, ErrUnknownDevice)
	}
	return d, nil
}

// Devices returns the records of all devices, in no order.
func (s *Service) Devices(context.Context) ([]registry.Device, error) {
	var out []registry.Device
	for d := range s.state().Devices() {
		out = append(out, d)
	}
	return out, nil
}

// Applications returns the records of all applications, in no order.
func (s *Service) Applications(context.Context) ([]registry.Application, error) {
	var out []registry.Application
	for a := range s.state().Applications() {
		out = append(out, a)
	}
	return out, nil
}

// CRLs returns the newest revocation list of each authority that the platform has one of. A server that goes with the platform starts
// its verifier with them (identity.Verifier.AddCRL).
func (s *Service) CRLs() [][]byte { return s.verifier.CRLs() }
