package main

import (
	"math/rand/v2"

	"github.com/semio-iot/semio/fuzzy"
)

// splitting estimates how often list decoders lose a reading, where plain simulation sees none. Readings that successive cancellation
// loses are drawn exactly, whatever their rate (fuzzy.SimulatedChip.DrawLost). From there it goes by lists of 2, 4, 8 …: those of the
// population that a list loses too are multiplied to its full number, and moved: a share of their cells is drawn anew, and the change
// kept if the reading is still lost (multilevel splitting; Del Moral 2004). The first rate times the shares lost is an unbiased estimate,
// so independent runs, each on a chip of its own, show by their scatter how good their mean is.
type splitting struct {
	chip      *fuzzy.SimulatedChip
	readings  [][]byte
	particles int
	share     float64 // of the cells that a move draws anew
	r         *rand.Rand
	spare     []byte
	decoded   int
}

// moves is how often each reading is moved after each list.
const moves = 5

// levels are the lists on the way to that of the largest decoder.
func levels(list int) []int {
	var l []int
	for paths := 2; paths <= list; paths *= 2 {
		l = append(l, paths)
	}
	return l
}

// run returns the rate of readings lost by successive cancellation, and by each of the levels and those before it.
func (s *splitting) run(lists []int, pause func() error) (rates []float64, err error) {
	rate, err := s.begin(pause)
	if err != nil {
		return nil, err
	}
	rates = append(rates, rate)
	for i, paths := range lists {
		var lost [][]byte
		for _, reading := range s.readings {
			if err := pause(); err != nil {
				return nil, err
			}
			also, err := s.loses(reading, paths)
			if err != nil {
				return nil, err
			}
			if also {
				lost = append(lost, reading)
			}
		}
		rate *= float64(len(lost)) / float64(len(s.readings))
		rates = append(rates, rate)
		if len(lost) == 0 {
			return append(rates, make([]float64, len(lists)-i-1)...), nil
		}
		s.multiply(lost)
		if i+1 < len(lists) {
			if err := s.move(append([]int{1}, lists[:i+1]...), pause); err != nil {
				return nil, err
			}
		}
	}
	return rates, nil
}

func (s *splitting) loses(reading []byte, paths int) (bool, error) {
	s.decoded++
	return s.chip.Loses(reading, paths)
}

// begin draws readings that successive cancellation loses and makes a population of them by their weights, whose mean it returns.
func (s *splitting) begin(pause func() error) (float64, error) {
	var drawn [][]byte
	var weights []float64
	var sum float64
	err := s.chip.DrawLost(s.particles, s.r, func(reading []byte, weight float64) error {
		drawn, weights = append(drawn, reading), append(weights, weight)
		sum += weight
		return pause()
	})
	if err != nil || len(drawn) == 0 {
		return 0, err
	}
	at, below, start := 0, weights[0], s.r.Float64()
	for k := range s.particles {
		goal := (start + float64(k)) / float64(s.particles) * sum
		for below < goal && at < len(drawn)-1 {
			at++
			below += weights[at]
		}
		s.readings = append(s.readings, append([]byte(nil), drawn[at]...))
	}
	return sum / float64(len(drawn)), nil
}

// multiply makes the population of copies, of each as many as of any other or one more.
func (s *splitting) multiply(lost [][]byte) {
	s.r.Shuffle(len(lost), func(i, j int) { lost[i], lost[j] = lost[j], lost[i] })
	s.readings = make([][]byte, s.particles)
	for i := range s.readings {
		s.readings[i] = append([]byte(nil), lost[i%len(lost)]...)
	}
	s.spare = make([]byte, len(lost[0]))
}

// move changes the readings among those that all these decoders lose. The quick ones come first.
func (s *splitting) move(decoders []int, pause func() error) error {
	for range moves {
		kept := 0
		for _, reading := range s.readings {
			if err := pause(); err != nil {
				return err
			}
			copy(s.spare, reading)
			s.chip.Redraw(s.spare, s.share, s.r)
			lost, err := true, error(nil)
			for _, paths := range decoders {
				if lost, err = s.loses(s.spare, paths); err != nil {
					return err
				}
				if !lost {
					break
				}
			}
			if lost {
				copy(reading, s.spare)
				kept++
			}
		}
		switch rate := float64(kept) / float64(len(s.readings)); {
		case rate > 0.4:
			s.share = min(1, 1.4*s.share)
		case rate < 0.2:
			s.share /= 1.4
		}
	}
	return nil
}
