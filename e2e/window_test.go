package e2e_test

import (
	"math/rand/v2"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

func windowed(c *e2e.Config, _ *[]byte) { c.Windowed = true }

func TestWindow(t *testing.T) {
	x := newPair(t, windowed).establish(t) // the confirmation was counter 0
	var rec [130][]byte
	for i := 1; i < len(rec); i++ {
		rec[i] = seal(t, x.now, x.dev, string(rune(i)))
	}
	for _, step := range []struct {
		i   int
		err error
	}{
		{2, nil}, {1, nil}, {1, e2e.ErrReplay}, {2, e2e.ErrReplay}, {65, nil},
		{2, e2e.ErrReplay}, {3, nil}, {3, e2e.ErrReplay}, {64, nil}, {64, e2e.ErrReplay},
		{68, nil}, {4, e2e.ErrReplay}, {5, nil}, {66, nil}, {67, nil},
		{129, nil}, {65, e2e.ErrReplay}, {66, e2e.ErrReplay}, {69, nil}, {128, nil}, {129, e2e.ErrReplay},
	} {
		ev, err := x.app.Receive(x.now, rec[step.i])
		if step.err != nil {
			require.Equal(t, step.err, err, "record %d", step.i)
			require.Equal(t, e2e.Event{}, ev)
			continue
		}
		require.NoError(t, err, "record %d", step.i)
		require.Equal(t, string(rune(step.i)), string(ev.Payload))
	}
}

// Against a set that remembers everything: each record is delivered once if at most 63 later ones came before it, never twice.
func TestWindowAgainstASet(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x := newPair(t, windowed).establish(t)
	e2e.SetSent(x.dev, 1<<16-700) // and over a ratchet step
	first, newest := 1<<16-700, -1
	var rec [][]byte
	taken := map[int]bool{}
	for len(rec) < 1500 || newest < 1<<16+700 {
		for range r.IntN(6) {
			rec = append(rec, seal(t, x.now, x.dev, "m"))
		}
		if len(rec) == 0 {
			continue
		}
		i := len(rec) - 1 - r.IntN(min(len(rec), 100))
		counter := first + i
		want := !taken[counter] && counter > newest-64
		_, err := x.app.Receive(x.now, rec[i])
		require.Equal(t, want, err == nil, "counter %d, newest %d: %v", counter, newest, err)
		if want {
			taken[counter], newest = true, max(newest, counter)
		}
	}
}

// Keys of the generation before stay as long as the window reaches into it, and no longer.
func TestWindowOverRatchet(t *testing.T) {
	for _, skip := range []uint32{1, 2, 15} {
		x := newPair(t, windowed).establish(t)
		boundary := skip << 16
		e2e.SetSent(x.dev, boundary-3)
		var late [3][]byte
		for i := range late {
			late[i] = seal(t, x.now, x.dev, "generation before")
		}
		e2e.SetSent(x.dev, boundary+5)
		ahead := seal(t, x.now, x.dev, "ahead")

		bad := append([]byte(nil), ahead...)
		bad[len(bad)-1] ^= 1
		refused(t, x.now, x.app, bad)
		require.Nil(t, e2e.KeyBefore(x.app), "a forgery moves nothing")
		_, in := e2e.TrafficKeys(x.app)

		deliver := func(rec []byte) {
			t.Helper()
			ev, err := x.app.Receive(x.now, rec)
			require.NoError(t, err)
			require.Equal(t, e2e.KindData, ev.Kind)
		}
		deliver(ahead)
		before := e2e.KeyBefore(x.app)
		require.NotNil(t, before)
		require.NotEqual(t, make([]byte, 32), before)
		_, now := e2e.TrafficKeys(x.app)
		require.NotEqual(t, in, now)
		deliver(late[2])
		_, err := x.app.Receive(x.now, late[2])
		require.ErrorIs(t, err, e2e.ErrReplay)
		bad = append([]byte(nil), late[1]...)
		bad[20] ^= 1
		refused(t, x.now, x.app, bad)
		deliver(late[1])

		e2e.SetSent(x.dev, boundary+62)
		deliver(seal(t, x.now, x.dev, "the window still reaches the last record before"))
		require.NotNil(t, e2e.KeyBefore(x.app))
		_, err = x.app.Receive(x.now, late[0])
		require.ErrorIs(t, err, e2e.ErrReplay, "too old")
		deliver(seal(t, x.now, x.dev, "not any more"))
		require.Nil(t, e2e.KeyBefore(x.app))
		require.Equal(t, make([]byte, 32), before, "overwritten")
		refused(t, x.now, x.app, late[0])
		require.Equal(t, uint64(1), x.app.Stats().OldGeneration)
	}
}

func TestWindowWipes(t *testing.T) {
	x := newPair(t, windowed).establish(t)
	e2e.SetSent(x.dev, 1<<16)
	rec := seal(t, x.now, x.dev, "m")
	_, err := x.app.Receive(x.now, rec)
	require.NoError(t, err)
	before := e2e.KeyBefore(x.app)
	require.NotNil(t, before)
	x.app.Wipe()
	require.Equal(t, make([]byte, 32), before)
}

// A strict receiver keeps no key of a generation that is over.
func TestStrictKeepsNoOldKey(t *testing.T) {
	x := newPair(t).establish(t)
	e2e.SetSent(x.dev, 1<<16)
	deliver(t, x.now, x.dev, x.app, "m")
	require.Nil(t, e2e.KeyBefore(x.app))
}
