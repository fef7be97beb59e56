package appgw_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// An application may decommission a device because of what the device sent, where it got it.
func TestDisconnectWhileAnEventIsHandled(t *testing.T) {
	for name, byEvents := range map[string]bool{"in the loop over Events": true, "in OnEvent": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *system) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var app *appgw.Gateway
				gone := make(chan error, 1)
				app, _ = s.startApp(func(c *appgw.Config) {
					if !byEvents {
						c.OnEvent = func(_ context.Context, d identity.DeviceID, _ appgw.Event) error {
							gone <- app.Disconnect(ctx, d) // not under the handler's own context, as an integrator might
							return nil
						}
					}
				})
				dev, _ := s.startDevice(nil)
				require.NoError(t, app.Connect(ctx, s.sticker))
				require.NoError(t, dev.WaitConnected(ctx))
				_, err := dev.Send(ctx, devicegw.Event{Body: []byte("bye")})
				require.NoError(t, err)
				if byEvents {
					for r := range app.Events(ctx) {
						gone <- app.Disconnect(ctx, r.Device)
						break
					}
				}
				require.NoError(t, <-gone)
				require.NoError(t, dev.WaitDisconnected(ctx))
				synctest.Wait()
				require.Equal(t, map[string]int{"admission": 1, "self": 1, "own": 1, "device": 1, "epoch": 1, "tomb": 1, "prekey": 1, "prekeys": 1}, s.storeKinds(),
					"what the handler ends with is not written behind the removal")
			})
		})
	}
}

// A handler that takes its time holds up its own device only: orders about it, and about others, go on.
func TestSlowHandlerHoldsUpNoOrder(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		began, release := make(chan struct{}, 1), make(chan struct{})
		app, _ := s.startApp(func(c *appgw.Config) {
			c.OnEvent = func(context.Context, identity.DeviceID, appgw.Event) error {
				began <- struct{}{}
				<-release
				return nil
			}
		})
		defer close(release)
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("slow")})
		require.NoError(t, err)
		<-began
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		require.NoError(t, app.Disconnect(short, s.sticker.Device))
	})
}

// Queue, epochs and marks belong to a binding: two devices under one would get each other's messages.
func TestBindingInUseIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		app, _ := s.startApp(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		_, err := app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("for the first device")})
		require.NoError(t, err)

		other := s.world.Party(t, "D-OTHER")
		install := func(b e2e.BindingID) func(o *control.Order) {
			return func(o *control.Order) {
				o.Device, _ = other.Verified.ID().Device()
				o.Peer, o.Credential, o.Binding = other.Verified.ID(), other.Credential, b
			}
		}
		s.orderApp(install(s.binding))
		require.Equal(t, control.AckRefused, s.lastAck(), "the binding of another device")

		v, err := identity.NewVerifier(identity.VerifierConfig{Roots: s.world.Roots})
		require.NoError(t, err)
		admission, _, err := control.OpenAdmission(s.admitted, v, s.app.Verified)
		require.NoError(t, err)
		s.orderApp(install(admission.Binding))
		require.Equal(t, control.AckRefused, s.lastAck(), "the binding with the platform")

		s.orderApp(install(e2e.NewBindingID()))
		require.Equal(t, control.AckDone, s.lastAck())
	})
}

// A stolen device that the authority has revoked is heard no more, whether the platform's order comes or not.
func TestRevokedDeviceIsHeardNoMore(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		in := new(inbox)
		app, _ := s.startApp(func(c *appgw.Config) { c.OnEvent = in.handle })
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("before")})
		require.NoError(t, err)
		require.NoError(t, dev.Flush(ctx))

		crl, err := s.world.Authority.Revoke(s.sticker.Device.ID)
		require.NoError(t, err)
		s.platform.AddCRL(crl)
		s.orderApp(func(*control.Order) {}) // any order makes it ask
		synctest.Wait()
		_, err = dev.Send(ctx, devicegw.Event{Body: []byte("after")})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"D-7F3K2 before"}, in.all())
		_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("x")})
		require.ErrorIs(t, err, appgw.ErrUnknownDevice)
		list, err := app.Devices(ctx)
		require.NoError(t, err)
		require.Equal(t, []appgw.DeviceStatus{{Device: s.sticker.Device, Binding: dev.Status().Binding, Suspended: true}}, list)

		// The connection can still be ended, by the application itself.
		require.NoError(t, app.Disconnect(ctx, s.sticker.Device))
		require.NotContains(t, s.storeKinds(), "mark")
	})
}

// So are the devices of an issuing CA that the root has revoked, also after a restart. Nobody has asked to forget them.
func TestDeviceOfARevokedCA(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		root := s.world
		s.world, s.flash = root.Issuing(t, "Issuing CA"), t.TempDir()
		s.produce()
		app, stop := s.startApp(nil)
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))

		other := root.Issuing(t, "Other CA")
		byOther, err := other.Authority.Revoke(other.Party(t, "D-OTHER").Verified.ID())
		require.NoError(t, err)
		byRoot, err := root.Authority.RevokeCertificate(s.world.Authority.Certificate())
		require.NoError(t, err)
		s.platform.AddCRL(byOther)
		suspended := func(app *appgw.Gateway) bool {
			list, err := app.Devices(ctx)
			require.NoError(t, err)
			require.Len(t, list, 1)
			return list[0].Suspended
		}
		s.orderApp(func(*control.Order) {}) // any order makes it ask
		synctest.Wait()
		require.False(t, suspended(app))
		s.platform.AddCRL(byRoot)
		s.orderApp(func(*control.Order) {})
		synctest.Wait()
		require.True(t, suspended(app))
		stop()

		app, _ = s.startApp(nil)
		require.True(t, suspended(app), "the lists are kept")
		require.NoError(t, app.Disconnect(ctx, s.sticker.Device))
	})
}

func TestEpochsDoNotJump(t *testing.T) {
	e := appgw.OpenEpochs(appgw.NewMemStore(), e2e.NewBindingID())
	require.NoError(t, e.AcceptEpoch(3))
	require.ErrorIs(t, e.AcceptEpoch(3), e2e.ErrStaleEpoch)
	require.ErrorIs(t, e.AcceptEpoch(4+1<<32), e2e.ErrEpochJump)
	require.NoError(t, e.AcceptEpoch(3+1<<32))
}

// A host that recovers from a panic in its loop gets the event again, and its gateway ends.
func TestPanicInTheLoopOverEvents(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		app, stop := s.startApp(nil)
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("again")})
		require.NoError(t, err)
		require.PanicsWithValue(t, "bug of the host", func() {
			for range app.Events(ctx) {
				panic("bug of the host")
			}
		})
		for r := range app.Events(ctx) {
			require.Equal(t, "again", string(r.Event.Body))
			break
		}
		require.NoError(t, ctx.Err(), "the event came again")
		stop()
	})
}
