package appgw_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

func TestDevicesAndBindingsOfEvents(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		handled, commanded := make(chan e2e.BindingID, 4), make(chan e2e.BindingID, 4)
		app, stop := s.startApp(func(c *appgw.Config) {
			c.OnEvent = func(_ context.Context, _ identity.DeviceID, e appgw.Event) error { handled <- e.Binding; return nil }
		})
		start := func() (*devicegw.Gateway, func()) {
			return s.startDevice(func(c *devicegw.Config) {
				c.OnEvent = func(_ context.Context, e devicegw.Event) error { commanded <- e.Binding; return nil }
			})
		}
		dev, cut := start()
		require.Equal(t, "semio/1", app.Prefix())
		require.Equal(t, "semio/1", dev.Prefix())
		list, err := app.Devices(ctx)
		require.NoError(t, err)
		require.Empty(t, list)

		var bindings []e2e.BindingID
		for range 2 {
			require.NoError(t, app.Connect(ctx, s.sticker))
			require.NoError(t, dev.WaitConnected(ctx))
			_, err := dev.Send(ctx, devicegw.Event{Body: []byte("up")})
			require.NoError(t, err)
			require.NoError(t, dev.Flush(ctx))
			_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("down")})
			require.NoError(t, err)
			require.NoError(t, app.Flush(ctx, s.sticker.Device))
			list, err := app.Devices(ctx)
			require.NoError(t, err)
			b := dev.Status().Binding
			require.Equal(t, []appgw.DeviceStatus{{Device: s.sticker.Device, Binding: b, Session: true}}, list)
			require.Equal(t, b, <-handled)
			require.Equal(t, b, <-commanded)
			bindings = append(bindings, b)
			if len(bindings) == 1 {
				require.NoError(t, app.Disconnect(ctx, s.sticker.Device))
				require.NoError(t, dev.WaitDisconnected(ctx))
			}
		}
		require.NotEqual(t, bindings[0], bindings[1], "the first event of each has the number 1, so the binding tells them apart")

		// What waits, while the device is away and after a restart.
		cut()
		_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("later")})
		require.NoError(t, err)
		stop()
		app, _ = s.startApp(nil)
		list, err = app.Devices(ctx)
		require.NoError(t, err)
		require.Equal(t, []appgw.DeviceStatus{{Device: s.sticker.Device, Binding: bindings[1], Queued: 1}}, list)
	})
}
