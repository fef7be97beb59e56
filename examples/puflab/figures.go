package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/pufstat"
)

// characterization is what characterize found.
type characterization struct {
	Window         int              `json:"window"`
	Chips          []*chipFigures   `json:"chips"`
	Between        *pufstat.Summary `json:"between,omitempty"` // distances of chips, window by window
	BetweenWindows pufstat.Summary  `json:"between_windows"`   // distances of windows of one chip
	Strides        []pufstat.Stride `json:"strides"`           // all of them
	BestStride     pufstat.Stride   `json:"best_stride"`       // of the highest entropy
	Report         string           `json:"report,omitempty"`  // file of the page
	between        []float64        // for the plots
	betweenWindows []float64
}

// chipFigures are those of one chip. Distances and shares of ones are of windows.
type chipFigures struct {
	Name     string `json:"name"`
	PowerUps int    `json:"power_ups"`
	Bytes    int    `json:"bytes"`
	figures
	NoiseEntropy float64             `json:"noise_entropy"` // mean min-entropy of a cell in one more power-up
	Correlated   []correlated        `json:"correlated"`    // strongest distances beyond chance
	Entropy      []pufstat.Estimate  `json:"entropy"`       // of a raw cell, given what the estimate knows
	Faults       []string            `json:"faults,omitempty"`
	At           *temperatureFigures `json:"at,omitempty"`    // at another temperature
	Model        *modelFigures       `json:"model,omitempty"` // nil where none can be fitted, as to fewer than 3 power-ups

	stat            *pufstat.Chip
	autocorrelation []float64
}

// figures are what is compared with the model.
type figures struct {
	Ones     pufstat.Summary `json:"ones"`
	Within   pufstat.Summary `json:"within"`          // from the first power-up
	Pairs    pufstat.Summary `json:"within_pairs"`    // of any two
	Majority pufstat.Summary `json:"within_majority"` // from the majority of all
	Stable   float64         `json:"stable"`          // share of cells that never changed
	Counts   []int           `json:"counts"`          // cells that were 1 in 0, 1, … power-ups
}

// modelFigures are those of a simulated chip of the fitted Config.
type modelFigures struct {
	Config pufsim.Config `json:"config"`
	figures
}

type correlated struct {
	Lag         int     `json:"lag"`
	Coefficient float64 `json:"coefficient"`
}

const (
	// farthest is the longest distance at which correlation is looked for, in bits.
	farthest = 1024
	// mostCorrelated is how many distances are listed.
	mostCorrelated = 5
	// mostWindowPairs bounds the pairs of windows of one chip that are compared.
	mostWindowPairs = 5000
)

// characterize computes the figures of chips of one kind.
func characterize(ctx context.Context, chips []chip, window int, p *progress) (*characterization, error) {
	strides, err := pufstat.StridesOf(window)
	if err != nil {
		return nil, usagef("flag -window: %d is no power of two", window)
	}
	c := &characterization{Window: window, Chips: make([]*chipFigures, len(chips)), Strides: make([]pufstat.Stride, len(strides))}
	stats := make([]*pufstat.Chip, len(chips))
	for i, chip := range chips {
		if size := len(chip.readings[0]); size < window {
			return nil, usagef("%s: readings of %d bytes are smaller than a window of %d; choose another -window", chip.name, size, window)
		} else if first := len(chips[0].readings[0]); size != first {
			return nil, usagef("%s has readings of %d bytes and %s of %d; characterize one kind of chip at a time", chip.name, size, chips[0].name, first)
		}
		if stats[i], err = pufstat.New(chip.readings...); err != nil {
			return nil, err
		}
	}
	if err := forEach(ctx, len(chips), p, "chips", func(ctx context.Context, i int) (err error) {
		c.Chips[i], err = chipFiguresOf(ctx, chips[i], stats[i], window)
		return err
	}); err != nil {
		return nil, err
	}
	if err := forEach(ctx, len(strides), p, "pairing strides", func(_ context.Context, i int) (err error) {
		c.Strides[i], err = pufstat.AtStride(stats, window, strides[i])
		return err
	}); err != nil {
		return nil, err
	}
	c.BestStride = slices.MaxFunc(c.Strides, func(a, b pufstat.Stride) int {
		if a.Entropy < b.Entropy {
			return -1
		}
		return 1
	})
	for i, a := range stats {
		c.betweenWindows = append(c.betweenWindows, a.BetweenWindows(window, mostWindowPairs)...)
		for _, b := range stats[i+1:] {
			d, err := pufstat.Between(a, b, window)
			if err != nil {
				return nil, err
			}
			c.between = append(c.between, d...)
		}
	}
	c.BetweenWindows = pufstat.Summarize(c.betweenWindows)
	if len(c.between) > 0 {
		s := pufstat.Summarize(c.between)
		c.Between = &s
	}
	return c, nil
}

func figuresOf(c *pufstat.Chip, window int) figures {
	return figures{
		Ones:     pufstat.Summarize(c.Ones(window)),
		Within:   pufstat.Summarize(c.Within(window)),
		Pairs:    pufstat.Summarize(c.WithinPairs(window)),
		Majority: pufstat.Summarize(c.WithinMajority(window)),
		Stable:   c.Stable(),
		Counts:   c.Counts(),
	}
}

func chipFiguresOf(ctx context.Context, c chip, stat *pufstat.Chip, window int) (*chipFigures, error) {
	f := &chipFigures{
		Name: c.name, PowerUps: stat.Readings(), Bytes: stat.Size(), figures: figuresOf(stat, window), NoiseEntropy: stat.NoiseEntropy(),
		stat: stat, autocorrelation: stat.Autocorrelation(farthest),
	}
	f.Correlated = strongest(f.autocorrelation, 8*stat.Size())
	f.Entropy = cellEstimates(c.readings[0])
	f.Faults = faultsOf(c.readings, window)
	config, err := pufsim.Fit(stat)
	switch {
	case errors.Is(err, pufsim.ErrFit):
		// A memory that is no memory has no model; its faults say why.
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	simulated, err := powerUps(ctx, pufsim.New(1, config), stat.Readings())
	if err != nil {
		return nil, err
	}
	f.Model = &modelFigures{Config: config, figures: figuresOf(simulated, window)}
	return f, nil
}

// strongest lists the lags whose correlation chance does not explain: five of its standard deviations, which among 1,024 lags comes once
// in two thousand chips.
func strongest(autocorrelation []float64, bits int) []correlated {
	var out []correlated
	for i, r := range autocorrelation {
		if lag := i + 1; math.Abs(r) > 5/math.Sqrt(float64(bits-lag)) {
			out = append(out, correlated{lag, r})
		}
	}
	slices.SortFunc(out, func(a, b correlated) int {
		if math.Abs(a.Coefficient) > math.Abs(b.Coefficient) {
			return -1
		}
		return 1
	})
	return out[:min(len(out), mostCorrelated)]
}

// cellEstimates estimates the entropy of the cells before any debiasing.
func cellEstimates(reading []byte) []pufstat.Estimate {
	bits := pufstat.Bits(reading)
	at := make([]int, len(bits))
	for i := range at {
		at[i] = i
	}
	named := func(name string, e pufstat.Estimate) pufstat.Estimate { e.Name = name; return e }
	return []pufstat.Estimate{
		pufstat.MostCommonValue(bits),
		pufstat.Markov(bits),
		named("context: 8 cells before", pufstat.Context(bits, 1, 2, 3, 4, 5, 6, 7, 8)),
		named("context: cells 32 and 64 before", pufstat.Context(bits, 32, 64)),
		named("context: cells 512 and 1024 before", pufstat.Context(bits, 512, 1024)),
		named("position in 64 cells", pufstat.Position(bits, at, 64)),
		named("position in 1024 cells", pufstat.Position(bits, at, 1024)),
	}
}

// faultsOf applies the checks of package puf to every power-up and every window of the first, and to every pair with the first.
func faultsOf(readings [][]byte, window int) []string {
	var faults []string
	add := func(where string, err error) {
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", where, err))
		}
	}
	for i, b := range readings {
		add(fmt.Sprintf("power-up %d", i+1), puf.Check(b, puf.Limits{}))
		if i > 0 {
			add(fmt.Sprintf("power-ups 1 and %d", i+1), puf.CheckPair(readings[0], b, puf.Limits{}))
		}
	}
	for at := 0; at+window <= len(readings[0]); at += window {
		add(fmt.Sprintf("power-up 1, window at %d", at), puf.Check(readings[0][at:at+window], puf.Limits{}))
	}
	return faults
}

func (c *characterization) faults() int {
	n := 0
	for _, chip := range c.Chips {
		n += len(chip.Faults)
	}
	return n
}
