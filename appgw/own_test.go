package appgw_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/control/controltest"
)

// become makes the application another party of its name, for the next start.
func (s *system) become(next controltest.Party) func(*appgw.Config) {
	was := s.app
	s.app = next
	return func(c *appgw.Config) { c.Previous = []identity.Holder{was.Holder()} }
}

// known waits until the platform has heard the application under a generation.
func (s *system) known(generation uint32) {
	s.t.Helper()
	for range 2000 { // it polls every ten minutes
		synctest.Wait()
		if s.platform.Peer(s.app.Verified.ID()).Generation() == generation {
			return
		}
		time.Sleep(time.Second)
	}
	require.EqualValues(s.t, generation, s.platform.Peer(s.app.Verified.ID()).Generation())
}

// talk sends an event each way and waits until both have arrived.
func talk(t *testing.T, app *appgw.Gateway, dev *devicegw.Gateway, in *inbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	n := len(in.all())
	_, err := dev.Send(ctx, devicegw.Event{Body: fmt.Append(nil, n)})
	require.NoError(t, err)
	require.NoError(t, dev.Flush(ctx))
	require.Equal(t, fmt.Sprint("D-7F3K2 ", n), in.all()[n])
	_, err = app.Send(ctx, dev.ID(), appgw.Event{Body: fmt.Append(nil, n)})
	require.NoError(t, err)
	require.NoError(t, app.Flush(ctx, dev.ID()))
	require.Len(t, in.all(), n+1)
}

const (
	soon    = 250 * day // less than a third of a certificate is left
	tooLate = 3 * 365 * day
)

// An application's certificate is renewed before its end, years after it, or its keys are replaced: the platform learns of it, devices that
// have not heard of it go on, and then all speak under the new one. Nothing is commissioned anew.
func TestApplicationIsRenewed(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		renew func(*controltest.World, *testing.T, controltest.Party) controltest.Party
	}{
		"in time": {soon, func(w *controltest.World, t *testing.T, p controltest.Party) controltest.Party {
			return w.Renewed(t, p)
		}},
		"late": {tooLate, func(w *controltest.World, t *testing.T, p controltest.Party) controltest.Party {
			return w.Renewed(t, p)
		}},
		"other keys": {day, func(w *controltest.World, t *testing.T, p controltest.Party) controltest.Party {
			return w.Rekeyed(t, p, p.Verified.Generation()+1)
		}},
		"other keys, late": {tooLate, func(w *controltest.World, t *testing.T, p controltest.Party) controltest.Party {
			return w.Rekeyed(t, p, p.Verified.Generation()+1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *system) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*tooLate)
				defer cancel()
				var in inbox
				app, kill := s.startApp(func(c *appgw.Config) { c.OnEvent = in.handle })
				dev, cut := s.startDevice(nil)
				require.NoError(t, app.Connect(ctx, s.sticker))
				require.NoError(t, dev.WaitConnected(ctx))
				talk(t, app, dev, &in)
				cut()
				_, err := app.Send(ctx, dev.ID(), appgw.Event{Body: []byte("wait")})
				require.NoError(t, err)
				kill()
				synctest.Wait()
				time.Sleep(c.after)

				if c.after >= soon {
					s.platform.Renew(s.world.Renewed(t, s.platform.Party)) // it has a certificate of a year too
				}
				previous := s.become(c.renew(s.world, t, s.app))
				begin := func() {
					app, kill = s.startApp(func(cfg *appgw.Config) {
						cfg.OnEvent = in.handle
						previous(cfg)
						cfg.Link = s.broker.Client("A-WATER")
					})
				}
				begin()
				s.known(1)
				kill()
				begin()
				s.known(1)

				var got []string
				power := func(c *devicegw.Config) {
					c.Link = s.broker.Client("D-7F3K2")
					c.OnEvent = func(_ context.Context, e devicegw.Event) error {
						got = append(got, string(e.Body))
						return nil
					}
				}
				outdated := func() bool {
					devices, err := app.Devices(ctx)
					require.NoError(t, err)
					require.Len(t, devices, 1)
					return devices[0].Outdated
				}
				if c.after < tooLate {
					// The platform passes nothing on yet.
					dev, cut = s.startDevice(power)
					talk(t, app, dev, &in)
					require.True(t, outdated())
					cut()
				}
				s.platform.PassOn(s.app.Verified)
				dev, _ = s.startDevice(power)
				for range 3 {
					require.NoError(t, dev.Sync(ctx))
				}
				talk(t, app, dev, &in)
				time.Sleep(time.Minute)
				talk(t, app, dev, &in)
				talk(t, app, dev, &in)

				require.False(t, outdated())
				// Device and platform know it: what was before is needed no more.
				kill()
				previous = func(*appgw.Config) {}
				begin()
				talk(t, app, dev, &in)
				synctest.Wait()
				require.Equal(t, "wait", got[0])
				require.Equal(t, 1, strings.Count(strings.Join(got, " "), "wait"))
				require.NoError(t, app.Disconnect(ctx, dev.ID()))
				require.NoError(t, dev.WaitDisconnected(ctx))
			})
		})
	}
}

// What Open can know of a wrong configuration it says.
func TestPreviousIsChecked(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		_, kill := s.startApp(nil)
		kill()
		first := s.app
		open := func(change func(*appgw.Config)) error {
			cfg := s.config()
			change(&cfg)
			_, err := appgw.Open(t.Context(), cfg)
			return err
		}
		next := s.world.Rekeyed(t, s.app, 1)
		other := s.world.Party(t, "A-OTHER")
		use := func(previous ...identity.Holder) func(*appgw.Config) {
			return func(c *appgw.Config) {
				c.Credential, c.Signer, c.Key, c.Previous = next.Credential, next.Signer, next.Key, previous
			}
		}
		mixed := first.Holder()
		mixed.Key = next.Key
		for name, previous := range map[string][]identity.Holder{
			"forgotten":   nil,
			"other keys":  {mixed},
			"other name":  {other.Holder()},
			"without key": {{Credential: first.Credential, Signer: first.Signer}},
		} {
			require.ErrorIs(t, open(use(previous...)), appgw.ErrConfig, name)
		}
		require.ErrorContains(t, open(use()), "set Previous")
		_, kill = s.startApp(func(c *appgw.Config) {
			use(first.Holder())(c)
			c.Link = s.broker.Client("A-WATER")
		})
		s.app = next
		s.known(1)
		kill()
		s.app = first
		require.ErrorContains(t, open(func(*appgw.Config) {}), "take the newest")
	})
}

// A platform whose certificate is over is believed in nothing; its next certificate ends that.
func TestPlatformIsRenewed(t *testing.T) {
	for name, rekey := range map[string]bool{"same keys": false, "other keys": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *system) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*tooLate)
				defer cancel()
				var in inbox
				app, kill := s.startApp(func(c *appgw.Config) { c.OnEvent = in.handle })
				dev, cut := s.startDevice(nil)
				require.NoError(t, app.Connect(ctx, s.sticker))
				require.NoError(t, dev.WaitConnected(ctx))
				cut()
				kill()
				synctest.Wait()
				time.Sleep(tooLate)

				s.become(s.world.Renewed(t, s.app))
				app, _ = s.startApp(func(c *appgw.Config) {
					c.OnEvent = in.handle
					c.Link = s.broker.Client("A-WATER")
				})
				time.Sleep(time.Hour)
				require.Zero(t, s.platform.Peer(s.app.Verified.ID()).Generation(), "what an admission by it says is not believed")
				waiting, stop := context.WithTimeout(ctx, time.Hour)
				require.ErrorIs(t, app.Disconnect(waiting, dev.ID()), appgw.ErrOutcomeUnknown)
				stop()

				next := s.world.Renewed(t, s.platform.Party)
				if rekey {
					next = s.world.Rekeyed(t, s.platform.Party, 1)
				}
				s.platform.Renew(next)
				s.known(1)
				s.platform.PassOn(s.app.Verified)
				dev, _ = s.startDevice(func(c *devicegw.Config) { c.Link = s.broker.Client("D-7F3K2") })
				require.NoError(t, dev.WaitDisconnected(ctx), "it was asked for, and decided")
			})
		})
	}
}

// A device that was away for all of it knows the application by keys that are replaced, and lets go of it by its new ones.
func TestDisconnectAfterRekey(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		app, kill := s.startApp(nil)
		dev, cut := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		cut()
		kill()
		previous := s.become(s.world.Rekeyed(t, s.app, 1))
		app, _ = s.startApp(func(c *appgw.Config) {
			previous(c)
			c.Link = s.broker.Client("A-WATER")
		})
		s.known(1)
		require.NoError(t, app.Disconnect(ctx, dev.ID()))
		ctx, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		dev, _ = s.startDevice(func(c *devicegw.Config) { c.Link = s.broker.Client("D-7F3K2") })
		require.NoError(t, dev.WaitDisconnected(ctx))
	})
}

// The store fails, once, at any write of the change: the gateway is the one or the other after a restart, and ends as the new one.
func TestRenewalOnAFailingStore(t *testing.T) {
	for n := range 6 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *system) {
				ctx, stop := context.WithTimeout(t.Context(), time.Hour)
				defer stop()
				var in inbox
				app, kill := s.startApp(nil)
				dev, _ := s.startDevice(nil)
				require.NoError(t, app.Connect(ctx, s.sticker))
				require.NoError(t, dev.WaitConnected(ctx))
				kill()
				previous := s.become(s.world.Rekeyed(t, s.app, 1))
				s.platform.PassOn(s.app.Verified)
				bad := &failingWrites{Store: s.store, at: n}
				begin := func() error {
					cfg := s.config()
					previous(&cfg)
					cfg.OnEvent, cfg.Store, cfg.Link = in.handle, bad, s.broker.Client("A-WATER")
					var err error
					if app, err = appgw.Open(ctx, cfg); err != nil {
						return err
					}
					kill = s.background(app.Run)
					return nil
				}
				if err := begin(); err == nil {
					time.Sleep(time.Minute)
					kill()
				}
				require.NoError(t, begin())
				s.known(1)
				for range 3 {
					require.NoError(t, dev.Sync(ctx))
				}
				talk(t, app, dev, &in)
				require.True(t, bad.failed.Load())
			})
		})
	}
}

// failingWrites fails the transaction of a number that writes.
type failingWrites struct {
	appgw.Store
	at     int
	n      atomic.Int64
	failed atomic.Bool
}

func (s *failingWrites) Update(ctx context.Context, f func(appgw.Tx) error) error {
	if s.n.Add(1)-1 == int64(s.at) {
		s.failed.Store(true)
		return errors.New("disk full")
	}
	return s.Store.Update(ctx, f)
}

// A platform whose keys were stolen has others, and the certificate of before revoked: gateways that know of both come back to it, also after a
// restart in between, and take no order of the old keys.
func TestRevokedPlatformIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		app, kill := s.startApp(nil)
		old := s.platform.Party
		next := s.world.Rekeyed(t, old, 1)
		crl, err := s.world.Authority.RevokeCertificate(old.Verified.Certificate())
		require.NoError(t, err)
		s.platform.AddCRL(crl)
		time.Sleep(time.Hour)
		waiting, stop := context.WithTimeout(ctx, time.Hour)
		require.ErrorIs(t, app.Connect(waiting, s.sticker), appgw.ErrOutcomeUnknown)
		stop()
		kill()
		app, _ = s.startApp(func(c *appgw.Config) { c.Admission, c.Link = nil, s.broker.Client("A-WATER") })
		time.Sleep(time.Hour)
		devices, err := app.Devices(ctx)
		require.NoError(t, err)
		require.Empty(t, devices)
		s.platform.Renew(next)
		time.Sleep(time.Hour)
		devices, err = app.Devices(ctx)
		require.NoError(t, err)
		require.Len(t, devices, 1, "what it had decided came as an order that the new keys signed")
	})
}

// Who drops stolen keys at once is not heard by a device that knows no others, until the platform has told it of the new ones.
func TestKeysOfBeforeAreDroppedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx, stop := context.WithTimeout(t.Context(), 24*time.Hour)
		defer stop()
		var in inbox
		app, kill := s.startApp(nil)
		dev, cut := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		cut()
		kill()
		previous := s.become(s.world.Rekeyed(t, s.app, 1))
		begin := func(change func(*appgw.Config)) {
			app, kill = s.startApp(func(c *appgw.Config) {
				change(c)
				c.OnEvent, c.Link = in.handle, s.broker.Client("A-WATER")
			})
		}
		begin(previous)
		s.known(1)
		kill()
		begin(func(*appgw.Config) {})
		dev, _ = s.startDevice(func(c *devicegw.Config) { c.Link = s.broker.Client("D-7F3K2") })
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("0")})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.Empty(t, in.all())
		s.platform.PassOn(s.app.Verified)
		require.NoError(t, dev.Flush(ctx))
		require.Equal(t, []string{"D-7F3K2 0"}, in.all())
		talk(t, app, dev, &in)
	})
}

// After a change of keys, those of before, and their certificate, end no connection: only a request that this gateway has made under them does.
func TestReplacedKeysAreNoEvidence(t *testing.T) {
	for name, asked := range map[string]bool{"stolen": false, "its own request of then": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *system) {
				ctx := t.Context()
				app, kill := s.startApp(nil)
				dev, cut := s.startDevice(nil)
				require.NoError(t, app.Connect(ctx, s.sticker))
				require.NoError(t, dev.WaitConnected(ctx))
				cut()
				first := s.app
				id, _ := first.Verified.ID().App()
				request, err := control.Request{
					ID: control.NewRequestID(), Op: control.OpDisconnect, App: id, Device: dev.ID(), Binding: s.binding,
				}.Sign([32]byte{1}, first.Signer, nil)
				require.NoError(t, err)
				if asked {
					s.platform.Decide = func(_ identity.ID, r control.SignedRequest) control.Code {
						request = r
						return control.CodeOK // and the order waits
					}
					require.NoError(t, app.Disconnect(ctx, dev.ID()))
				}
				kill()
				previous := s.become(s.world.Rekeyed(t, s.app, 1))
				app, _ = s.startApp(func(c *appgw.Config) {
					previous(c)
					c.Link = s.broker.Client("A-WATER")
				})
				s.known(1)

				list, err := s.world.Authority.RevokeCertificate(first.Verified.Certificate())
				require.NoError(t, err)
				remove := func(e control.Evidence) control.AckResult {
					b, err := e.Marshal()
					require.NoError(t, err)
					s.orderApp(func(o *control.Order) {
						o.Op, o.Binding, o.Evidence, o.Credential = control.OrderRemove, s.binding, b, identity.Credential{}
					})
					return s.lastAck()
				}
				require.Equal(t, control.AckRefused, remove(control.Evidence{CRL: list}))
				devices, err := app.Devices(ctx)
				require.NoError(t, err)
				require.Len(t, devices, 1)
				want := control.AckRefused
				if asked {
					want = control.AckDone
				}
				require.Equal(t, want, remove(control.Evidence{Request: &request, Application: first.Credential}))
			})
		})
	}
}

// Whatever admission comes, the gateway goes on with its platform, binding and prefix, and never back to what the platform was.
func TestAdmissionsThatAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx, stop := context.WithTimeout(t.Context(), 10*day)
		defer stop()
		app, _ := s.startApp(nil)
		first := s.platform.Party
		time.Sleep(day)
		second := s.world.Rekeyed(t, first, 1)
		v := s.world.Verifier(t)
		right, _, err := control.OpenAdmission(s.admitted, v, s.app.Verified)
		require.NoError(t, err)
		by := func(p controltest.Party, change func(*control.Admission)) []byte {
			a := right
			a.Platform = p.Credential
			if change != nil {
				change(&a)
			}
			b, err := a.Sign(p.Signer)
			require.NoError(t, err)
			return b
		}
		of := func(p controltest.Party, generation uint32) controltest.Party {
			e, err := identity.Endorse(p.Signer, p.Credential.Chain[0], p.Key.PublicKey(), identity.EndorseOptions{Generation: generation})
			require.NoError(t, err)
			p.Credential.Endorsement = e
			return p
		}
		kept := func() (b []byte) {
			time.Sleep(20 * time.Minute) // it polls every ten
			require.NoError(t, s.store.View(ctx, func(tx appgw.Tx) (err error) { b, err = tx.Get("admission"); return err }))
			return b
		}
		s.platform.Renew(second)
		now := by(second, nil)
		s.platform.Readmit(now)
		kept()
		require.Equal(t, now, kept())
		prefix, err := control.ParsePrefix("elsewhere")
		require.NoError(t, err)
		third := s.world.Rekeyed(t, second, 2)
		for name, bad := range map[string][]byte{
			"what the platform was": by(first, nil), "what it was, as a later one": by(of(first, 2), nil), "another platform": by(s.world.Party(t, "P-OTHER"), nil),
			"all generations": by(of(third, math.MaxUint32), nil), "all generations of the same": by(of(second, math.MaxUint32), nil),
			"another binding": by(third, func(a *control.Admission) { a.Binding = e2e.NewBindingID() }),
			"another prefix":  by(third, func(a *control.Admission) { a.Topics = prefix }),
		} {
			s.platform.Readmit(bad)
			require.Equal(t, now, kept(), name)
		}
		s.platform.Readmit(nil)
		require.NoError(t, app.Connect(ctx, s.sticker), "they understand each other")
	})
}

// The admission that the newest credential waits for brings no platform that its generation shuts out for good.
func TestAdmissionOfTheNewestIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		_, kill := s.startApp(nil)
		kill()
		a, _, err := control.OpenAdmission(s.admitted, s.world.Verifier(t), s.app.Verified)
		require.NoError(t, err)
		previous := s.become(s.world.Rekeyed(t, s.app, 1))
		p := s.platform.Party
		a.CertificateHash, a.Platform = s.app.Verified.CertificateHash(), p.Credential
		a.Platform.Endorsement, err = identity.Endorse(p.Signer, a.Platform.Chain[0], p.Key.PublicKey(), identity.EndorseOptions{Generation: math.MaxUint32})
		require.NoError(t, err)
		bad, err := a.Sign(p.Signer)
		require.NoError(t, err)
		s.platform.Readmit(bad)
		s.startApp(func(c *appgw.Config) {
			previous(c)
			c.Link = s.broker.Client("A-WATER")
		})
		time.Sleep(time.Hour)
		require.Zero(t, s.platform.Peer(s.app.Verified.ID()).Generation())
		s.platform.Readmit(nil)
		s.known(1)
	})
}
