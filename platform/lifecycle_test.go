package platform_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/link/linkmem"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

func TestConnectAndDisconnect(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		topics := control.Topics{}
		up := topics.Up(app.appID(), dev.dev())
		require.False(t, w.svc.Allow(dev.id, "D-1", platform.ActionPublish, up))

		res := app.connect(dev)
		require.NoError(t, res.Err())
		rec := w.record(dev)
		require.Equal(t, registry.Connected, rec.Status)
		require.Equal(t, rec.Revision, res.Revision)
		require.True(t, w.svc.Allow(dev.id, "D-1", platform.ActionPublish, up))

		for _, side := range []struct{ g, other *gateway }{{dev, app}, {app, dev}} {
			orders := side.g.taken()
			require.Len(t, orders, 1)
			o := orders[0]
			require.Equal(t, control.OrderInstall, o.Op)
			require.Equal(t, side.other.id, o.Peer)
			require.Equal(t, side.other.cred, o.Credential)
			require.Equal(t, rec.Binding, o.Binding)
			require.Equal(t, uint64(1), o.Number)
			require.Equal(t, rec.Lifecycle, o.Lifecycle)
		}
		require.Empty(t, w.record(dev).Orders, "both sides acknowledged")

		require.NoError(t, app.connect(dev).Err(), "connected already")
		require.Empty(t, dev.taken())

		require.NoError(t, app.disconnect(dev).Err())
		require.Equal(t, registry.Registered, w.record(dev).Status)
		require.False(t, w.svc.Allow(dev.id, "D-1", platform.ActionPublish, up))
		v := dev.verifier
		verified, err := v.Verify(app.cred, identity.RoleApplication)
		require.NoError(t, err)
		for _, g := range []*gateway{dev, app} {
			orders := g.taken()
			require.Len(t, orders, 1)
			require.Equal(t, control.OrderRemove, orders[0].Op)
			require.Equal(t, rec.Binding, orders[0].Binding)
			ev, err := control.ParseEvidence(orders[0].Evidence)
			require.NoError(t, err)
			require.NoError(t, ev.Permits(orders[0], v, control.Parties{Application: verified}))
		}
		require.Equal(t, []registry.Kind{
			registry.KindRegistered, registry.KindAdmitted, registry.KindConnected, registry.KindOrderDone, registry.KindOrderDone,
			registry.KindDisconnected, registry.KindOrderDone, registry.KindOrderDone,
		}, w.kinds())
	})
}

func TestRefusals(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, a, b := w.device("D-1"), w.app("A-WATER"), w.app("A-GAS")
		unknown := &gateway{party: party{id: dev.id}, w: w, claim: dev.claim}
		unknown.id, _ = identity.ParseID("D-2")
		require.ErrorIs(t, a.connect(unknown).Err(), control.ErrUnknownDevice)
		require.ErrorIs(t, a.do(control.Request{Op: control.OpDisconnect, Device: dev.dev(), Binding: e2e.NewBindingID()}, nil).Err(), control.ErrNotConnected)
		require.ErrorIs(t, a.do(control.Request{Op: control.OpConnect, Device: dev.dev(), Revision: 9}, dev.claim).Err(), control.ErrRevision)
		require.NoError(t, a.connect(dev).Err())
		require.ErrorIs(t, b.connect(dev).Err(), control.ErrConnectedElsewhere)
		require.ErrorIs(t, b.disconnect(dev).Err(), control.ErrNotConnected)
		require.Equal(t, a.appID(), w.record(dev).App)
		require.Zero(t, b.do(control.Request{Op: control.OpConnect, Device: dev.dev()}, claimKey(t)).Revision, "a stranger learns nothing")

		require.NoError(t, a.disconnect(dev).Err())
		require.NoError(t, b.connect(dev).Err())
		require.ErrorIs(t, a.disconnect(dev).Err(), control.ErrNotConnected)

		refused := 0
		for e, err := range w.svc.Audit(t.Context()) {
			require.NoError(t, err)
			if e.Kind == registry.KindRefused {
				refused++
				require.NotZero(t, e.Code)
				require.Equal(t, registry.EvidenceRequest, e.Evidence.Kind)
				raw, err := w.svc.Evidence(t.Context(), e.Evidence)
				require.NoError(t, err)
				ev, err := control.ParseEvidence(raw)
				require.NoError(t, err)
				require.Equal(t, e.App, ev.Request.Request.App)
			}
		}
		require.Equal(t, 7, refused)
	})
}

func TestClaimProof(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, a, b := w.device("D-1"), w.app("A-WATER"), w.app("A-GAS")
		ask := control.Request{Op: control.OpConnect, Device: dev.dev()}
		require.ErrorIs(t, a.do(ask, nil).Err(), control.ErrClaimRefused)
		for range 10 {
			require.ErrorIs(t, a.do(ask, claimKey(t)).Err(), control.ErrClaimRefused)
		}
		require.ErrorIs(t, a.do(ask, claimKey(t)).Err(), control.ErrTooManyGuesses)
		require.ErrorIs(t, a.do(ask, dev.claim).Err(), control.ErrTooManyGuesses, "the right one too")
		w.restart()
		require.ErrorIs(t, a.do(ask, dev.claim).Err(), control.ErrTooManyGuesses, "a restart gives no new guesses")

		require.NoError(t, b.connect(dev).Err(), "one tenant's guesses do not lock another out")
		require.NoError(t, b.disconnect(dev).Err())
		time.Sleep(5*time.Minute + time.Second)
		require.ErrorIs(t, a.do(ask, claimKey(t)).Err(), control.ErrClaimRefused)
		require.ErrorIs(t, a.do(ask, claimKey(t)).Err(), control.ErrTooManyGuesses, "one came back")
		time.Sleep(5*time.Minute + time.Second)
		require.NoError(t, a.connect(dev).Err())
	})
}

// Many tenants together are held up by the device's own account.
func TestGuessesOfManyTenants(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.Limits.DeviceGuesses = platform.Allowance{Burst: 3, Every: time.Hour}
	}, func(t *testing.T, w *world) {
		dev := w.device("D-1")
		for i, name := range []string{"A-1", "A-2", "A-3", "A-4"} {
			want := control.ErrClaimRefused
			if i == 3 {
				want = control.ErrTooManyGuesses
			}
			require.ErrorIs(t, w.app(name).do(control.Request{Op: control.OpConnect, Device: dev.dev()}, claimKey(t)).Err(), want)
		}
	})
}

func TestClaimRules(t *testing.T) {
	for _, c := range []struct {
		name             string
		rule             platform.ClaimRule
		withKey, without bool // may be connected without proof
	}{
		{"required", platform.ClaimRequired, false, false},
		{"where registered", platform.ClaimWhereRegistered, false, true},
		{"never", platform.ClaimNever, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) { w.cfg.Claim = c.rule }, func(t *testing.T, w *world) {
				app, keyed := w.app("A-WATER"), w.device("D-1")
				p := w.party("D-2")
				admission, err := w.svc.Register(t.Context(), w.registration(p, nil))
				require.NoError(t, err)
				bare := w.gateway(p, admission)
				for _, d := range []struct {
					g    *gateway
					want bool
				}{{keyed, c.withKey}, {bare, c.without}} {
					err := app.do(control.Request{Op: control.OpConnect, Device: d.g.dev()}, nil).Err()
					if d.want {
						require.NoError(t, err)
						continue
					}
					require.ErrorIs(t, err, control.ErrClaimRefused)
				}
				if c.rule != platform.ClaimNever {
					require.NoError(t, app.connect(keyed).Err(), "with proof")
				}
			})
		})
	}
}

// policy refuses one application.
type policy struct {
	refuse string
	seen   chan platform.ConnectRequest
}

func (p policy) Connect(_ context.Context, r platform.ConnectRequest) error {
	p.seen <- r
	if r.App.String() == p.refuse {
		return &platform.PolicyError{Text: "contract has ended"}
	}
	return nil
}

func TestPolicy(t *testing.T) {
	var p policy
	inWorld(t, func(w *world) {
		p = policy{"A-GAS", make(chan platform.ConnectRequest, 8)}
		w.cfg.Policy = p
	}, func(t *testing.T, w *world) {
		dev, a, b := w.device("D-1"), w.app("A-WATER"), w.app("A-GAS")
		res := b.connect(dev)
		require.ErrorIs(t, res.Err(), control.ErrPolicy)
		require.Equal(t, "contract has ended", res.Text)
		require.True(t, (<-p.seen).Proven)
		require.ErrorIs(t, b.do(control.Request{Op: control.OpConnect, Device: dev.dev()}, claimKey(t)).Err(), control.ErrClaimRefused)
		require.Empty(t, p.seen, "not asked about guesses")
		require.NoError(t, a.connect(dev).Err())
	})
}

func TestRetire(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		require.NoError(t, app.connect(dev).Err())
		dev.taken()
		app.taken()

		began := time.Now()
		require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
		require.Error(t, w.svc.Authenticate(dev.id, "D-1"), "from this moment")
		require.False(t, w.svc.Allow(dev.id, "D-1", platform.ActionPublish, control.Topics{}.Up(app.appID(), dev.dev())))
		synctest.Wait()

		orders := dev.taken()
		require.Len(t, orders, 1, "over the connection that it still has")
		require.Equal(t, control.OrderWipe, orders[0].Op)
		require.Equal(t, dev.dev(), orders[0].Device)
		ev, err := control.ParseEvidence(orders[0].Evidence)
		require.NoError(t, err)
		self, err := dev.verifier.Verify(dev.cred, identity.RoleDevice)
		require.ErrorIs(t, err, identity.ErrRevoked, "the list came with the reply")
		require.Nil(t, self)
		require.NoError(t, ev.Permits(orders[0], w.verifier(), control.Parties{Device: dev.cred}))

		orders = app.taken()
		require.Len(t, orders, 1)
		require.Equal(t, control.OrderRemove, orders[0].Op)
		ev, err = control.ParseEvidence(orders[0].Evidence)
		require.NoError(t, err)
		require.NoError(t, ev.Permits(orders[0], app.verifier, control.Parties{Device: dev.cred}))
		require.NotEmpty(t, app.verifier.CRLs(), "and the list itself")

		require.NoError(t, dev.client.Sync(t.Context()), "the device learns that the platform knows of the wipe")
		require.Zero(t, time.Since(began))
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		require.Len(t, w.evicts, 1)
		require.Equal(t, dev.id, w.evicts[0].id)
		require.Equal(t, 200*time.Millisecond, w.evicts[0].at.Sub(began), "and is cut then")
		w.mu.Unlock()
		require.False(t, w.svc.Allow(dev.id, "D-1", platform.ActionPublish, control.Topics{}.ToPlatform(dev.id)))
		require.False(t, w.svc.Allow(dev.id, "D-1", platform.ActionReceive, control.Topics{}.ToPeer(dev.id)))
		require.ErrorIs(t, app.connect(dev).Err(), control.ErrRetired)
		require.NoError(t, w.svc.Retire(t.Context(), dev.dev()), "again")
		_, err = w.svc.Register(t.Context(), w.registration(dev.party, dev.claim))
		require.ErrorIs(t, err, identity.ErrRevoked)
		unknown, err := identity.ParseDeviceID("D-9")
		require.NoError(t, err)
		require.ErrorIs(t, w.svc.Retire(t.Context(), unknown), platform.ErrUnknownDevice)
	})
}

func (w *world) verifier() *identity.Verifier {
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: w.roots})
	require.NoError(w.t, err)
	return v
}

// lazyAuthority names the device at the fourth time of asking.
type lazyAuthority struct {
	w     *world
	asked atomic.Int32
}

func (l *lazyAuthority) Revoke(_ context.Context, id identity.ID) ([]byte, error) {
	switch l.asked.Add(1) {
	case 1:
		return nil, context.DeadlineExceeded
	case 2, 3:
		return l.w.authority.CRL()
	}
	return l.w.authority.Revoke(id)
}

func TestRetirePendsUntilTheListNamesTheDevice(t *testing.T) {
	var lazy *lazyAuthority
	inWorld(t, func(w *world) {
		lazy = &lazyAuthority{w: w}
		w.cfg.Revoker = lazy
		w.refuse = 2
	}, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		require.NoError(t, app.connect(dev).Err())
		dev.taken()
		app.taken()
		require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
		synctest.Wait()
		require.False(t, w.record(dev).Listed)
		require.Empty(t, app.taken(), "no evidence, no order")
		require.Equal(t, int32(1), lazy.asked.Load())
		time.Sleep(1900 * time.Millisecond)
		require.Equal(t, int32(2), lazy.asked.Load())
		w.mu.Lock()
		require.Len(t, w.evicts, 1, "cut in time, in spite of a busy broker")
		w.mu.Unlock()
		w.restart()
		synctest.Wait()
		require.Equal(t, int32(3), lazy.asked.Load(), "a restart forgets nothing")
		require.False(t, w.record(dev).Listed)
		time.Sleep(time.Minute)
		require.Equal(t, int32(4), lazy.asked.Load())
		require.True(t, w.record(dev).Listed)
		require.Len(t, app.taken(), 1)
		time.Sleep(time.Hour)
		require.Equal(t, int32(4), lazy.asked.Load(), "done")
	})
}

func TestApplicationRevoked(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, other, a, b := w.device("D-1"), w.device("D-2"), w.app("A-WATER"), w.app("A-GAS")
		require.NoError(t, a.connect(dev).Err())
		require.NoError(t, b.connect(other).Err())
		for _, g := range []*gateway{dev, other, a, b} {
			g.taken()
		}
		crl, err := w.authority.Revoke(a.id)
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), crl))
		require.Equal(t, registry.Registered, w.record(dev).Status)
		require.Equal(t, registry.Connected, w.record(other).Status)
		require.Error(t, w.svc.Authenticate(a.id, "A-WATER"))

		orders := dev.taken()
		require.Len(t, orders, 1)
		ev, err := control.ParseEvidence(orders[0].Evidence)
		require.NoError(t, err)
		known, err := w.verifier().Verify(a.cred, identity.RoleApplication)
		require.NoError(t, err)
		require.NoError(t, ev.Permits(orders[0], dev.verifier, control.Parties{Application: known}))
		require.Empty(t, other.taken())
		w.mu.Lock()
		require.Equal(t, a.id, w.evicts[0].id)
		w.mu.Unlock()

		time.Sleep(time.Minute)
		require.Equal(t, [][]byte{crl}, other.verifier.CRLs(), "everybody gets the list")
		require.NoError(t, b.connect(dev).Err(), "the device is free")
		_, err = w.svc.Admit(t.Context(), a.cred)
		require.ErrorIs(t, err, identity.ErrRevoked)

		require.NoError(t, w.svc.AddCRL(t.Context(), crl), "again")
		old, err := w.authority.Revoke(dev.id)
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), old), "the authority may revoke a device unasked")
		require.Equal(t, registry.Retired, w.record(dev).Status)
		require.ErrorIs(t, w.svc.AddCRL(t.Context(), crl), identity.ErrCRLOlder)
		require.ErrorIs(t, w.svc.AddCRL(t.Context(), []byte("no list")), identity.ErrCRL)

		w.restart()
		require.ErrorIs(t, w.svc.AddCRL(t.Context(), crl), identity.ErrCRLOlder, "the list is durable")
	})
}

// Serial numbers are an authority's own: another's list with the same one is not about this device.
func TestListOfAnotherAuthority(t *testing.T) {
	inWorld(t, func(w *world) {
		w.second = newAuthority(t)
		w.roots = append(w.roots, w.second.cert)
		w.cfg.Roots = w.roots
	}, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		var serials []*big.Int
		for _, g := range []*gateway{dev, app} {
			cert, err := x509.ParseCertificate(g.cred.Chain[0])
			require.NoError(t, err)
			serials = append(serials, cert.SerialNumber)
		}
		require.NoError(t, w.svc.AddCRL(t.Context(), w.second.list(t, serials...)))
		require.Equal(t, registry.Registered, w.record(dev).Status)
		require.NoError(t, app.connect(dev).Err())
		w.restart()
		require.NoError(t, app.disconnect(dev).Err())
	})
}

// authority is a root whose lists say what a test wants.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a, err := ca.New(ca.Config{Name: "Second CA", Signer: key, Store: new(ca.MemStore)})
	require.NoError(t, err)
	return &authority{key, a.Certificate()}
}

func (a *authority) list(t *testing.T, serials ...*big.Int) []byte {
	l := &x509.RevocationList{Number: big.NewInt(7), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	require.NoError(t, err)
	return der
}

func TestRegisterAndAdmit(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		ctx := t.Context()
		p, claim := w.party("D-1"), claimKey(t)
		first, err := w.svc.Register(ctx, w.registration(p, claim))
		require.NoError(t, err)
		again, err := w.svc.Register(ctx, w.registration(p, claim))
		require.NoError(t, err)
		require.Equal(t, first, again, "also with another binding, as a station makes that was interrupted")
		_, err = w.svc.Register(ctx, w.registration(p, claimKey(t)))
		require.ErrorIs(t, err, platform.ErrConflict)
		_, err = w.svc.Register(ctx, nil)
		require.ErrorIs(t, err, control.ErrMalformed)

		// Neither a device nor an application may register devices.
		app := w.party("A-WATER")
		r := platform.Registration{Device: identity.DeviceID{ID: p.id}, Credential: p.cred, Binding: e2e.NewBindingID()}
		b, err := r.Sign(app.signer, app.cred)
		require.NoError(t, err)
		_, err = w.svc.Register(ctx, b)
		require.ErrorIs(t, err, identity.ErrRole)

		admission, err := w.svc.Admit(ctx, app.cred)
		require.NoError(t, err)
		same, err := w.svc.Admit(ctx, app.cred)
		require.NoError(t, err)
		require.Equal(t, admission, same)
		_, err = w.svc.Admit(ctx, p.cred)
		require.ErrorIs(t, err, identity.ErrRole)
		foreign := newWorld(t).party("A-GAS")
		_, err = w.svc.Admit(ctx, foreign.cred)
		require.ErrorIs(t, err, identity.ErrUntrusted)
		require.Equal(t, []registry.Kind{registry.KindRegistered, registry.KindAdmitted}, w.kinds())
		all, err := w.svc.Devices(ctx)
		require.NoError(t, err)
		require.Len(t, all, 1)
		apps, err := w.svc.Applications(ctx)
		require.NoError(t, err)
		require.Len(t, apps, 1)
	})
}

// A device that is away holds up nobody, and finds what it missed.
func TestOfflineDevice(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, a, b := w.device("D-1"), w.app("A-WATER"), w.app("A-GAS")
		require.NoError(t, a.connect(dev).Err())
		dev.taken()
		dev.link.SetOffline(true)
		require.NoError(t, a.disconnect(dev).Err())
		for range 3 {
			require.NoError(t, b.connect(dev).Err())
			require.NoError(t, b.disconnect(dev).Err())
		}
		require.NoError(t, a.connect(dev).Err())
		require.Len(t, a.taken(), 3)
		require.Len(t, w.record(dev).Pending(dev.id), 2)
		dev.link.SetOffline(false)
		time.Sleep(time.Second)
		orders := dev.taken()
		require.Len(t, orders, 2)
		require.Equal(t, control.OrderRemove, orders[0].Op)
		require.Equal(t, control.OrderInstall, orders[1].Op)
		require.Less(t, orders[0].Number, orders[1].Number)
		require.Less(t, orders[0].Lifecycle, orders[1].Lifecycle)
		require.Empty(t, w.record(dev).Orders)
	})
}

// The nudge is lost and the platform dies: the device hears of its order all the same, long before its regular poll.
func TestLostNudge(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		w.setFate(func(p linkmem.Publication) linkmem.Fate {
			if control.IsNudge(p.Payload) {
				return linkmem.Drop
			}
			return linkmem.Deliver
		})
		require.NoError(t, app.connect(dev).Err())
		require.Empty(t, dev.taken())
		w.setFate(nil)
		w.restart()
		time.Sleep(time.Second)
		require.Len(t, dev.taken(), 1)
	})
}

// More orders than one reply holds, and one that is refused for good.
func TestManyOrders(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		app := w.app("A-WATER")
		app.result = control.ErrOrderRefused
		var devs []*gateway
		for _, n := range []string{"D-1", "D-2", "D-3", "D-4", "D-5", "D-6", "D-7", "D-8", "D-9", "D-10", "D-11", "D-12", "D-13", "D-14", "D-15", "D-16", "D-17", "D-18"} {
			devs = append(devs, w.device(n))
		}
		for _, d := range devs {
			require.NoError(t, app.connect(d).Err())
		}
		require.Len(t, app.taken(), len(devs))
		app.link.SetOffline(true)
		synctest.Wait()
		crl, err := w.authority.CRL()
		require.NoError(t, err)
		for _, d := range devs {
			crl, err = w.authority.Revoke(d.id)
			require.NoError(t, err)
		}
		require.NoError(t, w.svc.AddCRL(t.Context(), crl))
		require.Len(t, w.record(devs[0]).Pending(app.id), 1)
		app.link.SetOffline(false)
		time.Sleep(5 * time.Second)
		orders := app.taken()
		require.Len(t, orders, len(devs))
		for i, o := range orders {
			require.Equal(t, uint64(len(devs)+i+1), o.Number)
		}
		require.Empty(t, w.record(devs[0]).Pending(app.id), "refused for good is not sent again")
		require.Contains(t, w.kinds(), registry.KindOrderRefused)
	})
}
