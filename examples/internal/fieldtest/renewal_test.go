package fieldtest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
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

const (
	day      = 24 * time.Hour
	year     = 365 * day
	patience = time.Minute
)

// field has the embedded broker with mutual TLS, and a clock that the test moves on. Devices' certificates are good for a year.
type field struct {
	*systemtest.System
	broker *broker.Broker
	ahead  atomic.Int64 // of the clock
	app    *appgw.Gateway
	inbox  log
}

// log is what a handler of events has got.
type log struct {
	mu   sync.Mutex
	list []string
	more chan struct{} // room for one
}

func newLog() log { return log{more: make(chan struct{}, 1)} }

func (l *log) add(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, string(body))
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.list...)
}

// await waits for an event.
func (l *log) await(t *testing.T, body string) {
	t.Helper()
	timeout := time.After(patience)
	for !slices.Contains(l.all(), body) {
		select {
		case <-l.more:
		case <-timeout:
			require.Fail(t, "event does not come", "%s, got %q", body, l.all())
		}
	}
}

func (f *field) now() time.Time       { return time.Now().Add(time.Duration(f.ahead.Load())) }
func (f *field) pass(d time.Duration) { f.ahead.Add(int64(d)) }

func newField(t *testing.T) *field {
	f := &field{inbox: newLog()}
	f.System = systemtest.NewWith(t, ca.Config{Now: f.now, Validity: 20 * year, DeviceValidity: year})
	verifier, err := identity.NewVerifier(identity.VerifierConfig{Roots: f.Roots, Now: f.now})
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	id, err := identity.ParseID(systemtest.PlatformName)
	require.NoError(t, err)
	f.broker, err = broker.New(broker.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			chain, err := f.Authority.IssueServer(key.Public(), id, []string{"127.0.0.1"})
			return &tls.Certificate{Certificate: chain, PrivateKey: key}, err
		},
		Verifier: verifier, Authorizer: systemtest.Authorizer{S: f.System},
	})
	require.NoError(t, err)
	f.StartPlatform(func(c *platform.Config) {
		c.Broker, c.Enforcer, c.Now = f.broker.URL(), platform.EvictFunc(f.broker.Evict), f.now
	})
	f.Live(f.broker.Run)
	f.startApp(t)
	return f
}

func (f *field) startApp(t *testing.T) {
	p := f.Party("A-WATER")
	admission, err := f.Platform.Admit(t.Context(), p.Credential)
	require.NoError(t, err)
	key := make([]byte, appgw.LockerKeySize)
	rand.Read(key)
	locker, err := appgw.NewLocker(key)
	require.NoError(t, err)
	f.app, err = appgw.Open(t.Context(), appgw.Config{
		Credential: p.Credential, Signer: p.Signer, Key: p.Key, Roots: f.Roots, Admission: admission,
		Locker: locker, Store: appgw.NewMemStore(), Broker: f.broker.URL(), Now: f.now,
		OnEvent: func(_ context.Context, _ identity.DeviceID, e appgw.Event) error { f.inbox.add(e.Body); return nil },
	})
	require.NoError(t, err)
	f.Live(f.app.Run)
}

// commission connects a new device with the application.
func (f *field) commission(t *testing.T, name string, configure func(*devicegw.Config)) *systemtest.Device {
	d := f.NewDevice(name)
	d.PowerUp(configure)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, f.app.Connect(ctx, d.Sticker))
	require.NoError(t, d.Gateway.WaitConnected(ctx))
	return d
}

// A device whose certificate expired while it was offline for simulated years comes back without a person, and is heard by its application.
func TestExpiredDeviceComesBack(t *testing.T) {
	for _, clock := range []bool{false, true} {
		t.Run(fmt.Sprint("with a clock ", clock), func(t *testing.T) {
			f := newField(t)
			got := newLog()
			configure := func(c *devicegw.Config) {
				c.Broker = f.broker.URL()
				if clock {
					c.Now = f.now
				}
				c.OnEvent = func(_ context.Context, e devicegw.Event) error { got.add(e.Body); return nil }
			}
			d := f.commission(t, "D-1", configure)
			require.NoError(t, d.Send(t.Context(), "before"))
			f.inbox.await(t, "before")
			old := d.Gateway.Status().Certified
			require.NoError(t, d.Send(t.Context(), "on its way"))
			d.PowerCut()
			_, err := f.app.Send(t.Context(), d.ID, appgw.Event{Body: []byte("while it was away")})
			require.NoError(t, err)

			f.pass(4 * year)
			require.True(t, f.now().After(old))
			d.PowerUp(configure)
			require.NoError(t, d.Send(t.Context(), "after years"))
			f.inbox.await(t, "after years")
			require.Equal(t, []string{"before", "on its way", "after years"}, f.inbox.all())
			got.await(t, "while it was away")
			st := d.Gateway.Status()
			require.EqualValues(t, 2, st.Generation)
			require.True(t, st.Certified.After(f.now()))
			require.NoError(t, f.Platform.VerifyAudit(t.Context()))
			require.NoError(t, d.Gateway.Sync(t.Context()))
			rec, err := f.Platform.Device(t.Context(), d.ID)
			require.NoError(t, err)
			require.EqualValues(t, 2, rec.Generation)
		})
	}
}

// Certificates are renewed one after the other while events are under way both ways and calls are asked: nothing is lost, nothing comes twice.
func TestRenewalInOperation(t *testing.T) {
	f := newField(t)
	got := newLog()
	d := f.commission(t, "D-1", func(c *devicegw.Config) {
		c.Broker, c.Now = f.broker.URL(), f.now
		c.OnEvent = func(_ context.Context, e devicegw.Event) error { got.add(e.Body); return nil }
		c.OnCall = func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
			return devicegw.Reply{Body: c.Body}, nil
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	stop := make(chan struct{})
	var work sync.WaitGroup
	var sent [2]int
	produce := func(n *int, send func(body []byte) error, full error) {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := send(fmt.Append(nil, *n))
				if errors.Is(err, full) {
					time.Sleep(10 * time.Millisecond) // the other side has to catch up
					continue
				}
				if err != nil {
					t.Errorf("send %d: %v", *n, err)
					return
				}
				*n++
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	produce(&sent[0], func(b []byte) error { _, err := d.Gateway.Send(ctx, devicegw.Event{Body: b}); return err }, devicegw.ErrFull)
	produce(&sent[1], func(b []byte) error { _, err := f.app.Send(ctx, d.ID, appgw.Event{Body: b}); return err }, appgw.ErrFull)
	for renewal := range uint32(2) {
		f.pass(250 * day)
		for d.Gateway.Status().Generation < renewal+2 {
			require.NoError(t, d.Gateway.Sync(ctx))
		}
		// The answer comes under the new keys.
		r, err := f.app.Call(ctx, d.ID, "", []byte("still there?"))
		require.NoError(t, err)
		require.Equal(t, "still there?", string(r.Body))
	}
	close(stop)
	work.Wait()
	require.NoError(t, d.Gateway.Flush(ctx))
	require.NoError(t, f.app.Flush(ctx, d.ID))
	for i, l := range []*log{&f.inbox, &got} {
		all := l.all()
		require.Len(t, all, sent[i])
		for n, body := range all {
			require.Equal(t, fmt.Sprint(n), body)
		}
		require.Positive(t, sent[i])
	}
	require.NoError(t, f.Platform.VerifyAudit(ctx))
}

// A certificate that is over opens the broker to nobody whom the registry does not know by this very certificate.
func TestExpiredStrangerIsRefused(t *testing.T) {
	f := newField(t)
	stranger := f.Party("A-STRANGER")
	f.pass(21 * year)
	u, err := url.Parse(f.broker.URL())
	require.NoError(t, err)
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, // the server is not what is tried here
		Certificates: []tls.Certificate{{Certificate: stranger.Credential.Chain, PrivateKey: stranger.Signer}},
	})
	require.NoError(t, err) // in TLS 1.3 the refusal shows in the first read
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorContains(t, err, "tls: ")
}
