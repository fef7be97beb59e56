package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/semio-iot/semio/internal/bench"
	"github.com/stretchr/testify/require"
)

var options = bench.Options{Rounds: 20, Slice: time.Millisecond, Limit: time.Hour}

// timed is a contender whose operation takes d of fake time, and that writes its turns into log.
func timed(name string, ours bool, d time.Duration, log *[]string) *bench.Case {
	return &bench.Case{
		Name: name, Ours: ours, Batch: 4, Check: func() error { return nil },
		Prepare: func(int) error { *log = append(*log, name); time.Sleep(time.Second); return nil },
		Do:      func(int) error { time.Sleep(d); return nil },
	}
}

func group(cases ...*bench.Case) []bench.Group {
	return []bench.Group{{Op: "seal", Size: 64, Open: func() ([]*bench.Case, error) { return cases, nil }}}
}

func TestRatioAndInterleaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		r, err := bench.Measure(t.Context(), group(
			timed("a", true, 300*time.Microsecond, &log), timed("b", false, 200*time.Microsecond, &log), timed("c", false, 600*time.Microsecond, &log),
		), options)
		require.NoError(t, err)
		require.Len(t, r.Pairs, 2)
		require.Equal(t, bench.Pair{
			Op: "seal", Size: 64, Ours: "a", Peer: "b", OursNS: 300e3, PeerNS: 200e3,
			Ratio: 1.5, Low: 1.5, High: 1.5, Q1: 1.5, Q3: 1.5, Rounds: 20,
		}, r.Pairs[0])
		require.Equal(t, "c", r.Pairs[1].Peer)
		require.Equal(t, 0.5, r.Pairs[1].Ratio)

		measured := strings.Join(log[len(log)-60:], "")
		require.Equal(t, strings.Repeat("abccba", 10), measured)
	})
}

// Preparation, which sleeps a second here, must not be on the clock; nor the checks.
func TestPreparationIsOffTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		ours := timed("a", true, 10*time.Microsecond, &log)
		ours.Check = func() error { time.Sleep(time.Hour / 2); return nil }
		r, err := bench.Measure(t.Context(), group(ours, timed("b", false, 10*time.Microsecond, &log)), options)
		require.NoError(t, err)
		require.Equal(t, 1.0, r.Pairs[0].Ratio)
		require.Equal(t, 10e3, r.Pairs[0].OursNS)
	})
}

// A machine that does something else in four rounds out of ten, and one that is three times slower in the second half.
func TestNoiseDoesNotMoveTheRatio(t *testing.T) {
	for name, slow := range map[string]func(who byte, turn int) time.Duration{
		"stalls of one side": func(who byte, turn int) time.Duration {
			if who == 'a' && turn%10 < 4 {
				return 50
			}
			return 1
		},
		"drift": func(_ byte, turn int) time.Duration {
			if turn > 12 {
				return 3
			}
			return 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				contender := func(who byte, d time.Duration) *bench.Case {
					turn := 0
					return &bench.Case{
						Name: string(who), Ours: who == 'a', Batch: 1, Check: func() error { return nil },
						Do: func(int) error { turn++; time.Sleep(d * slow(who, turn)); return nil },
					}
				}
				r, err := bench.Measure(t.Context(), group(contender('a', 4*time.Millisecond), contender('b', 5*time.Millisecond)), options)
				require.NoError(t, err)
				require.Equal(t, 0.8, r.Pairs[0].Ratio)
				require.LessOrEqual(t, r.Pairs[0].Low, 0.8)
				require.GreaterOrEqual(t, r.Pairs[0].High, 0.8)
			})
		})
	}
}

func TestManyOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		ms := time.Millisecond
		r, err := bench.Measure(t.Context(), group(
			timed("x1", true, ms, &log), timed("x2", true, 2*ms, &log), timed("p", false, 4*ms, &log), timed("q", false, 8*ms, &log),
		), options)
		require.NoError(t, err)
		var got []string
		for _, p := range r.Pairs {
			got = append(got, p.Ours+"/"+p.Peer)
		}
		require.Equal(t, []string{"x1/p", "x1/q", "x2/p", "x2/q"}, got)
		require.Equal(t, 0.25, r.Pairs[3].Ratio)
	})
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		slow := func() []*bench.Case {
			return []*bench.Case{timed("a", true, time.Minute, &log), timed("b", false, time.Minute, &log)}
		}
		groups := append(group(slow()...), group(slow()...)...)
		o := options
		o.Rounds, o.Limit = bench.MaxRounds, time.Minute
		start := time.Now()
		r, err := bench.Measure(t.Context(), groups, o)
		require.NoError(t, err)
		require.Equal(t, bench.MinRounds, r.Pairs[0].Rounds)
		require.Equal(t, bench.MinRounds, r.Pairs[1].Rounds)
		require.Less(t, time.Since(start), 30*time.Minute)

		// Time that the first group does not need is the second one's.
		o.Rounds, o.Limit = 10, 70*time.Minute
		r, err = bench.Measure(t.Context(), groups, o)
		require.NoError(t, err)
		require.Equal(t, 10, r.Pairs[0].Rounds)
		require.Equal(t, 10, r.Pairs[1].Rounds)
	})
}

func TestMeasureRefuses(t *testing.T) {
	ok := func() error { return nil }
	good := func() *bench.Case {
		return &bench.Case{Name: "good", Ours: true, Batch: 1, Check: ok, Do: func(int) error { return nil }}
	}
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		change func(*bench.Case)
		want   string
	}{
		"check":   {func(c *bench.Case) { c.Check = func() error { return broken } }, "measure seal 64 B: check good: broken"},
		"prepare": {func(c *bench.Case) { c.Prepare = func(int) error { return broken } }, "measure seal 64 B: prepare good: broken"},
		"do":      {func(c *bench.Case) { c.Do = func(int) error { return broken } }, "measure seal 64 B: good: broken"},
		"close":   {func(c *bench.Case) { c.Close = func() error { return broken } }, "measure seal 64 B: close good: broken"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := good()
			c.change(bad)
			closed := false
			other := good()
			other.Close = func() error { closed = true; return nil }
			_, err := bench.Measure(t.Context(), group(bad, other), options)
			require.ErrorIs(t, err, broken)
			require.EqualError(t, err, c.want)
			require.True(t, closed)
		})
	}
	t.Run("open, halfway", func(t *testing.T) {
		closed := false
		c := good()
		c.Close = func() error { closed = true; return nil }
		_, err := bench.Measure(t.Context(), []bench.Group{{Op: "x", Open: func() ([]*bench.Case, error) { return []*bench.Case{c}, broken }}}, options)
		require.EqualError(t, err, "measure x: broken")
		require.True(t, closed)
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := good()
		turns := 0
		c.Do = func(int) error {
			if turns++; turns == 3 {
				cancel()
			}
			return nil
		}
		_, err := bench.Measure(ctx, group(c), options)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 3, turns)
	})
	for name, change := range map[string]func(*bench.Options){
		"no rounds":       func(o *bench.Options) { o.Rounds = 0 },
		"too few rounds":  func(o *bench.Options) { o.Rounds = bench.MinRounds - 1 },
		"too many rounds": func(o *bench.Options) { o.Rounds = bench.MaxRounds + 1 },
		"short turns":     func(o *bench.Options) { o.Slice = 9 * time.Microsecond },
		"long turns":      func(o *bench.Options) { o.Slice = time.Second + 1 },
		"no limit":        func(o *bench.Options) { o.Limit = 0 },
		"negative limit":  func(o *bench.Options) { o.Limit = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			o := options
			change(&o)
			_, err := bench.Measure(t.Context(), group(good()), o)
			require.ErrorContains(t, err, "choose")
		})
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log, seen []string
		groups := append(group(timed("a", true, time.Millisecond, &log)), bench.Group{Op: "handshake", Open: func() ([]*bench.Case, error) { return nil, nil }})
		o := options
		o.Progress = func(i, total int, g bench.Group) {
			require.Equal(t, 2, total)
			require.Equal(t, len(seen), i)
			seen = append(seen, g.String())
		}
		r, err := bench.Measure(t.Context(), groups, o)
		require.NoError(t, err)
		require.Equal(t, []string{"seal 64 B", "handshake"}, seen)
		require.Empty(t, r.Pairs, "nothing to compare with")
	})
}

func TestQuantiles(t *testing.T) {
	for _, c := range []struct {
		x    []float64
		q    float64
		want float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{5, 4, 3, 2, 1}, 0.25, 2},
		{[]float64{5, 4, 3, 2, 1}, 0.75, 4},
		{[]float64{5, 4, 3, 2, 1}, 1, 5},
		{[]float64{5, 4, 3, 2, 1}, 0, 1},
		{[]float64{1, 2}, 0.25, 1.25},
	} {
		before := append([]float64(nil), c.x...)
		require.InDelta(t, c.want, bench.Quantile(c.x, c.q), 1e-12, "%v at %v", c.x, c.q)
		require.Equal(t, before, c.x)
	}
}

func TestMedianInterval(t *testing.T) {
	x := make([]float64, 100)
	for i := range x {
		x[i] = float64(99 - i)
	}
	low, high := bench.MedianInterval(x)
	// Tables of the binomial distribution: ranks 40 and 61 of 100.
	require.Equal(t, 39.0, low)
	require.Equal(t, 60.0, high)
	low, high = bench.MedianInterval([]float64{3, 1, 2, 5, 4})
	require.Equal(t, 1.0, low)
	require.Equal(t, 5.0, high)
}

var report = &bench.Report{Go: "go1.26", OS: "linux", Arch: "arm64", CPUs: 4, Pairs: []bench.Pair{
	{Op: "seal", Size: 64, Ours: "e2e 0x01", Peer: "bare", OursNS: 612.4, PeerNS: 540, Ratio: 1.134, Low: 1.12, High: 1.149, Q1: 1.1, Q3: 1.2, Rounds: 201},
	{Op: "seal", Size: 64, Ours: "e2e 0x01", Peer: "Noise", OursNS: 612.4, PeerNS: 1200, Ratio: 0.51, Low: 0.5, High: 0.52, Q1: 0.4, Q3: 0.6, Rounds: 201},
	{Op: "handshake", Ours: "e2e 0x01", Peer: "TLS 1.3", OursNS: 672_220, PeerNS: 1_890_000, Ratio: 0.37, Low: 0.31, High: 0.43, Q1: 0.3, Q3: 0.44, Rounds: 40},
}}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, report.WriteTable(&b))
	require.Equal(t, `operation  ours      time       peer     time     ours/peer  95 % interval  middle half   rounds
seal 64 B  e2e 0x01  612 ns     bare     540 ns   1.13       1.12 .. 1.15   1.10 .. 1.20  201
           e2e 0x01  612 ns     Noise    1.20 µs  0.51       0.50 .. 0.52   0.40 .. 0.60  201
handshake  e2e 0x01  672.22 µs  TLS 1.3  1.89 ms  0.37       0.31 .. 0.43   0.30 .. 0.44  40

go1.26 linux/arm64, 4 CPUs. Below 1.00 ours is faster. Ratios are medians of interleaved rounds, with the interval of the median
and the middle half of the rounds.
`, b.String())
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, report.WriteJSON(&b))
	var back bench.Report
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&back))
	require.Equal(t, *report, back)
}

type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("disk is full")
	}
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, report.WriteTable(&b))
	for _, room := range []int{0, b.Len() - 1} {
		require.EqualError(t, report.WriteTable(&full{room}), "write table: disk is full")
	}
	require.EqualError(t, report.WriteJSON(&full{10}), "write JSON: disk is full")
}
