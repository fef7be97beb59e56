package platform_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// issuing makes an issuing CA under the world's root, which certifies whoever is made next.
func (w *world) issuing(root *ca.Authority, name string) *ca.Authority {
	t := w.t
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	csr, err := ca.NewCARequest(key, name)
	require.NoError(t, err)
	chain, err := root.CertifyCA(csr, ca.CAOptions{})
	require.NoError(t, err)
	a, err := ca.New(ca.Config{Name: name, Signer: key, Store: new(ca.MemStore), Root: root.Certificate(), Chain: chain})
	require.NoError(t, err)
	w.authority = a
	return a
}

// A device of an issuing CA is retired with that CA's list: it goes to everybody, and is evidence for the device.
func TestListOfAnIssuingCA(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		root := w.authority
		first := w.issuing(root, "First CA")
		dev, app := w.device("D-1"), w.app("A-WATER")
		w.issuing(root, "Second CA")
		other := w.device("D-2")
		require.NoError(t, app.connect(dev).Err())
		for _, g := range []*gateway{dev, app} {
			g.taken()
		}
		empty, err := first.CRL()
		require.NoError(t, err)
		byFirst, err := first.Revoke(dev.id)
		require.NoError(t, err)
		bySecond, err := w.authority.CRL()
		require.NoError(t, err)
		byRoot, err := root.CRL()
		require.NoError(t, err)
		all := slices.Concat(bySecond, byFirst, byRoot)
		require.NoError(t, w.svc.AddCRL(t.Context(), all))
		require.Equal(t, registry.Retired, w.record(dev).Status)
		require.Equal(t, registry.Registered, w.record(other).Status)

		orders := dev.taken()
		require.Len(t, orders, 1)
		require.Equal(t, control.OrderWipe, orders[0].Op)
		ev, err := control.ParseEvidence(orders[0].Evidence)
		require.NoError(t, err)
		require.Equal(t, byFirst, ev.CRL)
		require.NoError(t, ev.Permits(orders[0], w.verifier(), control.Parties{Device: dev.cred}))
		time.Sleep(time.Minute)
		for _, g := range []*gateway{app, other} {
			require.Len(t, g.verifier.CRLs(), 3, "everybody gets all lists")
		}
		require.Equal(t, control.OrderRemove, app.taken()[0].Op)
		w.restart()
		require.ErrorIs(t, w.svc.AddCRL(t.Context(), empty), identity.ErrCRLOlder)
		require.Len(t, w.svc.CRLs(), 3, "they are durable")
	})
}

// What is refused does not hold up the rest, and is told.
func TestSomeListsAreRefused(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		unknown := newAuthority(t).list(t)
		dev := w.device("D-1")
		list, err := w.authority.Revoke(dev.id)
		require.NoError(t, err)
		err = w.svc.AddCRL(t.Context(), slices.Concat(unknown, list))
		require.ErrorIs(t, err, identity.ErrSomeCRLs)
		require.ErrorIs(t, err, identity.ErrCRL)
		require.Equal(t, registry.Retired, w.record(dev).Status)
		kept := w.svc.CRLs()
		w.restart()
		require.Equal(t, kept, w.svc.CRLs(), "they are durable")
		require.Equal(t, registry.Retired, w.record(dev).Status)
	})
}

// The end of an issuing CA is not the end of its devices: they lose their connections and whatever they may do, and stay in the registry.
func TestIssuingCARevoked(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		root := w.authority
		sound := w.app("A-SOUND")
		doomed := w.issuing(root, "Doomed CA")
		dev, free, app := w.device("D-1"), w.device("D-2"), w.app("A-WATER")
		require.NoError(t, sound.connect(dev).Err())
		for _, g := range []*gateway{dev, sound, app} {
			g.taken()
		}
		byRoot, err := root.RevokeCertificate(doomed.Certificate())
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), byRoot))
		time.Sleep(time.Minute)

		require.Equal(t, registry.Connected, w.record(dev).Status, "its connection outlives the CA")
		require.Equal(t, registry.Registered, w.record(free).Status)
		require.Empty(t, slices.Concat(dev.taken(), sound.taken(), app.taken()), "nobody is to forget anything")
		cut := map[string]int{}
		w.mu.Lock()
		for _, e := range w.evicts {
			cut[e.id.String()]++
		}
		w.mu.Unlock()
		require.Equal(t, map[string]int{"D-1": 1, "D-2": 1, "A-WATER": 1}, cut)
		require.Error(t, app.connect(free).Err(), "whose request it is")
		require.Error(t, sound.connect(free).Err(), "whose device it is")
		for _, g := range []*gateway{dev, sound, app} {
			require.Equal(t, [][]byte{byRoot}, g.verifier.CRLs())
			require.True(t, g.verifier.Revoked(doomed.Certificate()))
		}

		// What comes of the CA's key now is nobody's evidence.
		byDoomed, err := doomed.Revoke(dev.id)
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), byDoomed))
		require.Equal(t, registry.Connected, w.record(dev).Status)
		w.mu.Lock()
		require.Len(t, w.evicts, 3, "once is enough")
		w.mu.Unlock()
		_, err = w.svc.Admit(t.Context(), app.cred)
		require.ErrorIs(t, err, identity.ErrRevoked)
		_, err = w.svc.Register(t.Context(), w.registration(w.party("D-3"), claimKey(t)))
		require.ErrorIs(t, err, identity.ErrRevoked)
		w.restart()
		require.ErrorIs(t, sound.connect(free).Err(), control.ErrRequest)
	})
}

// A device that is retired after its CA was revoked is named by no list that counts. Its application is not bound to it for ever.
func TestRetiredDeviceOfARevokedCA(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		root := w.authority
		app, other := w.app("A-WATER"), w.app("A-GAS")
		doomed := w.issuing(root, "Doomed CA")
		dev := w.device("D-1")
		require.NoError(t, app.connect(dev).Err())
		app.taken()
		byRoot, err := root.RevokeCertificate(doomed.Certificate())
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), byRoot))
		require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
		time.Sleep(24 * time.Hour)
		require.Empty(t, app.taken())
		require.False(t, w.record(dev).Listed)

		require.ErrorIs(t, other.disconnect(dev).Err(), control.ErrRetired)
		require.NoError(t, app.disconnect(dev).Err())
		orders := app.taken()
		require.Len(t, orders, 1)
		require.Equal(t, control.OrderRemove, orders[0].Op)
		ev, err := control.ParseEvidence(orders[0].Evidence)
		require.NoError(t, err)
		self, err := app.verifier.Verify(app.cred, identity.RoleApplication)
		require.NoError(t, err)
		require.NoError(t, ev.Permits(orders[0], app.verifier, control.Parties{Device: dev.cred, Application: self}))
		require.True(t, w.record(dev).Binding.IsZero())
		w.restart()
		require.Equal(t, registry.Retired, w.record(dev).Status)
	})
}

// Whoever is to be cut off because a CA is revoked is, also when the process ended, or the store did not answer, between the commit and the cut: the
// registry goes on with him, so that nothing else would do it.
func TestIssuingCARevokedAndTheProcessEnds(t *testing.T) {
	cut := func(w *world) (names []string) {
		time.Sleep(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, e := range w.evicts {
			names = append(names, e.id.String())
		}
		slices.Sort(names)
		return names
	}
	revoked := func(t *testing.T, w *world) []byte {
		root := w.authority
		w.device("D-SOUND")
		doomed := w.issuing(root, "Doomed CA")
		w.device("D-1")
		w.app("A-WATER")
		byRoot, err := root.RevokeCertificate(doomed.Certificate())
		require.NoError(t, err)
		return byRoot
	}
	t.Run("ended", func(t *testing.T) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			byRoot := revoked(t, w)
			w.stop() // with it the loop that cuts
			require.NoError(t, w.svc.AddCRL(t.Context(), byRoot))
			require.Empty(t, cut(w))
			w.start()
			require.Equal(t, []string{"A-WATER", "D-1"}, cut(w))
			require.NoError(t, w.svc.AddCRL(t.Context(), byRoot))
			require.Len(t, cut(w), 2, "once is enough")
		})
	})
	t.Run("no answer", func(t *testing.T) {
		withLoses(t, func(t *testing.T, w *world, s *loses) {
			byRoot := revoked(t, w)
			s.answers.Store(1)
			require.ErrorIs(t, w.svc.AddCRL(t.Context(), byRoot), errLost)
			require.Equal(t, []string{"A-WATER", "D-1"}, cut(w))
			require.NoError(t, w.svc.AddCRL(t.Context(), byRoot))
			require.Len(t, cut(w), 2, "once is enough")
		})
	})
}
