package pufstat

import "math"

// Estimate is the min-entropy of a bit, in bits, by one kind of guesser.
type Estimate struct {
	Name string `json:"name"`

	// Point is the figure without margin, Lower that at the 99 % confidence bound of SP 800-90B, where the estimate has one. Without
	// samples both are 0.
	Point float64 `json:"point"`
	Lower float64 `json:"lower"`
	N     int     `json:"n"` // guesses that it rests on
}

// z is the quantile of the normal distribution that SP 800-90B takes its upper bounds from: 99.5 %.
const z = 2.5758293035489008

// bounded returns the estimate of a guesser that was right in some of n cases.
func bounded(name string, right, n int) Estimate {
	e := Estimate{Name: name, N: n}
	if n < 2 {
		return e
	}
	p := float64(right) / float64(n)
	upper := min(1, p+z*math.Sqrt(p*(1-p)/float64(n-1)))
	// A bit has at most one bit, and whoever is right less often than chance does better the other way round.
	e.Point = min(1, -math.Log2(max(p, 1e-300)))
	e.Lower = min(1, -math.Log2(upper))
	return e
}

// MostCommonValue is the estimate of SP 800-90B, 6.3.1, over bits, one a byte.
func MostCommonValue(bits []byte) Estimate {
	ones := 0
	for _, b := range bits {
		ones += int(b & 1)
	}
	return bounded("most common value (90B 6.3.1)", max(ones, len(bits)-ones), len(bits))
}

// Markov is the estimate of SP 800-90B, 6.3.3, over bits, one a byte: from the likeliest sequence of 128 bits under the transition
// frequencies. The standard gives it no confidence bound, so Lower is Point.
func Markov(bits []byte) Estimate {
	e := Estimate{Name: "Markov (90B 6.3.3)", N: max(0, len(bits)-1)}
	if len(bits) < 2 {
		return e
	}
	var ones int
	var count [2][2]int
	for i, b := range bits {
		ones += int(b & 1)
		if i > 0 {
			count[bits[i-1]&1][b&1]++
		}
	}
	lg := func(part, whole int) float64 {
		if part == 0 {
			return math.Inf(-1)
		}
		return math.Log2(float64(part) / float64(whole))
	}
	start := [2]float64{lg(len(bits)-ones, len(bits)), lg(ones, len(bits))}
	var step [2][2]float64
	for a := range 2 {
		for b := range 2 {
			step[a][b] = lg(count[a][b], max(1, count[a][0]+count[a][1]))
		}
	}
	// The likeliest sequence by dynamic programming: the same maximum as over the six sequences that the standard lists.
	const length = 128
	best := start
	for range length - 1 {
		best = [2]float64{max(best[0]+step[0][0], best[1]+step[1][0]), max(best[0]+step[0][1], best[1]+step[1][1])}
	}
	e.Point = min(1, -max(best[0], best[1])/length)
	e.Lower = e.Point
	return e
}

// Context is the estimate of a guesser who knows the bits at the given distances before each bit, over bits, one a byte, and guesses
// what has mostly followed those so far: of 1, 2, … 8 for neighbours, of a row's width for columns. At most 16 distances, each positive,
// count. It is ours, in the manner of the prediction estimates of SP 800-90B, 6.3.7 to 6.3.10, with their global bound and without their
// local one.
func Context(bits []byte, distances ...int) Estimate {
	distances = distances[:min(len(distances), 16)]
	far := 0
	for _, d := range distances {
		if d < 1 {
			return Estimate{Name: "context"}
		}
		far = max(far, d)
	}
	return guess("context", bits, far, 1<<len(distances), func(i int) int {
		c := 0
		for _, d := range distances {
			c = c<<1 | int(bits[i-d]&1)
		}
		return c
	})
}

// Position is the estimate of a guesser who knows at which address each bit lies, and guesses what addresses equal modulo period have
// mostly had so far: at[i] is the address of bits[i], not negative. Bits without an address are left out.
func Position(bits []byte, at []int, period int) Estimate {
	bits = bits[:min(len(bits), len(at))]
	if period < 1 || period > 1<<20 {
		return Estimate{Name: "position"}
	}
	return guess("position", bits, 0, period, func(i int) int { return at[i] % period })
}

// guess runs a guesser over bits from a number on. context must be below contexts.
func guess(name string, bits []byte, from, contexts int, context func(i int) int) Estimate {
	seen := make([]int32, contexts) // ones less zeros
	right := 0
	for i := from; i < len(bits); i++ {
		c := context(i)
		v := int32(2*int(bits[i]&1) - 1)
		// Without a lead the guess is a 1, which is right as often as any.
		if seen[c] >= 0 && v == 1 || seen[c] < 0 && v == -1 {
			right++
		}
		seen[c] += v
	}
	return bounded(name, right, max(0, len(bits)-from))
}

// Bits returns the bits of a reading, one a byte, as the estimates take them.
func Bits(reading []byte) []byte {
	out := make([]byte, 8*len(reading))
	for i := range out {
		out[i] = reading[i/8] >> (7 - i%8) & 1
	}
	return out
}

// Lowest returns the estimate with the least Lower of those that rest on anything.
func Lowest(estimates ...Estimate) Estimate {
	var low Estimate
	for _, e := range estimates {
		if e.N > 0 && (low.N == 0 || e.Lower < low.Lower) {
			low = e
		}
	}
	return low
}
