package fuzzy

import (
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/polar"
)

// TestTiming looks for a difference in time between readings without errors and
// with many, by the method of dudect (Reparaz, Balasch, Verbauwhede 2017): the two
// classes in random order, Welch's t-test on all times and on those below each of
// several percentiles, since the slow ones are the machine's. A |t| above 4.5 is a
// sign, one above 10 a leak. It wants a quiet machine and some minutes:
//
//	SEMIO_TIMING=1 go test ./fuzzy -run TestTiming -v -timeout 30m
//
// The last row must show a leak: it times a decoder that stops early, so that a
// method that sees nothing is noticed.
func TestTiming(t *testing.T) {
	if os.Getenv("SEMIO_TIMING") == "" {
		t.Skip("set SEMIO_TIMING=1 to measure for some minutes, on a quiet machine")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	clean, noisy, helper := timingReadings(t, 0.15)
	llrs := func(readings [][]byte) [][]int16 {
		f, err := parse([]byte(helper.raw))
		require.NoError(t, err)
		var out [][]int16
		for _, r := range readings {
			llr := make([]int16, f.set.length())
			f.votes(llr, interleaver(len(llr)), r)
			out = append(out, llr)
		}
		return out
	}
	cleanVotes, noisyVotes := llrs(clean), llrs(noisy)
	code, err := setByID(1).code()
	require.NoError(t, err)
	message, word := make([]byte, code.Dimension()/8), make([]byte, code.Len())
	decoder := polar.NewDecoder(code)
	list, err := polar.NewListDecoder(code, 8)
	require.NoError(t, err)

	input := make([]byte, len(clean[0]))
	votes := make([]int16, code.Len())
	both := [2][][]byte{clean, noisy}
	bothVotes := [2][][]int16{cleanVotes, noisyVotes}
	for _, c := range []struct {
		name  string
		n     int
		load  func(class, i int)
		run   func()
		leaks bool
	}{
		{"Reconstruct", 60000, func(class, i int) { copy(input, both[class][i]) }, func() { _, _, _ = Reconstruct(input, helper) }, false},
		{"successive cancellation", 200000, func(class, i int) { copy(votes, bothVotes[class][i]) },
			func() { _ = decoder.Decode(message, word, votes) }, false},
		{"list of 8", 20000, func(class, i int) { copy(votes, bothVotes[class][i]) }, func() { _ = list.Decode(votes) }, false},
		{"a loop that stops at the first error", 20000, func(class, i int) { copy(input, both[class][i]) }, func() {
			for i, x := range input {
				if x != clean[0][i] {
					break
				}
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			worst, times := measureClasses(c.n, c.load, c.run)
			t.Logf("%s: |t| at most %.1f over %d and %d measurements, medians %v and %v", c.name, worst, len(times[0]), len(times[1]),
				time.Duration(median(times[0])), time.Duration(median(times[1])))
			if c.leaks {
				require.Greater(t, worst, 10.0, "the method must find what is there")
			} else {
				require.Less(t, worst, 10.0, "times tell the classes apart")
			}
		})
	}
}

// timingReadings are 64 readings without errors, in memory of their own as the others,
// and 64 with many.
func timingReadings(t *testing.T, rate float64) (clean, noisy [][]byte, helper HelperData) {
	chip := NewChip(600, Balanced(0.5, rate))
	_, helper, err := Enroll(SRAM1K(), nil, chip.Enrolled())
	require.NoError(t, err)
	for range 64 {
		clean, noisy = append(clean, chip.Enrolled()), append(noisy, chip.Read())
		_, report, err := Reconstruct(noisy[len(noisy)-1], helper)
		require.NoError(t, err)
		require.Equal(t, 1, report.List)
	}
	return clean, noisy, helper
}

// measureClasses times run on random classes and returns the largest |t| of all crops.
func measureClasses(n int, load func(class, i int), run func()) (worst float64, times [2][]float64) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	r := rand.New(rand.NewPCG(7, 7))
	for k := range n {
		if k%2000 == 0 {
			runtime.GC()
		}
		class := r.IntN(2)
		load(class, r.IntN(64))
		start := time.Now()
		run()
		times[class] = append(times[class], float64(time.Since(start)))
	}
	all := slices.Sorted(slices.Values(append(slices.Clone(times[0]), times[1]...)))
	for _, share := range []float64{0.5, 0.75, 0.9, 0.99, 1} {
		limit := all[int(share*float64(len(all)-1))]
		worst = max(worst, math.Abs(welch(below(times[0], limit), below(times[1], limit))))
	}
	return worst, times
}

func below(times []float64, limit float64) []float64 {
	var out []float64
	for _, x := range times {
		if x <= limit {
			out = append(out, x)
		}
	}
	return out
}

// welch returns the t statistic of two samples of unequal variances.
func welch(a, b []float64) float64 {
	meanA, varA := moments(a)
	meanB, varB := moments(b)
	if d := math.Sqrt(varA/float64(len(a)) + varB/float64(len(b))); d > 0 {
		return (meanA - meanB) / d
	}
	return 0
}

func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, variance
}

func median(x []float64) float64 { return slices.Sorted(slices.Values(x))[len(x)/2] }

// Welch's statistic against a worked example: means 3 and 5, variances 2.5 and 2.5.
func TestWelch(t *testing.T) {
	require.InDelta(t, -2, welch([]float64{1, 2, 3, 4, 5}, []float64{3, 4, 5, 6, 7}), 1e-12)
	require.Zero(t, welch([]float64{1, 1}, []float64{1, 1}))
}
