package appgw_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/link/linkmem"
)

func TestHealth(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		client := s.broker.Client("A-WATER")
		cfg := s.config()
		in := &inbox{fail: 1}
		cfg.OnEvent, cfg.Link = in.handle, client
		app, err := appgw.Open(ctx, cfg)
		require.NoError(t, err)
		require.Equal(t, appgw.Health{}, app.Health())
		require.ErrorIs(t, app.Health().Err(), appgw.ErrNotRunning)

		stop := s.background(app.Run)
		synctest.Wait()
		require.NoError(t, app.Health().Err())
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		for range 3 {
			_, err := dev.Send(ctx, devicegw.Event{Body: []byte("21.5")})
			require.NoError(t, err)
		}
		require.NoError(t, dev.Flush(ctx))
		_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("x")})
		require.NoError(t, err)
		require.NoError(t, app.Flush(ctx, s.sticker.Device))
		h := app.Health()
		require.Equal(t, 1, h.Devices)
		require.Zero(t, h.Queued)
		require.EqualValues(t, 3, h.Counters.EventsHandled)
		require.EqualValues(t, 1, h.Counters.EventsFailed)
		require.EqualValues(t, 1, h.Counters.EventsSent)
		require.NotZero(t, h.Counters.Sessions)

		// What anybody can write to the device's topic is refused, and counted.
		id, _ := s.app.Verified.ID().App()
		up := control.Topics{}.Up(id, s.sticker.Device)
		s.broker.Inject(linkmem.Publication{Topic: up, Payload: []byte("a forged record")})
		synctest.Wait()
		require.Equal(t, h.Counters.RecordsRefused+1, app.Health().Counters.RecordsRefused)

		// The counters outlive the device's connection.
		require.NoError(t, app.Disconnect(ctx, s.sticker.Device))
		after := app.Health()
		require.Zero(t, after.Devices)
		require.EqualValues(t, 3, after.Counters.EventsHandled)

		client.SetOffline(true)
		synctest.Wait()
		require.False(t, app.Health().Online)
		require.ErrorContains(t, app.Health().Err(), "not connected to the broker: ")
		stop()
		require.ErrorIs(t, app.Health().Err(), appgw.ErrNotRunning)
	})
}
