package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/semio-iot/semio/fuzzy"
)

const (
	// readingsPerChip is how many readings are taken of one simulated chip before the next is drawn.
	readingsPerChip = 50
	// replicates is how many independent estimates importance sampling makes.
	replicates = 12
	// refusals is how many chips are drawn in search of one that enrolment takes.
	refusals = 1000
)

func simulateCommand() command {
	return command{
		name:    "simulate",
		summary: "Run the decoders on simulated chips and set the failures beside the computed bound",
		detail: "Cells are independent; -bias of them are 1, and -ber of them flip in a reading, as many ones as\n" +
			"zeros. Every 50 readings a new chip is enrolled. With -importance, readings that the first decoder\n" +
			"loses are drawn exactly, however rare they are, and split over lists of 2, 4, 8 … up to -list:\n" +
			"that reaches rates which no plain simulation reaches. -n is then the population, shared by 12\n" +
			"independent estimates, from whose scatter the error comes. An estimate of 0 says that none of them\n" +
			"found a reading which the list loses: use a larger -n.",
		setUp: func(flags *flag.FlagSet) action {
			var s simulation
			set := flags.String("set", fuzzy.SRAM1K().Name(), "parameter `set`")
			flags.Float64Var(&s.BitErrors, "ber", 0.25, "share of `bits` wrong in a reading")
			flags.Float64Var(&s.Ones, "bias", 0.5, "share of `ones`")
			flags.IntVar(&s.Readings, "n", 10000, "`number` of readings to decode")
			flags.BoolVar(&s.Importance, "importance", false, "importance sampling")
			flags.IntVar(&s.List, "list", 32, "largest decoder, 1, 8 or 32 `paths`")
			flags.Uint64Var(&s.Seed, "seed", 1, "`seed`: the same gives the same chips and readings")
			return func(ctx context.Context, _ []string, p *progress) (result, error) {
				params, err := fuzzy.ParseSet(*set)
				if err != nil {
					return nil, wrongUsage{err}
				}
				if s.Readings < readingsPerChip || s.Readings > 1e9 {
					return nil, usagef("%d readings: want %d to a thousand million", s.Readings, readingsPerChip)
				}
				if s.List < 1 {
					return nil, usagef("largest decoder of %d paths: want 1, 8 or 32", s.List)
				}
				if err := s.run(ctx, params, p); err != nil {
					return nil, err
				}
				return s, nil
			}
		},
	}
}

// simulation is what the command found.
type simulation struct {
	Set        string     `json:"set"`
	BitErrors  float64    `json:"bit_errors"`
	Ones       float64    `json:"ones"`
	List       int        `json:"largest_list"`
	Seed       uint64     `json:"seed"`
	Importance bool       `json:"importance"`
	Chips      int        `json:"chips"`
	Refused    int        `json:"chips_refused"`
	RefusedBy  float64    `json:"chips_refused_computed"`
	Readings   int        `json:"readings"`
	Bound      float64    `json:"bound_first_decoder"` // mean over the chips
	Estimates  []estimate `json:"estimates"`
}

// decoders are the stages of fuzzy.Reconstruct by their paths, the largest last.
func (s *simulation) decoders() []int {
	var d []int
	for _, paths := range []int{1, 8, 32} {
		if paths <= s.List {
			d = append(d, paths)
		}
	}
	return d
}

func (s *simulation) run(ctx context.Context, p fuzzy.Params, progress *progress) error {
	s.Set = p.Name()
	m, err := checkRates(s.BitErrors, s.Ones)
	if err != nil {
		return err
	}
	expected, err := p.Bound(m)
	if err != nil {
		return err
	}
	s.RefusedBy = expected.Refused
	if s.Importance {
		return s.split(ctx, p, m, progress)
	}
	return s.plain(ctx, p, m, progress)
}

// checkRates refuses a model that is none, in words of the command line.
func checkRates(ber, ones float64) (fuzzy.CellModel, error) {
	m := fuzzy.Balanced(ones, ber)
	if !(ones > 0 && ones < 1) || !(ber > 0 && ber < 0.5) || m.FlipOnes > 1 || m.FlipZeros > 1 {
		return m, usagef("bit errors %v and share of ones %v make no cells: want errors above 0 and below 0.5, ones between 0 and 1, "+
			"and no rarer value wrong more often than always", ber, ones)
	}
	return m, nil
}

func (s *simulation) random(i int) *rand.Rand { return rand.New(rand.NewPCG(s.Seed, uint64(i))) }

// batch is what the readings of one chip gave.
type batch struct {
	refused bool
	bound   float64
	lost    []int // by each decoder and those before it
}

func (s *simulation) plain(ctx context.Context, p fuzzy.Params, m fuzzy.CellModel, progress *progress) error {
	bounds := &boundCache{known: map[[2]int]float64{}}
	batches := make([]batch, (s.Readings+readingsPerChip-1)/readingsPerChip)
	err := forEach(ctx, len(batches), progress, "simulating chips", func(_ context.Context, i int) (err error) {
		batches[i], err = s.simulateChip(p, m, bounds, s.random(i))
		return err
	})
	if err != nil {
		return err
	}
	lost := make([]int, len(s.decoders()))
	for _, b := range batches {
		if b.refused {
			s.Refused++
			continue
		}
		s.Bound += b.bound
		for d, n := range b.lost {
			lost[d] += n
		}
	}
	s.Chips = len(batches)
	enrolled := s.Chips - s.Refused
	if s.Readings = enrolled * readingsPerChip; enrolled == 0 {
		return nil
	}
	s.Bound /= float64(enrolled)
	for d, paths := range s.decoders() {
		s.Estimates = append(s.Estimates, plainEstimate(paths, lost[d], s.Readings))
	}
	return nil
}

func (s *simulation) simulateChip(p fuzzy.Params, m fuzzy.CellModel, bounds *boundCache, r *rand.Rand) (batch, error) {
	b := batch{lost: make([]int, len(s.decoders()))}
	c, err := fuzzy.NewSimulatedChip(p, m, r)
	if refused(err) {
		b.refused = true
		return b, nil
	}
	if err != nil {
		return b, err
	}
	if b.bound, err = bounds.of(p, c.Helper(), m); err != nil {
		return b, err
	}
	for range readingsPerChip {
		key, report, err := fuzzy.ReconstructUpTo(s.List, c.Read(r), c.Helper())
		if err != nil && !errors.Is(err, fuzzy.ErrReconstruct) {
			return b, err
		}
		if err == nil {
			key.Wipe()
		}
		for d, paths := range s.decoders() {
			if err != nil || report.List > paths {
				b.lost[d]++
			}
		}
	}
	return b, nil
}

// refused says whether enrolment refused a chip for its cells.
func refused(err error) bool {
	return errors.Is(err, fuzzy.ErrEntropy) || errors.Is(err, fuzzy.ErrFault)
}

func (s *simulation) split(ctx context.Context, p fuzzy.Params, m fuzzy.CellModel, progress *progress) error {
	lists := levels(s.List)
	rates, decoded, bounds := make([][]float64, replicates), make([]int, replicates), make([]float64, replicates)
	err := forEach(ctx, replicates, progress, "splitting, estimates", func(ctx context.Context, i int) error {
		r := s.random(i)
		c, err := drawChip(p, m, r)
		if err != nil {
			return err
		}
		pass2, pass1 := c.Helper().Symbols()
		if bounds[i], err = p.BoundFor(pass2, pass1, m); err != nil {
			return err
		}
		run := &splitting{chip: c, particles: (s.Readings + replicates - 1) / replicates, share: 0.05, r: r}
		rates[i], err = run.run(lists, func() error { return context.Cause(ctx) })
		decoded[i] = run.decoded
		return err
	})
	if err != nil {
		return err
	}
	s.Chips = replicates
	total := 0
	for i, n := range decoded {
		total += n
		s.Bound += bounds[i] / replicates
	}
	for level, paths := range append([]int{1}, lists...) {
		var of []float64
		for i := range rates {
			of = append(of, rates[i][level])
		}
		e := replicatedEstimate(paths, total, of)
		switch {
		case e.Rate > 0 || level == 0:
		case level == 1:
			// None of so many independent draws: the rule of three.
			e.High = min(1, 3*s.Estimates[0].High/float64(s.Readings))
		default:
			// The population has few ancestors; all that is certain is the level before.
			e.High = s.Estimates[level-1].High
		}
		s.Estimates = append(s.Estimates, e)
	}
	return nil
}

// drawChip draws chips until one is enrolled.
func drawChip(p fuzzy.Params, m fuzzy.CellModel, r *rand.Rand) (*fuzzy.SimulatedChip, error) {
	for range refusals {
		c, err := fuzzy.NewSimulatedChip(p, m, r)
		if !refused(err) {
			return c, err
		}
	}
	return nil, fmt.Errorf("enrolment refused %d simulated chips: %w", refusals, fuzzy.ErrEntropy)
}

// boundCache keeps bounds by the numbers of symbols: many chips share them.
type boundCache struct {
	mu    sync.Mutex // guards known
	known map[[2]int]float64
}

func (c *boundCache) of(p fuzzy.Params, h fuzzy.HelperData, m fuzzy.CellModel) (float64, error) {
	pass2, pass1 := h.Symbols()
	at := [2]int{pass2, pass1}
	c.mu.Lock()
	b, ok := c.known[at]
	c.mu.Unlock()
	if ok {
		return b, nil
	}
	b, err := p.BoundFor(pass2, pass1, m)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[at] = b
	return b, nil
}

func (s simulation) WriteText(w io.Writer) error {
	how := "plain simulation"
	if s.Importance {
		how = "importance sampling"
	}
	out := fmt.Sprintf("%s, %.4g %% bit errors, %.3g %% ones: %s, %d chips, -n %d\n\n", s.Set, 100*s.BitErrors, 100*s.Ones, how, s.Chips, s.Readings)
	if !s.Importance {
		out += fmt.Sprintf("chips refused            %d of %d at enrolment; computed %.2g\n", s.Refused, s.Chips, s.RefusedBy)
	}
	out += fmt.Sprintf("successive cancellation  %.2e is the computed bound, mean over the chips\n", s.Bound)
	for _, e := range s.Estimates {
		out += e.String() + "\n"
	}
	_, err := io.WriteString(w, out)
	return err
}
