package appgw_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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
	"github.com/semio-iot/semio/internal/link/linkmem"
)

// inbox collects what the application handled.
type inbox struct {
	mu   sync.Mutex
	got  []string
	fail int // so many refusals
}

func (i *inbox) handle(_ context.Context, d identity.DeviceID, e appgw.Event) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fail > 0 {
		i.fail--
		return errors.New("database is down")
	}
	i.got = append(i.got, d.String()+" "+string(e.Body))
	return nil
}

func (i *inbox) all() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string(nil), i.got...)
}

func TestCommissionOperateDecommission(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		in := &inbox{fail: 2}
		var up, down []identity.DeviceID
		app, _ := s.startApp(func(c *appgw.Config) {
			c.OnEvent = in.handle
			c.OnCall = func(_ context.Context, d identity.DeviceID, c appgw.Call) (appgw.Reply, error) {
				return appgw.Reply{Type: c.Type, Body: []byte("hello " + d.String())}, nil
			}
			c.Observe.Connected = func(d identity.DeviceID) { up = append(up, d) }
			c.Observe.Disconnected = func(d identity.DeviceID) { down = append(down, d) }
		})
		commands := make(chan string, 8)
		dev, _ := s.startDevice(func(c *devicegw.Config) {
			c.OnCall = func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
				if string(c.Body) == "explode" {
					return devicegw.Reply{}, errors.New("I would rather not")
				}
				return devicegw.Reply{Body: append([]byte("did "), c.Body...)}, nil
			}
			c.OnEvent = func(_ context.Context, e devicegw.Event) error { commands <- string(e.Body); return nil }
		})
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, app.Connect(ctx, s.sticker), "connecting again changes nothing")
		require.NoError(t, dev.WaitConnected(ctx))
		require.Equal(t, []identity.DeviceID{s.sticker.Device}, up)

		// Events both ways, in order, though the handler fails at first.
		for i := range 20 {
			_, err := dev.Send(ctx, devicegw.Event{Body: fmt.Append(nil, i)})
			require.NoError(t, err)
		}
		require.NoError(t, dev.Flush(ctx))
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint("D-7F3K2 ", i))
		}
		require.Equal(t, want, in.all())
		n, err := app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("sleep longer")})
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		require.NoError(t, app.Flush(ctx, s.sticker.Device))
		require.Equal(t, "sleep longer", <-commands)

		// Calls both ways.
		r, err := app.Call(ctx, s.sticker.Device, "text/plain", []byte("blink"))
		require.NoError(t, err)
		require.Equal(t, "did blink", string(r.Body))
		_, err = app.Call(ctx, s.sticker.Device, "text/plain", []byte("explode"))
		var remote *appgw.RemoteError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, "I would rather not", remote.Text)
		back, err := dev.Call(ctx, "text/plain", nil)
		require.NoError(t, err)
		require.Equal(t, "hello D-7F3K2", string(back.Body))

		require.NoError(t, app.Disconnect(ctx, s.sticker.Device))
		require.NoError(t, dev.WaitDisconnected(ctx))
		require.Equal(t, up, down)
		_, err = app.Send(ctx, s.sticker.Device, appgw.Event{})
		require.ErrorIs(t, err, appgw.ErrUnknownDevice)
		require.ErrorIs(t, app.Disconnect(ctx, s.sticker.Device), appgw.ErrUnknownDevice)
		require.Equal(t, map[string]int{"admission": 1, "self": 1, "own": 1, "device": 1, "epoch": 1, "tomb": 1, "prekey": 1, "prekeys": 1}, s.storeKinds(),
			"of the connection nothing is left but what keeps it from coming back; the epoch is the platform's binding")

		// And anew, under another binding, with numbers of its own.
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		n, err = dev.Send(ctx, devicegw.Event{Body: []byte("again")})
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		require.NoError(t, dev.Flush(ctx))
		require.Equal(t, "D-7F3K2 again", in.all()[20])
	})
}

func TestNothingIsReadableAtRestOrOnTheWire(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		app, stopApp := s.startApp(nil)
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("PLAINTEXT UP")})
		require.NoError(t, err)
		_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("PLAINTEXT DOWN")})
		require.NoError(t, err)
		require.NoError(t, app.Flush(ctx, s.sticker.Device))
		stopApp()
		_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("PLAINTEXT LATE")})
		require.Error(t, err)

		psk, err := s.sticker.Claim.PSK(s.sticker.Device)
		require.NoError(t, err)
		secrets := [][]byte{[]byte("PLAINTEXT"), psk.Bytes()}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, b := range append(s.seen, s.storeValues()...) {
			for _, secret := range secrets {
				require.False(t, bytes.Contains(b, secret), "%q", secret)
			}
		}
	})
}

func TestKillAndRestart(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		in := new(inbox)
		start := func() (*appgw.Gateway, func()) {
			return s.startApp(func(c *appgw.Config) { c.OnEvent = in.handle; c.Link = s.broker.Client("A-WATER") })
		}
		app, kill := start()
		var got []string
		dev, cut := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		const n = 30
		for i := range n {
			_, err := dev.Send(ctx, devicegw.Event{Body: fmt.Append(nil, i)})
			require.NoError(t, err)
			if i%2 == 0 {
				_, err := app.Send(ctx, s.sticker.Device, appgw.Event{Body: fmt.Append(nil, i)})
				require.NoError(t, err)
			}
			switch i {
			case 5, 17:
				kill()
				app, kill = start()
			case 11, 18:
				cut()
				dev, cut = s.startDevice(func(c *devicegw.Config) {
					c.OnEvent = func(_ context.Context, e devicegw.Event) error { got = append(got, string(e.Body)); return nil }
				})
			}
		}
		require.NoError(t, dev.Flush(ctx))
		require.NoError(t, app.Flush(ctx, s.sticker.Device))
		all := in.all()
		require.Len(t, all, n, "nothing lost, nothing twice")
		for i := range n {
			require.Equal(t, fmt.Sprint("D-7F3K2 ", i), all[i])
		}
		require.Equal(t, "28", got[len(got)-1])
	})
}

func TestEventsIterator(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		app, _ := s.startApp(nil)
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		for i := range 3 {
			_, err := dev.Send(ctx, devicegw.Event{Body: fmt.Append(nil, i)})
			require.NoError(t, err)
		}
		for r := range app.Events(ctx) {
			require.Equal(t, "0", string(r.Event.Body))
			break // not done: it comes again
		}
		var got []string
		stopped, stop := context.WithCancel(ctx)
		defer stop()
		for r := range app.Events(stopped) {
			got = append(got, string(r.Event.Body))
			if len(got) == 3 {
				stop()
			}
		}
		require.Equal(t, []string{"0", "1", "2"}, got)
		require.NoError(t, dev.Flush(ctx))
	})
}

func TestConnectRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		app, _ := s.startApp(nil)
		wrong, err := identity.NewClaimCode(bytes.Repeat([]byte{7}, identity.ClaimCodeSize))
		require.NoError(t, err)
		err = app.Connect(ctx, identity.Sticker{Device: s.sticker.Device, Claim: wrong})
		require.ErrorIs(t, err, appgw.ErrClaimRefused)
		require.NotContains(t, s.storeKinds(), "claim", "the wrong code is forgotten")

		unknown, err := identity.ParseDeviceID("D-NOWHERE")
		require.NoError(t, err)
		err = app.Connect(ctx, identity.Sticker{Device: unknown, Claim: s.sticker.Claim})
		require.ErrorIs(t, err, appgw.ErrNotRegistered)
		require.ErrorContains(t, err, "D-NOWHERE")

		require.ErrorIs(t, app.Connect(ctx, identity.Sticker{Device: s.sticker.Device}), appgw.ErrClaimCode)

		s.mu.Lock()
		s.binding = e2e.NewBindingID()
		s.mu.Unlock()
		require.ErrorIs(t, app.Connect(ctx, s.sticker), appgw.ErrConnectedElsewhere)
	})
}

// The platform answers, but the gateway dies before it hears; the order comes after the restart, and the claim code is there.
func TestOrderAfterRestart(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		app, kill := s.startApp(nil)
		synctest.Wait()
		s.mu.Lock()
		s.fate = func(p linkmem.Publication) linkmem.Fate {
			if p.From == "P-TEST" {
				return linkmem.Drop
			}
			return 0
		}
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, app.Connect(ctx, s.sticker), appgw.ErrOutcomeUnknown)
		kill()
		s.mu.Lock()
		s.fate = nil
		s.mu.Unlock()

		app, _ = s.startApp(func(c *appgw.Config) { c.Link = s.broker.Client("A-WATER"); c.Admission = nil })
		dev, _ := s.startDevice(nil)
		require.NoError(t, dev.WaitConnected(t.Context()))
		_, err := app.Send(t.Context(), s.sticker.Device, appgw.Event{Body: []byte("x")})
		require.NoError(t, err, "connected without a second scan")
		require.NoError(t, app.Flush(t.Context(), s.sticker.Device))
	})
}

// An order may come to a gateway that has never seen the sticker: a store that was lost. The device then waits for its code.
func TestInstalledWithoutClaimCode(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		app, _ := s.startApp(nil)
		dev, _ := s.startDevice(nil)
		s.mu.Lock()
		s.binding = e2e.NewBindingID()
		s.order(control.OrderInstall, s.binding, nil)
		s.mu.Unlock()
		require.NoError(t, dev.WaitConnected(t.Context()))
		require.Equal(t, control.AckDone, s.lastAck())
		_, err := app.Send(t.Context(), s.sticker.Device, appgw.Event{})
		require.ErrorIs(t, err, appgw.ErrClaimCode)
		list, err := app.Devices(t.Context())
		require.NoError(t, err)
		require.Equal(t, []appgw.DeviceStatus{{Device: s.sticker.Device, Binding: s.binding, NoClaim: true}}, list)
		require.NoError(t, app.Connect(t.Context(), s.sticker))
		_, err = app.Send(t.Context(), s.sticker.Device, appgw.Event{Body: []byte("x")})
		require.NoError(t, err)
		require.NoError(t, app.Flush(t.Context(), s.sticker.Device))
	})
}

func TestOrdersThatAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		app, _ := s.startApp(nil)
		require.NoError(t, app.Connect(t.Context(), s.sticker))
		stranger := s.world.Party(t, "D-STRANGER")
		connected := func() bool {
			_, err := app.Send(t.Context(), s.sticker.Device, appgw.Event{})
			return err == nil
		}
		remove := func(e control.Evidence) func(*control.Order) {
			evidence, err := e.Marshal()
			require.NoError(t, err)
			return func(o *control.Order) {
				o.Op, o.Credential, o.Binding, o.Evidence = control.OrderRemove, identity.Credential{}, s.binding, evidence
			}
		}
		old := control.Request{ID: control.NewRequestID(), Op: control.OpDisconnect, Device: s.sticker.Device, Binding: e2e.NewBindingID()}
		old.App, _ = s.app.Verified.ID().App()
		oldSigned, err := old.Sign([32]byte{}, s.app.Signer, nil)
		require.NoError(t, err)
		foreign := old
		foreign.Binding = s.binding
		foreignSigned, err := foreign.Sign([32]byte{}, stranger.Signer, nil)
		require.NoError(t, err)
		strangers, err := s.world.Authority.Revoke(stranger.Verified.ID())
		require.NoError(t, err)

		for name, change := range map[string]func(*control.Order){
			"install over a connection":                func(*control.Order) {},
			"install with another's certificate":       func(o *control.Order) { o.Credential = stranger.Credential },
			"remove by a list that names neither":      remove(control.Evidence{CRL: strangers}),
			"remove by a request for an older binding": remove(control.Evidence{Request: &oldSigned}),
			"remove by a request that somebody forged": remove(control.Evidence{Request: &foreignSigned}),
		} {
			s.orderApp(change)
			require.Equal(t, control.AckRefused, s.lastAck(), name)
			require.True(t, connected(), name)
		}
	})
}

func TestAnOldOrderDoesNotComeTrueAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		app, _ := s.startApp(nil)
		require.NoError(t, app.Connect(t.Context(), s.sticker))
		first := s.binding
		require.NoError(t, app.Disconnect(t.Context(), s.sticker.Device))
		s.orderApp(func(o *control.Order) { o.Lifecycle, o.Binding = 1, first })
		require.Equal(t, control.AckSuperseded, s.lastAck())
		s.orderApp(func(o *control.Order) { o.Binding = first })
		require.Equal(t, control.AckRefused, s.lastAck(), "an ended binding stays ended, under any number")
		_, err := app.Send(t.Context(), s.sticker.Device, appgw.Event{})
		require.ErrorIs(t, err, appgw.ErrUnknownDevice)
	})
}

func TestRemoveByRevocation(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		app, kill := s.startApp(nil)
		require.NoError(t, app.Connect(t.Context(), s.sticker))
		crl, err := s.world.Authority.Revoke(s.sticker.Device.ID)
		require.NoError(t, err)
		evidence, err := control.Evidence{CRL: crl}.Marshal()
		require.NoError(t, err)
		s.platform.AddCRL(crl)
		// Restart in between: the device's certificate does not verify any more when the order comes.
		synctest.Wait()
		kill()
		app, _ = s.startApp(func(c *appgw.Config) { c.Link = s.broker.Client("A-WATER") })
		s.orderApp(func(o *control.Order) {
			o.Op, o.Credential, o.Binding, o.Evidence = control.OrderRemove, identity.Credential{}, s.binding, evidence
		})
		require.Equal(t, control.AckDone, s.lastAck())
		_, err = app.Send(t.Context(), s.sticker.Device, appgw.Event{})
		require.ErrorIs(t, err, appgw.ErrUnknownDevice)
		require.NotContains(t, s.storeKinds(), "out")
	})
}

func TestOpenRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		other := s.world.Party(t, "A-OTHER")
		for name, c := range map[string]struct {
			change func(*appgw.Config)
			want   error
		}{
			"no credential":    {func(c *appgw.Config) { c.Credential = identity.Credential{} }, appgw.ErrConfig},
			"no signer":        {func(c *appgw.Config) { c.Signer = nil }, appgw.ErrConfig},
			"no key":           {func(c *appgw.Config) { c.Key = nil }, appgw.ErrConfig},
			"no roots":         {func(c *appgw.Config) { c.Roots = nil }, appgw.ErrConfig},
			"no locker":        {func(c *appgw.Config) { c.Locker = nil }, appgw.ErrConfig},
			"no store":         {func(c *appgw.Config) { c.Store = nil }, appgw.ErrConfig},
			"no broker":        {func(c *appgw.Config) { c.Link = nil }, appgw.ErrConfig},
			"broker and link":  {func(c *appgw.Config) { c.Broker = "mqtts://localhost" }, appgw.ErrConfig},
			"not admitted":     {func(c *appgw.Config) { c.Admission = nil }, appgw.ErrNotAdmitted},
			"foreign bundle":   {func(c *appgw.Config) { c.Admission = s.platform.Admit(other.Verified) }, control.ErrForeign},
			"foreign root":     {func(c *appgw.Config) { c.Roots = controltest.NewWorld(t).Roots }, identity.ErrUntrusted},
			"device's name":    {func(c *appgw.Config) { c.Credential = s.device.Credential }, identity.ErrRole},
			"another's signer": {func(c *appgw.Config) { c.Signer = other.Signer }, appgw.ErrConfig},
			"another's key":    {func(c *appgw.Config) { c.Key = other.Key }, nil},
		} {
			cfg := s.config()
			cfg.Store = appgw.NewMemStore()
			c.change(&cfg)
			_, err := appgw.Open(t.Context(), cfg)
			require.Error(t, err, name)
			if c.want != nil {
				require.ErrorIs(t, err, c.want, name)
			}
		}
	})
}

func TestWrongAdmissionDoesNotReplaceTheGoodOne(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		cfg := s.config()
		_, err := appgw.Open(t.Context(), cfg)
		require.NoError(t, err)
		cfg.Admission = s.platform.Admit(s.world.Party(t, "A-OTHER").Verified)
		_, err = appgw.Open(t.Context(), cfg)
		require.ErrorIs(t, err, control.ErrForeign)
		cfg.Admission = nil
		_, err = appgw.Open(t.Context(), cfg)
		require.NoError(t, err)
	})
}

func TestStoreOfAnotherKeyIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		app, kill := s.startApp(nil)
		require.NoError(t, app.Connect(t.Context(), s.sticker))
		kill()
		cfg := s.config()
		var err error
		cfg.Locker, err = appgw.NewLocker(bytes.Repeat([]byte{1}, appgw.LockerKeySize))
		require.NoError(t, err)
		_, err = appgw.Open(t.Context(), cfg)
		require.ErrorIs(t, err, appgw.ErrLocked)
	})
}

// storeKinds counts the store's keys by their first level.
func (s *system) storeKinds() map[string]int {
	kinds := map[string]int{}
	require.NoError(s.t, s.store.View(context.Background(), func(tx appgw.Tx) error {
		for key := range tx.List("") {
			kind, _, _ := strings.Cut(key, "/")
			kinds[kind]++
		}
		return nil
	}))
	return kinds
}

func (s *system) storeValues() (out [][]byte) {
	require.NoError(s.t, s.store.View(context.Background(), func(tx appgw.Tx) error {
		for _, v := range tx.List("") {
			out = append(out, v)
		}
		return nil
	}))
	return out
}

// The platform notes a device as connected before this side has seen its certificate. One that cannot be taken must not be lost to
// everybody: the application can end what it has refused.
func TestRefusedDeviceCanBeDisconnected(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		app, kill := s.startApp(nil)
		dev, _ := s.startDevice(nil)
		stranger := s.world.Party(t, "D-STRANGER")
		s.orderApp(func(o *control.Order) { s.binding, o.Credential = o.Binding, stranger.Credential })
		require.Equal(t, control.AckRefused, s.lastAck())
		_, err := app.Send(ctx, dev.ID(), appgw.Event{})
		require.ErrorIs(t, err, appgw.ErrUnknownDevice)

		kill()
		app, _ = s.startApp(func(c *appgw.Config) { c.Link = s.broker.Client("A-WATER") })
		require.NoError(t, app.Disconnect(ctx, dev.ID()))
		require.Equal(t, control.AckDone, s.lastAck())
		require.True(t, s.binding.IsZero(), "free at the platform")
		require.ErrorIs(t, app.Disconnect(ctx, dev.ID()), appgw.ErrUnknownDevice)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
	})
}

func TestAfterTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		app, stop := s.startApp(nil)
		require.NoError(t, app.Connect(t.Context(), s.sticker))
		stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := app.Send(ctx, s.sticker.Device, appgw.Event{})
		require.ErrorIs(t, err, appgw.ErrNotRunning)
		_, err = app.Call(ctx, s.sticker.Device, "", nil)
		require.ErrorIs(t, err, appgw.ErrNotRunning)
		require.ErrorIs(t, app.Flush(ctx, s.sticker.Device), appgw.ErrNotRunning)
		require.ErrorIs(t, app.Connect(ctx, s.sticker), appgw.ErrNotRunning)
		require.ErrorIs(t, app.Disconnect(ctx, s.sticker.Device), appgw.ErrNotRunning)
		require.NoError(t, ctx.Err())
	})
}
