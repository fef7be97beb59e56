package e2e_test

import (
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

func withLimits(l e2e.Limits) func(*e2e.Config, *[]byte) {
	return func(c *e2e.Config, _ *[]byte) { c.Limits = l }
}

func TestMessageLimits(t *testing.T) {
	x := newPair(t, withLimits(e2e.Limits{MaxMessages: 20})).establish(t)
	var rec []byte
	for n := 1; n < 18; n++ { // the confirmation was message 0
		require.False(t, x.dev.RenewDue(x.now), "after %d messages", n)
		rec = seal(t, x.now, x.dev, "m")
		require.Zero(t, rec[2]&2)
	}
	require.True(t, x.dev.RenewDue(x.now), "90 %% of 20")
	_, err := x.app.Receive(x.now, rec)
	require.NoError(t, err)
	require.True(t, x.app.RenewDue(x.now), "the receiver counts, too")
	rec = seal(t, x.now, x.dev, "m")
	require.Equal(t, byte(2), rec[2]&2, "renew-please")
	seal(t, x.now, x.dev, "m")
	out, err := x.dev.Seal(x.now, []byte("kept"), []byte("m"))
	require.ErrorIs(t, err, e2e.ErrRenewRequired)
	require.Equal(t, "kept", string(out))
	_, err = x.dev.CloseSession(0)
	require.NoError(t, err, "a CLOSE fits behind the last message")
}

func TestRenewPlease(t *testing.T) {
	x := newPair(t)
	// Only the device has a low limit, so only its flag can tell the application.
	x.dev = x.devSide.open(t, x.appSide, withLimits(e2e.Limits{MaxAge: time.Hour}))
	x.establish(t)
	x.now = x.now.Add(54 * time.Minute)
	require.False(t, x.app.RenewDue(x.now))
	deliver(t, x.now, x.dev, x.app, "m")
	require.True(t, x.app.RenewDue(x.now))

	init, err := x.app.Initiate(x.now, nil)
	require.NoError(t, err)
	require.False(t, x.app.RenewDue(x.now), "under way")
	require.True(t, x.dev.RenewDue(x.now))
	ev, err := x.dev.Receive(x.now, init)
	require.NoError(t, err)
	require.False(t, x.dev.RenewDue(x.now), "answered")
	require.True(t, x.dev.RenewDue(x.now.Add(time.Minute)), "answered, but never confirmed")
	ev, err = x.app.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	_, err = x.dev.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	require.False(t, x.dev.RenewDue(x.now))
	require.False(t, x.app.RenewDue(x.now))
}

func TestAgeLimits(t *testing.T) {
	x := newPair(t).establish(t)
	rec := seal(t, x.now, x.app, "kept by the broker")
	old := seal(t, x.now, x.app, "kept by the broker too long")
	at := func(d time.Duration) time.Time { return x.now.Add(d) }

	require.False(t, x.dev.RenewDue(at(21*time.Hour+35*time.Minute)))
	require.True(t, x.dev.RenewDue(at(21*time.Hour+36*time.Minute)), "90 %% of 24 h")
	require.True(t, x.dev.RenewDue(at(-time.Second)), "the clock was set back")
	seal(t, at(24*time.Hour-1), x.dev, "m")
	_, err := x.dev.Seal(at(24*time.Hour), nil, nil)
	require.ErrorIs(t, err, e2e.ErrRenewRequired)
	ev, err := x.dev.Receive(at(25*time.Hour-1), rec)
	require.NoError(t, err)
	require.Equal(t, e2e.KindData, ev.Kind)
	ev, err = x.dev.Receive(at(25*time.Hour), old)
	require.ErrorIs(t, err, e2e.ErrExpired)
	require.Empty(t, ev.Payload)
	require.False(t, x.dev.Ready())
	require.Equal(t, uint64(1), x.dev.Stats().Expired)
	refused(t, at(25*time.Hour), x.dev, old)
}

func TestFailedTagsRenew(t *testing.T) {
	x := newPair(t).establish(t)
	rec := seal(t, x.now, x.dev, "m")
	rec[20] ^= 1
	e2e.SetFailed(x.app, 1<<20-1)
	require.False(t, x.app.RenewDue(x.now))
	refused(t, x.now, x.app, rec)
	require.True(t, x.app.RenewDue(x.now))
}

func TestRatchet(t *testing.T) {
	for _, skip := range []uint32{1, 2, 15} {
		x := newPair(t).establish(t)
		out0, _ := e2e.TrafficKeys(x.dev)
		e2e.SetSent(x.dev, 1<<16-1)
		last := seal(t, x.now, x.dev, "last of generation 0")
		require.Equal(t, byte(0), last[3])
		e2e.SetSent(x.dev, skip<<16)
		rec := seal(t, x.now, x.dev, "far ahead")
		require.Equal(t, byte(skip), rec[3])
		out, _ := e2e.TrafficKeys(x.dev)
		require.NotEqual(t, out0, out)

		// A forgery ahead moves nothing.
		bad := append([]byte(nil), rec...)
		bad[len(bad)-1] ^= 1
		refused(t, x.now, x.app, bad)
		_, in := e2e.TrafficKeys(x.app)
		require.Equal(t, out0, in)

		ev, err := x.app.Receive(x.now, rec)
		require.NoError(t, err, "%d generations skipped", skip)
		require.Equal(t, "far ahead", string(ev.Payload))
		_, in = e2e.TrafficKeys(x.app)
		require.Equal(t, out, in)
		refused(t, x.now, x.app, last)
		require.Equal(t, uint64(1), x.app.Stats().OldGeneration, "the keys of generation 0 are gone")
		_, err = x.app.Receive(x.now, rec)
		require.ErrorIs(t, err, e2e.ErrReplay)
		deliver(t, x.now, x.dev, x.app, "next")
		deliver(t, x.now, x.app, x.dev, "the other direction has its own ratchet")
	}
}

func TestRatchetStepByStep(t *testing.T) {
	x := newPair(t).establish(t)
	e2e.SetSent(x.dev, 1<<16-3)
	for range 6 {
		deliver(t, x.now, x.dev, x.app, "over the boundary")
	}
}

func TestCounterEnds(t *testing.T) {
	x := newPair(t).establish(t)
	e2e.SetSent(x.dev, 1<<20-1)
	deliver(t, x.now, x.dev, x.app, "the last one")
	_, err := x.dev.Seal(x.now, nil, nil)
	require.ErrorIs(t, err, e2e.ErrRenewRequired)
	rec, err := x.dev.CloseSession(3)
	require.NoError(t, err)
	require.Equal(t, byte(16), rec[3])

	beyond := append([]byte(nil), rec...)
	beyond[15]++ // counter 2^20 + 1
	refused(t, x.now, x.app, beyond)
	require.Equal(t, uint64(1), x.app.Stats().Malformed)
	ev, err := x.app.Receive(x.now, rec)
	require.NoError(t, err)
	require.Equal(t, e2e.KindClosed, ev.Kind)
}

func TestPreviousKeysStayUntilTheNewSessionCarriedData(t *testing.T) {
	x := newPair(t, withLimits(e2e.Limits{Linger: time.Minute})).establish(t)
	old := seal(t, x.now, x.app, "old session")
	older := seal(t, x.now, x.app, "old session")
	x.establish(t) // the device initiated: it has no DATA under the new session yet
	ev, err := x.dev.Receive(x.now.Add(time.Hour), old)
	require.NoError(t, err)
	require.Equal(t, e2e.KindData, ev.Kind)
	deliver(t, x.now, x.app, x.dev, "new session")
	refused(t, x.now.Add(time.Hour), x.dev, older)
}

func TestLimitsAreChecked(t *testing.T) {
	s, r := newSide('D', "D-METER-1"), newSide('A', "A-WATER")
	for name, l := range map[string]e2e.Limits{
		"age above 24 h":    {MaxAge: 24*time.Hour + 1},
		"age too short":     {MaxAge: time.Millisecond},
		"negative age":      {MaxAge: -time.Hour},
		"more than 2^20":    {MaxMessages: 1<<20 + 1},
		"one message":       {MaxMessages: 1},
		"linger above 24 h": {Linger: 25 * time.Hour},
		"negative linger":   {Linger: -1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := e2e.Config{Key: s.key, Binding: testBinding, Epochs: s.epochs, Limits: l}
			_, err := e2e.NewPlainPeer(cfg, s.plain(), r.plain(), nil)
			require.ErrorContains(t, err, "e2e: Limits.")
		})
	}
}
