package appgw_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
)

const day = 24 * time.Hour

// lastPrekey is the number of the prekey in the device's newest INIT to the application, 0 if it has none, and the INIT.
func (s *system) lastPrekey() (uint32, []byte) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range slices.Backward(s.up) {
		if typ, err := e2e.TypeOf(b); err != nil || typ != e2e.TypeInit {
			continue
		}
		if b[2]&8 == 0 {
			return 0, b
		}
		return binary.BigEndian.Uint32(b[26:]), b
	}
	return 0, nil
}

// A device's first message after a sleep is under the application's prekey, which the platform has passed on. Prekeys are renewed
// every week and erased after four; whoever wakes later needs one round trip more, and nothing is lost.
func TestPrekeys(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		s.platform.Delay = time.Second // a device that wakes speaks before the platform tells it of a newer prekey
		app, kill := s.startApp(nil)
		power := func(c *devicegw.Config) { c.EarlyData, c.Link = true, s.broker.Client("D-7F3K2") }
		dev, cut := s.startDevice(power)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))

		// wake starts the device, which has slept for d, with a message to send, and returns the number of the prekey that protected it.
		wake := func(d time.Duration, msg string) uint32 {
			t.Helper()
			cut()
			kill() // both sleep: a month of polling takes its time, also in a bubble
			synctest.Wait()
			time.Sleep(d)
			app, kill = s.startApp(func(c *appgw.Config) { c.Link = s.broker.Client("A-WATER") })
			time.Sleep(time.Minute)
			dev = s.openDevice(power)
			_, err := dev.Send(ctx, devicegw.Event{Body: []byte(msg)})
			require.NoError(t, err)
			cut = s.background(dev.Run)
			stopped, stop := context.WithCancel(ctx)
			defer stop()
			for r := range app.Events(stopped) {
				require.Equal(t, msg, string(r.Event.Body))
				stop()
			}
			require.NoError(t, dev.Flush(ctx))
			n, init := s.lastPrekey()
			require.NotNil(t, init)
			require.NotContains(t, string(init), msg)
			return n
		}
		time.Sleep(time.Minute)
		require.Equal(t, uint32(1), wake(time.Hour, "under the first prekey"))
		require.Equal(t, 1, s.storeKinds()["prekey"])

		require.Equal(t, uint32(1), wake(8*day, "under the one before"))
		require.Equal(t, 2, s.storeKinds()["prekey"])
		time.Sleep(time.Hour) // both are up: the device polls
		require.Equal(t, uint32(2), wake(26*day, "under an old one that is still kept"))
		require.Zero(t, wake(60*day, "after the prekey has expired"))
		require.Equal(t, 1, s.storeKinds()["prekey"], "the others are erased")
		time.Sleep(time.Hour)
		require.Equal(t, uint32(4), wake(time.Hour, "under the newest"))

		// A store from a backup never gives a number out a second time.
		kill()
		require.NoError(t, appgw.MarkRestored(ctx, s.store))
		wake(8*day, "after a restore")
		time.Sleep(time.Hour)
		require.Greater(t, wake(time.Hour, "under a number far above"), uint32(1<<16))
	})
}

// The static profile has no ephemeral keys, and so no prekeys: such a device never sends early data, and is heard all the same.
func TestNoPrekeyInTheStaticProfile(t *testing.T) {
	bubbleOf(t, devicegw.ProduceOptions{Profile: e2e.ProfileStatic}, func(t *testing.T, s *system) {
		ctx := t.Context()
		app, _ := s.startApp(func(c *appgw.Config) { c.Profile = e2e.ProfileStatic })
		dev, cut := s.startDevice(func(c *devicegw.Config) { c.EarlyData = true })
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		time.Sleep(time.Hour)
		cut()
		dev = s.openDevice(func(c *devicegw.Config) { c.EarlyData, c.Link = true, s.broker.Client("D-7F3K2") })
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("x")})
		require.NoError(t, err)
		s.background(dev.Run)
		for range app.Events(ctx) {
			break
		}
		n, init := s.lastPrekey()
		require.Zero(t, n)
		require.Len(t, init, 94, "no early data")
	})
}

// A platform that hands out a prekey of its own making gains nothing: the device takes only what its application has signed.
func TestForgedPrekey(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		stranger := s.world.Party(t, "A-GAS")
		key, err := ecdh.P256().GenerateKey(rand.Reader)
		require.NoError(t, err)
		s.platform.Prekey, err = e2e.SignPrekey(stranger.Signer, stranger.Verified, 99, time.Now().Add(day), key.PublicKey())
		require.NoError(t, err)
		app, _ := s.startApp(nil)
		power := func(c *devicegw.Config) { c.EarlyData, c.Link = true, s.broker.Client("D-7F3K2") }
		dev, cut := s.startDevice(power)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		time.Sleep(time.Minute)
		cut()
		dev = s.openDevice(power)
		_, err = dev.Send(ctx, devicegw.Event{Body: []byte("secret")})
		require.NoError(t, err)
		s.background(dev.Run)
		for range app.Events(ctx) {
			break
		}
		n, init := s.lastPrekey()
		require.Zero(t, n)
		require.Len(t, init, 95, "no early data at all")
	})
}
