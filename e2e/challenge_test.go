package e2e_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

// challenged gives init to p and returns the CHALLENGE that comes with the refusal.
func challenged(t *testing.T, now time.Time, p *e2e.Peer, init []byte, reason error) []byte {
	t.Helper()
	ev, err := p.Receive(now, init)
	require.ErrorIs(t, err, reason)
	require.Equal(t, e2e.Event{}, ev, "nothing is accepted")
	c, ok := errors.AsType[*e2e.ChallengeError](err)
	require.True(t, ok, "%v", err)
	require.Len(t, c.Record, 72)
	return c.Record
}

// answer gives a CHALLENGE to p and returns the INIT that echoes it.
func answer(t *testing.T, now time.Time, p *e2e.Peer, challenge []byte) e2e.Event {
	t.Helper()
	ev, err := p.Receive(now, challenge)
	require.NoError(t, err)
	require.Equal(t, e2e.KindChallenged, ev.Kind)
	require.Equal(t, ev.Reply, p.Pending())
	return ev
}

// finish takes the handshake from INIT to the end.
func finish(t *testing.T, now time.Time, from, to *e2e.Peer, init []byte) {
	t.Helper()
	ev, err := to.Receive(now, init)
	require.NoError(t, err)
	ev, err = from.Receive(now, ev.Reply)
	require.NoError(t, err)
	_, err = to.Receive(now, ev.Reply)
	require.NoError(t, err)
	deliver(t, now, from, to, "21.5 degrees")
	deliver(t, now, to, from, "close the valve")
}

// A side whose epochs were set back comes back, in one round trip more.
func TestInitiatorLostItsState(t *testing.T) {
	for name, size := range map[e2e.Suite]int{e2e.SuiteCTRHMAC: 180, e2e.SuiteCTRHMACKEM: 2452} {
		x := newPair(t, withSuites(name))
		for range 5 {
			x.establish(t)
		}
		x.devSide.epochs = &memEpochs{}
		x.dev = x.devSide.open(t, x.appSide, withSuites(name))
		init, err := x.dev.Initiate(x.now, []byte("early data"))
		require.NoError(t, err)
		challenge := challenged(t, x.now, x.app, init, e2e.ErrStaleEpoch)
		require.Equal(t, uint64(1), x.app.Stats().Challenges)

		damaged(t, x, x.dev, challenge)
		refused(t, x.now, x.app, challenge)
		ev := answer(t, x.now, x.dev, challenge)
		require.Equal(t, "early data", string(ev.Returned))
		require.Equal(t, uint64(6), x.devSide.epochs.next)
		refused(t, x.now, x.dev, challenge) // to an INIT that is not pending any more

		echo := ev.Reply
		damagedAt(t, x, x.app, echo)
		ev, err = x.app.Receive(x.now, echo)
		require.NoError(t, err)
		require.Equal(t, size, len(echo)+len(ev.Reply), "INIT with echo and RESP")
		finish(t, x.now, x.dev, x.app, echo)
		_, err = x.app.Receive(x.now, init)
		require.ErrorIs(t, err, e2e.ErrStaleEpoch)
		x.establish(t)
	}
}

// After a restore nothing old is accepted, whatever the numbers say, until the other side has proved to be alive. The mark outlives
// restarts until then.
func TestResponderWasRestored(t *testing.T) {
	x := newPair(t)
	old, err := x.dev.Initiate(x.now, []byte("open the valve"))
	require.NoError(t, err)
	ev, err := x.app.Receive(x.now, old)
	require.NoError(t, err)
	require.Equal(t, e2e.KindEarlyData, ev.Kind)

	x.appSide.epochs = &memEpochs{}
	x.app = x.appSide.open(t, x.devSide)
	ev, err = x.app.Receive(x.now, old)
	require.NoError(t, err)
	require.Equal(t, e2e.KindEarlyData, ev.Kind, "what happens without the mark")

	x.appSide.epochs = &memEpochs{restored: true}
	x.app = x.appSide.open(t, x.devSide)
	answer(t, x.now, x.dev, challenged(t, x.now, x.app, old, e2e.ErrEchoRequired)) // this INIT gets lost
	x.app = x.appSide.open(t, x.devSide)
	refused(t, x.now, x.dev, challenged(t, x.now, x.app, old, e2e.ErrEchoRequired))
	init, err := x.dev.Initiate(x.now, []byte("close the valve"))
	require.NoError(t, err)
	x.now = x.now.Add(time.Second)
	ev = answer(t, x.now, x.dev, challenged(t, x.now, x.app, init, e2e.ErrEchoRequired))
	finish(t, x.now, x.dev, x.app, ev.Reply)
	require.False(t, x.appSide.epochs.restored)

	x.app = x.appSide.open(t, x.devSide)
	for _, r := range [][]byte{old, init, ev.Reply} {
		_, err = x.app.Receive(x.now, r)
		require.ErrorIs(t, err, e2e.ErrStaleEpoch)
	}
	x.establish(t)
	handshake(t, x.now, x.app, x.dev)
}

// Both lost everything at once, and call each other at the same time.
func TestBothWereRestored(t *testing.T) {
	x := newPair(t)
	for range 3 {
		x.establish(t)
		handshake(t, x.now, x.app, x.dev)
	}
	x.devSide.epochs, x.appSide.epochs = &memEpochs{restored: true}, &memEpochs{restored: true}
	x.dev, x.app = x.devSide.open(t, x.appSide), x.appSide.open(t, x.devSide)
	initD, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	initA, err := x.app.Initiate(x.now, nil)
	require.NoError(t, err)
	toD, toA := challenged(t, x.now, x.app, initD, e2e.ErrEchoRequired), challenged(t, x.now, x.dev, initA, e2e.ErrEchoRequired)
	initD, initA = answer(t, x.now, x.dev, toD).Reply, answer(t, x.now, x.app, toA).Reply
	ev, err := x.dev.Receive(x.now, initA)
	require.NoError(t, err)
	require.Equal(t, e2e.Event{}, ev, "the device's INIT wins")
	finish(t, x.now, x.dev, x.app, initD)
	require.False(t, x.devSide.epochs.restored || x.appSide.epochs.restored)
}

func TestChallengeNonce(t *testing.T) {
	stale := func(t *testing.T) (*pair, []byte) {
		x := newPair(t).establish(t).establish(t)
		x.devSide.epochs = &memEpochs{}
		x.dev = x.devSide.open(t, x.appSide)
		init, err := x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		return x, init
	}
	t.Run("at most one a second", func(t *testing.T) {
		x, init := stale(t)
		first := challenged(t, x.now, x.app, init, e2e.ErrStaleEpoch)
		for _, d := range []time.Duration{0, 999 * time.Millisecond} {
			_, err := x.app.Receive(x.now.Add(d), init)
			require.ErrorIs(t, err, e2e.ErrStaleEpoch)
			_, again := errors.AsType[*e2e.ChallengeError](err)
			require.False(t, again, "after %v", d)
		}
		require.Equal(t, first, challenged(t, x.now.Add(time.Second), x.app, init, e2e.ErrStaleEpoch), "the same question while it stands")
		require.NotEqual(t, first, challenged(t, x.now.Add(time.Minute), x.app, init, e2e.ErrStaleEpoch))
		require.NotEqual(t, first, challenged(t, x.now.Add(-time.Second), x.app, init, e2e.ErrStaleEpoch), "a clock set back ends it")
	})
	t.Run("60 seconds", func(t *testing.T) {
		for d, ok := range map[time.Duration]bool{59 * time.Second: true, 60 * time.Second: false, -time.Second: false} {
			x, init := stale(t)
			x.appSide.epochs.restored = true
			echo := answer(t, x.now, x.dev, challenged(t, x.now, x.app, init, e2e.ErrEchoRequired)).Reply
			if ok {
				finish(t, x.now.Add(d), x.dev, x.app, echo)
				continue
			}
			later := challenged(t, x.now.Add(d), x.app, echo, e2e.ErrEchoRequired)
			finish(t, x.now.Add(d), x.dev, x.app, answer(t, x.now, x.dev, later).Reply)
		}
	})
	t.Run("used once", func(t *testing.T) {
		x, init := stale(t)
		x.appSide.epochs.restored = true
		echo := answer(t, x.now, x.dev, challenged(t, x.now, x.app, init, e2e.ErrEchoRequired)).Reply
		finish(t, x.now, x.dev, x.app, echo)
		x.appSide.epochs.restored = true // again, and only in this test without a restart
		x.now = x.now.Add(time.Second)
		challenged(t, x.now, x.app, echo, e2e.ErrEchoRequired)
	})
	t.Run("who plays old INITs back does not push it aside", func(t *testing.T) {
		x, init := stale(t)
		old := init
		_, err := x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		init = x.dev.Pending()
		challenge := challenged(t, x.now, x.app, init, e2e.ErrStaleEpoch)
		for range 30 {
			x.now = x.now.Add(time.Second)
			refused(t, x.now, x.dev, challenged(t, x.now, x.app, old, e2e.ErrStaleEpoch))
		}
		finish(t, x.now, x.dev, x.app, answer(t, x.now, x.dev, challenge).Reply)
	})
}

func TestChallengeIsRefused(t *testing.T) {
	x := newPair(t).establish(t)
	x.devSide.epochs.next = 0
	x.dev = x.devSide.open(t, x.appSide)
	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	challenge := challenged(t, x.now, x.app, init, e2e.ErrStaleEpoch)

	other := x.devSide.open(t, x.appSide, func(c *e2e.Config, _ *[]byte) { c.Binding[0]++ })
	refused(t, x.now, other, challenge)
	require.Equal(t, uint64(1), other.Stats().WrongBinding)
	refused(t, x.now, x.devSide.open(t, x.appSide), challenge) // without an INIT
	suite := bytes.Clone(challenge)
	suite[1] = 3
	refused(t, x.now, x.dev, suite)
	noPSK := x.devSide.open(t, x.appSide, func(c *e2e.Config, psk *[]byte) { *psk, c.RequirePSK = nil, false })
	_, err = noPSK.Initiate(x.now, nil)
	require.NoError(t, err)
	refused(t, x.now, noPSK, challenge)

	_, err = x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	refused(t, x.now, x.dev, challenge) // to the INIT before
	p, _, _ := platformPair(t, newSide('D', "D-METER-2"))
	_, err = p.Receive(x.now, challenge)
	require.ErrorIs(t, err, e2e.ErrWrongUse)
}

// plainEpochs has the two methods of Epochs alone.
type plainEpochs struct{ m *memEpochs }

func (p plainEpochs) NextEpoch() (uint64, error)     { return p.m.NextEpoch() }
func (p plainEpochs) AcceptEpoch(epoch uint64) error { return p.m.AcceptEpoch(epoch) }

func TestChallengeAndTheStore(t *testing.T) {
	t.Run("one that cannot skip", func(t *testing.T) {
		x := newPair(t).establish(t).establish(t)
		plain := func(c *e2e.Config, _ *[]byte) { c.Epochs = plainEpochs{&memEpochs{}} }
		x.dev = x.devSide.open(t, x.appSide, plain)
		init, err := x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		challenge := challenged(t, x.now, x.app, init, e2e.ErrStaleEpoch)
		_, err = x.dev.Receive(x.now, challenge)
		require.ErrorContains(t, err, "seen epoch 2 of ours, and the store cannot skip")
		_, err = x.dev.Initiate(x.now, nil) // it gets there step by step
		require.NoError(t, err)
		x.establish(t)

		init, err = x.app.Initiate(x.now, nil)
		require.NoError(t, err)
		x.app, x.appSide.epochs.next = x.appSide.open(t, x.devSide), 0
		_, err = x.dev.Receive(x.now, init)
		require.NoError(t, err)
		init, err = x.app.Initiate(x.now, nil)
		require.NoError(t, err)
		ev := answer(t, x.now, x.app, challenged(t, x.now, x.dev, init, e2e.ErrStaleEpoch))
		finish(t, x.now, x.app, x.dev, ev.Reply)
	})
	t.Run("a jump too far", func(t *testing.T) {
		x := newPair(t)
		x.appSide.epochs.seen = 1 << 40
		init, err := x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		_, err = x.dev.Receive(x.now, challenged(t, x.now, x.app, init, e2e.ErrStaleEpoch))
		require.ErrorIs(t, err, e2e.ErrEpochJump)
		require.Equal(t, init, x.dev.Pending())
	})
	t.Run("one that fails now and then", func(t *testing.T) {
		x := newPair(t).establish(t)
		x.devSide.epochs.next, x.appSide.epochs.restored = 0, true
		x.dev = x.devSide.open(t, x.appSide)
		init, err := x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		x.appSide.epochs.fail = errDisk
		_, err = x.app.Receive(x.now, init)
		require.ErrorIs(t, err, errDisk)
		x.appSide.epochs.fail = nil
		challenge := challenged(t, x.now, x.app, init, e2e.ErrEchoRequired)
		x.devSide.epochs.fail = errDisk
		_, err = x.dev.Receive(x.now, challenge)
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, init, x.dev.Pending(), "the same CHALLENGE may come again")
		x.devSide.epochs.fail = nil
		echo := answer(t, x.now, x.dev, challenge).Reply
		x.appSide.epochs.fail = errDisk
		_, err = x.app.Receive(x.now, echo)
		require.ErrorIs(t, err, errDisk)
		x.appSide.epochs.fail = nil
		finish(t, x.now, x.dev, x.app, echo)
	})
}
