package publicbroker_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/internal/mosquittotest"
	"github.com/semio-iot/semio/platform/registry"
)

// parties are those who can be thrown out: the platform, two applications, four devices.
const parties = 1 + 2 + 4

// attackTime is how long the attack lasts at least, attackSeed what it is made of.
const (
	attackTime = 6 * time.Second
	attackSeed = 20190401
)

// attackLeast is what happens at least.
var attackLeast = map[string]int{
	"replay": 50, "reorder": 50, "mutate": 50, "misdirect": 50, "reflect": 50, "random": 50, "splice": 50,
	"plant retained": 50, "delete retained": 50, "take over": 2 * parties,
}

// Somebody with full access to an anonymous broker reads, replays, changes, reorders and misdirects everything, plants and deletes retained
// messages, poses as platform, application and device, and throws everybody out, while two applications and four devices work. Nothing
// of what was said or kept secret can be read; nobody takes what was forged, or takes anything twice; nothing is lost; and when he stops,
// everything works.
func TestHostileBroker(t *testing.T) {
	m := mosquittotest.Anonymous(t)
	w := newWorld(t, m.URL("mqtt", 0))
	evil := newAttacker(t, m, attackSeed)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	water, heat := w.application("A-WATER"), w.application("A-HEAT")
	owner := map[*device]*application{}
	var devices []*device
	for i := range 4 {
		d := w.device(fmt.Sprintf("D-THERMO-%d", i+1))
		owner[d] = []*application{water, heat}[i%2]
		devices = append(devices, d)
		require.NoError(t, owner[d].Connect(ctx, d.Sticker))
		require.NoError(t, d.Gateway.WaitConnected(ctx))
	}
	quiet := w.Platform.AuditHead().Seq

	// Traffic in all directions, as long as the attack lasts.
	attack, end := context.WithTimeout(ctx, time.Minute)
	defer end()
	var traffic sync.WaitGroup
	up, down := make([][]string, len(devices)), make([][]string, len(devices))
	replies := make([]map[string]bool, len(devices)) // of calls; false: unknown outcome
	for i, d := range devices {
		app := owner[d]
		traffic.Go(func() {
			for n := 0; attack.Err() == nil; n++ {
				text := fmt.Sprintf("%s up %d/%d", marker, i, n)
				if _, err := d.Gateway.Send(ctx, devicegw.Event{Body: []byte(text)}); !errors.Is(err, devicegw.ErrFull) {
					require.NoError(t, err)
					up[i] = append(up[i], text)
				}
				pause(attack, 20*time.Millisecond)
			}
		})
		traffic.Go(func() {
			replies[i] = map[string]bool{}
			for n := 0; attack.Err() == nil; n++ {
				text := fmt.Sprintf("%s down %d/%d", marker, i, n)
				if _, err := app.Send(ctx, d.ID, appgw.Event{Body: []byte(text)}); !errors.Is(err, appgw.ErrFull) {
					require.NoError(t, err)
					down[i] = append(down[i], text)
				}
				call := fmt.Sprintf("%s call %d/%d", marker, i, n)
				limit, done := context.WithTimeout(ctx, time.Second)
				reply, err := app.Call(limit, d.ID, "text/plain", []byte(call))
				done()
				switch {
				case err == nil:
					require.Equal(t, marker+" did "+call, string(reply.Body))
					replies[i][call] = true
				case !errors.Is(err, appgw.ErrUnknownOutcome) && !errors.Is(err, appgw.ErrNotRun):
					t.Errorf("%s: %v", call, err)
				default:
					replies[i][call] = false
				}
				pause(attack, 20*time.Millisecond)
			}
		})
	}
	evil.attack(attack, attackLeast)
	end()
	traffic.Wait()
	stopped := time.Now()

	// He has stopped, and what he has planted lies there still. What was sent meanwhile arrives.
	for _, d := range devices {
		require.NoError(t, d.Gateway.Flush(ctx))
		require.NoError(t, owner[d].Flush(ctx, d.ID))
	}
	t.Logf("everything has arrived %.1f s after the end of the attack; he saw %d publications and did %v",
		time.Since(stopped).Seconds(), len(evil.captured()), evil.done)
	for i, d := range devices {
		require.Equal(t, up[i], owner[d].events(d.ID), "%s: each event once, in order, and no other", d.ID)
		events, calls := d.seen()
		require.Equal(t, down[i], events, "%s: each event once, in order, and no other", d.ID)
		ran := map[string]int{}
		for _, c := range calls {
			ran[c]++
			require.Equal(t, 1, ran[c], "%s ran %q again", d.ID, c)
			require.Contains(t, replies[i], c, "nobody has called")
		}
		replied := 0
		for c, yes := range replies[i] {
			require.False(t, yes && ran[c] == 0, "a reply to %q, which did not run", c)
			if yes {
				replied++
			}
		}
		t.Logf("%s: %d events up, %d down, %d of %d calls replied to in time", d.ID, len(up[i]), len(down[i]), replied, len(replies[i]))
	}
	require.Len(t, water.got, 2, "of its own devices and no other")
	require.Len(t, heat.got, 2)
	for e, err := range w.Platform.Audit(ctx) {
		require.NoError(t, err)
		require.False(t, e.Seq > quiet && e.Kind != registry.KindOrderDone, "the platform was brought to: %s", e.Kind)
	}

	// The attack took place, and was noticed.
	require.True(t, evil.enough(attackLeast), "%v", evil.done)
	require.NotZero(t, w.refused(), "forged requests to the platform")
	require.NotZero(t, water.Health().Counters.RecordsRefused+heat.Health().Counters.RecordsRefused, "forged records to the applications")
	// A single device may have been offline, thrown out as it was, whenever something came for it.
	refused := uint64(0)
	for _, d := range devices {
		s := d.Gateway.Status().Records
		refused += s.Malformed + s.BadTag + s.BadMAC + s.WrongBinding + s.OwnDirection + s.UnknownSession + s.NotExpected + s.Replayed + s.StaleEpoch
	}
	require.NotZero(t, refused, "forged records to the devices")

	// Life goes on: a command, a change of owner, a new device, an end of life.
	d := devices[0]
	_, err := water.Call(ctx, d.ID, "text/plain", []byte(marker+" last"))
	require.NoError(t, err)
	require.NoError(t, water.Disconnect(ctx, d.ID))
	require.NoError(t, d.Gateway.WaitDisconnected(ctx))
	require.NoError(t, heat.Connect(ctx, d.Sticker))
	fresh := w.device("D-THERMO-5")
	require.NoError(t, water.Connect(ctx, fresh.Sticker))
	for d, app := range map[*device]*application{d: heat, fresh: water} {
		require.NoError(t, d.Gateway.WaitConnected(ctx))
		require.NoError(t, d.Send(ctx, marker+" hello"))
		require.NoError(t, d.Gateway.Flush(ctx))
		require.Contains(t, app.events(d.ID), marker+" hello")
	}
	require.NoError(t, w.Platform.Retire(ctx, fresh.ID))
	select {
	case err := <-fresh.Ended:
		require.ErrorIs(t, err, devicegw.ErrRetired)
	case <-ctx.Done():
		require.Fail(t, "the retired device still runs")
	}
	require.NoError(t, w.Platform.VerifyAudit(ctx))
	w.nothingReadable(evil.captured())
}

// nothingReadable searches for what was said and for keys, in all that went over the broker.
func (w *world) nothingReadable(all []publication) {
	w.AddSecret("plaintext", []byte(marker))
	find := func(needle []byte) bool {
		for _, p := range all {
			if bytes.Contains(p.payload, needle) || bytes.Contains([]byte(p.topic), needle) {
				return true
			}
		}
		return false
	}
	require.True(w.t, find([]byte("D-THERMO-1")), "the search finds what is there: names are no secret")
	for what, secret := range w.Secrets() {
		require.GreaterOrEqual(w.t, len(secret), 8, what)
		require.False(w.t, find(secret), "%s is on the wire", what)
		require.False(w.t, find([]byte(hex.EncodeToString(secret))), "%s is on the wire, in hex", what)
		require.False(w.t, find([]byte(base64.StdEncoding.EncodeToString(secret))), "%s is on the wire, in base64", what)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
