package control_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/control/controltest"
)

// A nudge proves nothing. Whoever commands the broker must not have a device take epochs, which its memory wears from, as fast as
// it can.
func TestNudgesArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "A-1"), time.Hour)
		defer l.run()()
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		time.Sleep(time.Minute)
		n := len(l.sent())
		for range 6000 { // in a minute
			l.client.Receive(control.Nudge())
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		require.LessOrEqual(t, len(l.sent())-n, 70)

		// What the host asks for is not held up for long, and what comes after a pause not at all.
		began := time.Now()
		d, err := identity.ParseDeviceID("D-1")
		require.NoError(t, err)
		_, err = l.client.Do(t.Context(), control.Request{Op: control.OpConnect, Device: d}, nil)
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(began), time.Second)
		time.Sleep(time.Minute)
		began = time.Now()
		for range 5 {
			require.NoError(t, l.client.Sync(t.Context()))
		}
		require.Zero(t, time.Since(began))
	})
}

// Whoever asks again and again while the broker is away leaves nothing behind but the last question.
func TestGivenUpRequestsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "A-1"), time.Hour)
		defer l.run()()
		d, err := identity.ParseDeviceID("D-1")
		require.NoError(t, err)
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := l.client.Do(ctx, control.Request{Op: control.OpConnect, Device: d}, nil)
			require.ErrorIs(t, err, control.ErrOutcomeUnknown)
			require.ErrorIs(t, l.client.Sync(ctx), context.DeadlineExceeded)
			cancel()
		}
		require.Zero(t, control.Waiting(l.client))
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
	})
}

// The authority takes a platform's certificate back, or that of the CA that issued it: its orders count no more.
func TestRevokedPlatformGivesNoOrders(t *testing.T) {
	revocations := map[string]func(*testing.T, *controltest.World, *controltest.World, *controltest.Platform) []byte{
		"itself": func(t *testing.T, _, issuing *controltest.World, p *controltest.Platform) []byte {
			crl, err := issuing.Authority.Revoke(p.Verified.ID())
			require.NoError(t, err)
			return crl
		},
		"its CA": func(t *testing.T, root, issuing *controltest.World, _ *controltest.Platform) []byte {
			crl, err := root.Authority.RevokeCertificate(issuing.Authority.Certificate())
			require.NoError(t, err)
			return crl
		},
	}
	for name, revoke := range revocations {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := controltest.NewWorld(t)
				issuing := w.Issuing(t, "Issuing CA")
				l := connect(t, issuing, w.Party(t, "D-1"), time.Hour)
				defer l.run()()
				l.client.LinkUp()
				require.NoError(t, l.client.Sync(t.Context()))
				require.NoError(t, l.verifier.AddCRL(revoke(t, w, issuing, l.platform)))
				l.platform.Order(l.install(1))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_ = l.client.Sync(ctx)
				require.Empty(t, l.applied)
				require.Empty(t, l.platform.Acks())
			})
		})
	}
}
