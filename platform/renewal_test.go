package platform_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

const (
	year    = 365 * 24 * time.Hour
	aLot    = 250 * 24 * time.Hour // less than a third of the validity is left
	tooLong = 2 * year
)

// renewer is the authority, which can be away.
type renewer struct {
	a     *ca.Authority
	away  atomic.Bool
	asked atomic.Int32
}

func (r *renewer) Renew(_ context.Context, csr []byte) ([][]byte, error) {
	r.asked.Add(1)
	if r.away.Load() {
		return nil, errors.New("authority is away")
	}
	return r.a.Issue(csr, ca.IssueOptions{})
}

// inRenewingWorld has devices' certificates of a year, and a platform that relays requests.
func inRenewingWorld(t *testing.T, f func(t *testing.T, w *world, r *renewer)) {
	var r *renewer
	inWorldOf(t, ca.Config{Validity: 20 * year, DeviceValidity: year}, func(w *world) {
		r = &renewer{a: w.authority}
		w.cfg.Renewer = r
	}, func(t *testing.T, w *world) { f(t, w, r) })
}

// ask sends one message and returns the reply; nil where the platform is silent.
func (g *gateway) ask(m control.Message) *control.Reply {
	x, init := g.init(func([32]byte) control.Message { return m })
	answers := g.send(init)
	if len(answers) == 0 {
		return nil
	}
	typ, err := e2e.TypeOf(answers[len(answers)-1])
	require.NoError(g.w.t, err)
	if typ == e2e.TypeChallenge {
		return nil
	}
	r := g.open(x, answers[len(answers)-1])
	return &r
}

// obtain asks until the certificate is there.
func (g *gateway) obtain() [][]byte {
	for range 3 {
		if r := g.ask(control.Message{CSR: g.csr(g.w.t)}); r != nil && len(r.Chain) > 0 {
			return r.Chain
		}
		time.Sleep(time.Second)
	}
	require.FailNow(g.w.t, "no certificate")
	return nil
}

// turned is the gateway under another credential, with the same epochs. It is spoken with by hand.
func (g *gateway) turned(p party, admission []byte) *gateway {
	t := g.w.t
	self, err := g.verifier.VerifyLapsed(p.cred, p.id.Role())
	require.NoError(t, err)
	a, plat, err := control.OpenAdmission(admission, g.verifier, self)
	require.NoError(t, err)
	require.Equal(t, g.binding, a.Binding)
	n := &gateway{party: p, w: g.w, verifier: g.verifier, epochs: g.epochs, link: g.link, binding: g.binding, claim: g.claim}
	n.peerCfg = g.peerCfg
	n.peerCfg.Self, n.peerCfg.Remote, n.peerCfg.Key = self, plat, p.key
	n.peer, err = e2e.NewPeer(n.peerCfg)
	require.NoError(t, err)
	return n
}

func TestDeviceIsRenewed(t *testing.T) {
	inRenewingWorld(t, func(t *testing.T, w *world, r *renewer) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		require.NoError(t, app.connect(dev).Err())
		before := w.record(dev)
		require.Len(t, app.taken(), 1)
		dev.link.SetOffline(true) // by hand from here on, with the same epochs
		app.link.SetOffline(true)
		time.Sleep(aLot)

		require.Nil(t, dev.ask(control.Message{CSR: dev.csr(t)}).Chain, "the authority is being asked")
		chain := dev.ask(control.Message{CSR: dev.csr(t)}).Chain
		require.NotNil(t, chain)
		require.Equal(t, chain, dev.ask(control.Message{CSR: dev.csr(t)}).Chain)
		require.EqualValues(t, 1, r.asked.Load(), "the answer is kept")
		w.restart()
		require.Equal(t, chain, dev.ask(control.Message{CSR: dev.csr(t)}).Chain)

		next := dev.with(t, chain, 1)
		admission := dev.ask(control.Message{Credential: next.cred}).Admission
		require.NotNil(t, admission)
		require.Equal(t, before.CertificateHash, w.record(dev).CertificateHash, "accepted, not used")
		require.NotNil(t, dev.ask(control.Message{Credential: next.cred}).Admission, "the admission was lost")
		require.NotNil(t, dev.ask(control.Message{}), "the old one is still good")
		w.restart()

		old := dev
		dev = dev.turned(next, admission)
		require.NotNil(t, dev.ask(control.Message{}))
		rec := w.record(dev)
		require.NotEqual(t, before.CertificateHash, rec.CertificateHash)
		require.EqualValues(t, 1, rec.Generation)
		require.Equal(t, before.Binding, rec.Binding)
		require.Equal(t, before.Lifecycle+1, rec.Lifecycle)
		require.Nil(t, old.ask(control.Message{}), "nobody is heard under the old one")
		require.Equal(t, 1, count(w.kinds(), registry.KindRenewed))

		app.link.SetOffline(false)
		orders := app.taken()
		require.Len(t, orders, 1)
		require.Equal(t, control.OrderInstall, orders[0].Op)
		require.Equal(t, before.Binding, orders[0].Binding)
		require.Equal(t, next.cred, orders[0].Credential)
		w.restart()
		require.NotNil(t, dev.ask(control.Message{}))
		require.NoError(t, app.disconnect(dev).Err())
		require.NoError(t, w.svc.VerifyAudit(t.Context()))
	})
}

// A device that was away for years is heard, and gets what it needs to be renewed and nothing else.
func TestLapsedDevice(t *testing.T) {
	inRenewingWorld(t, func(t *testing.T, w *world, r *renewer) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		dev.link.SetOffline(true)
		require.NoError(t, app.connect(dev).Err())
		app.link.SetOffline(true)
		time.Sleep(tooLong)
		require.NoError(t, w.svc.Authenticate(dev.id, "D-1"))
		cert := w.record(dev).CertificateHash
		require.NoError(t, w.svc.AuthenticateLapsed(dev.id, "D-1", cert))
		require.ErrorIs(t, w.svc.AuthenticateLapsed(dev.id, "D-1", [32]byte{1}), registry.ErrNotAllowed)
		require.ErrorIs(t, w.svc.AuthenticateLapsed(dev.id, "D-2", cert), registry.ErrNotAllowed)
		topics := control.Topics{}
		require.True(t, w.svc.AllowLapsed(dev.id, "D-1", platform.ActionPublish, topics.ToPlatform(dev.id)))
		require.True(t, w.svc.AllowLapsed(dev.id, "D-1", platform.ActionSubscribe, topics.ToPeer(dev.id)))
		require.True(t, w.svc.Allow(dev.id, "D-1", platform.ActionPublish, topics.Up(app.appID(), dev.dev())))
		require.False(t, w.svc.AllowLapsed(dev.id, "D-1", platform.ActionPublish, topics.Up(app.appID(), dev.dev())))
		require.False(t, w.svc.AllowLapsed(dev.id, "D-1", platform.ActionPublish, topics.ToPlatform(app.id)))

		r.away.Store(true)
		reply := dev.ask(control.Message{CSR: dev.csr(t)})
		require.NotNil(t, reply)
		require.Empty(t, reply.Orders, "an order waits, and goes on waiting")
		dev.ask(control.Message{CSR: dev.csr(t)})
		require.EqualValues(t, 1, r.asked.Load(), "an authority that fails is left alone for a while")
		r.away.Store(false)
		time.Sleep(2 * time.Minute)

		chain := dev.obtain()
		next := dev.with(t, chain, 1)
		reply = dev.ask(control.Message{Credential: next.cred})
		require.NotEmpty(t, reply.Admission)
		require.Empty(t, reply.Orders)
		dev = dev.turned(next, reply.Admission)
		w.mu.Lock()
		w.evicts = nil
		w.mu.Unlock()
		reply = dev.ask(control.Message{})
		require.Len(t, reply.Orders, 1)
		time.Sleep(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Len(t, w.evicts, 1, "its connection was for the renewal alone")
	})
}

// Between two renewals the device may be away for as long as it likes.
func TestLapsedSuccessor(t *testing.T) {
	inRenewingWorld(t, func(t *testing.T, w *world, _ *renewer) {
		dev := w.device("D-1")
		dev.link.SetOffline(true)
		time.Sleep(aLot)
		next := dev.with(t, dev.obtain(), 1)
		admission := dev.ask(control.Message{Credential: next.cred}).Admission
		time.Sleep(tooLong)
		dev = dev.turned(next, admission)
		require.NotNil(t, dev.ask(control.Message{}))
		require.EqualValues(t, 1, w.record(dev).Generation)
		last := dev.with(t, dev.obtain(), 2)
		dev = dev.turned(last, dev.ask(control.Message{Credential: last.cred}).Admission)
		require.NotNil(t, dev.ask(control.Message{}))
		require.EqualValues(t, 2, w.record(dev).Generation)
	})
}

// A message that was held on its way does not bring an older offer back: the peer may be using the newer one, and is heard under it.
func TestLateOffer(t *testing.T) {
	inRenewingWorld(t, func(t *testing.T, w *world, _ *renewer) {
		dev := w.device("D-1")
		dev.link.SetOffline(true)
		time.Sleep(aLot)
		first := dev.with(t, dev.obtain(), 1)
		require.NotEmpty(t, dev.ask(control.Message{Credential: first.cred}).Admission)
		_, late := dev.init(func([32]byte) control.Message { return control.Message{Credential: first.cred} })
		sameGeneration := dev.with(t, first.cred.Chain, 2)
		_, later := dev.init(func([32]byte) control.Message { return control.Message{Credential: sameGeneration.cred} })
		time.Sleep(aLot)
		second := dev.with(t, dev.obtain(), 2)
		admission := dev.ask(control.Message{Credential: second.cred}).Admission
		require.NotEmpty(t, admission)
		for _, held := range [][]byte{late, later} {
			require.NotEmpty(t, dev.send(held))
			require.Equal(t, sha256.Sum256(second.cred.Chain[0]), w.record(dev).Next.CertificateHash)
		}
		dev = dev.turned(second, admission)
		require.NotNil(t, dev.ask(control.Message{}))
		require.EqualValues(t, 2, w.record(dev).Generation)
	})
}

func TestOffersThatAreRefused(t *testing.T) {
	inRenewingWorld(t, func(t *testing.T, w *world, r *renewer) {
		dev, other := w.device("D-1"), w.device("D-2")
		dev.link.SetOffline(true)
		other.link.SetOffline(true)
		time.Sleep(aLot)
		chain := dev.obtain()
		good := dev.with(t, chain, 1)
		ofOther := other.with(t, other.obtain(), 1)

		otherKey := good
		otherKey.key = w.party("D-3").key
		otherKey = otherKey.with(t, chain, 1)
		foreign := newWorldOf(t, ca.Config{}).party("D-1")
		foreign = foreign.with(t, foreign.cred.Chain, 1)
		for name, c := range map[string]identity.Credential{
			"lower generation":      dev.with(t, chain, 0).cred,
			"the one in use":        dev.with(t, dev.cred.Chain, 5).cred,
			"all generations":       dev.with(t, chain, math.MaxUint32).cred,
			"another name":          ofOther.cred,
			"another agreement key": otherKey.cred,
			"another authority":     foreign.cred,
			"an application's":      w.party("A-1").cred,
		} {
			require.Empty(t, dev.ask(control.Message{Credential: c}).Admission, name)
			require.True(t, w.record(dev).Next.IsZero(), name)
		}
		stranger := w.party("D-1X")
		for name, csr := range map[string][]byte{"another name": stranger.csr(t), "junk": []byte("junk"), "of another device": other.csr(t)} {
			n := r.asked.Load()
			require.Nil(t, dev.ask(control.Message{CSR: csr}).Chain, name)
			require.Equal(t, n, r.asked.Load(), name)
		}

		// What was good is refused once the authority has revoked it.
		admission := dev.ask(control.Message{Credential: good.cred}).Admission
		require.NotEmpty(t, admission)
		crl, err := w.authority.RevokeCertificate(parse(t, chain[0]))
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), crl))
		require.Equal(t, registry.Registered, w.record(dev).Status, "the one in use is not named")
		require.Empty(t, dev.ask(control.Message{Credential: good.cred}).Admission)
		require.Nil(t, dev.turned(good, admission).ask(control.Message{}))
		require.EqualValues(t, 0, w.record(dev).Generation)

		// A revoked device gets no certificate, and hears why.
		crl, err = w.authority.Revoke(other.id)
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), crl))
		reply := other.ask(control.Message{CSR: other.csr(t), Credential: ofOther.cred})
		require.Empty(t, reply.Chain)
		require.Empty(t, reply.Admission)
		require.Len(t, reply.Orders, 1)
	})
}

// An application that has changed its keys: devices are told, its requests are verified under the key of their time.
func TestApplicationIsRekeyed(t *testing.T) {
	inRenewingWorld(t, func(t *testing.T, w *world, _ *renewer) {
		dev, app, second := w.device("D-1"), w.app("A-WATER"), w.device("D-2")
		require.NoError(t, app.connect(dev).Err())
		require.NoError(t, app.connect(second).Err())
		require.NoError(t, app.disconnect(second).Err())
		dev.link.SetOffline(true)
		app.link.SetOffline(true)

		p := w.newKeys(app.party)
		chain, err := w.authority.Issue(p.csr(t), ca.IssueOptions{NewKey: true})
		require.NoError(t, err)
		next := p.with(t, chain, 1)
		admission := app.ask(control.Message{Credential: next.cred}).Admission
		require.NotEmpty(t, admission)
		require.Empty(t, dev.ask(control.Message{}).PeerCredential.Chain)
		app = app.turned(next, admission)
		require.NotNil(t, app.ask(control.Message{}))
		require.Equal(t, next.cred, dev.ask(control.Message{}).PeerCredential)
		require.Empty(t, dev.ask(control.Message{PeerGeneration: 1}).PeerCredential.Chain)

		m := app.connectMessage(second)
		x, init := app.init(m)
		reply := app.open(x, app.send(init)[0])
		require.NoError(t, reply.Result.Err())
		require.NoError(t, w.svc.VerifyAudit(t.Context()), "requests of both keys")
	})
}

// A device that was away while its application had other keys, and was revoked, lets go of it.
func TestRevokedAfterARenewal(t *testing.T) {
	inRenewingWorld(t, func(t *testing.T, w *world, _ *renewer) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		require.NoError(t, app.connect(dev).Err())
		dev.taken()
		known, err := w.verifier().Verify(app.cred, identity.RoleApplication)
		require.NoError(t, err)
		dev.link.SetOffline(true)
		app.link.SetOffline(true)
		p := w.newKeys(app.party)
		chain, err := w.authority.Issue(p.csr(t), ca.IssueOptions{NewKey: true})
		require.NoError(t, err)
		next := p.with(t, chain, 1)
		app = app.turned(next, app.ask(control.Message{Credential: next.cred}).Admission)
		require.NotNil(t, app.ask(control.Message{}))
		crl, err := w.authority.RevokeCertificate(parse(t, chain[0]))
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), crl))
		require.Equal(t, registry.Registered, w.record(dev).Status)

		orders := dev.ask(control.Message{}).Orders
		require.Len(t, orders, 1)
		order, err := control.OpenOrder(orders[0], dev.peerCfg.Remote)
		require.NoError(t, err)
		ev, err := control.ParseEvidence(order.Evidence)
		require.NoError(t, err)
		require.NoError(t, dev.verifier.AddCRL(crl))
		require.NoError(t, ev.Permits(order, dev.verifier, control.Parties{Device: dev.cred, Application: known}))
	})
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

// newKeys are those of a party under the same name.
func (w *world) newKeys(p party) party {
	other := w.party("A-KEYS")
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(w.t, err)
	p.signer, p.key = signer, other.key
	return p
}

// Nothing of a device whose certificate is not good any more passes but what renews it, also where that came after it was found to be good.
func TestLapsedDeviceIsNotHeard(t *testing.T) {
	for name, revoked := range map[string]bool{"over": false, "its CA is revoked": true} {
		t.Run(name, func(t *testing.T) {
			inWorldOf(t, ca.Config{Validity: 20 * year, DeviceValidity: year}, nil, func(t *testing.T, w *world) {
				app, root := w.app("A-WATER"), w.authority
				if revoked {
					w.issuing(root, "Issuing CA")
				}
				dev, other := w.device("D-1"), w.device("D-2")
				dev.link.SetOffline(true)
				other.link.SetOffline(true)
				require.NoError(t, app.connect(dev).Err())
				require.NoError(t, app.connect(other).Err())
				app.link.SetOffline(true)
				order := dev.ask(control.Message{}).Orders[0]
				require.Len(t, other.ask(control.Message{}).Orders, 1)
				o, err := control.OpenOrder(order, dev.peerCfg.Remote)
				require.NoError(t, err)
				ack, err := control.AckOf(dev.id, o.Number, order, control.AckDone).Sign(dev.signer)
				require.NoError(t, err)
				if revoked {
					list, err := root.RevokeCertificate(w.authority.Certificate())
					require.NoError(t, err)
					require.NoError(t, w.svc.AddCRL(t.Context(), list))
				} else {
					time.Sleep(tooLong)
				}
				require.Empty(t, other.ask(control.Message{}).Orders)
				require.Empty(t, dev.ask(control.Message{Acks: [][]byte{ack}}).Orders)
				require.Len(t, w.record(dev).Pending(dev.id), 1, "its acknowledgement does not count")
			})
		})
	}
}

// Neither are prekeys of such an application passed on.
func TestLapsedApplicationHasNoPrekeys(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		root := w.authority
		dev := w.device("D-1")
		w.issuing(root, "Issuing CA")
		app := w.app("A-WATER")
		require.NoError(t, app.connect(dev).Err())
		dev.link.SetOffline(true)
		app.link.SetOffline(true)
		prekey := func(number uint32) control.Message {
			b, err := e2e.SignPrekey(app.signer, app.peerCfg.Self, number, time.Now().Add(time.Hour), w.keys(app.id).key.PublicKey())
			require.NoError(t, err)
			return control.Message{Prekey: b}
		}
		first := prekey(1)
		app.ask(first)
		require.Equal(t, first.Prekey, dev.ask(control.Message{}).Prekey)
		list, err := root.RevokeCertificate(w.authority.Certificate())
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), list))
		app.ask(prekey(2))
		require.Equal(t, first.Prekey, dev.ask(control.Message{}).Prekey)
	})
}
