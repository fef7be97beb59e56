package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/delivery/deliverytest"
)

func TestSendRefused(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, _ *side) {
		for _, tc := range []struct {
			e    delivery.Event
			want error
		}{
			{delivery.Event{Type: strings.Repeat("t", 256)}, delivery.ErrTooLarge},
			{delivery.Event{Body: make([]byte, delivery.MaxBody+1)}, delivery.ErrTooLarge},
			{delivery.Event{Type: "\xc3"}, delivery.ErrType},
			{delivery.Event{Type: "\xc3", Volatile: true}, delivery.ErrType},
			{delivery.Event{Volatile: true}, delivery.ErrOffline},
		} {
			_, err := dev.channel().Send(context.Background(), tc.e)
			require.ErrorIs(t, err, tc.want)
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		reason := errors.New("changed my mind")
		cancel(reason)
		_, err := dev.channel().Send(ctx, delivery.Event{})
		require.ErrorIs(t, err, reason)
		require.Zero(t, dev.store.Writes())
	})
}

func TestFullOutboxRefuses(t *testing.T) {
	bubble(t, nil, func(c *delivery.Config) { c.MaxQueue = 3; c.MaxQueueBytes = delivery.MaxFrame }, func(t *testing.T, dev, _ *side) {
		dev.net.set(func(n *network) { n.lose = 1000 })
		for range 3 {
			send(t, dev.channel(), "x")
		}
		for i := range 2 {
			_, err := dev.channel().Send(context.Background(), delivery.Event{})
			require.ErrorIs(t, err, delivery.ErrFull)
			var full *delivery.FullError
			require.ErrorAs(t, err, &full)
			require.Equal(t, 3, full.Queued)
			require.Equal(t, 3, full.Max)
			require.Equal(t, uint64(i+1), full.Refused)
			require.ErrorContains(t, err, "3 of 3 entries")
		}
		require.Equal(t, uint64(2), dev.channel().Stats().Refused)
		dev.net.set(func(n *network) { n.lose = 0 })
		flush(t, dev.channel())
		require.Equal(t, uint64(4), send(t, dev.channel(), "x"), "a refused event uses no number")
		flush(t, dev.channel())
		_, err := dev.channel().Send(context.Background(), delivery.Event{Body: make([]byte, delivery.MaxBody)})
		require.NoError(t, err)
		_, err = dev.channel().Send(context.Background(), delivery.Event{Body: make([]byte, delivery.MaxBody)})
		require.ErrorIs(t, err, delivery.ErrFull, "by bytes")
	})
}

func TestFullOutboxDropsOldest(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) { app.events = atApp.handle }, func(c *delivery.Config) { c.MaxQueue, c.DropOldest = 3, true },
		func(t *testing.T, dev, app *side) {
			send(t, dev.channel(), "first")
			flush(t, dev.channel())
			dev.net.set(func(n *network) { n.lose = 1000 })
			for i := range 10 {
				send(t, dev.channel(), fmt.Sprint(i))
				time.Sleep(time.Minute)
			}
			require.Equal(t, uint64(7), dev.channel().Stats().Dropped)
			state, err := dev.store.Load()
			require.NoError(t, err)
			require.Len(t, state.Outbox, 3)
			dev.net.set(func(n *network) { n.lose = 0 })
			flush(t, dev.channel())
			require.Equal(t, []string{"first", "7", "8", "9"}, atApp.bodies())
			require.Equal(t, uint64(7), app.channel().Stats().Skipped, "the receiver sees how many are missing")
		})
}

// An outbox that cannot be cleared does not grow without bound, also when it drops the oldest.
func TestStoreThatDoesNotRemove(t *testing.T) {
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprint("drop oldest ", drop), func(t *testing.T) {
			bubble(t, nil, func(c *delivery.Config) { c.MaxQueue, c.DropOldest = 4, drop }, func(t *testing.T, dev, app *side) {
				send(t, dev.channel(), "establish")
				flush(t, dev.channel())
				var removing atomic.Bool
				dev.store.FailWrites(func(int) error {
					if removing.Load() {
						return deliverytest.ErrFault
					}
					return nil
				})
				var last error
				for i := 0; i < 30 && last == nil; i++ {
					removing.Store(false)
					_, last = dev.channel().Send(context.Background(), delivery.Event{})
					removing.Store(true)
					time.Sleep(100 * time.Millisecond)
				}
				require.ErrorIs(t, last, delivery.ErrFull)
				state, err := dev.store.Load()
				require.NoError(t, err)
				require.LessOrEqual(t, len(state.Outbox), 2*4+1)
				require.Positive(t, dev.channel().Stats().StoreErrors)
				removing.Store(false)
				time.Sleep(5 * time.Minute)
				state, err = dev.store.Load()
				require.NoError(t, err)
				require.Empty(t, state.Outbox, "it is tried again")
				send(t, dev.channel(), "room again")
			})
		})
	}
}

func TestVolatile(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) { app.events = atApp.handle }, nil, func(t *testing.T, dev, app *side) {
		v := delivery.Event{Volatile: true, Body: []byte("v")}
		send(t, dev.channel(), "a")
		flush(t, dev.channel())
		writes, marks := dev.store.Writes(), app.store.Writes()
		for range 10 {
			seq, err := dev.channel().Send(context.Background(), v)
			require.NoError(t, err)
			require.Zero(t, seq)
		}
		time.Sleep(time.Second)
		require.Len(t, atApp.bodies(), 11)
		require.Equal(t, writes, dev.store.Writes())
		require.Equal(t, marks, app.store.Writes())
		send(t, dev.channel(), "b")
		flush(t, dev.channel())
		require.Equal(t, []uint64{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, atApp.seqs)

		// The link is up, but a publish was refused: nothing goes out for a while.
		dev.net.set(func(n *network) { n.up = false })
		_, err := dev.channel().Send(context.Background(), v)
		require.NoError(t, err)
		synctest.Wait()
		for range 64 {
			_, err := dev.channel().Send(context.Background(), v)
			require.NoError(t, err)
		}
		_, err = dev.channel().Send(context.Background(), v)
		require.ErrorIs(t, err, delivery.ErrFull)
		dev.channel().LinkDown()
		_, err = dev.channel().Send(context.Background(), v)
		require.ErrorIs(t, err, delivery.ErrOffline)
		time.Sleep(time.Second)
		require.Equal(t, uint64(66), dev.channel().Stats().VolatileLost, "one by publish, one refused, the rest without link")
	})
}

func TestVolatileHandlerErrorDropsIt(t *testing.T) {
	var calls int
	bubble(t, func(_, app *side) {
		app.events = func(_ context.Context, e delivery.Event) error {
			calls++
			if e.Volatile {
				return errors.New("no")
			}
			return nil
		}
	}, nil, func(t *testing.T, dev, app *side) {
		send(t, dev.channel(), "a")
		flush(t, dev.channel())
		_, err := dev.channel().Send(context.Background(), delivery.Event{Volatile: true})
		require.NoError(t, err)
		send(t, dev.channel(), "b")
		flush(t, dev.channel())
		require.Equal(t, 3, calls)
		require.Equal(t, uint64(1), app.channel().Stats().Failures)
	})
}

func TestHandlerErrorIsRetriedInOrder(t *testing.T) {
	var tried []uint64
	var times []time.Time
	bubble(t, func(_, app *side) {
		app.events = func(_ context.Context, e delivery.Event) error {
			tried, times = append(tried, e.Seq), append(times, time.Now())
			if e.Seq == 2 && len(tried) < 8 {
				return errors.New("database is away")
			}
			return nil
		}
	}, nil, func(t *testing.T, dev, app *side) {
		for range 4 {
			send(t, dev.channel(), "x")
		}
		flush(t, dev.channel())
		require.Equal(t, []uint64{1, 2, 2, 2, 2, 2, 2, 2, 3, 4}, tried)
		for i := 2; i < 8; i++ {
			least := min(500*time.Millisecond<<(i-2), 30*time.Second)
			require.GreaterOrEqual(t, times[i].Sub(times[i-1]), least, "back-off before attempt %d", i)
		}
		require.Equal(t, uint64(6), app.channel().Stats().Failures)
		require.Equal(t, uint64(1), dev.channel().Stats().Sessions, "a slow handler is no dead session")
	})
}

// A handler that takes long is not flooded with what it has not handled.
func TestSlowHandlerIsNotFlooded(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) {
		app.events = func(ctx context.Context, e delivery.Event) error {
			time.Sleep(10 * time.Minute)
			return atApp.handle(ctx, e)
		}
	}, nil, func(t *testing.T, dev, app *side) {
		for range 40 {
			send(t, dev.channel(), "x")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		defer cancel()
		require.NoError(t, dev.channel().Flush(ctx))
		require.Len(t, atApp.bodies(), 40)
		st := dev.channel().Stats()
		require.LessOrEqual(t, st.Resent, uint64(40*12), "%+v", st)
		require.LessOrEqual(t, dev.epochs.taken()+app.epochs.taken(), uint64(2))
	})
}

func TestNothingIsAcknowledgedBeforeTheMark(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) { app.events = atApp.handle }, nil, func(t *testing.T, dev, app *side) {
		var broken atomic.Bool
		broken.Store(true)
		app.store.FailWrites(func(int) error {
			if broken.Load() {
				return deliverytest.ErrFault
			}
			return nil
		})
		send(t, dev.channel(), "a")
		send(t, dev.channel(), "b")
		time.Sleep(time.Hour)
		require.Equal(t, []string{"a"}, atApp.bodies(), "handled once, and nothing after it")
		require.Equal(t, 2, dev.channel().Stats().Queued)
		require.Positive(t, app.channel().Stats().StoreErrors)
		broken.Store(false)
		flush(t, dev.channel())
		require.Equal(t, []string{"a", "b"}, atApp.bodies())
	})
}

func TestHandlerKeepsMark(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) {
		app.events = func(ctx context.Context, e delivery.Event) error {
			_ = atApp.handle(ctx, e)
			return app.store.PutMark(delivery.MarkEvents, e.Seq) // stands for the handler's own transaction
		}
	}, func(c *delivery.Config) { c.HandlerKeepsMark = true }, func(t *testing.T, dev, app *side) {
		for i := range 5 {
			send(t, dev.channel(), fmt.Sprint(i))
		}
		flush(t, dev.channel())
		require.Equal(t, 5, app.store.Writes(), "the channel writes no mark of its own")
		app.kill()
		app.start()
		send(t, dev.channel(), "5")
		flush(t, dev.channel())
		require.Equal(t, []uint64{1, 2, 3, 4, 5, 6}, atApp.seqs)
	})
}

func TestAppendErrors(t *testing.T) {
	var atApp recorder
	bubble(t, func(_, app *side) { app.events = atApp.handle }, nil, func(t *testing.T, dev, app *side) {
		dev.store.FailWrites(func(w int) error {
			if w == 2 {
				return deliverytest.ErrFault
			}
			return nil
		})
		send(t, dev.channel(), "a")
		begin := time.Now()
		_, err := dev.channel().Send(context.Background(), delivery.Event{Body: []byte("b")})
		var serr *delivery.StoreError
		require.ErrorAs(t, err, &serr)
		require.ErrorIs(t, err, deliverytest.ErrFault)
		require.Equal(t, uint64(3), send(t, dev.channel(), "c"), "the number of a failed append is used up")
		flush(t, dev.channel())
		require.Less(t, time.Since(begin), time.Second, "what is behind a gap is not sent too soon, only to be sent again")
		require.Equal(t, []string{"a", "c"}, atApp.bodies())
		require.Equal(t, uint64(1), app.channel().Stats().Skipped)
	})
	bubble(t, nil, nil, func(t *testing.T, _, app *side) {
		app.store.FailWrites(func(int) error { return deliverytest.ErrFault })
		_, err := app.channel().Call(within(t, time.Minute), "", nil)
		require.ErrorIs(t, err, deliverytest.ErrFault)
		app.store.FailWrites(nil)
		_, err = app.channel().Call(within(t, time.Minute), "", nil)
		require.ErrorContains(t, err, delivery.ErrNoHandler.Error())
	})
}

// A call whose mark cannot be written does not begin, and begins later.
func TestCallMarkErrors(t *testing.T) {
	var runs atomic.Int32
	bubble(t, func(dev, _ *side) {
		dev.calls = func(context.Context, delivery.Call) (delivery.Reply, error) {
			runs.Add(1)
			return delivery.Reply{}, nil
		}
	}, nil, func(t *testing.T, dev, app *side) {
		dev.store.FailWrites(func(w int) error {
			if w <= 3 {
				return deliverytest.ErrFault
			}
			return nil
		})
		time.AfterFunc(500*time.Millisecond, func() {
			if runs.Load() != 0 {
				t.Error("began without a mark")
			}
		})
		_, err := app.channel().Call(within(t, time.Minute), "", nil)
		require.NoError(t, err)
		require.Equal(t, int32(1), runs.Load())
		require.Equal(t, uint64(3), dev.channel().Stats().StoreErrors)
	})
}

func TestOpenRefuses(t *testing.T) {
	net := newNetwork(1)
	event := func(seq uint64) []byte {
		return delivery.Frame{Kind: delivery.KindEvent, Seq: seq, Low: seq}.Append(nil)
	}
	type change func(c *delivery.Config, s *deliverytest.MemStore)
	for name, f := range map[string]change{
		"no peer":         func(c *delivery.Config, _ *deliverytest.MemStore) { c.Peer = nil },
		"no store":        func(c *delivery.Config, _ *deliverytest.MemStore) { c.Store = nil },
		"no publish":      func(c *delivery.Config, _ *deliverytest.MemStore) { c.Publish = nil },
		"no handler":      func(c *delivery.Config, _ *deliverytest.MemStore) { c.HandleEvent = nil },
		"negative number": func(c *delivery.Config, _ *deliverytest.MemStore) { c.MaxInFlight = -1 },
		"negative time":   func(c *delivery.Config, _ *deliverytest.MemStore) { c.Timing.Resend = -1 },
		"small queue":     func(c *delivery.Config, _ *deliverytest.MemStore) { c.MaxQueueBytes = 1000 },
		"broken store":    func(_ *delivery.Config, s *deliverytest.MemStore) { s.DieAfter(0); _ = s.Remove(1) },
		"empty entry":     func(_ *delivery.Config, s *deliverytest.MemStore) { _ = s.Append(1, nil) },
		"junk entry":      func(_ *delivery.Config, s *deliverytest.MemStore) { _ = s.Append(1, []byte("junk")) },
		"other number":    func(_ *delivery.Config, s *deliverytest.MemStore) { _ = s.Append(2, event(1)) },
		"volatile entry":  func(_ *delivery.Config, s *deliverytest.MemStore) { _ = s.Append(1, event(0)) },
		"an ack": func(_ *delivery.Config, s *deliverytest.MemStore) {
			_ = s.Append(1, delivery.Frame{Kind: delivery.KindAck, HasAck: true}.Append(nil))
		},
		"wrong next": func(c *delivery.Config, s *deliverytest.MemStore) {
			_ = s.Append(5, event(5))
			c.Store = rewound{s}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dev, _ := newPair(t, net, nil)
			cfg := delivery.Config{Peer: dev.peer(), Store: dev.store,
				Publish:     func(context.Context, []byte) error { return nil },
				HandleEvent: func(context.Context, delivery.Event) error { return nil }}
			_, err := delivery.Open(cfg)
			require.NoError(t, err)
			f(&cfg, dev.store)
			_, err = delivery.Open(cfg)
			require.ErrorContains(t, err, "delivery: ")
		})
	}
}

// rewound forgets the next number.
type rewound struct{ *deliverytest.MemStore }

func (r rewound) Load() (delivery.State, error) {
	s, err := r.MemStore.Load()
	s.Next = 5
	return s, err
}

func TestWipe(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
		send(t, dev.channel(), "a")
		flush(t, dev.channel())
		dev.net.set(func(n *network) { n.lose = 1000 })
		send(t, dev.channel(), "b")
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := dev.channel().Flush(context.Background()); !errors.Is(err, delivery.ErrClosed) {
				t.Errorf("flush: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := dev.channel().Call(context.Background(), "", nil); !errors.Is(err, delivery.ErrClosed) {
				t.Errorf("call: %v", err)
			}
		})
		time.Sleep(time.Second)
		dev.channel().Wipe()
		dev.channel().Wipe()
		wg.Wait()
		require.ErrorIs(t, <-dev.done, delivery.ErrClosed)
		dev.done <- nil
		_, err := dev.channel().Send(context.Background(), delivery.Event{})
		require.ErrorIs(t, err, delivery.ErrClosed)
		_, err = dev.channel().Send(context.Background(), delivery.Event{Volatile: true})
		require.ErrorIs(t, err, delivery.ErrClosed)
		require.ErrorIs(t, dev.channel().Flush(context.Background()), delivery.ErrClosed)
		require.ErrorIs(t, dev.channel().Run(context.Background()), delivery.ErrClosed)
		dev.channel().Receive(make([]byte, 64))
		dev.channel().LinkUp()
		require.Zero(t, dev.channel().Stats().Queued)
		state, err := dev.store.Load()
		require.NoError(t, err)
		require.Len(t, state.Outbox, 1, "the store is its owner's to erase")
	})
}

// Run waits for handlers, which see the end of their context.
func TestRunEndsAfterHandlers(t *testing.T) {
	bubble(t, func(_, app *side) {
		app.events = func(ctx context.Context, _ delivery.Event) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return ctx.Err()
		}
	}, nil, func(t *testing.T, dev, app *side) {
		send(t, dev.channel(), "a")
		time.Sleep(time.Second)
		begin := time.Now()
		app.stop()
		require.Equal(t, time.Second, time.Since(begin))
		_, err := app.channel().Send(context.Background(), delivery.Event{})
		require.ErrorIs(t, err, delivery.ErrClosed)
	})
}

// Both start a session at the same moment, with early data, again and again.
func TestCrossingInits(t *testing.T) {
	for seed := range uint64(20) {
		_, err := parties()
		require.NoError(t, err)
		synctest.Test(t, func(t *testing.T) {
			var atApp, atDev recorder
			dev, app := newPair(t, newNetwork(seed), func(c *delivery.Config) { c.EarlyData, c.Seed = true, c.Seed+seed })
			dev.events, app.events = atDev.handle, atApp.handle
			dev.start()
			app.start()
			defer dev.stop()
			defer app.stop()
			for i := range 3 {
				send(t, dev.channel(), fmt.Sprint(i))
				send(t, app.channel(), fmt.Sprint(i))
			}
			flush(t, dev.channel())
			flush(t, app.channel())
			require.Equal(t, []string{"0", "1", "2"}, atApp.bodies())
			require.Equal(t, []string{"0", "1", "2"}, atDev.bodies())
			require.GreaterOrEqual(t, dev.net.published(0, e2e.TypeInit)+dev.net.published(1, e2e.TypeInit), 2)
		})
	}
}
