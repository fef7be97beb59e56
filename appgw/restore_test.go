package appgw_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// backup copies a store.
func backup(t *testing.T, from appgw.Store) appgw.Store {
	t.Helper()
	to := appgw.NewMemStore()
	require.NoError(t, to.Update(t.Context(), func(dst appgw.Tx) error {
		return from.View(t.Context(), func(src appgw.Tx) error {
			for k, v := range src.List("") {
				if err := dst.Put(k, v); err != nil {
					return err
				}
			}
			return nil
		})
	}))
	return to
}

// A store from a backup, marked as such: the gateway and its devices come back, new messages arrive both ways, and what was
// recorded since the backup is not taken for new.
func TestRestoredBackup(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		var mu sync.Mutex
		got := map[string]int{}
		count := func(_ context.Context, _ identity.DeviceID, e appgw.Event) error {
			mu.Lock()
			defer mu.Unlock()
			got[string(e.Body)]++
			return nil
		}
		toDevice := map[string]int{}
		app, kill := s.startApp(func(c *appgw.Config) { c.OnEvent = count })
		power := func(c *devicegw.Config) {
			c.EarlyData = true
			c.OnEvent = func(_ context.Context, e devicegw.Event) error {
				mu.Lock()
				defer mu.Unlock()
				toDevice[string(e.Body)]++
				return nil
			}
		}
		dev, cut := s.startDevice(power)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		exchange := func(name string) {
			t.Helper()
			_, err := dev.Send(ctx, devicegw.Event{Body: []byte(name)})
			require.NoError(t, err)
			_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte(name)})
			require.NoError(t, err)
			require.NoError(t, dev.Flush(ctx))
			require.NoError(t, app.Flush(ctx, s.sticker.Device))
		}
		exchange("before")
		kill()
		saved := backup(t, s.store)

		app, kill = s.startApp(func(c *appgw.Config) { c.OnEvent, c.Link = count, s.broker.Client("A-WATER") })
		for i := range 5 {
			exchange(fmt.Sprint("after the backup ", i))
		}
		kill()

		s.store = saved
		require.NoError(t, appgw.MarkRestored(ctx, s.store))
		require.Equal(t, 2, s.storeKinds()["restored"], "the device's binding and the platform's")
		app, _ = s.startApp(func(c *appgw.Config) { c.OnEvent, c.Link = count, s.broker.Client("A-WATER") })
		for i := range 3 {
			exchange(fmt.Sprint("after the restore ", i))
		}
		require.Equal(t, 2, s.storeKinds()["restored"], "the application was the one who called")
		cut()
		dev = s.openDevice(func(c *devicegw.Config) { power(c); c.Link = s.broker.Client("D-7F3K2") })
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("in early data, and challenged")})
		require.NoError(t, err)
		s.background(dev.Run)
		require.NoError(t, dev.Flush(ctx))
		_, init := s.lastPrekey()
		require.Equal(t, byte(4), init[2]&4, "it echoes")
		exchange("and more")
		require.Equal(t, 1, s.storeKinds()["restored"], "the device has proved to be alive")
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, got, 11)
		require.Len(t, toDevice, 10)
		for name, n := range got {
			require.Equal(t, 1, n, "%s", name)
		}
	})
}

// The numbers of a binding in the store: each change lasts, and a restored one is marked until the other side has echoed.
func TestEpochsInTheStore(t *testing.T) {
	s := appgw.NewMemStore()
	b := e2e.NewBindingID()
	open := func() e2e.RestorableEpochs { return appgw.OpenEpochs(s, b).(e2e.RestorableEpochs) }
	n, err := open().NextEpoch()
	require.NoError(t, err)
	require.Equal(t, uint64(1), n)
	require.NoError(t, open().AcceptEpoch(7))
	require.NoError(t, open().SkipEpochs(40))
	require.NoError(t, open().SkipEpochs(30))
	n, err = open().NextEpoch()
	require.NoError(t, err)
	require.Equal(t, uint64(41), n)

	restored := func() bool {
		r, err := open().Restored()
		require.NoError(t, err)
		return r
	}
	require.False(t, restored())
	require.NoError(t, appgw.MarkRestored(t.Context(), s))
	require.True(t, restored())
	first := n
	n, err = open().NextEpoch()
	require.NoError(t, err)
	require.Greater(t, n, first+1<<24)
	require.NoError(t, e2e.CheckEpoch(first, n+18*(n-first)), "many restores may pass before the device is heard")
	require.NoError(t, open().AcceptEpoch(8))
	require.True(t, restored(), "only an echo ends it")
	require.ErrorIs(t, open().AcceptEcho(8), e2e.ErrStaleEpoch)
	require.True(t, restored())
	require.NoError(t, open().AcceptEcho(9))
	require.False(t, restored())
	require.ErrorIs(t, open().AcceptEpoch(9), e2e.ErrStaleEpoch)
	stale, ok := errors.AsType[*e2e.EpochError](open().AcceptEpoch(9))
	require.True(t, ok, "the figures reach the CHALLENGE")
	require.Equal(t, uint64(9), stale.Highest)
}

// One backup restored twice: what was used after the first time is not used again.
func TestRestoredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
		s, b := appgw.NewMemStore(), e2e.NewBindingID()
		_, err := appgw.OpenEpochs(s, b).NextEpoch()
		require.NoError(t, err)
		saved := backup(t, s)

		var last uint64
		for range 3 {
			again := backup(t, saved)
			require.NoError(t, appgw.MarkRestored(t.Context(), again))
			for i := range 50 {
				n, err := appgw.OpenEpochs(again, b).NextEpoch()
				require.NoError(t, err)
				require.Greater(t, n, last, "number %d after a restore", i)
				last = n
			}
			time.Sleep(time.Hour)
		}
	})
}
