package delivery_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/delivery"
)

// script is a device written by hand against the channel of an application: it has real sessions and says what a test wants.
type script struct {
	t    *testing.T
	app  *side
	peer *e2e.Peer

	mu  sync.Mutex // guards the rest
	got [][]byte   // what the application published
	at  []time.Time
}

func scripted(t *testing.T, prepare func(app *side), config func(*delivery.Config), f func(t *testing.T, s *script)) {
	t.Helper()
	_, err := parties()
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		dev, app := newPair(t, newNetwork(1), config)
		s := &script{t: t, app: app, peer: dev.peer()}
		app.net.watch = func(_ int, r []byte) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.got, s.at = append(s.got, append([]byte(nil), r...)), append(s.at, time.Now())
			return false
		}
		if prepare != nil {
			prepare(app)
		}
		app.start()
		defer app.stop()
		f(t, s)
	})
}

// records takes what the application published since the last call.
func (s *script) records() [][]byte {
	time.Sleep(time.Second)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got, s.at = nil, nil
	return got
}

// frames opens what came.
func (s *script) frames() (out []delivery.Frame) {
	for _, r := range s.records() {
		ev, err := s.peer.Receive(time.Now(), r)
		if err != nil || len(ev.Payload) == 0 {
			continue
		}
		f, err := delivery.ParseFrame(ev.Payload)
		require.NoError(s.t, err)
		out = append(out, f)
	}
	return out
}

func (s *script) say(f delivery.Frame) {
	r, err := s.peer.Seal(time.Now(), nil, f.Append(nil))
	require.NoError(s.t, err)
	s.app.channel().Receive(r)
}

// connect begins a session.
func (s *script) connect(early []byte) {
	s.t.Helper()
	init, err := s.peer.Initiate(time.Now(), early)
	require.NoError(s.t, err)
	s.app.channel().Receive(init)
	for _, r := range s.records() {
		if ev, err := s.peer.Receive(time.Now(), r); err == nil && ev.Switched {
			s.app.channel().Receive(ev.Reply)
			return
		}
	}
	s.t.Fatal("no RESP")
}

var ack = delivery.Frame{Kind: delivery.KindAck, HasAck: true}

func TestScriptAcks(t *testing.T) {
	scripted(t, nil, nil, func(t *testing.T, s *script) {
		send(t, s.app.channel(), "a")
		send(t, s.app.channel(), "b")
		s.connect(nil)
		got := s.frames()
		require.NotEmpty(t, got)
		var seqs []uint64
		for _, f := range got {
			if f.Kind == delivery.KindEvent {
				require.Equal(t, uint64(1), f.Low)
				seqs = append(seqs, f.Seq)
			}
		}
		require.Equal(t, []uint64{1, 2}, seqs)
		require.True(t, got[len(got)-1].HasClock, "a new session tells the clock")

		for i, seq := range []uint64{3, 4, 1 << 60} {
			f := ack
			f.Ack = seq
			s.say(f)
			s.records()
			require.Equal(t, 2, s.app.channel().Stats().Queued, "ack of %d, which was never sent", seq)
			require.Equal(t, uint64(i+1), s.app.channel().Stats().BadFrames)
		}
		f := ack
		f.Ack = 1
		s.say(f)
		s.say(ack) // an older one
		s.records()
		require.Equal(t, 1, s.app.channel().Stats().Queued)
		f.Ack = 2
		s.say(f)
		s.records()
		require.Zero(t, s.app.channel().Stats().Queued)
	})
}

func TestScriptNumbers(t *testing.T) {
	var atApp recorder
	scripted(t, func(app *side) { app.events = atApp.handle }, nil, func(t *testing.T, s *script) {
		s.connect(nil)
		for _, n := range [][2]uint64{ // number, low
			{2, 1}, {3, 1}, {3, 2}, // 1 is missing, and not given up
			{1, 1}, {1, 1}, // taken once
			{2, 1}, {2, 2},
			{5, 3}, {5, 4}, // 3 or 4 may still come
			{5, 5},         // given up
			{4, 4}, {3, 3}, // late
			{9, 7}, {7, 7}, {6, 6}, {9, 7}, {8, 7}, {9, 9},
			{1 << 40, 1 << 40},
		} {
			s.say(delivery.Frame{Kind: delivery.KindEvent, Seq: n[0], Low: n[1], Body: fmt.Append(nil, n[0])})
			s.records()
		}
		require.Equal(t, []uint64{1, 2, 5, 7, 8, 9, 1 << 40}, atApp.seqs)
		st := s.app.channel().Stats()
		require.Equal(t, uint64(7), st.Handled)
		require.Equal(t, uint64(2+1+1<<40-10), st.Skipped)
	})
}

// A device that sends more than its window while the handler is slow fills no memory.
func TestScriptFlood(t *testing.T) {
	scripted(t, func(app *side) {
		app.events = func(ctx context.Context, _ delivery.Event) error { <-ctx.Done(); return ctx.Err() }
		app.calls = func(ctx context.Context, _ delivery.Call) (delivery.Reply, error) {
			<-ctx.Done()
			return delivery.Reply{}, ctx.Err()
		}
	}, func(c *delivery.Config) { c.MaxInFlight, c.MaxCalls, c.ServeCalls = 8, 5, 2 }, func(t *testing.T, s *script) {
		s.connect(nil)
		for n := range uint64(100) {
			s.say(delivery.Frame{Kind: delivery.KindEvent, Seq: n + 1, Low: 1})
			s.say(delivery.Frame{Kind: delivery.KindEvent})
			s.say(delivery.Frame{Kind: delivery.KindCall, Seq: n + 1, Low: 1, Deadline: 1 << 60})
			synctest.Wait()
		}
		st := s.app.channel().Stats()
		// Of 200 events 8 were taken, 4 of them volatile; event 5 finds no room and those after it are out of order. Of the calls 2
		// run and 5 wait.
		require.Equal(t, uint64(200-8), st.NoRoom-1+st.OutOfOrder, "%+v", st)
		require.Equal(t, uint64(2), st.CallsRun)
	})
}

func TestScriptMalformed(t *testing.T) {
	var atApp recorder
	scripted(t, func(app *side) { app.events = atApp.handle }, nil, func(t *testing.T, s *script) {
		s.connect(nil)
		for _, b := range []string{"x", "\x11\x00", "\x22\x00", string(make([]byte, delivery.MaxFrame+1))} {
			r, err := s.peer.Seal(time.Now(), nil, []byte(b))
			require.NoError(t, err)
			s.app.channel().Receive(r)
		}
		s.records()
		require.Equal(t, uint64(4), s.app.channel().Stats().BadFrames)
		s.say(delivery.Frame{Kind: delivery.KindEvent, Seq: 1, Low: 1, Body: []byte("still here")})
		s.say(delivery.Frame{Kind: delivery.KindReply, Seq: 77, Body: []byte("to nobody")})
		s.records()
		require.Equal(t, []string{"still here"}, atApp.bodies())
	})
}

// Early data carries one durable event and nothing else: no ack of it counts, since it may come from whoever stole this side's key.
func TestScriptEarlyData(t *testing.T) {
	for name, f := range map[string]delivery.Frame{
		"ack":      {Kind: delivery.KindAck, HasAck: true, Ack: 1},
		"volatile": {Kind: delivery.KindEvent, Body: []byte("v")},
		"call":     {Kind: delivery.KindCall, Seq: 1, Low: 1, Deadline: 1 << 60},
		"reply":    {Kind: delivery.KindReply, Seq: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var atApp recorder
			scripted(t, func(app *side) {
				app.events = atApp.handle
				app.calls = func(context.Context, delivery.Call) (delivery.Reply, error) {
					t.Error("a call in early data ran")
					return delivery.Reply{}, nil
				}
			}, nil, func(t *testing.T, s *script) {
				s.connect(f.Append(nil))
				s.records()
				require.Equal(t, uint64(1), s.app.channel().Stats().BadFrames)
				require.Empty(t, atApp.bodies())
			})
		})
	}
	scripted(t, nil, nil, func(t *testing.T, s *script) {
		send(t, s.app.channel(), "a")
		s.connect(delivery.Frame{Kind: delivery.KindEvent, HasAck: true, Ack: 1, Seq: 1, Low: 1}.Append(nil))
		s.records()
		require.Equal(t, uint64(1), s.app.channel().Stats().Handled)
		require.Equal(t, 1, s.app.channel().Stats().Queued, "an ack in early data does not count")
	})
}

// A clock that comes under an older session may be that of the device before its restart.
func TestScriptClockOfOldSession(t *testing.T) {
	scripted(t, nil, nil, func(t *testing.T, s *script) {
		s.connect(nil)
		old := delivery.Frame{Kind: delivery.KindAck, HasAck: true, HasClock: true, Clock: 1 << 40}
		late, err := s.peer.Seal(time.Now(), nil, old.Append(nil))
		require.NoError(t, err)
		s.connect(nil)
		s.app.channel().Receive(late)
		go func() { _, _ = s.app.channel().Call(within(t, time.Minute), "", []byte("q")) }()
		time.Sleep(10 * time.Second)
		var asked bool
		for _, f := range s.frames() {
			require.NotEqual(t, delivery.KindCall, f.Kind, "sent by a clock that may not be the device's, deadline %d", f.Deadline)
			asked = asked || f.WantClock
		}
		require.True(t, asked)
		f := old
		f.Clock = 5000
		s.say(f)
		got := s.frames()
		require.NotEmpty(t, got)
		require.Equal(t, delivery.KindCall, got[0].Kind)
		require.InDelta(t, 5000+60000-13000, got[0].Deadline, 3000)
	})
}

// A clock learnt long ago has drifted, and is asked for again before a call goes out.
func TestScriptStaleClock(t *testing.T) {
	for _, tc := range []struct {
		idle time.Duration
		call bool
	}{{5 * time.Minute, true}, {11 * time.Minute, false}} {
		scripted(t, nil, nil, func(t *testing.T, s *script) {
			s.connect(nil)
			hello := ack
			hello.HasClock, hello.Clock = true, 1
			s.say(hello)
			s.frames()
			time.Sleep(tc.idle)
			go func() { _, _ = s.app.channel().Call(within(t, time.Minute), "", nil) }()
			got := s.frames()
			require.NotEmpty(t, got)
			require.Equal(t, tc.call, got[0].Kind == delivery.KindCall, "after %v", tc.idle)
			require.Equal(t, !tc.call, got[0].WantClock)
		})
	}
}

// A session under which nothing is ever answered is given up, also when no strange record shows that it is dead.
func TestScriptDeadSession(t *testing.T) {
	scripted(t, nil, nil, func(t *testing.T, s *script) {
		s.connect(nil)
		s.frames()
		send(t, s.app.channel(), "x")
		time.Sleep(3 * time.Minute)
		var inits int
		for _, r := range s.records() {
			if typ, _ := e2e.TypeOf(r); typ == e2e.TypeInit {
				inits++
			}
		}
		require.Positive(t, inits)
	})
}

// A responder with something to send leaves the initiator the time to confirm, instead of crossing its session with another.
func TestScriptResponderWaits(t *testing.T) {
	scripted(t, nil, nil, func(t *testing.T, s *script) {
		s.app.channel().LinkDown()
		send(t, s.app.channel(), "x")
		init, err := s.peer.Initiate(time.Now(), nil)
		require.NoError(t, err)
		s.app.channel().Receive(init)
		synctest.Wait()
		s.app.channel().LinkUp()
		s.app.channel().Receive(init)
		time.Sleep(3 * time.Second)
		for _, r := range s.records() {
			typ, _ := e2e.TypeOf(r)
			require.Equal(t, e2e.TypeResp, typ)
		}
		time.Sleep(20 * time.Second)
		var inits int
		for _, r := range s.records() {
			if typ, _ := e2e.TypeOf(r); typ == e2e.TypeInit {
				inits++
			}
		}
		require.Positive(t, inits, "but not for ever")
	})
}

// A device that comes back and says so gets what waits at once.
func TestScriptHelloEndsBackoff(t *testing.T) {
	scripted(t, nil, nil, func(t *testing.T, s *script) {
		s.connect(nil)
		for range 5 {
			send(t, s.app.channel(), "x")
		}
		time.Sleep(2 * time.Hour)
		s.frames()
		hello := ack
		hello.WantClock = true
		s.say(hello)
		var seqs []uint64
		var clock bool
		for _, f := range s.frames() {
			clock = clock || f.HasClock
			if f.Kind == delivery.KindEvent {
				seqs = append(seqs, f.Seq)
			}
		}
		require.Equal(t, []uint64{1, 2, 3, 4, 5}, seqs)
		require.True(t, clock)
	})
}

// A link that keeps the session says hello when it is back.
func TestScriptHelloAtLinkUp(t *testing.T) {
	for _, keep := range []bool{false, true} {
		scripted(t, nil, func(c *delivery.Config) { c.KeepSession = keep }, func(t *testing.T, s *script) {
			s.connect(nil)
			s.frames()
			s.app.channel().LinkDown()
			s.app.channel().LinkUp()
			var hello bool
			for _, f := range s.frames() {
				hello = hello || f.WantClock && f.HasClock
			}
			require.Equal(t, keep, hello)
		})
	}
}

// gate is a peer whose Seal a test can hold at its end.
type gate struct {
	delivery.Peer
	hold func(record []byte, err error) ([]byte, error)
}

func (g *gate) Seal(now time.Time, dst, plaintext []byte) ([]byte, error) {
	r, err := g.Peer.Seal(now, dst, plaintext)
	return g.hold(r, err)
}

// A call given up while its record was being sealed is not published: its caller was told that it never runs.
func TestScriptCallGivenUpWhileSealed(t *testing.T) {
	var held func(r []byte, err error) ([]byte, error)
	scripted(t, func(*side) { held = func(r []byte, err error) ([]byte, error) { return r, err } }, func(c *delivery.Config) {
		c.Peer = &gate{Peer: c.Peer, hold: func(r []byte, err error) ([]byte, error) { return held(r, err) }}
	}, func(t *testing.T, s *script) {
		s.connect(nil)
		hello := delivery.Frame{Kind: delivery.KindAck, HasAck: true, HasClock: true, Clock: 1}
		s.say(hello)
		s.frames()
		held = func(r []byte, err error) ([]byte, error) {
			time.Sleep(10 * time.Second)
			return r, err
		}
		_, err := s.app.channel().Call(within(t, 5*time.Second), "", []byte("q"))
		require.ErrorIs(t, err, delivery.ErrNotRun)
		time.Sleep(20 * time.Second)
		for _, f := range s.frames() {
			require.NotEqual(t, delivery.KindCall, f.Kind)
		}
	})
}

// A frame sealed under a session that another replaces meanwhile goes again under the new one, without waiting for a timer.
func TestScriptSessionSwitchesWhileSealed(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("seal fails ", fails), func(t *testing.T) {
			var held func(r []byte, err error) ([]byte, error)
			scripted(t, func(*side) { held = func(r []byte, err error) ([]byte, error) { return r, err } }, func(c *delivery.Config) {
				c.Peer = &gate{Peer: c.Peer, hold: func(r []byte, err error) ([]byte, error) { return held(r, err) }}
			}, func(t *testing.T, s *script) {
				s.connect(nil)
				s.frames()
				send(t, s.app.channel(), "x")
				time.Sleep(3 * time.Minute) // nobody answers, so that the application starts a session
				var resp []byte
				for _, r := range s.records() {
					if typ, _ := e2e.TypeOf(r); typ == e2e.TypeInit {
						ev, err := s.peer.Receive(time.Now(), r)
						require.NoError(t, err)
						resp = ev.Reply
					}
				}
				require.NotNil(t, resp)
				before, _ := s.peer.Session()

				release := make(chan struct{})
				var once sync.Once
				held = func(r []byte, err error) ([]byte, error) {
					var first bool
					once.Do(func() { first = true })
					if !first {
						return r, err
					}
					<-release
					if fails {
						return nil, e2e.ErrNoSession
					}
					return r, err
				}
				hello := ack
				hello.WantClock = true
				s.say(hello) // x goes again, under the old session
				synctest.Wait()
				s.app.channel().Receive(resp)
				synctest.Wait()
				require.Equal(t, uint64(2), s.app.channel().Stats().Sessions)
				close(release)

				var seqs []uint64
				for _, r := range s.records() {
					ev, err := s.peer.Receive(time.Now(), r)
					if err != nil || ev.Session == before || len(ev.Payload) == 0 {
						continue
					}
					if f, err := delivery.ParseFrame(ev.Payload); err == nil && f.Kind == delivery.KindEvent {
						seqs = append(seqs, f.Seq)
					}
				}
				require.Equal(t, []uint64{1}, seqs, "sent under the new session at once")
			})
		})
	}
}
