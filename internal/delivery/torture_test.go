package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/delivery"
)

// witness sees everything that the two sides do, over all restarts.
type witness struct {
	t  *testing.T
	mu sync.Mutex // guards the rest

	expect  [2]uint64 // by receiver: the number of the next event
	body    [2]map[uint64]string
	handled [2]map[string]int
	again   int // events handled a second time, after a crash between handler and mark

	runs map[string]int // of calls, by body
}

func newWitness(t *testing.T) *witness {
	w := &witness{t: t, expect: [2]uint64{1, 1}, runs: make(map[string]int)}
	for i := range 2 {
		w.body[i], w.handled[i] = make(map[uint64]string), make(map[string]int)
	}
	return w
}

func (w *witness) event(at int, e delivery.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Volatile {
		return
	}
	body := string(e.Body)
	before, seen := w.body[at][e.Seq]
	switch {
	case e.Seq < w.expect[at]:
		w.t.Errorf("side %d handled event %d again, or after %d", at, e.Seq, w.expect[at]-1)
	case seen && before != body:
		w.t.Errorf("side %d: event %d was %q and is %q", at, e.Seq, before, body)
	case seen:
		w.again++
	case w.handled[at][body] > 0:
		w.t.Errorf("side %d got %q under two numbers", at, body)
	}
	w.expect[at] = e.Seq + 1
	w.body[at][e.Seq] = body
	w.handled[at][body]++
}

// crashed brings in the mark that survived. Only the last event can have been handled without it.
func (w *witness) crashed(at int, mark uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mark+1 > w.expect[at] || mark+2 < w.expect[at] {
		w.t.Errorf("side %d had come to event %d, and its mark is %d", at, w.expect[at]-1, mark)
	}
	w.expect[at] = mark + 1
}

// TestTorture runs two sides, each of which crashes between any two steps of its store, over a link that loses, repeats, reorders,
// replays, damages and refuses, and is cut. Whatever Send took arrives, in order, once (twice only after a crash between
// handler and mark); calls run at most once, never after their deadline, and their outcomes are true; and when the adversary rests,
// the queues drain.
func TestTorture(t *testing.T) {
	seeds := uint64(24)
	if testing.Short() {
		seeds = 4
	}
	_, err := parties()
	require.NoError(t, err)
	var sum struct{ events, calls, crashes, again, unknown, ok int }
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := torture(t, seed)
				sum.events += r.events
				sum.calls += r.calls
				sum.crashes += r.crashes
				sum.again += r.again
				sum.ok += r.ok
				sum.unknown += r.unknown
			})
		})
	}
	t.Logf("%+v", sum)
	// What the test means to show must have happened.
	require.Greater(t, sum.events, 20*int(seeds))
	require.Greater(t, sum.crashes, 4*int(seeds))
	require.Positive(t, sum.ok)
	require.Positive(t, sum.unknown)
	if !testing.Short() {
		require.Positive(t, sum.again, "no crash fell between a handler and its mark")
	}
}

type tally struct{ events, calls, crashes, again, unknown, ok int }

func torture(t *testing.T, seed uint64) (sum tally) {
	rng := mrand.New(mrand.NewPCG(seed, 2))
	net := newNetwork(seed)
	w := newWitness(t)
	dev, app := newPair(t, net, func(c *delivery.Config) {
		c.Seed += seed << 32
		c.EarlyData = seed%2 == 0
		c.KeepSession = seed%3 == 0
		c.MaxInFlight = 1 + int(seed%5)*4
		c.ServeCalls = 2
	})
	sides := [2]*side{dev, app}
	for i, s := range sides {
		s.events = func(_ context.Context, e delivery.Event) error {
			if len(e.Body) > 0 && e.Body[0] == '!' && time.Now().UnixNano()%3 == 0 {
				return errors.New("not now")
			}
			w.event(i, e)
			return nil
		}
		s.calls = func(ctx context.Context, c delivery.Call) (delivery.Reply, error) {
			body := string(c.Body)
			_, until, _ := strings.Cut(body, "until ")
			if end, err := time.Parse(time.RFC3339Nano, until); err != nil || time.Now().After(end) {
				t.Errorf("call %q began at %v: %v", body, time.Now(), err)
			}
			w.mu.Lock()
			w.runs[body]++
			w.mu.Unlock()
			select {
			case <-time.After(time.Duration(c.ID%7) * time.Second):
			case <-ctx.Done():
			}
			return delivery.Reply{Body: bytes.ToUpper(c.Body)}, nil
		}
		s.start()
		defer s.stop()
	}

	taken := [2]map[string]bool{{}, {}} // by receiver: what Send took for good
	var calls sync.WaitGroup
	var mu sync.Mutex // guards outcomes
	outcomes := make(map[string]error)

	for step := range 150 {
		i := rng.IntN(2)
		s := sides[i]
		switch p := rng.IntN(100); {
		case p < 35:
			body := fmt.Sprintf("%d from %d", step, i)
			if rng.IntN(4) == 0 {
				body = "!" + body
			}
			_, err := s.channel().Send(context.Background(), delivery.Event{Type: "t", Body: []byte(body)})
			if err == nil {
				taken[1-i][body] = true
				sum.events++
			} else if !s.store.Dead() {
				t.Errorf("send: %v", err)
			}
		case p < 40:
			_, _ = s.channel().Send(context.Background(), delivery.Event{Volatile: true, Body: []byte("v")})
		case p < 55:
			d := time.Duration(1+rng.IntN(40)) * time.Second
			end := time.Now().Add(d)
			body := fmt.Sprintf("call %d from %d until %s", step, i, end.Format(time.RFC3339Nano))
			sum.calls++
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), d)
				defer cancel()
				r, err := s.channel().Call(ctx, "q", []byte(body))
				if err == nil && string(r.Body) != strings.ToUpper(body) {
					t.Errorf("call %q got %q", body, r.Body)
				}
				mu.Lock()
				outcomes[body] = err
				mu.Unlock()
			})
		case p < 62:
			s.store.DieAfter(rng.IntN(8)) // the rest of the process goes on for a while, as it may
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			fallthrough
		case p < 65:
			s.kill()
			st, err := s.store.Load()
			require.NoError(t, err)
			w.crashed(i, st.Marks[delivery.MarkEvents])
			time.Sleep(time.Duration(rng.IntN(20)) * time.Second)
			s.start()
			sum.crashes++
		case p < 70:
			net.set(func(n *network) { n.up = false })
			dev.channel().LinkDown()
			time.Sleep(time.Duration(rng.IntN(30)) * time.Second)
			net.set(func(n *network) { n.up = true })
			dev.channel().LinkUp()
		case p < 80:
			net.set(func(n *network) {
				n.lose, n.refuse, n.twice = rng.IntN(400), rng.IntN(200), rng.IntN(300)
				n.old, n.flip = rng.IntN(300), rng.IntN(200)
				n.delay = time.Duration(rng.IntN(3)) * time.Duration(rng.IntN(2000)) * time.Millisecond
			})
		default:
			time.Sleep(time.Duration(rng.IntN(8000)) * time.Millisecond)
		}
	}

	// The adversary rests.
	net.set(func(n *network) {
		n.lose, n.refuse, n.twice, n.old, n.flip, n.delay = 0, 0, 0, 0, 0, 0
	})
	for i, s := range sides {
		if s.store.Dead() {
			t.Errorf("side %d was left dead", i)
		}
		flush(t, s.channel())
	}
	calls.Wait()
	synctest.Wait()

	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range 2 {
		for body := range taken[i] {
			if w.handled[i][body] == 0 {
				t.Errorf("side %d never got %q", i, body)
			}
		}
		st, err := sides[i].store.Load()
		require.NoError(t, err)
		if len(st.Outbox) != 0 {
			t.Errorf("side %d keeps %d entries", i, len(st.Outbox))
		}
		if st := sides[i].channel().Stats(); st.BadFrames+st.Skipped != 0 {
			// Numbers are skipped where an append died; those were refused to the sender.
			t.Logf("side %d: %+v", i, st)
		}
	}
	for body, err := range outcomes {
		n := w.runs[body]
		var remote *delivery.RemoteError
		switch {
		case n > 1:
			t.Errorf("call %q ran %d times", body, n)
		case err == nil && n != 1:
			t.Errorf("call %q succeeded and ran %d times", body, n)
		case errors.Is(err, delivery.ErrNotRun) && n != 0:
			t.Errorf("call %q ran, but: %v", body, err)
		case errors.As(err, &remote):
			t.Errorf("call %q: %v", body, err)
		}
		if err == nil {
			sum.ok++
		} else if errors.Is(err, delivery.ErrUnknownOutcome) {
			sum.unknown++
		}
	}
	sum.again = w.again
	return sum
}
