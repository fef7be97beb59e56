package fieldtest_test

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/systemtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/broker"
)

// town has the embedded broker with mutual TLS, a clock that the test moves on, and a platform and an application that can be started again as what
// they have become. Their certificates are good for a year.
type town struct {
	*systemtest.System
	t      *testing.T
	broker *broker.Broker
	ahead  atomic.Int64

	plat      self
	registry  platform.Store
	svc       atomic.Pointer[platform.Service]
	stopPlat  func()
	water     self
	store     appgw.Store
	locker    appgw.Locker
	admission []byte
	app       *appgw.Gateway
	stopApp   func()
	inbox     log
}

// self is a party and what it was before.
type self struct {
	systemtest.Party
	before []identity.Holder
}

func (w *town) now() time.Time       { return time.Now().Add(time.Duration(w.ahead.Load())) }
func (w *town) pass(d time.Duration) { w.ahead.Add(int64(d)) }

func (w *town) Authenticate(id identity.ID, clientID string) error {
	return w.svc.Load().Authenticate(id, clientID)
}

func (w *town) Allow(id identity.ID, clientID string, a platform.Action, topic string) bool {
	return w.svc.Load().Allow(id, clientID, a, topic)
}

func (w *town) AuthenticateLapsed(id identity.ID, clientID string, certificate [32]byte) error {
	return w.svc.Load().AuthenticateLapsed(id, clientID, certificate)
}

func (w *town) AllowLapsed(id identity.ID, clientID string, a platform.Action, topic string) bool {
	return w.svc.Load().AllowLapsed(id, clientID, a, topic)
}

func newTown(t *testing.T) *town {
	w := &town{t: t, registry: platform.NewMemStore(), store: appgw.NewMemStore(), inbox: newLog()}
	w.System = systemtest.NewWith(t, ca.Config{Now: w.now, Validity: year})
	verifier, err := identity.NewVerifier(identity.VerifierConfig{Roots: w.Roots, Now: w.now})
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	w.plat.Party, w.water.Party = w.Party(systemtest.PlatformName), w.Party("A-WATER")
	w.broker, err = broker.New(broker.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			chain, err := w.Authority.IssueServer(key.Public(), w.plat.ID, []string{"127.0.0.1"})
			return &tls.Certificate{Certificate: chain, PrivateKey: key}, err
		},
		Verifier: verifier, Authorizer: w,
	})
	require.NoError(t, err)
	w.startPlatform()
	w.Live(w.broker.Run)
	w.admission, err = w.Platform.Admit(t.Context(), w.water.Credential)
	require.NoError(t, err)
	secret := make([]byte, appgw.LockerKeySize)
	rand.Read(secret)
	w.locker, err = appgw.NewLocker(secret)
	require.NoError(t, err)
	w.startApp()
	return w
}

func (w *town) startPlatform() {
	svc, err := platform.Open(w.t.Context(), platform.Config{
		Credential: w.plat.Credential, Signer: w.plat.Signer, Key: w.plat.Key, Previous: w.plat.before, Roots: w.Roots, Store: w.registry,
		Broker: w.broker.URL(), Enforcer: platform.EvictFunc(w.broker.Evict), Now: w.now,
	})
	require.NoError(w.t, err)
	w.svc.Store(svc)
	w.Platform = svc
	w.stopPlat, _ = w.Live(svc.Run)
}

func (w *town) startApp() {
	var err error
	w.app, err = appgw.Open(w.t.Context(), appgw.Config{
		Credential: w.water.Credential, Signer: w.water.Signer, Key: w.water.Key, Previous: w.water.before, Roots: w.Roots,
		Admission: w.admission, Locker: w.locker, Store: w.store, Broker: w.broker.URL(), Now: w.now,
		OnEvent: func(_ context.Context, d identity.DeviceID, e appgw.Event) error {
			w.inbox.add(fmt.Appendf(nil, "%s %s", d, e.Body))
			return nil
		},
	})
	require.NoError(w.t, err)
	w.stopApp, _ = w.Live(w.app.Run)
}

// renew gives a party its next certificate, as the authority answers over the network: to the same keys, or to other ones for which
// the old one vouches.
func (w *town) renew(p *self, rekey bool) {
	t := w.t
	was := identity.Holder{Credential: p.Credential, Signer: p.Signer, Key: p.Key}
	var err error
	old := p.Signer
	if rekey {
		p.Signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		p.Key, err = ecdh.P256().GenerateKey(rand.Reader)
		require.NoError(t, err)
	}
	csr, err := identity.NewCSR(p.Signer, p.ID, identity.CSROptions{})
	require.NoError(t, err)
	var chain [][]byte
	if rekey {
		request, err := identity.NewRekey(old, csr)
		require.NoError(t, err)
		chain, err = w.Authority.Rekey(request)
		require.NoError(t, err)
	} else {
		chain, err = w.Authority.Renew(csr)
		require.NoError(t, err)
		require.NotEqual(t, p.Credential.Chain, chain, "it is too soon")
	}
	e, err := identity.Endorse(p.Signer, chain[0], p.Key.PublicKey(), identity.EndorseOptions{Generation: p.Credential.Generation() + 1})
	require.NoError(t, err)
	p.Credential = identity.Credential{Chain: chain, Endorsement: e}
	p.before = append([]identity.Holder{was}, p.before...)
}

// known waits until the platform has heard the application under its present certificate.
func (w *town) known() {
	t := w.t
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		apps, err := w.Platform.Applications(t.Context())
		require.NoError(t, err)
		require.Len(t, apps, 1)
		if apps[0].Generation == w.water.Credential.Generation() {
			return
		}
	}
	require.Fail(t, "the platform has not heard of the application's new certificate")
}

// resident is a device with what it got.
type resident struct {
	*systemtest.Device
	w     *town
	got   log
	clock bool
	sent  int
}

func (w *town) settle(name string, clock bool) *resident {
	d := &resident{Device: w.NewDevice(name), w: w, got: newLog(), clock: clock}
	d.on()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	require.NoError(w.t, w.app.Connect(ctx, d.Sticker))
	require.NoError(w.t, d.Gateway.WaitConnected(ctx))
	return d
}

func (d *resident) on() {
	d.PowerUp(func(c *devicegw.Config) {
		c.Broker = d.w.broker.URL()
		if d.clock {
			c.Now = d.w.now
		}
		c.OnEvent = func(_ context.Context, e devicegw.Event) error { d.got.add(e.Body); return nil }
	})
}

// talk sends an event each way and waits for both, and for the first ones that are still on their way.
func (d *resident) talk() {
	t := d.w.t
	t.Helper()
	d.sent++
	d.say()
	d.told(d.sent)
	d.got.await(t, fmt.Sprint(d.sent))
}

// say sends the next event and waits until the application has it. While the application's certificate is not good, the device has to hear
// of another one first.
func (d *resident) say() {
	t := d.w.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := d.Send(ctx, fmt.Sprint(d.sent))
		if err == nil {
			break
		}
		require.ErrorIs(t, err, devicegw.ErrSuspended)
		require.NoError(t, d.Gateway.Sync(ctx))
	}
	d.w.inbox.await(t, fmt.Sprint(d.ID, " ", d.sent))
}

func (d *resident) told(n int) {
	d.w.t.Helper()
	_, err := d.w.app.Send(d.w.t.Context(), d.ID, appgw.Event{Body: fmt.Append(nil, n)})
	require.NoError(d.w.t, err)
}

// whole wants every event of talk and of leave, once and in order.
func (d *resident) whole() {
	t := d.w.t
	t.Helper()
	var want, mine []string
	for n := range d.sent {
		want = append(want, fmt.Sprint(n+1))
	}
	require.Equal(t, want, d.got.all())
	for _, line := range d.w.inbox.all() {
		var name, n string
		_, err := fmt.Sscan(line, &name, &n)
		require.NoError(t, err)
		if name == d.ID.String() {
			mine = append(mine, n)
		}
	}
	require.Equal(t, want, mine)
}

// leave has one more event each way, which wait while the device is off.
func (d *resident) leave() {
	t := d.w.t
	d.PowerCut()
	d.sent++
	d.told(d.sent)
	d.on()
	d.say()
	d.got.await(t, fmt.Sprint(d.sent))
	d.PowerCut()
	d.sent++
	d.told(d.sent)
}

// back is what leave has left.
func (d *resident) back() {
	t := d.w.t
	d.on()
	d.say()
	d.got.await(t, fmt.Sprint(d.sent))
	d.talk()
}

// An application and a platform whose certificates expired while everything was off for years come back by renewal, with nothing commissioned
// anew: events flow, none is lost and none comes twice.
func TestExpiredPartiesComeBack(t *testing.T) {
	t.Parallel() // sessions begin some seconds apart
	for _, rekey := range []bool{false, true} {
		t.Run(fmt.Sprint("other keys ", rekey), func(t *testing.T) {
			t.Parallel()
			w := newTown(t)
			clocked, timeless := w.settle("D-1", true), w.settle("D-2", false)
			for _, d := range []*resident{clocked, timeless} {
				d.talk()
				d.leave()
			}
			w.stopApp()
			w.stopPlat()
			w.pass(5 * year)
			w.renew(&w.plat, rekey)
			w.startPlatform()
			w.renew(&w.water, rekey)
			w.startApp()
			for _, d := range []*resident{clocked, timeless} {
				d.back()
				d.whole()
			}
			// Whoever has come needs nothing of before any more.
			w.stopApp()
			w.stopPlat()
			w.plat.before, w.water.before = nil, nil
			w.startPlatform()
			w.startApp()
			clocked.talk()
			timeless.talk()
			clocked.whole()
			timeless.whole()
			require.NoError(t, w.Platform.VerifyAudit(t.Context()))
		})
	}
}

// An application replaces its keys twice while one device is there and another is away, and lets go of a third that is away too.
func TestApplicationRekeysWithDevicesAway(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	here, away, gone := w.settle("D-HERE", true), w.settle("D-AWAY", true), w.settle("D-GONE", true)
	for _, d := range []*resident{here, away} {
		d.talk()
	}
	away.leave()
	gone.PowerCut()
	for range 2 {
		w.stopApp()
		w.renew(&w.water, true)
		w.startApp()
		here.talk()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, w.app.Disconnect(ctx, gone.ID))
	here.talk()
	away.back()
	here.whole()
	away.whole()
	gone.on()
	require.NoError(t, gone.Gateway.WaitDisconnected(ctx))
	require.NoError(t, w.app.Connect(ctx, gone.Sticker))
	require.NoError(t, gone.Gateway.WaitConnected(ctx))
	gone.talk()
	require.NoError(t, w.Platform.VerifyAudit(ctx))
}

// A platform is renewed and gets other keys while a device is away, which comes back to it years later.
func TestPlatformChangesWithDevicesAway(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	here, away := w.settle("D-HERE", true), w.settle("D-AWAY", true)
	here.talk()
	away.talk()
	away.leave()
	change := func(rekey bool) {
		w.stopPlat()
		w.renew(&w.plat, rekey)
		w.startPlatform()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	change(true)
	require.NoError(t, here.Gateway.Sync(ctx))
	here.talk()
	w.pass(250 * day)
	change(false)
	require.NoError(t, here.Gateway.Sync(ctx))
	here.talk()
	away.back()
	here.whole()
	away.whole()
	// Orders of the platform as it is now.
	require.NoError(t, w.app.Disconnect(ctx, here.ID))
	require.NoError(t, here.Gateway.WaitDisconnected(ctx))
	require.NoError(t, w.Platform.VerifyAudit(ctx))
}

// Keys of application and platform that were stolen are replaced and their certificates revoked, while a device is away that knows no others. It comes
// back, and whoever holds the old keys has nothing of it: the device hears of the list and of the next certificates at once.
func TestStolenKeysAreReplacedAndRevoked(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	here, away := w.settle("D-HERE", true), w.settle("D-AWAY", false)
	here.talk()
	away.talk()
	away.leave()
	revoke := func(p *self) {
		leaf, err := x509.ParseCertificate(p.before[0].Credential.Chain[0])
		require.NoError(t, err)
		crl, err := w.Authority.RevokeCertificate(leaf)
		require.NoError(t, err)
		require.NoError(t, w.Platform.AddCRL(t.Context(), crl))
	}
	w.stopPlat()
	w.renew(&w.plat, true)
	w.startPlatform()
	revoke(&w.plat)
	w.stopApp()
	w.renew(&w.water, true)
	w.startApp()
	here.talk()
	w.known() // before that, the revocation would be the application's end
	revoke(&w.water)
	w.stopApp()
	w.water.before = nil
	w.startApp()
	here.talk()
	away.back()
	here.whole()
	away.whole()
	require.NoError(t, w.Platform.VerifyAudit(t.Context()))
}
