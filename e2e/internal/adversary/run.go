package adversary

import (
	"fmt"
	"math/rand/v2"
)

// episode is how many steps a world lasts: so much has to be repeated to see a finding again.
const episode = 2000

// Random is a Chooser of pseudo-random numbers, the same for the same seed and stream.
type Random struct{ r *rand.Rand }

// NewRandom makes one.
func NewRandom(seed, stream uint64) Random { return Random{rand.New(rand.NewPCG(seed, stream))} }

// Choose implements Chooser.
func (r Random) Choose(n int) int { return r.r.IntN(n) }

// Finding is a violation and how to see it again.
type Finding struct {
	Seed, Episode uint64
	Step          int // of the episode
	Err           error
}

func (f *Finding) Error() string {
	return fmt.Sprintf("seed %d, episode %d, step %d: %v", f.Seed, f.Episode, f.Step, f.Err)
}

func (f *Finding) Unwrap() error { return f.Err }

// Run plays steps steps, in worlds of 2,000 steps each that end with a rest, from the given episode on. progress, which may be nil, is
// called after each. The error is a *Finding, or says why there is no world to play in.
func Run(cast *Cast, seed, first uint64, steps int, faults Faults, progress func(Stats)) (Stats, error) {
	var sum Stats
	for n := first; sum.Steps < steps; n++ {
		stats, step, err := play(cast, seed, n, min(episode, steps-sum.Steps), faults)
		sum.add(stats)
		if err != nil {
			return sum, &Finding{Seed: seed, Episode: n, Step: step, Err: err}
		}
		if progress != nil {
			progress(sum)
		}
	}
	return sum, nil
}

func play(cast *Cast, seed, n uint64, steps int, faults Faults) (Stats, int, error) {
	w, err := NewWorld(cast, NewRandom(seed, n), faults)
	if err != nil {
		return Stats{}, 0, err
	}
	defer w.Close()
	for step := range steps {
		if err := w.Step(); err != nil {
			return w.Stats(), step, err
		}
	}
	return w.Stats(), steps, w.Rest()
}
