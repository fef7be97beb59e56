package e2e_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

func TestHandshake(t *testing.T) {
	for _, who := range []string{"device initiates", "application initiates"} {
		t.Run(who, func(t *testing.T) {
			x := newPair(t)
			from, to := x.dev, x.app
			if who == "application initiates" {
				from, to = to, from
			}
			require.False(t, from.Ready())
			_, err := from.Seal(x.now, nil, []byte("early bird"))
			require.ErrorIs(t, err, e2e.ErrNoSession)

			init, err := from.Initiate(x.now, nil)
			require.NoError(t, err)
			require.Equal(t, init, from.Pending())
			ev, err := to.Receive(x.now, init)
			require.NoError(t, err)
			require.Equal(t, e2e.KindNone, ev.Kind)
			require.Equal(t, 164, len(init)+len(ev.Reply), "INIT + RESP")
			require.False(t, to.Ready(), "a responder waits for the confirmation")

			resp := ev.Reply
			ev, err = from.Receive(x.now, resp)
			require.NoError(t, err)
			require.Equal(t, e2e.KindEstablished, ev.Kind)
			require.True(t, from.Ready())
			require.Nil(t, from.Pending())
			require.Len(t, ev.Reply, e2e.Overhead)
			id := ev.Session

			ev, err = to.Receive(x.now, ev.Reply)
			require.NoError(t, err)
			require.Equal(t, e2e.KindEstablished, ev.Kind)
			require.Equal(t, id, ev.Session)
			require.True(t, ev.Switched)
			require.True(t, to.Ready())

			for range 3 {
				deliver(t, x.now, from, to, "21.5 degrees")
				deliver(t, x.now, to, from, "close the valve")
			}
			require.Equal(t, uint64(1), from.Stats().Handshakes)
			require.Equal(t, uint64(1), to.Stats().Handshakes)
			refused(t, x.now, from, resp) // nothing waits for it any more
			require.Equal(t, uint64(1), from.Stats().NotExpected)
		})
	}
}

// Both directions have keys of their own, and both sides agree on them.
func TestDirectionsHaveTheirOwnKeys(t *testing.T) {
	x := newPair(t).establish(t)
	devOut, devIn := e2e.TrafficKeys(x.dev)
	appOut, appIn := e2e.TrafficKeys(x.app)
	require.Equal(t, devOut, appIn)
	require.Equal(t, devIn, appOut)
	require.NotEqual(t, devOut, devIn)
}

func TestEarlyData(t *testing.T) {
	x := newPair(t)
	init, err := x.dev.Initiate(x.now, []byte("21.5 degrees"))
	require.NoError(t, err)
	require.NotContains(t, string(init), "degrees")
	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	require.Equal(t, e2e.KindEarlyData, ev.Kind)
	require.Equal(t, "21.5 degrees", string(ev.Payload))
	resp := ev.Reply

	again, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	require.Equal(t, e2e.Event{Session: ev.Session, Reply: resp}, again, "the same INIT gets the same RESP and delivers nothing")

	// After a restart the RESP is gone and the epoch is not.
	app := x.appSide.open(t, x.devSide)
	_, err = app.Receive(x.now, init)
	require.ErrorIs(t, err, e2e.ErrStaleEpoch)
	require.Equal(t, uint64(1), app.Stats().StaleEpoch)
}

func TestFirstDataConfirms(t *testing.T) {
	x := newPair(t)
	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	ev, err = x.dev.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	confirm := ev.Reply // overtaken by what is sealed after it

	ev, err = x.app.Receive(x.now, seal(t, x.now, x.dev, "21.5 degrees"))
	require.NoError(t, err)
	require.Equal(t, e2e.KindData, ev.Kind)
	require.True(t, ev.Switched)
	require.True(t, x.app.Ready())
	_, err = x.app.Receive(x.now, confirm)
	require.ErrorIs(t, err, e2e.ErrReplay)

	ev, err = x.app.Receive(x.now, seal(t, x.now, x.dev, ""))
	require.NoError(t, err)
	require.Equal(t, e2e.KindNone, ev.Kind, "empty DATA is not delivered")
	require.False(t, ev.Switched)
}

func TestRenewal(t *testing.T) {
	for _, who := range []string{"device", "application"} {
		t.Run(who+" renews", func(t *testing.T) {
			x := newPair(t).establish(t)
			from, to := x.dev, x.app
			if who == "application" {
				from, to = to, from
			}
			old, _ := to.Session()
			inFlight := seal(t, x.now, from, "sealed before, arrives after")

			init, err := from.Initiate(x.now, nil)
			require.NoError(t, err)
			deliver(t, x.now, from, to, "the session in use stays in use")
			ev, err := to.Receive(x.now, init)
			require.NoError(t, err)
			require.NotEqual(t, old, ev.Session)
			current, _ := to.Session()
			require.Equal(t, old, current, "the responder goes on with the old session")
			late := seal(t, x.now, to, "sealed by the responder meanwhile")

			ev, err = from.Receive(x.now, ev.Reply)
			require.NoError(t, err)
			confirm := ev.Reply
			ev, err = from.Receive(x.now, late)
			require.NoError(t, err, "the initiator still receives under the old keys")
			require.Equal(t, old, ev.Session)
			require.False(t, ev.Switched)

			ev, err = to.Receive(x.now, confirm)
			require.NoError(t, err)
			require.True(t, ev.Switched)
			deliver(t, x.now, to, from, "new session")
			deliver(t, x.now, from, to, "new session")

			_, err = to.Receive(x.now, inFlight)
			require.ErrorIs(t, err, e2e.ErrReplay, "authentic under the old keys, but a later one was delivered")

			x.now = x.now.Add(time.Hour)
			refused(t, x.now, to, inFlight)
			require.Equal(t, uint64(1), to.Stats().UnknownSession, "the old keys are gone")
		})
	}
}

func TestCrossing(t *testing.T) {
	x := newPair(t)
	initD, err := x.dev.Initiate(x.now, []byte("from the device"))
	require.NoError(t, err)
	initA, err := x.app.Initiate(x.now, []byte("from the application"))
	require.NoError(t, err)

	ev, err := x.dev.Receive(x.now, initA)
	require.NoError(t, err)
	require.Equal(t, e2e.Event{}, ev, "the device's INIT wins")
	require.Equal(t, uint64(1), x.dev.Stats().Crossed)
	require.Equal(t, initD, x.dev.Pending())

	ev, err = x.app.Receive(x.now, initD)
	require.NoError(t, err)
	require.Equal(t, e2e.KindEarlyData, ev.Kind)
	require.Equal(t, "from the device", string(ev.Payload))
	require.Equal(t, "from the application", string(ev.Returned))
	require.Nil(t, x.app.Pending())

	ev, err = x.dev.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	_, err = x.app.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	deliver(t, x.now, x.app, x.dev, "from the application")

	// The loser's INIT is used up, although the winner threw it away.
	_, err = x.dev.Receive(x.now, initA)
	require.ErrorIs(t, err, e2e.ErrStaleEpoch)
	restarted := x.devSide.open(t, x.appSide)
	_, err = restarted.Receive(x.now, initA)
	require.ErrorIs(t, err, e2e.ErrStaleEpoch)
}

func TestCrossingWithoutEarlyDataOfTheWinner(t *testing.T) {
	x := newPair(t)
	_, err := x.app.Initiate(x.now, []byte("from the application"))
	require.NoError(t, err)
	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	require.Equal(t, e2e.KindLost, ev.Kind)
	require.Equal(t, "from the application", string(ev.Returned))
	require.NotNil(t, ev.Reply)
}

// A winner whose INITs reach nobody gives way after a minute.
func TestCrossingPrecedenceEnds(t *testing.T) {
	x := newPair(t)
	_, err := x.dev.Initiate(x.now, []byte("lost on the way"))
	require.NoError(t, err)
	x.now = x.now.Add(40 * time.Second)
	_, err = x.dev.Initiate(x.now, []byte("lost on the way, too"))
	require.NoError(t, err)
	init, err := x.app.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err := x.dev.Receive(x.now, init)
	require.NoError(t, err)
	require.Equal(t, e2e.Event{}, ev)

	x.now = x.now.Add(21 * time.Second)
	init, err = x.app.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err = x.dev.Receive(x.now, init)
	require.NoError(t, err)
	require.Equal(t, e2e.KindLost, ev.Kind)
	require.Equal(t, "lost on the way, too", string(ev.Returned))
	ev, err = x.app.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	_, err = x.dev.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	deliver(t, x.now, x.dev, x.app, "together again")
}

// An answered session that is confirmed late does not push the later one aside, on either side.
func TestLateConfirmationOfAnEarlierSession(t *testing.T) {
	x := newPair(t)
	initA, err := x.app.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err := x.dev.Receive(x.now, initA)
	require.NoError(t, err)
	respD := ev.Reply
	initD, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)

	ev, err = x.app.Receive(x.now, respD) // the application has session 1
	require.NoError(t, err)
	late := seal(t, x.now, x.app, "on session 1")
	ev, err = x.app.Receive(x.now, initD)
	require.NoError(t, err)
	ev, err = x.dev.Receive(x.now, ev.Reply) // the device has session 2
	require.NoError(t, err)
	second := ev.Session

	ev2, err := x.dev.Receive(x.now, late)
	require.NoError(t, err)
	require.Equal(t, e2e.KindData, ev2.Kind)
	require.False(t, ev2.Switched)
	id, _ := x.dev.Session()
	require.Equal(t, second, id)
	_, err = x.app.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	id, _ = x.app.Session()
	require.Equal(t, second, id)
	deliver(t, x.now, x.dev, x.app, "on session 2")
	deliver(t, x.now, x.app, x.dev, "on session 2")
}

func TestPendingIsReplaced(t *testing.T) {
	x := newPair(t)
	first, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err := x.app.Receive(x.now, first)
	require.NoError(t, err)
	second, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.Equal(t, second, x.dev.Pending())
	refused(t, x.now, x.dev, ev.Reply) // answers the dropped one
	require.Equal(t, second, x.dev.Pending())

	ev, err = x.app.Receive(x.now, second)
	require.NoError(t, err)
	_, err = x.app.Receive(x.now, first)
	require.ErrorIs(t, err, e2e.ErrStaleEpoch)
	_, err = x.dev.Receive(x.now, ev.Reply)
	require.NoError(t, err)
}

func TestRestartNeedsANewSession(t *testing.T) {
	x := newPair(t).establish(t)
	before := seal(t, x.now, x.dev, "before the power cut")
	x.dev = x.devSide.open(t, x.appSide)
	require.False(t, x.dev.Ready())
	refused(t, x.now, x.dev, seal(t, x.now, x.app, "to a device that forgot"))
	x.establish(t)
	id, _ := x.dev.Session()
	after := seal(t, x.now, x.dev, "after the power cut")
	require.NotEqual(t, before[4:12], after[4:12], "another session ID")
	require.Equal(t, id[:], after[4:12])
	ev, err := x.app.Receive(x.now, before)
	require.NoError(t, err, "late, but of the previous session")
	require.Equal(t, "before the power cut", string(ev.Payload))
}

func TestClose(t *testing.T) {
	x := newPair(t).establish(t)
	pending := seal(t, x.now, x.app, "too late")
	rec, err := x.dev.CloseSession(7)
	require.NoError(t, err)
	require.False(t, x.dev.Ready())
	refused(t, x.now, x.dev, pending)
	_, err = x.dev.Seal(x.now, nil, nil)
	require.ErrorIs(t, err, e2e.ErrNoSession)
	_, err = x.dev.CloseSession(7)
	require.ErrorIs(t, err, e2e.ErrNoSession)

	for i := range rec {
		bad := bytes.Clone(rec)
		bad[i] ^= 1
		refused(t, x.now, x.app, bad)
	}
	id, _ := x.app.Session()
	ev, err := x.app.Receive(x.now, rec)
	require.NoError(t, err)
	require.Equal(t, e2e.Event{Kind: e2e.KindClosed, Session: id, Reason: 7}, ev)
	require.False(t, x.app.Ready())
	refused(t, x.now, x.app, rec)
	x.establish(t)
}

func TestSealAppends(t *testing.T) {
	x := newPair(t).establish(t)
	buf := make([]byte, 4, 200)
	copy(buf, "head")
	out, err := x.dev.Seal(x.now, buf, []byte("message"))
	require.NoError(t, err)
	require.Equal(t, "head", string(out[:4]))
	require.Same(t, &buf[0], &out[0], "room enough: no new buffer")
	out, err = x.dev.Seal(x.now, []byte("head"), []byte("message"))
	require.NoError(t, err)
	require.Equal(t, "head", string(out[:4]))

	room := make([]byte, 2, 100)
	var ev e2e.Event
	err = x.app.ReceiveInto(&ev, x.now, room, out[4:])
	require.NoError(t, err)
	require.Equal(t, "message", string(ev.Payload))
	require.Same(t, &room[:3][2], &ev.Payload[0])

	_, err = x.dev.Seal(x.now, nil, make([]byte, e2e.MaxPayload+1))
	require.ErrorIs(t, err, e2e.ErrTooLarge)
	_, err = x.dev.Initiate(x.now, make([]byte, e2e.MaxPayload+1))
	require.ErrorIs(t, err, e2e.ErrTooLarge)
	deliver(t, x.now, x.dev, x.app, string(make([]byte, e2e.MaxPayload)))
	init, err := x.dev.Initiate(x.now, make([]byte, e2e.MaxPayload))
	require.NoError(t, err)
	ev, err = x.app.Receive(x.now, init)
	require.NoError(t, err)
	require.Len(t, ev.Payload, e2e.MaxPayload)
}

func TestWipe(t *testing.T) {
	x := newPair(t).establish(t)
	rec := seal(t, x.now, x.app, "too late")
	init, err := x.app.Initiate(x.now, nil)
	require.NoError(t, err)
	x.dev.Wipe()
	x.dev.Wipe()
	for _, r := range [][]byte{rec, init} {
		_, err = x.dev.Receive(x.now, r)
		require.ErrorIs(t, err, e2e.ErrWiped)
	}
	_, err = x.dev.Seal(x.now, nil, nil)
	require.ErrorIs(t, err, e2e.ErrWiped)
	_, err = x.dev.Initiate(x.now, nil)
	require.ErrorIs(t, err, e2e.ErrWiped)
	_, err = x.dev.CloseSession(0)
	require.ErrorIs(t, err, e2e.ErrWiped)
	require.False(t, x.dev.Ready())
	require.Nil(t, x.dev.Pending())
	require.False(t, x.dev.RenewDue(x.now))
}
