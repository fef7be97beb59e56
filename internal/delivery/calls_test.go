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
)

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestCall(t *testing.T) {
	echo := func(_ context.Context, c delivery.Call) (delivery.Reply, error) {
		switch string(c.Body) {
		case "fail":
			return delivery.Reply{Type: "lost"}, errors.New("valve is stuck")
		case "fail in the reply":
			return delivery.Reply{Err: "valve is gone"}, nil
		case "long error":
			return delivery.Reply{}, errors.New(strings.Repeat("ä", 2000))
		case "empty error":
			return delivery.Reply{}, errors.New("")
		case "long reply":
			return delivery.Reply{Body: make([]byte, delivery.MaxBody+1)}, nil
		}
		return delivery.Reply{Type: "re/" + c.Type, Body: append([]byte("re: "), c.Body...)}, nil
	}
	bubble(t, func(dev, app *side) { dev.calls, app.calls = echo, echo }, nil, func(t *testing.T, dev, app *side) {
		for _, s := range []*side{app, dev} {
			begin := time.Now()
			r, err := s.channel().Call(within(t, time.Minute), "q", []byte("open"))
			require.NoError(t, err)
			require.Equal(t, delivery.Reply{Type: "re/q", Body: []byte("re: open")}, r)
			require.Less(t, time.Since(begin), time.Second)

			r, err = s.channel().Call(context.Background(), "", nil)
			require.NoError(t, err, "a context without deadline")
			require.Equal(t, "re: ", string(r.Body))

			for body, want := range map[string]string{
				"fail": "valve is stuck", "fail in the reply": "valve is gone",
				"long error": strings.Repeat("ä", 512), "empty error": "error without text",
			} {
				r, err := s.channel().Call(within(t, time.Minute), "", []byte(body))
				var remote *delivery.RemoteError
				require.ErrorAs(t, err, &remote, "%s", body)
				require.Equal(t, want, remote.Text)
				require.Equal(t, delivery.Reply{Err: want}, r)
			}
			_, err = s.channel().Call(within(t, time.Minute), "", []byte("long reply"))
			require.ErrorContains(t, err, "the call ran, but its reply cannot be sent")
		}
		for _, s := range []*side{app, dev} {
			require.Equal(t, uint64(7), s.channel().Stats().CallsRun)
			require.Zero(t, s.channel().Stats().Calls)
		}
	})
}

func TestCallRefused(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
		_, err := app.channel().Call(within(t, time.Minute), strings.Repeat("t", 256), nil)
		require.ErrorIs(t, err, delivery.ErrTooLarge)
		_, err = app.channel().Call(within(t, time.Minute), "", make([]byte, delivery.MaxBody+1))
		require.ErrorIs(t, err, delivery.ErrTooLarge)
		_, err = app.channel().Call(within(t, time.Minute), "\xff", nil)
		require.ErrorIs(t, err, delivery.ErrType)
		_, err = app.channel().Call(within(t, time.Minute), "", nil)
		require.ErrorContains(t, err, delivery.ErrNoHandler.Error(), "no handler at the device")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = app.channel().Call(ctx, "", nil)
		require.ErrorIs(t, err, delivery.ErrNotRun)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// A handler may answer out of a buffer that it uses again, or with a constant: the channel neither sends what the buffer holds later
// nor wipes what is not its own.
func TestReplyIsTheHandlersOwn(t *testing.T) {
	buffer := []byte("open")
	bubble(t, func(dev, _ *side) {
		dev.calls = func(context.Context, delivery.Call) (delivery.Reply, error) {
			return delivery.Reply{Body: buffer}, nil
		}
	}, nil, func(t *testing.T, dev, app *side) {
		// The first reply is lost, so the call is repeated and its reply comes from what was kept.
		lost := false
		app.net.set(func(n *network) {
			n.watch = func(from int, _ []byte) bool {
				if from == 0 && !lost && dev.channel().Stats().CallsRun == 1 {
					lost = true
					copy(buffer, "shut")
					return false
				}
				return true
			}
		})
		r, err := app.channel().Call(within(t, time.Minute), "", nil)
		require.NoError(t, err)
		require.True(t, lost)
		require.Equal(t, "open", string(r.Body))
		dev.stop()
		dev.channel().Wipe()
		require.Equal(t, "shut", string(buffer))
	})
}

func TestCallOutcomes(t *testing.T) {
	t.Run("not sent", func(t *testing.T) {
		bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
			app.net.set(func(n *network) { n.lose = 1000 })
			_, err := app.channel().Call(within(t, time.Minute), "", nil)
			require.ErrorIs(t, err, delivery.ErrNotRun, "there was no session to send it in")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, delivery.ErrUnknownOutcome)
		})
	})
	t.Run("reply lost", func(t *testing.T) {
		var runs atomic.Int32
		bubble(t, func(dev, _ *side) {
			dev.calls = func(context.Context, delivery.Call) (delivery.Reply, error) {
				runs.Add(1)
				return delivery.Reply{}, nil
			}
		}, nil, func(t *testing.T, dev, app *side) {
			_, err := app.channel().Call(within(t, time.Minute), "", nil)
			require.NoError(t, err)
			app.net.set(func(n *network) { n.watch = func(from int, _ []byte) bool { return from == 1 } })
			_, err = app.channel().Call(within(t, time.Minute), "", nil)
			require.ErrorIs(t, err, delivery.ErrUnknownOutcome)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, delivery.ErrNotRun)
			require.Equal(t, int32(2), runs.Load())
		})
	})
	t.Run("reply lost once: repeated from RAM", func(t *testing.T) {
		var runs atomic.Int32
		bubble(t, func(dev, _ *side) {
			dev.calls = func(context.Context, delivery.Call) (delivery.Reply, error) {
				return delivery.Reply{Body: fmt.Append(nil, runs.Add(1))}, nil
			}
		}, nil, func(t *testing.T, dev, app *side) {
			_, err := app.channel().Call(within(t, time.Minute), "", nil)
			require.NoError(t, err)
			begin := time.Now()
			app.net.set(func(n *network) {
				n.watch = func(from int, _ []byte) bool { return from == 1 || time.Since(begin) > 4*time.Second }
			})
			r, err := app.channel().Call(within(t, time.Minute), "", nil)
			require.NoError(t, err)
			require.Equal(t, "2", string(r.Body))
			require.Equal(t, int32(2), runs.Load())
		})
	})
	t.Run("receiver restarts in the middle", func(t *testing.T) {
		var runs atomic.Int32
		bubble(t, func(dev, _ *side) {
			dev.calls = func(ctx context.Context, _ delivery.Call) (delivery.Reply, error) {
				runs.Add(1)
				<-ctx.Done()
				return delivery.Reply{}, ctx.Err()
			}
		}, nil, func(t *testing.T, dev, app *side) {
			var back time.Time // the device's first record after its restart
			app.net.set(func(n *network) {
				n.watch = func(from int, r []byte) bool {
					if typ, _ := e2e.TypeOf(r); from == 0 && typ == e2e.TypeInit {
						back = time.Now()
					}
					return true
				}
			})
			time.AfterFunc(time.Second, func() { dev.kill(); dev.start() })
			_, err := app.channel().Call(within(t, 10*time.Minute), "", nil)
			require.ErrorIs(t, err, delivery.ErrUnknownOutcome)
			require.ErrorContains(t, err, "restarted")
			require.Less(t, time.Since(back), time.Second, "the receiver says so, instead of leaving the caller to wait")
			require.Equal(t, int32(1), runs.Load(), "at most once")
		})
	})
	t.Run("channel ends", func(t *testing.T) {
		bubble(t, func(dev, _ *side) {
			dev.calls = func(ctx context.Context, _ delivery.Call) (delivery.Reply, error) {
				<-ctx.Done()
				return delivery.Reply{}, ctx.Err()
			}
		}, nil, func(t *testing.T, dev, app *side) {
			time.AfterFunc(3*time.Second, app.stop)
			_, err := app.channel().Call(within(t, time.Minute), "", nil)
			require.ErrorIs(t, err, delivery.ErrUnknownOutcome)
			require.ErrorIs(t, err, delivery.ErrClosed)
			_, err = app.channel().Call(within(t, time.Minute), "", nil)
			require.ErrorIs(t, err, delivery.ErrNotRun)
			require.ErrorIs(t, err, delivery.ErrClosed)
		})
	})
}

// A record held back on its way does not make a call run after its deadline, whatever the clocks say.
func TestCallHeldBackExpires(t *testing.T) {
	for _, skew := range []time.Duration{0, -10 * 365 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		t.Run(fmt.Sprint("clock of the device off by ", skew), func(t *testing.T) {
			var runs atomic.Int32
			var boots int
			bubble(t, func(dev, _ *side) {
				dev.calls = func(context.Context, delivery.Call) (delivery.Reply, error) {
					runs.Add(1)
					return delivery.Reply{}, nil
				}
			}, func(c *delivery.Config) {
				if boots++; boots == 1 {
					c.Now = func() time.Time { return time.Now().Add(skew) }
				}
			}, func(t *testing.T, dev, app *side) {
				_, err := app.channel().Call(within(t, time.Minute), "", nil)
				require.NoError(t, err)
				require.Equal(t, int32(1), runs.Load())
				var held [][]byte
				app.net.set(func(n *network) {
					n.watch = func(from int, r []byte) bool {
						if from == 1 {
							held = append(held, append([]byte(nil), r...))
						}
						return false
					}
				})
				_, err = app.channel().Call(within(t, 10*time.Second), "", nil)
				require.ErrorIs(t, err, delivery.ErrUnknownOutcome)
				require.NotEmpty(t, held)
				for _, r := range held {
					dev.channel().Receive(r)
				}
				time.Sleep(time.Second)
				require.Equal(t, int32(1), runs.Load(), "it ran after its caller had given up")
				require.Equal(t, uint64(1), dev.channel().Stats().CallsExpired)
			})
		})
	}
}

// The other side's clock, learnt before its restart, says nothing about the one after it.
func TestCallDeadlineAfterRestart(t *testing.T) {
	var late atomic.Int32
	var runs atomic.Int32
	bubble(t, func(dev, _ *side) {
		dev.calls = func(_ context.Context, c delivery.Call) (delivery.Reply, error) {
			runs.Add(1)
			if c.Deadline.After(time.Now().Add(10 * time.Second)) {
				late.Add(1)
			}
			return delivery.Reply{}, nil
		}
	}, nil, func(t *testing.T, dev, app *side) {
		time.Sleep(20 * time.Hour) // the clock of the device shows 20 hours
		_, err := app.channel().Call(within(t, 10*time.Second), "", nil)
		require.NoError(t, err)
		dev.kill()
		dev.start() // 0 hours
		_, err = app.channel().Call(within(t, 10*time.Second), "", nil)
		require.NoError(t, err)
		require.Equal(t, int32(2), runs.Load())
		require.Zero(t, late.Load(), "a call may run longer than its caller waits")
	})
}

// After ten minutes the clock is asked for again; that costs a round trip and no more.
func TestCallAfterLongIdle(t *testing.T) {
	bubble(t, func(dev, _ *side) {
		dev.calls = func(context.Context, delivery.Call) (delivery.Reply, error) { return delivery.Reply{}, nil }
	}, nil, func(t *testing.T, dev, app *side) {
		for range 5 {
			begin := time.Now()
			_, err := app.channel().Call(within(t, 10*time.Second), "", nil)
			require.NoError(t, err)
			require.Less(t, time.Since(begin), 100*time.Millisecond)
			time.Sleep(time.Hour)
		}
	})
}

func TestSlowCallsHoldUpNothing(t *testing.T) {
	var atDev recorder
	var running, peak atomic.Int32
	release := make(chan struct{})
	bubble(t, func(dev, _ *side) {
		release = make(chan struct{}) // of the bubble
		dev.events = atDev.handle
		dev.calls = func(context.Context, delivery.Call) (delivery.Reply, error) {
			peak.Store(max(peak.Load(), running.Add(1)))
			<-release
			running.Add(-1)
			return delivery.Reply{}, nil
		}
	}, func(c *delivery.Config) { c.ServeCalls, c.MaxCalls = 3, 10 }, func(t *testing.T, dev, app *side) {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := app.channel().Call(within(t, time.Hour), "", nil); err != nil {
					t.Errorf("call: %v", err)
				}
			})
		}
		time.Sleep(time.Minute)
		require.Equal(t, int32(3), running.Load())
		_, err := app.channel().Call(within(t, time.Second), "", nil)
		require.ErrorIs(t, err, delivery.ErrFull)
		var full *delivery.FullError
		require.ErrorAs(t, err, &full)
		require.Equal(t, delivery.FullError{What: "calls", Queued: 10, Max: 10, Refused: 1}, *full)
		begin := time.Now()
		send(t, app.channel(), "event")
		flush(t, app.channel())
		require.Less(t, time.Since(begin), time.Second)
		require.Equal(t, []string{"event"}, atDev.bodies())
		close(release)
		wg.Wait()
		require.Equal(t, int32(3), peak.Load())
		require.Equal(t, uint64(10), dev.channel().Stats().CallsRun)
	})
}

func TestPoolBoundsSeveralChannels(t *testing.T) {
	var running, peak atomic.Int32
	pool := delivery.NewPool(2)
	_, err := parties()
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		pool = delivery.NewPool(2)
		var apps []*side
		for i := range 3 {
			dev, app := newPair(t, newNetwork(uint64(i)), func(c *delivery.Config) { c.Pool = pool })
			dev.calls = func(context.Context, delivery.Call) (delivery.Reply, error) {
				peak.Store(max(peak.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				return delivery.Reply{}, nil
			}
			dev.start()
			app.start()
			defer dev.stop()
			defer app.stop()
			apps = append(apps, app)
		}
		var wg sync.WaitGroup
		for _, app := range apps {
			for range 4 {
				wg.Go(func() {
					if _, err := app.channel().Call(within(t, time.Hour), "", nil); err != nil {
						t.Errorf("call: %v", err)
					}
				})
			}
		}
		wg.Wait()
		require.Equal(t, int32(2), peak.Load())
	})
}

// A call that its caller gave up before it began does not begin.
func TestAbandonedCallDoesNotBegin(t *testing.T) {
	var bodies []string
	var mu sync.Mutex
	bubble(t, func(dev, _ *side) {
		dev.calls = func(_ context.Context, c delivery.Call) (delivery.Reply, error) {
			mu.Lock()
			bodies = append(bodies, string(c.Body))
			mu.Unlock()
			time.Sleep(10 * time.Second)
			return delivery.Reply{}, nil
		}
	}, func(c *delivery.Config) { c.ServeCalls = 1 }, func(t *testing.T, dev, app *side) {
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = app.channel().Call(within(t, 8*time.Second), "", []byte("first")) })
		time.Sleep(time.Second)
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			_, err := app.channel().Call(ctx, "", []byte("abandoned"))
			if !errors.Is(err, delivery.ErrUnknownOutcome) {
				t.Errorf("abandoned: %v", err)
			}
		})
		time.Sleep(8 * time.Second)
		_, err := app.channel().Call(within(t, time.Minute), "", []byte("third"))
		require.NoError(t, err)
		wg.Wait()
		require.Equal(t, []string{"first", "third"}, bodies)
	})
}

// Numbers of calls are set aside in blocks and never come again.
func TestCallNumbersAfterRestart(t *testing.T) {
	var ids []uint64
	bubble(t, func(dev, _ *side) {
		dev.calls = func(_ context.Context, c delivery.Call) (delivery.Reply, error) {
			ids = append(ids, c.ID)
			return delivery.Reply{}, nil
		}
	}, nil, func(t *testing.T, dev, app *side) {
		for range 3 {
			for range 3 {
				_, err := app.channel().Call(within(t, time.Minute), "", nil)
				require.NoError(t, err)
			}
			require.Equal(t, 1, app.store.Writes(), "writes of the caller for three calls")
			app.kill()
			app.start()
		}
		require.Equal(t, []uint64{1, 2, 3, 65, 66, 67, 129, 130, 131}, ids)
		require.Equal(t, 9, dev.store.Writes(), "one mark for each call begun")
		require.Zero(t, dev.net.published(0, e2e.TypeClose))
	})
}
