package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// Apply returns the state after an event. On an error the event is refused and nothing changes. s is not modified.
func Apply(s State, e Event) (State, Effects, error) {
	c := change{s: s}
	var err error
	switch e := e.(type) {
	case Register:
		err = c.register(e)
	case AdmitApplication:
		err = c.admit(e)
	case Offered:
		err = c.offered(e)
	case Renewed:
		err = c.renewed(e)
	case Connect:
		err = c.connect(e)
	case Disconnect:
		err = c.disconnect(e)
	case Retire:
		err = c.retire(e.Device)
	case DeviceRevoked:
		err = c.deviceRevoked(e)
	case ApplicationRevoked:
		err = c.applicationRevoked(e)
	case Sent:
		err = c.sent(e)
	case Acked:
		err = c.acked(e)
	default:
		err = fmt.Errorf("%w: %T", ErrInvalid, e)
	}
	if err != nil {
		return s, Effects{}, err
	}
	return c.s, c.effects, nil
}

// change is a state on its way to the next.
type change struct {
	s       State
	effects Effects
}

func (c *change) register(e Register) error {
	d := e.Device
	if e.Evidence == [32]byte{} || d.ID.IsZero() || d.PlatformBinding.IsZero() || len(d.Credential.Chain) == 0 || d.CertificateHash == [32]byte{} {
		return fmt.Errorf("register device: %w", ErrInvalid)
	}
	if old, ok := c.s.Device(d.ID); ok {
		switch {
		case old.Status == Retired:
			return fmt.Errorf("register %s: %w", d.ID, ErrRetired)
		case !old.sameEnrolment(d):
			return fmt.Errorf("register %s: %w", d.ID, ErrConflict)
		}
		return nil
	}
	d = Device{
		ID: d.ID, Credential: d.Credential, CertificateHash: d.CertificateHash, Generation: d.Generation, PlatformBinding: d.PlatformBinding,
		ClaimKey: d.ClaimKey, Status: Registered,
	}
	c.step(&d)
	c.put(d)
	c.audit(KindRegistered, d, Entry{Actor: e.Actor, Evidence: Evidence{EvidenceRegistration, e.Evidence}})
	return nil
}

func (c *change) admit(e AdmitApplication) error {
	a := e.Application
	if e.Evidence == [32]byte{} || a.ID.IsZero() || a.PlatformBinding.IsZero() || len(a.Credential.Chain) == 0 || a.CertificateHash == [32]byte{} {
		return fmt.Errorf("admit application: %w", ErrInvalid)
	}
	if old, ok := c.s.Application(a.ID); ok {
		switch {
		case old.Revoked:
			return fmt.Errorf("admit %s: %w", a.ID, ErrUnknownApplication)
		case old.CertificateHash != a.CertificateHash:
			return fmt.Errorf("admit %s: %w", a.ID, ErrConflict)
		}
		return nil
	}
	a = Application{
		ID: a.ID, Credential: a.Credential, CertificateHash: a.CertificateHash, Generation: a.Generation, PlatformBinding: a.PlatformBinding,
		Revision: 1,
	}
	c.putApp(a)
	c.effects.Audit = append(c.effects.Audit, Entry{
		Kind: KindAdmitted, App: a.ID, Revision: a.Revision, Evidence: Evidence{EvidenceCredential, e.Evidence},
	})
	return nil
}

// live returns the records that a request is about.
func (c *change) live(app identity.AppID, dev identity.DeviceID) (Device, error) {
	if a, ok := c.s.Application(app); !ok || a.Revoked {
		return Device{}, fmt.Errorf("%s: %w", app, ErrUnknownApplication)
	}
	d, ok := c.s.Device(dev)
	switch {
	case !ok:
		return Device{}, fmt.Errorf("%s: %w", dev, ErrUnknownDevice)
	case d.Status == Retired:
		return Device{}, fmt.Errorf("%s: %w", dev, ErrRetired)
	}
	return d, nil
}

func (c *change) connect(e Connect) error {
	if e.Binding.IsZero() || e.Request == (control.RequestID{}) || e.Evidence == [32]byte{} {
		return fmt.Errorf("connect %s: %w", e.Device, ErrInvalid)
	}
	d, err := c.live(e.App, e.Device)
	switch {
	case err != nil:
		return fmt.Errorf("connect %w", err)
	case d.Status == Connected && d.App != e.App:
		return fmt.Errorf("connect %s: %w", e.Device, ErrConnectedElsewhere)
	case d.Status == Connected:
		return nil
	case e.Revision != 0 && e.Revision != d.Revision:
		return fmt.Errorf("connect %s: %w", e.Device, ErrRevision)
	case len(d.Pending(d.ID.ID)) >= maxPending || len(d.Pending(e.App.ID)) >= maxPending:
		return fmt.Errorf("connect %s: %w", e.Device, ErrBacklog)
	}
	d.Status, d.App, d.Binding, d.LastRequest = Connected, e.App, e.Binding, e.Request
	c.step(&d)
	c.order(&d, Order{To: d.ID.ID, Op: Install, Binding: d.Binding, Peer: d.App.ID})
	c.order(&d, Order{To: d.App.ID, Op: Install, Binding: d.Binding, Peer: d.ID.ID})
	c.put(d)
	c.audit(KindConnected, d, Entry{App: d.App, Actor: d.App.ID, Binding: d.Binding, Evidence: Evidence{EvidenceRequest, e.Evidence}})
	return nil
}

func (c *change) disconnect(e Disconnect) error {
	if e.Binding.IsZero() || e.Request == (control.RequestID{}) || e.Evidence == [32]byte{} {
		return fmt.Errorf("disconnect %s: %w", e.Device, ErrInvalid)
	}
	d, err := c.live(e.App, e.Device)
	if errors.Is(err, ErrRetired) {
		return c.leave(e)
	}
	switch {
	case err != nil:
		return fmt.Errorf("disconnect %w", err)
	case d.Status == Registered && d.LastRequest == e.Request:
		return nil // the same request again
	case d.Status != Connected || d.App != e.App || d.Binding != e.Binding:
		return fmt.Errorf("disconnect %s: %w", e.Device, ErrNotConnected)
	case e.Revision != 0 && e.Revision != d.Revision:
		return fmt.Errorf("disconnect %s: %w", e.Device, ErrRevision)
	}
	d.LastRequest = e.Request
	c.free(&d, KindDisconnected, e.App.ID, Evidence{EvidenceRequest, e.Evidence})
	return nil
}

// leave is a disconnection from a retired device. Either no list names it yet, and perhaps none ever will because its CA is revoked; or it is to be
// wiped, and the list was no evidence to the application.
func (c *change) leave(e Disconnect) error {
	d, _ := c.s.Device(e.Device)
	switch {
	case d.Binding.IsZero() && d.LastRequest == e.Request:
		return nil // the same request again
	case d.App != e.App || d.Binding != e.Binding:
		return fmt.Errorf("disconnect %s: %w", e.Device, ErrRetired)
	case e.Revision != 0 && e.Revision != d.Revision:
		return fmt.Errorf("disconnect %s: %w", e.Device, ErrRevision)
	}
	why := Evidence{EvidenceRequest, e.Evidence}
	d.LastRequest = e.Request
	c.step(&d)
	if d.Listed {
		c.order(&d, Order{To: e.App.ID, Op: Remove, Binding: e.Binding, Peer: d.ID.ID, Evidence: why})
		d.App, d.Binding = identity.AppID{}, e2e.BindingID{}
	} else {
		c.removeBoth(&d, why) // also to the device, which perhaps has a connection still
	}
	c.put(d)
	c.audit(KindDisconnected, d, Entry{App: e.App, Actor: e.App.ID, Binding: e.Binding, Evidence: why})
	return nil
}

// free ends a connection and leaves the device registered.
func (c *change) free(d *Device, k Kind, actor identity.ID, why Evidence) {
	app, binding := d.App, d.Binding
	d.Status = Registered
	c.step(d)
	c.removeBoth(d, why)
	c.put(*d)
	c.audit(k, *d, Entry{App: app, Actor: actor, Binding: binding, Evidence: why})
}

// removeBoth orders both sides to forget the binding, and forgets it.
func (c *change) removeBoth(d *Device, why Evidence) {
	app, binding := d.App.ID, d.Binding
	c.order(d, Order{To: d.ID.ID, Op: Remove, Binding: binding, Peer: app, Evidence: why})
	c.order(d, Order{To: app, Op: Remove, Binding: binding, Peer: d.ID.ID, Evidence: why})
	d.App, d.Binding = identity.AppID{}, e2e.BindingID{}
}

func (c *change) retire(id identity.DeviceID) error {
	d, ok := c.s.Device(id)
	switch {
	case !ok:
		return fmt.Errorf("retire %s: %w", id, ErrUnknownDevice)
	case d.Status == Retired:
		return nil
	}
	d.Status = Retired
	c.step(&d)
	c.put(d)
	c.audit(KindRetired, d, Entry{App: d.App, Binding: d.Binding})
	c.effects.Evict = append(c.effects.Evict, id.ID)
	return nil
}

func (c *change) deviceRevoked(e DeviceRevoked) error {
	if e.Evidence == [32]byte{} {
		return fmt.Errorf("revoke %s: %w", e.Device, ErrInvalid)
	}
	d, ok := c.s.Device(e.Device)
	switch {
	case !ok:
		return fmt.Errorf("revoke %s: %w", e.Device, ErrUnknownDevice)
	case d.Listed:
		return nil
	}
	why := Evidence{EvidenceCRL, e.Evidence}
	if d.Status != Retired {
		c.effects.Evict = append(c.effects.Evict, d.ID.ID)
	}
	app, binding := d.App, d.Binding
	d.Status, d.Listed = Retired, true
	c.step(&d)
	if !binding.IsZero() {
		c.order(&d, Order{To: app.ID, Op: Remove, Binding: binding, Peer: d.ID.ID, Evidence: why})
		d.App, d.Binding = identity.AppID{}, e2e.BindingID{}
	}
	c.order(&d, Order{To: d.ID.ID, Op: Wipe, Evidence: why})
	c.put(d)
	c.audit(KindDeviceRevoked, d, Entry{App: app, Binding: binding, Evidence: why})
	return nil
}

func (c *change) applicationRevoked(e ApplicationRevoked) error {
	if e.Evidence == [32]byte{} {
		return fmt.Errorf("revoke %s: %w", e.App, ErrInvalid)
	}
	a, ok := c.s.Application(e.App)
	switch {
	case !ok:
		return fmt.Errorf("revoke %s: %w", e.App, ErrUnknownApplication)
	case a.Revoked:
		return nil
	}
	why := Evidence{EvidenceCRL, e.Evidence}
	a.Revoked = true
	a.Revision++
	c.putApp(a)
	c.effects.Audit = append(c.effects.Audit, Entry{Kind: KindApplicationRevoked, App: a.ID, Revision: a.Revision, Evidence: why})
	c.effects.Evict = append(c.effects.Evict, a.ID.ID)
	var mine []Device
	for d := range c.s.Devices() {
		if d.Status == Connected && d.App == e.App {
			mine = append(mine, d)
		}
	}
	slices.SortFunc(mine, func(x, y Device) int { return cmpNames(x.ID.ID, y.ID.ID) })
	for _, d := range mine {
		c.free(&d, KindDisconnected, identity.ID{}, why)
	}
	return nil
}

func (c *change) sent(e Sent) error {
	d, ok := c.s.Device(e.Device)
	i := -1
	if ok {
		i = d.find(e.To, e.Number)
	}
	if i < 0 {
		return fmt.Errorf("hand out order %d to %s: %w", e.Number, e.To, ErrUnknownOrder)
	}
	if d.Orders[i].Sent {
		return nil
	}
	d.Orders = slices.Clone(d.Orders)
	d.Orders[i].Sent = true
	c.put(d)
	return nil
}

func (c *change) acked(e Acked) error {
	d, ok := c.s.Device(e.Device)
	i := -1
	if ok {
		i = d.find(e.From, e.Number)
	}
	if i < 0 || !d.Orders[i].Sent {
		return fmt.Errorf("acknowledge order %d of %s: %w", e.Number, e.From, ErrUnknownOrder)
	}
	if e.Evidence == [32]byte{} {
		return fmt.Errorf("acknowledge order %d of %s: %w", e.Number, e.From, ErrInvalid)
	}
	var k Kind
	switch e.Result {
	case control.AckDone:
		k = KindOrderDone
	case control.AckSuperseded:
		k = KindOrderSuperseded
	case control.AckRefused:
		k = KindOrderRefused
	default:
		return fmt.Errorf("acknowledge order %d of %s: %w", e.Number, e.From, ErrInvalid)
	}
	o := d.Orders[i]
	c.drop(&d, i)
	app, _ := o.Peer.App()
	if a, ok := o.To.App(); ok {
		app = a
		c.refusedList(&d, o, k)
	}
	c.put(d)
	c.effects.Audit = append(c.effects.Audit, Entry{
		Kind: k, Device: d.ID, App: app, Actor: e.From, Lifecycle: o.Lifecycle, Revision: d.Revision, Binding: o.Binding, Order: o.Number, Evidence: Evidence{EvidenceAck, e.Evidence},
	})
	return nil
}

// refusedList lets an application that has refused the list which a retired device went with, for example because the CA of the list was revoked
// meanwhile, end the connection by its own request. Nobody else can be connected with that device.
func (c *change) refusedList(d *Device, o Order, k Kind) {
	id, _ := o.To.App()
	app, ok := c.s.Application(id)
	if k == KindOrderRefused && o.Op == Remove && o.Evidence.Kind == EvidenceCRL && d.Listed && d.Binding.IsZero() && ok && !app.Revoked {
		d.App, d.Binding = id, o.Binding
	}
}

// step is a change of the life cycle.
func (c *change) step(d *Device) {
	d.Lifecycle++
	d.Revision++
}

func (c *change) put(d Device) {
	c.s = c.s.WithDevice(d)
	if !slices.Contains(c.effects.Devices, d.ID) {
		c.effects.Devices = append(c.effects.Devices, d.ID)
	}
}

func (c *change) putApp(a Application) {
	c.s = c.s.WithApplication(a)
	if !slices.Contains(c.effects.Applications, a.ID) {
		c.effects.Applications = append(c.effects.Applications, a.ID)
	}
}

func (c *change) audit(k Kind, d Device, e Entry) {
	e.Kind, e.Device, e.Lifecycle, e.Revision = k, d.ID, d.Lifecycle, d.Revision
	c.effects.Audit = append(c.effects.Audit, e)
}

func cmpNames(a, b identity.ID) int {
	switch x, y := a.String(), b.String(); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}
