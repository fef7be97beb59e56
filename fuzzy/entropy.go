package fuzzy

import "math"

// left returns the bits of the secret that one who has the helper data does not
// know, by the count that always holds for a code-offset: W of used symbols
// tells at most used - k bits of them beyond the codeword's own k.
func (p Params) left(used int) float64 {
	return p.entropy*float64(used) - float64(used-p.set().dimension())
}

func (p Params) checkEntropy(used int) error {
	left := p.left(used)
	if used < p.set().minUsed || left < p.floor {
		return &EntropyError{Used: used, MinUsed: p.set().minUsed, SymbolEntropy: p.entropy, Left: left, Floor: p.floor}
	}
	return nil
}

// falseRefusal is the most that the fault tests together refuse a working chip.
const falseRefusal = 1e-6

// checkFaults tests symbols (one a byte, in codeword order) against a source in
// which each symbol has, given all before it, at least the profile's min-entropy
// h: then no guess of the next one is right with more than 2^-h. Each count below
// is a sum of such guesses, so Azuma's inequality bounds its tail, and the limits
// are set where all tests together pass but once in a million (a union bound).
//
// The tests find faults: stuck symbols, a wrong stride, a repeated reading. They
// cannot find that the entropy is a little lower than claimed.
func (p Params) checkFaults(symbols []byte) error {
	lags := faultLags()
	tests := 2 + 2*len(lags) + 1
	logAlpha := math.Log(falseRefusal / float64(tests))
	guess := math.Exp2(-p.entropy)
	limit := func(n int) int {
		t := float64(n)*guess + math.Sqrt(-logAlpha*float64(n)/2)
		return int(min(math.Floor(t), float64(n)))
	}
	n, set := len(symbols), 0
	for _, x := range symbols {
		set += int(x)
	}
	if l := limit(n); set > l {
		return &FaultError{Test: "symbols that are 1", Got: set, Limit: l}
	} else if n-set > l {
		return &FaultError{Test: "symbols that are 0", Got: n - set, Limit: l}
	}
	for _, lag := range lags {
		same := 0
		for i := lag; i < n; i++ {
			same += int(1 ^ symbols[i] ^ symbols[i-lag])
		}
		if l := limit(n - lag); same > l {
			return &FaultError{Test: "equal symbols", Lag: lag, Got: same, Limit: l}
		} else if n-lag-same > l {
			return &FaultError{Test: "unequal symbols", Lag: lag, Got: n - lag - same, Limit: l}
		}
	}
	// A run of r symbols begins at one of at most n places, and each symbol
	// after its first continues it with at most the chance of a guess.
	run, longest := 1, 1
	for i := 1; i < n; i++ {
		run = run*int(1^symbols[i]^symbols[i-1]) + 1
		longest = max(longest, run)
	}
	if l := int(min(float64(n), 1+math.Ceil((logAlpha-math.Log(float64(n)))/math.Log(guess)))) - 1; longest > l {
		return &FaultError{Test: "longest run of equal symbols", Got: longest, Limit: l}
	}
	return nil
}

// faultLags are the distances at which symbols are compared: near ones, and those
// at which rows and words of a memory repeat.
func faultLags() []int {
	return []int{1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512}
}
