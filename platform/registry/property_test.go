package registry_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// model plays random events and keeps what a peer that applies its orders in sequence would hold.
type model struct {
	t    *testing.T
	r    *rand.Rand
	s    registry.State
	devs []identity.DeviceID
	apps []identity.AppID

	used    map[e2e.BindingID]bool
	numbers map[identity.ID]uint64                              // last number queued for a peer
	applied map[identity.ID]map[identity.DeviceID]e2e.BindingID // what a peer has installed
	seen    map[identity.ID]map[identity.DeviceID]uint64        // life-cycle number of the last order applied
	wiped   map[identity.DeviceID]bool
	request map[identity.DeviceID]map[[32]byte]registry.Disconnect // evidence by hash
	crls    map[[32]byte]identity.ID                               // whom a list names
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, r: rand.New(rand.NewPCG(seed, 1)), used: map[e2e.BindingID]bool{}, numbers: map[identity.ID]uint64{},
		applied: map[identity.ID]map[identity.DeviceID]e2e.BindingID{}, seen: map[identity.ID]map[identity.DeviceID]uint64{},
		wiped: map[identity.DeviceID]bool{}, request: map[identity.DeviceID]map[[32]byte]registry.Disconnect{}, crls: map[[32]byte]identity.ID{},
	}
	for _, n := range []string{"D-1", "D-2", "D-3", "D-4"} {
		m.devs = append(m.devs, dev(t, n))
	}
	for _, n := range []string{"A-1", "A-2", "A-3"} {
		m.apps = append(m.apps, app(t, n))
	}
	return m
}

func (m *model) binding() (b e2e.BindingID) { m.fill(b[:]); return b }
func (m *model) hash() (h [32]byte)         { m.fill(h[:]); return h }
func (m *model) id() (h control.RequestID)  { m.fill(h[:]); return h }

func (m *model) fill(b []byte) {
	for i := range b {
		b[i] = byte(m.r.Uint32())
	}
	b[0] |= 1
}

func (m *model) event() registry.Event {
	d, a := m.devs[m.r.IntN(len(m.devs))], m.apps[m.r.IntN(len(m.apps))]
	rec, _ := m.s.Device(d)
	if m.r.IntN(8) == 0 {
		return m.renewal(rec, a)
	}
	switch n := m.r.IntN(100); {
	case n < 8:
		e := device(d)
		e.CertificateHash[0] = byte(1 + m.r.IntN(8)/7)
		return registry.Register{Device: e, Evidence: ev}
	case n < 14:
		e := application(a)
		e.CertificateHash[0] = byte(1 + m.r.IntN(8)/7)
		return registry.AdmitApplication{Application: e, Evidence: ev}
	case n < 50:
		e := registry.Connect{App: a, Device: d, Binding: m.binding(), Request: m.id(), Evidence: ev}
		if m.r.IntN(8) == 0 {
			e.Revision = rec.Revision + uint64(m.r.IntN(2))
		}
		return e
	case n < 75:
		e := registry.Disconnect{App: a, Device: d, Binding: rec.Binding, Request: m.id(), Evidence: m.hash()}
		if m.r.IntN(2) == 0 {
			e.App = rec.App
		}
		if m.r.IntN(8) == 0 {
			e.Binding = m.binding()
		}
		return e
	case n < 76:
		return registry.Retire{Device: d}
	case n < 77:
		h := m.hash()
		m.crls[h] = d.ID
		return registry.DeviceRevoked{Device: d, Evidence: h}
	case n < 78:
		h := m.hash()
		m.crls[h] = a.ID
		return registry.ApplicationRevoked{App: a, Evidence: h}
	case n < 90 && len(rec.Orders) > 0:
		o := rec.Orders[m.r.IntN(len(rec.Orders))]
		// Orders are handed out in sequence.
		for _, p := range rec.Pending(o.To) {
			if !p.Sent {
				o = p
				break
			}
		}
		return registry.Sent{Device: d, To: o.To, Number: o.Number}
	case len(rec.Orders) > 0:
		o := rec.Orders[m.r.IntN(len(rec.Orders))]
		return registry.Acked{Device: d, From: o.To, Number: o.Number, Result: control.AckResult(m.r.IntN(4)), Evidence: ev}
	}
	return registry.Retire{Device: dev(m.t, "D-NONE")}
}

// renewal offers a credential, of any generation near the one in use, or says that the one on offer is used.
func (m *model) renewal(d registry.Device, app identity.AppID) registry.Event {
	a, _ := m.s.Application(app)
	peer, next, generation := d.ID.ID, d.Next, d.Generation
	if m.r.IntN(3) == 0 {
		peer, next, generation = app.ID, a.Next, a.Generation
	}
	if m.r.IntN(2) == 0 {
		e := registry.Renewed{Peer: peer, CertificateHash: next.CertificateHash, Evidence: ev}
		if m.r.IntN(8) == 0 {
			e.CertificateHash = m.hash()
		}
		return e
	}
	return registry.Offered{Peer: peer, Next: registry.Successor{
		Credential: device(d.ID).Credential, CertificateHash: m.hash(), Generation: generation + uint32(m.r.IntN(3)),
	}}
}

func (m *model) step() {
	t, e := m.t, m.event()
	before := m.s
	after, eff, err := registry.Apply(before, e)
	if err != nil {
		require.Equal(t, before, after, "%#v", e)
		return
	}
	m.s = after
	if d, ok := e.(registry.Disconnect); ok {
		if m.request[d.Device] == nil {
			m.request[d.Device] = map[[32]byte]registry.Disconnect{}
		}
		m.request[d.Device][d.Evidence] = d
	}
	for _, id := range m.devs {
		m.compare(before, after, id, eff)
	}
	for _, q := range eff.Queued {
		m.checkQueued(after, q)
	}
	for _, id := range m.apps {
		m.compareApp(before, after, id, e)
	}
	switch e := e.(type) {
	case registry.Sent:
		m.handOut(e)
	case registry.Acked:
		// An application that has refused the list which its retired device went with has the device still.
		was, _ := before.Device(e.Device)
		if d, _ := after.Device(e.Device); was.Binding.IsZero() && !d.Binding.IsZero() {
			require.True(t, d.Listed && e.Result == control.AckRefused && e.From == d.App.ID)
			m.applied[e.From][e.Device] = d.Binding
		}
	}
}

func (m *model) compare(before, after registry.State, id identity.DeviceID, eff registry.Effects) {
	t := m.t
	old, had := before.Device(id)
	now, has := after.Device(id)
	if !slices.Contains(eff.Devices, id) {
		require.Equal(t, old, now, "a record changed that the effects do not name")
		return
	}
	require.True(t, has)
	require.Equal(t, now.Status == registry.Connected || now.Status == registry.Retired && !now.App.IsZero(), !now.Binding.IsZero())
	if now.Status == registry.Connected {
		a, ok := after.Application(now.App)
		require.True(t, ok)
		require.False(t, a.Revoked)
	}
	if had {
		if old.Status == registry.Connected && now.Status == registry.Connected {
			require.Equal(t, old.App, now.App, "from one application to another without a disconnection between")
			require.Equal(t, old.Binding, now.Binding)
		}
		if old.Status == registry.Retired {
			require.Equal(t, registry.Retired, now.Status)
		}
		renewed := old.CertificateHash != now.CertificateHash
		if renewed {
			require.Equal(t, old.Next.CertificateHash, now.CertificateHash, "nothing is used that was not offered")
			require.Greater(t, now.Generation, old.Generation)
			require.True(t, now.Next.IsZero())
			require.True(t, after.Holds(id.ID, now.CertificateHash))
			require.False(t, after.Holds(id.ID, old.CertificateHash))
		}
		require.Equal(t, old.PlatformBinding, now.PlatformBinding)
		left := old.Status == registry.Retired && !old.Binding.IsZero() && now.Binding.IsZero()
		moved := old.Status != now.Status || old.Listed != now.Listed || left
		require.Equal(t, moved || renewed && now.Status == registry.Connected, now.Lifecycle > old.Lifecycle)
		require.Equal(t, moved || renewed, now.Revision > old.Revision)
		require.GreaterOrEqual(t, now.Lifecycle, old.Lifecycle)
		require.GreaterOrEqual(t, now.LastOrder, old.LastOrder)
	}
	if now.Status == registry.Connected && (!had || old.Status != registry.Connected) {
		require.False(t, m.used[now.Binding], "a binding came back")
		m.used[now.Binding] = true
	}
	if had && old.Status != registry.Retired && now.Status == registry.Retired {
		require.Contains(t, eff.Evict, id.ID)
	}
}

func (m *model) compareApp(before, after registry.State, id identity.AppID, e registry.Event) {
	t := m.t
	old, had := before.Application(id)
	now, _ := after.Application(id)
	if !had {
		return
	}
	_, renewal := e.(registry.Renewed)
	require.Equal(t, renewal && e.(registry.Renewed).Peer == id.ID, old.CertificateHash != now.CertificateHash)
	if old.CertificateHash != now.CertificateHash {
		require.Equal(t, old.Next.CertificateHash, now.CertificateHash)
		require.Greater(t, now.Generation, old.Generation)
		require.Greater(t, now.Revision, old.Revision)
	}
	require.Equal(t, old.PlatformBinding, now.PlatformBinding)
	if old.Revoked && !now.Next.IsZero() {
		require.Equal(t, old.Next, now.Next)
	}
}

func (m *model) checkQueued(s registry.State, q registry.QueuedOrder) {
	t, o := m.t, q.Order
	require.Greater(t, o.Number, m.numbers[o.To], "numbers of a peer's orders grow")
	m.numbers[o.To] = o.Number
	d, _ := s.Device(q.Device)
	require.Equal(t, d.Lifecycle, o.Lifecycle)
	switch o.Op {
	case registry.Install:
		require.Equal(t, registry.Evidence{}, o.Evidence)
		require.Equal(t, d.Binding, o.Binding)
	case registry.Remove:
		if o.Evidence.Kind == registry.EvidenceRequest {
			r, ok := m.request[q.Device][o.Evidence.Hash]
			require.True(t, ok, "no such request")
			require.Equal(t, r.Binding, o.Binding)
			require.True(t, o.To == r.App.ID || o.Peer == r.App.ID)
			return
		}
		require.Equal(t, registry.EvidenceCRL, o.Evidence.Kind)
		named := m.crls[o.Evidence.Hash]
		require.True(t, named == o.To || named == o.Peer, "the list must name one of the two")
	case registry.Wipe:
		require.Equal(t, registry.EvidenceCRL, o.Evidence.Kind)
		require.Equal(t, q.Device.ID, m.crls[o.Evidence.Hash])
		require.Equal(t, q.Device.ID, o.To)
	default:
		t.Fatalf("order %d", o.Op)
	}
}

// handOut plays a receiver that judges by life-cycle number, and applies the order now.
func (m *model) handOut(s registry.Sent) {
	d, _ := m.s.Device(s.Device)
	o, ok := d.Order(s.To, s.Number)
	require.True(m.t, ok)
	if m.seen[s.To] == nil {
		m.seen[s.To], m.applied[s.To] = map[identity.DeviceID]uint64{}, map[identity.DeviceID]e2e.BindingID{}
	}
	if o.Lifecycle <= m.seen[s.To][s.Device] {
		return
	}
	m.seen[s.To][s.Device] = o.Lifecycle
	switch o.Op {
	case registry.Install:
		if o.Again {
			require.Equal(m.t, m.applied[s.To][s.Device], o.Binding, "a renewal of what was never installed")
			return
		}
		require.NotContains(m.t, m.applied[s.To], s.Device, "two bindings of one device at a peer: a removal was lost")
		m.applied[s.To][s.Device] = o.Binding
	case registry.Remove:
		require.Equal(m.t, m.applied[s.To][s.Device], o.Binding, "a removal of what was never installed")
		delete(m.applied[s.To], s.Device)
	case registry.Wipe:
		delete(m.applied[s.To], s.Device)
		m.wiped[s.Device] = true
	}
}

// drain lets every peer come back and take what waits for it. Then all sides must hold what the registry says.
func (m *model) drain() {
	for _, id := range m.devs {
		for {
			d, ok := m.s.Device(id)
			if !ok || len(d.Orders) == 0 {
				break
			}
			o := d.Orders[0]
			var err error
			m.s, _, err = registry.Apply(m.s, registry.Sent{Device: id, To: o.To, Number: o.Number})
			require.NoError(m.t, err)
			m.handOut(registry.Sent{Device: id, To: o.To, Number: o.Number})
			m.s, _, err = registry.Apply(m.s, registry.Acked{Device: id, From: o.To, Number: o.Number, Result: control.AckDone, Evidence: ev})
			require.NoError(m.t, err)
		}
	}
	for d := range m.s.Devices() {
		peers := []identity.ID{d.ID.ID}
		for _, a := range m.apps {
			peers = append(peers, a.ID)
		}
		for _, p := range peers {
			has, ok := m.applied[p][d.ID]
			want := !d.Binding.IsZero() && (p == d.ID.ID && !d.Listed || p == d.App.ID)
			require.Equal(m.t, want, ok, "%s about %s, %s", p, d.ID, d.Status)
			if want {
				require.Equal(m.t, d.Binding, has)
			}
		}
		require.Equal(m.t, d.Listed, m.wiped[d.ID])
	}
}

func TestRandomHistories(t *testing.T) {
	for seed := range uint64(60) {
		m := newModel(t, seed)
		for range 300 {
			m.step()
		}
		m.checkRouting()
		m.drain()
		m.checkRouting()
	}
}

// checkRouting compares Allow with Grants over all names and topics of the model's world.
func (m *model) checkRouting() {
	t := m.t
	platform, err := identity.ParsePlatformID("P-1")
	require.NoError(t, err)
	r, err := registry.NewRouting("x/y", platform)
	require.NoError(t, err)
	topics, err := control.ParsePrefix("x/y")
	require.NoError(t, err)

	stranger, err := identity.ParseID("R-1")
	require.NoError(t, err)
	ids := []identity.ID{platform.ID, stranger, dev(t, "D-UNKNOWN").ID, app(t, "A-UNKNOWN").ID}
	names := []string{topics.PlatformFilter(), "x/y/ctl/peer/+", "#", "x/#", "$share/g/" + topics.PlatformFilter(), "x/y/ctl/platform/00/+", "semio/1/ctl/peer/D-1", ""}
	for _, d := range m.devs {
		ids = append(ids, d.ID)
		for _, a := range m.apps {
			names = append(names, topics.Up(a, d), topics.Down(a, d))
		}
	}
	for _, a := range m.apps {
		ids = append(ids, a.ID)
		names = append(names, topics.AppFilter(a), strings.Replace(topics.AppFilter(a), "+/+", "0a/+", 1), strings.Replace(topics.AppFilter(a), "/up", "/down", 1))
	}
	for _, id := range ids {
		names = append(names, topics.ToPlatform(id), topics.ToPeer(id))
	}
	type key struct {
		id identity.ID
		a  registry.Action
	}
	granted := map[key][]string{}
	for _, g := range r.Grants(m.s) {
		granted[key{g.Principal, g.Action}] = append(granted[key{g.Principal, g.Action}], g.Filter)
	}
	for _, id := range ids {
		for a := registry.ActionPublish; a <= registry.ActionReceive; a++ {
			for _, name := range names {
				want := slices.ContainsFunc(granted[key{id, a}], func(filter string) bool {
					return matches(filter, name) && (a == registry.ActionSubscribe || !strings.ContainsAny(name, "+#"))
				})
				require.Equal(t, want, r.Allow(m.s, id, id.String(), a, name), "%s %s %s", id, a, name)
			}
		}
	}
}

// matches is MQTT's rule for filters without '#', taking the wildcards of name as names.
func matches(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	return slices.EqualFunc(f, n, func(x, y string) bool { return x == y || x == "+" && y != "#" && y != "" })
}
