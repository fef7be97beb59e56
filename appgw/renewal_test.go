package appgw_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/control/controltest"
)

const year = 365 * 24 * time.Hour

func renewing(t *testing.T, f func(*testing.T, *system)) {
	t.Helper()
	bubbleWith(t, ca.Config{Validity: 20 * year, DeviceValidity: year}, devicegw.ProduceOptions{}, f)
}

func (s *system) issue(csr []byte) ([][]byte, error) {
	return s.world.Authority.Issue(csr, ca.IssueOptions{})
}

// connected commissions the device and turns both sides off for a while.
func (s *system) connected(off time.Duration) {
	app, stop := s.startApp(nil)
	dev, cut := s.startDevice(nil)
	require.NoError(s.t, app.Connect(s.t.Context(), s.sticker))
	require.NoError(s.t, dev.WaitConnected(s.t.Context()))
	cut()
	stop()
	time.Sleep(off)
}

// told is the order by which the application hears of a renewal, of the credential that the platform has heard last.
func (s *system) told(o *control.Order) {
	o.Binding, o.Credential = s.binding, s.platform.Peer(s.device.Verified.ID()).Credential()
}

// A device is renewed while messages are under way both ways. The application's store fails in between, and does not say that it has written.
func TestDeviceIsRenewed(t *testing.T) {
	renewing(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		in := new(inbox)
		lost := &lostAnswers{Store: s.store, prefix: "device/"}
		var got []string
		s.connected(250 * 24 * time.Hour)
		app, stop := s.startApp(func(c *appgw.Config) { c.Store, c.OnEvent = lost, in.handle })
		dev, _ := s.startDevice(func(c *devicegw.Config) {
			c.OnEvent = func(_ context.Context, e devicegw.Event) error {
				got = append(got, string(e.Body))
				return nil
			}
		})
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("before")})
		require.NoError(t, err)
		require.NoError(t, dev.Flush(ctx))
		require.EqualValues(t, 1, dev.Status().Generation)
		in.got = nil
		s.platform.Certify(s.issue)
		var toApp, toDevice []string
		for i := range 20 {
			_, err := dev.Send(ctx, devicegw.Event{Body: fmt.Append(nil, i)})
			require.NoError(t, err)
			_, err = app.Send(ctx, dev.ID(), appgw.Event{Body: fmt.Append(nil, i)})
			require.NoError(t, err)
			toApp, toDevice = append(toApp, fmt.Sprint("D-7F3K2 ", i)), append(toDevice, fmt.Sprint(i))
			switch i {
			case 5:
				for range 4 {
					require.NoError(t, dev.Sync(ctx))
				}
				require.EqualValues(t, 2, dev.Status().Generation)
			case 10:
				lost.left.Store(1)
				s.orderApp(s.told)
				time.Sleep(5 * time.Second)
				require.Equal(t, control.AckDone, s.lastAck())
			}
			time.Sleep(time.Second)
		}
		require.NoError(t, dev.Flush(ctx))
		require.NoError(t, app.Flush(ctx, dev.ID()))
		require.Equal(t, toApp, in.all())
		require.Equal(t, toDevice, got)

		// The same after a restart, and until the end.
		stop()
		app, _ = s.startApp(func(c *appgw.Config) { c.OnEvent = in.handle })
		_, err = dev.Send(ctx, devicegw.Event{Body: []byte("after")})
		require.NoError(t, err)
		require.NoError(t, dev.Flush(ctx))
		require.Equal(t, append(toApp, "D-7F3K2 after"), in.all())
		require.NoError(t, app.Disconnect(ctx, dev.ID()))
		require.NoError(t, dev.WaitDisconnected(ctx))
	})
}

// A device that was away for so long that the gateway, started anew meanwhile, has left it out comes back with its new certificate.
func TestDeviceComesBackAfterYears(t *testing.T) {
	renewing(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		in := new(inbox)
		app, stop := s.startApp(nil)
		dev, off := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := app.Send(ctx, dev.ID(), appgw.Event{Body: []byte("of long ago")})
		require.NoError(t, err)
		require.NoError(t, app.Flush(ctx, dev.ID()))
		off()
		_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("kept")})
		require.NoError(t, err)
		stop()
		time.Sleep(3 * year)
		app, _ = s.startApp(func(c *appgw.Config) { c.OnEvent = in.handle })
		_, err = app.Send(ctx, s.sticker.Device, appgw.Event{})
		require.ErrorIs(t, err, appgw.ErrUnknownDevice)

		s.platform.Certify(s.issue)
		var got []string
		dev, _ = s.startDevice(func(c *devicegw.Config) {
			c.OnEvent = func(_ context.Context, e devicegw.Event) error {
				got = append(got, string(e.Body))
				return nil
			}
		})
		for range 4 {
			require.NoError(t, dev.Sync(ctx))
		}
		require.EqualValues(t, 2, dev.Status().Generation)
		s.orderApp(s.told)
		require.Equal(t, control.AckDone, s.lastAck())
		_, err = dev.Send(ctx, devicegw.Event{Body: []byte("back")})
		require.NoError(t, err)
		require.NoError(t, dev.Flush(ctx))
		require.NoError(t, app.Flush(ctx, dev.ID()))
		require.Equal(t, []string{"D-7F3K2 back"}, in.all())
		require.Equal(t, []string{"kept"}, got)
	})
}

func TestRenewalsThatAreRefused(t *testing.T) {
	renewing(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		s.connected(250 * 24 * time.Hour)
		app, _ := s.startApp(nil)
		dev, _ := s.startDevice(nil)
		csr, err := identity.NewCSR(s.root.Signer(), dev.ID().ID, identity.CSROptions{HelperHash: s.root.HelperHash()})
		require.NoError(t, err)
		chain, err := s.issue(csr)
		require.NoError(t, err)
		with := func(generation uint32, key *ecdh.PublicKey) identity.Credential {
			e, err := identity.Endorse(s.root.Signer(), chain[0], key, identity.EndorseOptions{Generation: generation})
			require.NoError(t, err)
			return identity.Credential{Chain: chain, Endorsement: e}
		}
		otherKey, err := ecdh.P256().GenerateKey(rand.Reader)
		require.NoError(t, err)
		own := s.root.KeyExchanger().PublicKey()
		for name, c := range map[string]identity.Credential{
			"same generation": with(1, own), "all generations": with(math.MaxUint32, own), "another agreement key": with(2, otherKey.PublicKey()),
			"another device": s.world.Party(t, "D-OTHER").Credential, "the same again": s.device.Credential,
		} {
			s.orderApp(func(o *control.Order) { o.Binding, o.Credential = s.binding, c })
			require.Equal(t, control.AckRefused, s.lastAck(), name)
			_, err = app.Send(ctx, dev.ID(), appgw.Event{Body: []byte(name)})
			require.NoError(t, err)
			require.NoError(t, app.Flush(ctx, dev.ID()), "the connection goes on as it was")
		}
		good := with(2, own)
		s.orderApp(func(o *control.Order) { o.Credential = good })
		require.Equal(t, control.AckRefused, s.lastAck(), "under another binding")
		s.orderApp(func(o *control.Order) { o.Binding, o.Credential = s.binding, good })
		require.Equal(t, control.AckDone, s.lastAck())
	})
}

// A gateway whose clock or roots are wrong does not refuse for good what it cannot verify now: the device speaks under it already. It is asked for
// again with the regular polls, and orders behind it go on.
func TestRenewalWaits(t *testing.T) {
	for name, offset := range map[string]time.Duration{"clock behind": -2 * time.Hour, "clock ahead": 2 * year, "another root": 0} {
		t.Run(name, func(t *testing.T) {
			renewing(t, func(t *testing.T, s *system) {
				s.connected(250 * 24 * time.Hour)
				issuer, roots := s.world.Authority, s.world.Roots
				if offset == 0 {
					other := controltest.NewWorldWith(t, ca.Config{Validity: 20 * year, DeviceValidity: year})
					issuer, roots = other.Authority, slices.Concat(roots, other.Roots)
				}
				wrong := offset
				_, stop := s.startApp(func(c *appgw.Config) { c.Now = func() time.Time { return time.Now().Add(wrong) } })
				csr, err := identity.NewCSR(s.root.Signer(), s.sticker.Device.ID, identity.CSROptions{HelperHash: s.root.HelperHash()})
				require.NoError(t, err)
				chain, err := issuer.Issue(csr, ca.IssueOptions{})
				require.NoError(t, err)
				e, err := identity.Endorse(s.root.Signer(), chain[0], s.root.KeyExchanger().PublicKey(), identity.EndorseOptions{Generation: 2})
				require.NoError(t, err)
				sent, acks := s.publications(), len(s.platform.Acks())
				s.orderApp(func(o *control.Order) {
					o.Binding, o.Credential = s.binding, identity.Credential{Chain: chain, Endorsement: e}
				})
				time.Sleep(time.Hour)
				require.Less(t, s.publications()-sent, 40)
				require.Len(t, s.platform.Acks(), acks)

				other := s.world.Party(t, "D-OTHER")
				s.orderApp(func(o *control.Order) {
					o.Device, _ = other.Verified.ID().Device()
					o.Peer, o.Credential = o.Device.ID, other.Credential
				})
				synctest.Wait()
				require.Len(t, s.platform.Acks(), acks+1)

				stop()
				s.startApp(func(c *appgw.Config) { c.Roots, c.Link = roots, s.broker.Client("A-WATER") })
				synctest.Wait()
				require.Equal(t, control.AckDone, s.lastAck())
				require.Len(t, s.platform.Acks(), acks+2)
			})
		})
	}
}

// publications counts all that were made.
func (s *system) publications() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}
