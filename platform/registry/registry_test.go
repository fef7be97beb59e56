package registry_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

func dev(t testing.TB, s string) identity.DeviceID {
	id, err := identity.ParseDeviceID(s)
	require.NoError(t, err)
	return id
}

func app(t testing.TB, s string) identity.AppID {
	id, err := identity.ParseAppID(s)
	require.NoError(t, err)
	return id
}

func device(id identity.DeviceID) registry.Device {
	return registry.Device{
		ID: id, Credential: identity.Credential{Chain: [][]byte{[]byte(id.String())}, Endorsement: []byte("e")},
		CertificateHash: [32]byte{1}, PlatformBinding: e2e.BindingID{1}, ClaimKey: make([]byte, 33),
	}
}

func application(id identity.AppID) registry.Application {
	return registry.Application{
		ID: id, Credential: identity.Credential{Chain: [][]byte{[]byte(id.String())}, Endorsement: []byte("e")},
		CertificateHash: [32]byte{1}, PlatformBinding: e2e.BindingID{2},
	}
}

// world applies events and fails where one is refused.
type world struct {
	t testing.TB
	s registry.State
}

func (w *world) do(e registry.Event) registry.Effects {
	w.t.Helper()
	s, eff, err := registry.Apply(w.s, e)
	require.NoError(w.t, err)
	w.s = s
	return eff
}

func (w *world) refused(e registry.Event, want error) {
	w.t.Helper()
	before := w.s
	s, eff, err := registry.Apply(w.s, e)
	require.ErrorIs(w.t, err, want)
	require.Equal(w.t, before, s)
	require.Equal(w.t, registry.Effects{}, eff)
}

func (w *world) device(id identity.DeviceID) registry.Device {
	w.t.Helper()
	d, ok := w.s.Device(id)
	require.True(w.t, ok)
	return d
}

func (w *world) sendAll(d identity.DeviceID) {
	for _, o := range w.device(d).Orders {
		w.do(registry.Sent{Device: d, To: o.To, Number: o.Number})
	}
}

func newWorld(t testing.TB) (*world, identity.DeviceID, identity.AppID, identity.AppID) {
	w := &world{t: t}
	d, a, b := dev(t, "D-1"), app(t, "A-WATER"), app(t, "A-GAS")
	w.do(registry.Register{Device: device(d), Evidence: ev})
	w.do(registry.AdmitApplication{Application: application(a), Evidence: ev})
	w.do(registry.AdmitApplication{Application: application(b), Evidence: ev})
	return w, d, a, b
}

var (
	b1, b2 = e2e.BindingID{0xb1}, e2e.BindingID{0xb2}
	r1, r2 = control.RequestID{0x01}, control.RequestID{0x02}
	ev     = [32]byte{0xee}
	crl    = [32]byte{0xcc}
)

func TestConnectAndDisconnect(t *testing.T) {
	w, d, a, b := newWorld(t)
	eff := w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev, Revision: 1})
	require.Equal(t, []registry.QueuedOrder{
		{Device: d, Order: registry.Order{Number: 1, To: d.ID, Op: registry.Install, Lifecycle: 2, Binding: b1, Peer: a.ID}},
		{Device: d, Order: registry.Order{Number: 1, To: a.ID, Op: registry.Install, Lifecycle: 2, Binding: b1, Peer: d.ID}},
	}, eff.Queued)
	require.Equal(t, []identity.ID{d.ID, a.ID}, eff.Nudge)
	require.Empty(t, eff.Evict)

	require.False(t, w.do(registry.Connect{App: a, Device: d, Binding: b2, Request: r1, Evidence: ev}).Changed(), "the same request again")
	require.False(t, w.do(registry.Connect{App: a, Device: d, Binding: b2, Request: r2, Evidence: ev}).Changed(), "connected already")
	require.Equal(t, b1, w.device(d).Binding)
	w.refused(registry.Connect{App: b, Device: d, Binding: b2, Request: r2, Evidence: ev}, registry.ErrConnectedElsewhere)
	w.refused(registry.Disconnect{App: b, Device: d, Binding: b1, Request: r2, Evidence: ev}, registry.ErrNotConnected)
	w.refused(registry.Disconnect{App: a, Device: d, Binding: b2, Request: r2, Evidence: ev}, registry.ErrNotConnected)
	w.refused(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev, Revision: 1}, registry.ErrRevision)
	w.refused(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2}, registry.ErrInvalid)

	w.sendAll(d)
	why := registry.Evidence{Kind: registry.EvidenceRequest, Hash: ev}
	eff = w.do(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev, Revision: 2})
	require.Equal(t, []registry.QueuedOrder{
		{Device: d, Order: registry.Order{Number: 2, To: d.ID, Op: registry.Remove, Lifecycle: 3, Binding: b1, Peer: a.ID, Evidence: why}},
		{Device: d, Order: registry.Order{Number: 2, To: a.ID, Op: registry.Remove, Lifecycle: 3, Binding: b1, Peer: d.ID, Evidence: why}},
	}, eff.Queued)
	require.False(t, w.do(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev}).Changed(), "the same request again")

	w.do(registry.Connect{App: b, Device: d, Binding: b2, Request: r1, Evidence: ev})
	require.Equal(t, b, w.device(d).App)
}

func TestRefusedRequests(t *testing.T) {
	w, d, a, _ := newWorld(t)
	w.refused(registry.Connect{App: a, Device: dev(t, "D-2"), Binding: b1, Request: r1, Evidence: ev}, registry.ErrUnknownDevice)
	w.refused(registry.Connect{App: app(t, "A-X"), Device: d, Binding: b1, Request: r1, Evidence: ev}, registry.ErrUnknownApplication)
	w.refused(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev, Revision: 7}, registry.ErrRevision)
	w.refused(registry.Connect{App: a, Device: d, Request: r1, Evidence: ev}, registry.ErrInvalid)
	w.refused(registry.Connect{App: a, Device: d, Binding: b1}, registry.ErrInvalid)
	w.refused(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev}, registry.ErrNotConnected)
	w.refused(registry.Retire{Device: dev(t, "D-2")}, registry.ErrUnknownDevice)
	w.refused(registry.DeviceRevoked{Device: d}, registry.ErrInvalid)
	w.refused(registry.ApplicationRevoked{App: a}, registry.ErrInvalid)
	w.refused(registry.ApplicationRevoked{App: app(t, "A-X"), Evidence: crl}, registry.ErrUnknownApplication)
	w.refused(nil, registry.ErrInvalid)
}

func TestRegistration(t *testing.T) {
	w, d, a, _ := newWorld(t)
	again := device(d)
	again.PlatformBinding = e2e.BindingID{9}
	require.False(t, w.do(registry.Register{Device: again, Evidence: ev}).Changed())
	require.Equal(t, e2e.BindingID{1}, w.device(d).PlatformBinding, "the first binding stays")

	other := device(d)
	other.CertificateHash = [32]byte{2}
	w.refused(registry.Register{Device: other, Evidence: ev}, registry.ErrConflict)
	other = device(d)
	other.ClaimKey = nil
	w.refused(registry.Register{Device: other, Evidence: ev}, registry.ErrConflict)
	w.do(registry.Retire{Device: d})
	w.refused(registry.Register{Device: device(d), Evidence: ev}, registry.ErrRetired)

	require.False(t, w.do(registry.AdmitApplication{Application: application(a), Evidence: ev}).Changed())
	foreign := application(a)
	foreign.CertificateHash = [32]byte{2}
	w.refused(registry.AdmitApplication{Application: foreign, Evidence: ev}, registry.ErrConflict)
	w.do(registry.ApplicationRevoked{App: a, Evidence: crl})
	w.refused(registry.AdmitApplication{Application: application(a), Evidence: ev}, registry.ErrUnknownApplication)

	w.refused(registry.Register{}, registry.ErrInvalid)
	w.refused(registry.AdmitApplication{}, registry.ErrInvalid)

	forged := device(dev(t, "D-9"))
	forged.Status, forged.App, forged.LastOrder = registry.Connected, a, 7
	w.do(registry.Register{Device: forged, Evidence: ev})
	require.Equal(t, registry.Registered, w.device(forged.ID).Status, "a registration brings no status")
	require.Zero(t, w.device(forged.ID).LastOrder)
}

func TestRetire(t *testing.T) {
	w, d, a, _ := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	w.sendAll(d)
	eff := w.do(registry.Retire{Device: d})
	require.Equal(t, []identity.ID{d.ID}, eff.Evict)
	require.Empty(t, eff.Queued, "no evidence yet")
	require.False(t, w.do(registry.Retire{Device: d}).Changed())
	w.refused(registry.Connect{App: a, Device: d, Binding: b2, Request: r2, Evidence: ev}, registry.ErrRetired)
	w.refused(registry.Disconnect{App: a, Device: d, Binding: b2, Request: r2, Evidence: ev}, registry.ErrRetired)

	eff = w.do(registry.DeviceRevoked{Device: d, Evidence: crl})
	why := registry.Evidence{Kind: registry.EvidenceCRL, Hash: crl}
	require.Equal(t, []registry.QueuedOrder{
		{Device: d, Order: registry.Order{Number: 2, To: a.ID, Op: registry.Remove, Lifecycle: 4, Binding: b1, Peer: d.ID, Evidence: why}},
		{Device: d, Order: registry.Order{Number: 2, To: d.ID, Op: registry.Wipe, Lifecycle: 4, Evidence: why}},
	}, eff.Queued)
	require.Len(t, eff.Dropped, 1, "the wipe replaces the install that was sent")
	require.Empty(t, eff.Evict, "cut before")
	require.False(t, w.do(registry.DeviceRevoked{Device: d, Evidence: crl}).Changed())
}

// A retired device that no list will ever name, because its CA is revoked, keeps nothing up at its application: that may end the connection, by its
// own word.
func TestDisconnectFromARetiredDevice(t *testing.T) {
	w, d, a, b := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	w.sendAll(d)
	w.do(registry.Retire{Device: d})
	rev := w.device(d).Revision
	w.refused(registry.Disconnect{App: b, Device: d, Binding: b1, Request: r2, Evidence: ev}, registry.ErrRetired)
	w.refused(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev, Revision: rev - 1}, registry.ErrRevision)
	request := registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev}
	eff := w.do(request)
	why := registry.Evidence{Kind: registry.EvidenceRequest, Hash: ev}
	require.Equal(t, []registry.QueuedOrder{
		{Device: d, Order: registry.Order{Number: 2, To: d.ID, Op: registry.Remove, Lifecycle: 4, Binding: b1, Peer: a.ID, Evidence: why}},
		{Device: d, Order: registry.Order{Number: 2, To: a.ID, Op: registry.Remove, Lifecycle: 4, Binding: b1, Peer: d.ID, Evidence: why}},
	}, eff.Queued)
	require.Len(t, eff.Audit, 1)
	require.Equal(t, registry.KindDisconnected, eff.Audit[0].Kind)
	require.Equal(t, registry.Retired, w.device(d).Status)
	require.True(t, w.device(d).Binding.IsZero())
	require.False(t, w.do(request).Changed(), "the same request again")

	eff = w.do(registry.DeviceRevoked{Device: d, Evidence: crl})
	require.Len(t, eff.Queued, 1, "a list may come all the same")
	require.Equal(t, registry.Wipe, eff.Queued[0].Order.Op)
}

// The list with which a device went was no evidence to its application: the CA of the list was revoked before the order came.
func TestApplicationRefusesTheListOfARetiredDevice(t *testing.T) {
	w, d, a, _ := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	w.sendAll(d)
	w.do(registry.DeviceRevoked{Device: d, Evidence: crl})
	require.True(t, w.device(d).Binding.IsZero())
	w.sendAll(d)
	for _, o := range w.device(d).Pending(a.ID) {
		w.do(registry.Acked{Device: d, From: a.ID, Number: o.Number, Result: control.AckRefused, Evidence: ev})
	}
	require.Equal(t, b1, w.device(d).Binding)
	raw, err := w.device(d).Marshal()
	require.NoError(t, err)
	kept, err := registry.ParseDevice(raw)
	require.NoError(t, err)
	require.Equal(t, a, kept.App)
	eff := w.do(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev})
	require.Len(t, eff.Queued, 1, "the device is to be wiped anyway")
	require.Equal(t, a.ID, eff.Queued[0].Order.To)
	require.Equal(t, registry.EvidenceRequest, eff.Queued[0].Order.Evidence.Kind)
	require.True(t, w.device(d).Binding.IsZero())
}

func TestAuthorityRevokesUnasked(t *testing.T) {
	w, d, a, b := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	w.sendAll(d)
	eff := w.do(registry.ApplicationRevoked{App: a, Evidence: crl})
	require.Equal(t, []identity.ID{a.ID}, eff.Evict)
	require.Len(t, eff.Queued, 2)
	require.Equal(t, registry.EvidenceCRL, eff.Queued[0].Order.Evidence.Kind)
	require.Equal(t, registry.Registered, w.device(d).Status, "the device is free")
	require.False(t, w.do(registry.ApplicationRevoked{App: a, Evidence: crl}).Changed())
	w.refused(registry.Connect{App: a, Device: d, Binding: b2, Request: r2, Evidence: ev}, registry.ErrUnknownApplication)

	w.do(registry.Connect{App: b, Device: d, Binding: b2, Request: r2, Evidence: ev})
	eff = w.do(registry.DeviceRevoked{Device: d, Evidence: crl})
	require.Equal(t, []identity.ID{d.ID}, eff.Evict)
	require.Equal(t, registry.Retired, w.device(d).Status)
}

func TestOrdersUntilAcknowledged(t *testing.T) {
	w, d, a, _ := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	w.refused(registry.Acked{Device: d, From: d.ID, Number: 1, Result: control.AckDone, Evidence: ev}, registry.ErrUnknownOrder) // never handed out
	w.sendAll(d)
	require.False(t, w.do(registry.Sent{Device: d, To: d.ID, Number: 1}).Changed())
	w.refused(registry.Sent{Device: d, To: d.ID, Number: 2}, registry.ErrUnknownOrder)
	w.refused(registry.Acked{Device: d, From: d.ID, Number: 1, Result: 9, Evidence: ev}, registry.ErrInvalid)
	eff := w.do(registry.Acked{Device: d, From: d.ID, Number: 1, Result: control.AckDone, Evidence: ev})
	require.Len(t, eff.Dropped, 1)
	require.Equal(t, registry.KindOrderDone, eff.Audit[0].Kind)
	w.refused(registry.Acked{Device: d, From: d.ID, Number: 1, Result: control.AckDone, Evidence: ev}, registry.ErrUnknownOrder)
	require.Len(t, w.device(d).Orders, 1, "the application's progress is its own")
	require.Equal(t, uint64(2), w.device(d).Revision, "progress of orders is no change that a request has to expect")
	eff = w.do(registry.Acked{Device: d, From: a.ID, Number: 1, Result: control.AckRefused, Evidence: ev})
	require.Equal(t, registry.KindOrderRefused, eff.Audit[0].Kind)
}

// However often an offline device changes hands, what waits for it stays small, and what it was sent is not forgotten.
func TestSupersession(t *testing.T) {
	w, d, a, _ := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	w.do(registry.Sent{Device: d, To: d.ID, Number: 1}) // to the device, not to the application
	eff := w.do(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev})
	require.Len(t, eff.Queued, 1)
	require.Equal(t, d.ID, eff.Queued[0].Order.To, "the application never heard of it")
	for i := range 100 {
		binding, req := e2e.BindingID{1, byte(i)}, control.RequestID{1, byte(i)}
		w.do(registry.Connect{App: a, Device: d, Binding: binding, Request: req, Evidence: ev})
		w.do(registry.Disconnect{App: a, Device: d, Binding: binding, Request: control.RequestID{2, byte(i)}, Evidence: ev})
	}
	var ops []registry.OrderOp
	for _, o := range w.device(d).Orders {
		ops = append(ops, o.Op)
	}
	require.Equal(t, []registry.OrderOp{registry.Install, registry.Remove}, ops)
}

// A device that takes orders and acknowledges none holds up connections of its own, never a disconnection.
func TestBacklog(t *testing.T) {
	w, d, a, _ := newWorld(t)
	for i := range byte(16) {
		w.do(registry.Connect{App: a, Device: d, Binding: e2e.BindingID{1, i}, Request: control.RequestID{1, i}, Evidence: ev})
		w.sendAll(d)
		w.do(registry.Disconnect{App: a, Device: d, Binding: e2e.BindingID{1, i}, Request: control.RequestID{2, i}, Evidence: ev})
		w.sendAll(d)
	}
	w.refused(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev}, registry.ErrBacklog)
}
