package control_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/control/controltest"
)

// renewal is what a gateway does about credentials, without keeping anything.
type renewal struct {
	csr     []byte
	next    controltest.Party
	chain   func(chain [][]byte)
	peer    []identity.Credential
	admit   func(admission []byte) *control.Side
	admits  int
	holding uint32
}

func (r *renewal) ask() []byte              { return r.csr }
func (r *renewal) own() identity.Credential { return r.next.Credential }
func (r *renewal) held() uint32             { return r.holding }
func (r *renewal) takeChain(chain [][]byte) { r.chain(chain) }
func (r *renewal) takePeer(c identity.Credential) {
	r.peer = append(r.peer, c)
}

func (r *renewal) takeAdmission(a []byte) *control.Side {
	r.admits++
	return r.admit(a)
}

// often has certificates that are worth renewing at once.
func often(t *testing.T) *controltest.World {
	return controltest.NewWorldWith(t, ca.Config{Validity: 2 * time.Minute, DeviceValidity: 2 * time.Minute})
}

// A device asks for a certificate, offers it, and speaks under it from the admission on. Its orders and acknowledgements go on.
func TestClientTurnsToTheNewCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := often(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		l.platform.Issue = func(csr []byte) ([][]byte, error) { return w.Authority.Issue(csr, ca.IssueOptions{}) }
		r := &l.renewal
		old := l.self
		var err error
		r.csr, err = identity.NewCSR(old.Signer, old.Verified.ID(), identity.CSROptions{})
		require.NoError(t, err)
		r.chain = func(chain [][]byte) {
			e, err := identity.Endorse(old.Signer, chain[0], old.Key.PublicKey(), identity.EndorseOptions{Generation: 1})
			require.NoError(t, err)
			r.csr, r.next.Credential = nil, identity.Credential{Chain: chain, Endorsement: e}
		}
		r.admit = func(b []byte) *control.Side {
			self, err := l.verifier.Verify(r.next.Credential, identity.RoleDevice)
			require.NoError(t, err)
			a, platform, err := control.OpenAdmission(b, l.verifier, self)
			require.NoError(t, err)
			peer, err := e2e.NewPeer(e2e.Config{Self: self, Key: old.Key, Remote: platform, Binding: a.Binding, Epochs: &l.epochs})
			require.NoError(t, err)
			r.next.Credential = identity.Credential{}
			return &control.Side{Self: self, Signer: old.Signer, Platform: platform, Peer: peer}
		}
		defer l.run()()
		l.platform.Order(l.install(1))
		l.client.LinkUp()
		for range 3 {
			require.NoError(t, l.client.Sync(t.Context()))
		}
		require.Equal(t, 1, r.admits)
		require.EqualValues(t, 1, l.platform.Peer(old.Verified.ID()).Generation())
		l.platform.Order(l.install(2))
		require.NoError(t, l.client.Sync(t.Context()))
		require.Len(t, l.platform.Acks(), 2)
		require.Len(t, l.applied, 2)
	})
}

// The application's newest credential comes until the device holds it, before the orders.
func TestClientPullsThePeersCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := often(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		app := w.Renewed(t, w.Party(t, "A-1"))
		l.platform.PeerCredential = app.Verified
		l.apply = func(control.Order) error { require.NotEmpty(t, l.renewal.peer); return nil }
		defer l.run()()
		l.platform.Order(l.install(1))
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		require.NotEmpty(t, l.renewal.peer)
		require.Equal(t, app.Credential, l.renewal.peer[0])
		n := len(l.renewal.peer)
		l.renewal.holding = 1
		require.NoError(t, l.client.Sync(t.Context()))
		require.Len(t, l.renewal.peer, n)
	})
}
