package registry_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform/registry"
)

func successor(n byte, generation uint32) registry.Successor {
	s := registry.Successor{CertificateHash: [32]byte{n}, Generation: generation}
	s.Credential.Chain = [][]byte{{n}}
	return s
}

func TestRenewal(t *testing.T) {
	w, d, a, _ := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	w.sendAll(d)
	before := w.device(d)

	require.Empty(t, w.do(registry.Offered{Peer: d.ID, Next: successor(2, 1)}).Audit)
	require.False(t, w.do(registry.Offered{Peer: d.ID, Next: successor(2, 1)}).Changed(), "the same offer again")
	w.do(registry.Offered{Peer: d.ID, Next: successor(3, 1)}) // the device lost the first one
	rec := w.device(d)
	require.Equal(t, before.CertificateHash, rec.CertificateHash)
	require.Equal(t, before.Revision, rec.Revision)

	w.refused(registry.Renewed{Peer: d.ID, CertificateHash: [32]byte{2}, Evidence: ev}, registry.ErrGeneration)
	eff := w.do(registry.Renewed{Peer: d.ID, CertificateHash: [32]byte{3}, Evidence: ev})
	rec = w.device(d)
	require.Equal(t, [32]byte{3}, rec.CertificateHash)
	require.True(t, rec.Next.IsZero())
	require.Equal(t, before.Binding, rec.Binding)
	require.Equal(t, before.PlatformBinding, rec.PlatformBinding)
	require.Equal(t, before.Lifecycle+1, rec.Lifecycle)
	require.Equal(t, before.Revision+1, rec.Revision)
	require.Equal(t, registry.KindRenewed, eff.Audit[0].Kind)
	require.Len(t, eff.Queued, 1, "the device knows its own")
	o := eff.Queued[0].Order
	require.Equal(t, a.ID, o.To)
	require.Equal(t, registry.Install, o.Op)
	require.True(t, o.Again)
	require.Equal(t, rec.Binding, o.Binding)

	w.refused(registry.Renewed{Peer: d.ID, CertificateHash: [32]byte{3}, Evidence: ev}, registry.ErrGeneration)
	for name, n := range map[string]registry.Successor{
		"same generation": successor(4, 1), "lower generation": successor(4, 0), "certificate in use": successor(3, 9),
	} {
		_, _, err := registry.Apply(w.s, registry.Offered{Peer: d.ID, Next: n})
		require.ErrorIs(t, err, registry.ErrGeneration, name)
	}
	w.refused(registry.Offered{Peer: d.ID}, registry.ErrInvalid)
	w.refused(registry.Offered{Peer: dev(t, "D-NONE").ID, Next: successor(2, 1)}, registry.ErrUnknownDevice)
	w.refused(registry.Offered{Peer: app(t, "A-NONE").ID, Next: successor(2, 1)}, registry.ErrUnknownApplication)
	w.refused(registry.Renewed{Peer: app(t, "A-NONE").ID, CertificateHash: [32]byte{2}, Evidence: ev}, registry.ErrUnknownApplication)
	w.refused(registry.Renewed{Peer: d.ID, CertificateHash: [32]byte{3}}, registry.ErrInvalid)
}

// An offer that was held up on its way changes nothing: its peer has made a newer one, and may be using it.
func TestLateOffer(t *testing.T) {
	w, d, a, _ := newWorld(t)
	for _, peer := range []identity.ID{d.ID, a.ID} {
		w.do(registry.Offered{Peer: peer, Next: successor(3, 2)})
		w.refused(registry.Offered{Peer: peer, Next: successor(2, 1)}, registry.ErrGeneration)
		require.True(t, w.s.Holds(peer, [32]byte{3}))
		w.do(registry.Renewed{Peer: peer, CertificateHash: [32]byte{3}, Evidence: ev})
	}
}

// An application that sleeps through several renewals, and the end of the connection, finds one order of each.
func TestRenewalsWaitingForAnApplication(t *testing.T) {
	w, d, a, _ := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	renew := func(n byte) {
		w.do(registry.Offered{Peer: d.ID, Next: successor(n, uint32(n))})
		w.do(registry.Renewed{Peer: d.ID, CertificateHash: [32]byte{n}, Evidence: ev})
	}
	renew(2)
	require.Len(t, w.device(d).Pending(a.ID), 1, "the install that waits carries the newest credential")
	w.sendAll(d)
	renew(3)
	renew(4)
	pending := w.device(d).Pending(a.ID)
	require.Len(t, pending, 2)
	require.True(t, pending[1].Again)

	w.do(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev})
	pending = w.device(d).Pending(a.ID)
	require.Len(t, pending, 2, "the removal takes the place of the renewal, not that of the install that went out")
	require.Equal(t, registry.Remove, pending[1].Op)
	require.Greater(t, pending[1].Lifecycle, pending[0].Lifecycle)
}

func TestRenewalOfAnApplication(t *testing.T) {
	w, d, a, b := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	before := w.device(d)
	w.do(registry.Offered{Peer: a.ID, Next: successor(2, 1)})
	eff := w.do(registry.Renewed{Peer: a.ID, CertificateHash: [32]byte{2}, Evidence: ev})
	require.Empty(t, eff.Queued, "devices ask for it")
	require.Equal(t, before, w.device(d))
	rec, _ := w.s.Application(a)
	require.Equal(t, [32]byte{2}, rec.CertificateHash)
	require.EqualValues(t, 2, rec.Revision)

	w.do(registry.ApplicationRevoked{App: b, Evidence: ev})
	w.refused(registry.Offered{Peer: b.ID, Next: successor(2, 1)}, registry.ErrUnknownApplication)
}

// A retired device gets no other credential, but one that it has taken into use is understood.
func TestRenewalOfARetiredDevice(t *testing.T) {
	w, d, _, _ := newWorld(t)
	w.do(registry.Offered{Peer: d.ID, Next: successor(2, 1)})
	w.do(registry.Retire{Device: d})
	w.refused(registry.Offered{Peer: d.ID, Next: successor(3, 2)}, registry.ErrRetired)
	eff := w.do(registry.Renewed{Peer: d.ID, CertificateHash: [32]byte{2}, Evidence: ev})
	require.Empty(t, eff.Queued)
	require.Equal(t, registry.Retired, w.device(d).Status)
}
