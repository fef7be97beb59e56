package delivery_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/delivery"
)

// bubble runs f on two started sides under a fake clock.
func bubble(t *testing.T, prepare func(dev, app *side), config func(*delivery.Config), f func(t *testing.T, dev, app *side)) {
	t.Helper()
	_, err := parties()
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		dev, app := newPair(t, newNetwork(1), config)
		if prepare != nil {
			prepare(dev, app)
		}
		dev.start()
		app.start()
		defer app.stop() // also when f ends the test
		defer dev.stop()
		f(t, dev, app)
	})
}

func TestEventsBothWays(t *testing.T) {
	var atApp, atDev recorder
	bubble(t, func(dev, app *side) { dev.events, app.events = atDev.handle, atApp.handle }, nil,
		func(t *testing.T, dev, app *side) {
			var up, down []string
			for i := range 100 {
				up, down = append(up, fmt.Sprintf("up %d", i)), append(down, fmt.Sprintf("down %d", i))
				require.Equal(t, uint64(i+1), send(t, dev.channel(), up[i]))
				require.Equal(t, uint64(i+1), send(t, app.channel(), down[i]))
			}
			begin := time.Now()
			flush(t, dev.channel())
			flush(t, app.channel())
			require.Less(t, time.Since(begin), 5*time.Second, "no resend may be needed on a good link")
			require.Equal(t, up, atApp.bodies())
			require.Equal(t, down, atDev.bodies())
			for _, s := range []*side{dev, app} {
				st := s.channel().Stats()
				require.Zero(t, st.Queued+st.InFlight, "%+v", st)
				require.Equal(t, uint64(100), st.Handled)
				require.Zero(t, st.Resent, "%+v", st)
				require.Zero(t, st.BadFrames+st.StoreErrors+st.Repeated, "%+v", st)
				state, err := s.store.Load()
				require.NoError(t, err)
				require.Empty(t, state.Outbox)
				require.Equal(t, uint64(101), state.Next)
				require.Equal(t, uint64(100), state.Marks[delivery.MarkEvents])
			}
			// The one INIT of each side at most, and acks ride or are few.
			require.LessOrEqual(t, dev.net.published(0, e2e.TypeInit), 1)
			require.LessOrEqual(t, dev.net.published(0, e2e.TypeData), 100+60)
		})
}

func TestNothingToSendStartsNothing(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
		time.Sleep(24 * time.Hour)
		require.Zero(t, dev.epochs.taken()+app.epochs.taken())
		require.Zero(t, dev.net.published(0, e2e.TypeInit)+dev.net.published(1, e2e.TypeInit))
	})
}

func TestKeepSession(t *testing.T) {
	bubble(t, nil, func(c *delivery.Config) { c.KeepSession = true }, func(t *testing.T, dev, app *side) {
		time.Sleep(time.Minute)
		require.True(t, dev.channel().Stats().Ready)
		require.True(t, app.channel().Stats().Ready)
		require.LessOrEqual(t, dev.epochs.taken()+app.epochs.taken(), uint64(2))
	})
}

// goroutines counts those that are in a method of the package; the runtime has others that come and go.
func goroutines() (n int) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		if bytes.Contains(stack, []byte("/internal/delivery.(*")) {
			n++
		}
	}
	return n
}

func TestOneGoroutineWhenIdle(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
		send(t, dev.channel(), "x")
		flush(t, dev.channel())
		time.Sleep(time.Minute)
		synctest.Wait()
		// Each side is Run and the test's goroutine around it, which are one: go func() { done <- ch.Run(ctx) }.
		require.Equal(t, 2, goroutines())
		dev.stop()
		app.stop()
		synctest.Wait()
		require.Zero(t, goroutines())
		dev.start()
		app.start()
	})
}

func TestEarlyData(t *testing.T) {
	var got []delivery.Event
	bubble(t, func(_, app *side) {
		app.events = func(_ context.Context, e delivery.Event) error { got = append(got, e); return nil }
	}, func(c *delivery.Config) { c.EarlyData = true }, func(t *testing.T, dev, app *side) {
		dev.net.set(func(n *network) { // nothing but INIT leaves the device, and nothing comes back
			n.watch = func(from int, r []byte) bool {
				typ, _ := e2e.TypeOf(r)
				return typ == e2e.TypeInit
			}
		})
		send(t, dev.channel(), "woke up for this")
		send(t, dev.channel(), "and this")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, got, 1, "one message came with INIT")
		require.True(t, got[0].Early)
		require.Equal(t, "woke up for this", string(got[0].Body))
		dev.net.set(func(n *network) { n.watch = nil })
		flush(t, dev.channel())
		require.Len(t, got, 2, "the early event is not handled again")
		require.False(t, got[1].Early)
		require.Equal(t, uint64(2), got[1].Seq)
	})
}

func TestEarlyDataOnlyIfConfigured(t *testing.T) {
	var early int
	bubble(t, func(_, app *side) {
		app.events = func(_ context.Context, e delivery.Event) error {
			if e.Early {
				early++
			}
			return nil
		}
	}, nil, func(t *testing.T, dev, _ *side) {
		send(t, dev.channel(), "x")
		flush(t, dev.channel())
		require.Zero(t, early)
	})
}

func TestRebootHeals(t *testing.T) {
	for _, tc := range []struct {
		name string
		who  func(dev, app *side) *side
	}{
		{"of the device", func(dev, _ *side) *side { return dev }},
		{"of the application", func(_, app *side) *side { return app }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var atApp, atDev recorder
			bubble(t, func(dev, app *side) { dev.events, app.events = atDev.handle, atApp.handle }, nil,
				func(t *testing.T, dev, app *side) {
					send(t, dev.channel(), "u1")
					send(t, app.channel(), "d1")
					flush(t, dev.channel())
					flush(t, app.channel())
					tc.who(dev, app).kill()
					tc.who(dev, app).start()
					// The rebooted side has nothing to send: it starts a session because of the other's record.
					begin := time.Now()
					send(t, tc.who(dev, app).other.channel(), "again")
					flush(t, tc.who(dev, app).other.channel())
					require.Less(t, time.Since(begin), time.Second, "a record of a lost session must start a new one")
					require.Len(t, append(atApp.bodies(), atDev.bodies()...), 3)
				})
		})
	}
}

func TestUnsentSurvivesReboot(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) { app.events = atApp.handle }, nil, func(t *testing.T, dev, app *side) {
		dev.net.set(func(n *network) { n.up = false })
		dev.channel().LinkDown()
		require.Equal(t, uint64(1), send(t, dev.channel(), "a"))
		dev.kill()
		dev.net.set(func(n *network) { n.up = true })
		dev.start()
		require.Equal(t, uint64(2), send(t, dev.channel(), "b"))
		flush(t, dev.channel())
		require.Equal(t, []string{"a", "b"}, atApp.bodies())
		dev.kill()
		dev.start()
		require.Equal(t, uint64(3), send(t, dev.channel(), "c"), "an empty outbox must not make numbers come again")
		flush(t, dev.channel())
		require.Equal(t, []string{"a", "b", "c"}, atApp.bodies())
		require.Equal(t, []uint64{1, 2, 3}, atApp.seqs)
	})
}

func TestRenewal(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) { app.events = atApp.handle }, nil, func(t *testing.T, dev, app *side) {
		const days = 10
		for i := range days * 24 {
			send(t, dev.channel(), fmt.Sprint(i))
			time.Sleep(time.Hour)
		}
		flush(t, dev.channel())
		require.Len(t, atApp.bodies(), days*24)
		taken := dev.epochs.taken() + app.epochs.taken()
		require.GreaterOrEqual(t, taken, uint64(days), "a session lives 24 hours at most")
		require.LessOrEqual(t, taken, uint64(3*days))
	})
}

// A silent other side costs few epochs (each is a write into flash) and little traffic, and is reached soon after it is back.
func TestSilentPeerIsPaced(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
		dev.net.set(func(n *network) { n.lose = 1000 })
		send(t, dev.channel(), "x")
		time.Sleep(24 * time.Hour)
		require.LessOrEqual(t, dev.epochs.taken(), uint64(60), "epochs in a day")
		require.LessOrEqual(t, dev.net.published(0, e2e.TypeInit), 250, "INITs in a day")
		require.GreaterOrEqual(t, dev.net.published(0, e2e.TypeInit), 90)
		dev.net.set(func(n *network) { n.lose = 0 })
		begin := time.Now()
		flush(t, dev.channel())
		require.Less(t, time.Since(begin), 16*time.Minute)

		// Having been heard ends the back-off.
		before := dev.net.published(0, e2e.TypeInit)
		dev.net.set(func(n *network) { n.lose = 1000 })
		send(t, dev.channel(), "y")
		time.Sleep(10 * time.Minute)
		require.GreaterOrEqual(t, dev.net.published(0, e2e.TypeInit)-before, 4)
		dev.net.set(func(n *network) { n.lose = 0 })
	})
}

func TestSilentPeerWithSessionIsPaced(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
		send(t, dev.channel(), "x")
		flush(t, dev.channel())
		dev.net.set(func(n *network) { n.lose = 1000 })
		for range 100 {
			send(t, dev.channel(), "x")
		}
		time.Sleep(24 * time.Hour)
		require.LessOrEqual(t, dev.epochs.taken(), uint64(60))
		require.LessOrEqual(t, dev.net.published(0, e2e.TypeData), 1000)
		dev.net.set(func(n *network) { n.lose = 0 })
		flush(t, dev.channel())
	})
}

// Anybody can send records of unknown sessions: they must not cost an epoch each.
func TestJunkIsPaced(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
		app.net.set(func(n *network) { n.watch = func(from int, _ []byte) bool { return from == 0 } })
		junk := make([]byte, 64)
		junk[0], junk[1], junk[2] = 0x10, 1, 1 // DATA of B
		for i := range 24 * 60 * 6 {
			junk[15] = byte(i)
			dev.channel().Receive(append([]byte(nil), junk...))
			time.Sleep(10 * time.Second)
		}
		require.LessOrEqual(t, dev.epochs.taken(), uint64(60))
		require.Positive(t, dev.epochs.taken())
		require.Positive(t, dev.channel().Stats().RecordsRefused)
	})
}

func TestReceiveIsBounded(t *testing.T) {
	net := newNetwork(1)
	dev, _ := newPair(t, net, nil)
	cfg := delivery.Config{Peer: dev.peer(), Store: dev.store, Publish: func(context.Context, []byte) error { return nil },
		HandleEvent: func(context.Context, delivery.Event) error { return nil }}
	ch, err := delivery.Open(cfg)
	require.NoError(t, err)
	for range 1000 {
		ch.Receive(make([]byte, 32))
	}
	ch.Receive(make([]byte, 1<<20))
	require.Equal(t, uint64(1000-64+1), ch.Stats().RecordsDropped)
}

func TestLinkDownAndUp(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) { app.events = atApp.handle }, nil, func(t *testing.T, dev, app *side) {
		send(t, dev.channel(), "a")
		flush(t, dev.channel())
		dev.channel().LinkDown()
		dev.net.set(func(n *network) { n.up = false })
		send(t, dev.channel(), "b")
		sent := dev.channel().Stats().Sent
		time.Sleep(time.Hour)
		require.Equal(t, sent, dev.channel().Stats().Sent, "nothing is published without a link")
		dev.net.set(func(n *network) { n.up = true })
		dev.channel().LinkUp()
		begin := time.Now()
		flush(t, dev.channel())
		require.Less(t, time.Since(begin), 100*time.Millisecond)
		require.Equal(t, []string{"a", "b"}, atApp.bodies())
	})
}

func TestPublishErrorsAreRetried(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) { app.events = atApp.handle }, nil, func(t *testing.T, dev, app *side) {
		dev.net.set(func(n *network) { n.refuse, n.lose = 500, 500 })
		for i := range 20 {
			send(t, dev.channel(), fmt.Sprint(i))
		}
		flush(t, dev.channel())
		require.Len(t, atApp.bodies(), 20)
		require.Positive(t, dev.channel().Stats().PublishErrors)
	})
}
