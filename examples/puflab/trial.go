package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/semio-iot/semio/fuzzy"
)

func trialCommand() command {
	return command{
		name:    "trial",
		args:    "DIR…",
		summary: "Enrol every window of every chip and reconstruct from all its other readings",
		detail: "DIR is a folder of power-up dumps (.bin, .hex) of one chip, or a folder of such folders. Windows\n" +
			"have the size of the set and lie end to end. The first -reads readings are enrolled, the others\n" +
			"reconstructed; one failure, or a window that enrolment refuses, is exit code 1. The margin is what\n" +
			"is left, at the worst reading, of the bit errors that the set is rated for; lists says how many\n" +
			"readings needed a decoder behind the first.",
		setUp: func(flags *flag.FlagSet) action {
			set := flags.String("set", fuzzy.SRAM1K().Name(), "parameter `set`")
			reads := flags.Int("reads", 1, "odd `number` of readings to enrol")
			stride := flags.Int("stride", 1, "distance of paired `cells`")
			entropy := flags.Float64("entropy", 0, "min-entropy of a symbol in `bits`, as measured; 0: the least of the set")
			return func(ctx context.Context, args []string, p *progress) (result, error) {
				params, err := profile(*set, *stride, *entropy)
				if err != nil {
					return nil, err
				}
				if *reads < 1 || *reads%2 == 0 {
					return nil, usagef("%d readings to enrol: want an odd number", *reads)
				}
				chips, err := loadChips(ctx, args, p)
				if err != nil {
					return nil, err
				}
				return runTrial(ctx, params, *reads, chips, p)
			}
		},
	}
}

// profile makes parameters of flags.
func profile(set string, stride int, entropy float64) (fuzzy.Params, error) {
	p, err := fuzzy.ParseSet(set)
	if err != nil {
		return p, wrongUsage{err}
	}
	p = p.WithStride(stride)
	if entropy != 0 {
		p = p.WithSymbolEntropy(entropy)
	}
	// The least that checks them all.
	if _, err := p.Bound(fuzzy.Balanced(0.5, 0.1)); err != nil {
		return p, wrongUsage{err}
	}
	return p, nil
}

// trial is what the command found.
type trial struct {
	Set    string      `json:"set"`
	Stride int         `json:"stride"`
	Reads  int         `json:"readings_enrolled"`
	Chips  []chipTrial `json:"chips"`
}

// chipTrial is the trial of one chip.
type chipTrial struct {
	Name            string        `json:"name"`
	Windows         int           `json:"windows"`
	Refused         int           `json:"windows_refused"`
	Reconstructions int           `json:"reconstructions"`
	Failures        int           `json:"failures"`
	MeanErrors      float64       `json:"bit_errors_mean"`
	MaxErrors       float64       `json:"bit_errors_max"`
	MinMargin       float64       `json:"margin_min"`
	Lists           int           `json:"lists_needed"`
	Helper          int           `json:"helper_bytes_max"`
	Enroll          time.Duration `json:"enroll_ns"` // medians: others have the machine as well
	Reconstruct     time.Duration `json:"reconstruct_ns"`
	First           string        `json:"first_failure,omitempty"`

	enroll, reconstruct []time.Duration
}

func runTrial(ctx context.Context, p fuzzy.Params, reads int, chips []chip, progress *progress) (result, error) {
	found := trial{Set: p.Name(), Stride: p.Stride(), Reads: reads}
	bad := 0
	for _, c := range chips {
		windows := len(c.readings[0]) / p.ResponseSize()
		if windows == 0 || len(c.readings) <= reads {
			return nil, usagef("%s has %d readings of %d bytes: want more than %d, of at least %d bytes",
				c.name, len(c.readings), len(c.readings[0]), reads, p.ResponseSize())
		}
		parts := make([]windowTrial, windows)
		err := forEach(ctx, windows, progress, c.name+", windows", func(_ context.Context, i int) error {
			parts[i].run(p, reads, c.window(i, p.ResponseSize()))
			return nil
		})
		if err != nil {
			return nil, err
		}
		sum := chipTrial{Name: c.name, Windows: windows, MinMargin: 1}
		for i, w := range parts {
			sum.add(i, w)
		}
		sum.finish()
		bad += sum.Refused + sum.Failures
		found.Chips = append(found.Chips, sum)
	}
	if bad > 0 {
		return found, fmt.Errorf("%d windows refused or reconstructions failed", bad)
	}
	return found, nil
}

// window returns the readings of window i.
func (c chip) window(i, size int) [][]byte {
	var out [][]byte
	for _, r := range c.readings {
		out = append(out, r[i*size:(i+1)*size])
	}
	return out
}

// windowTrial is the trial of one window.
type windowTrial struct {
	refused             error
	failed              error
	failures            int
	reports             []fuzzy.Report
	helper              int
	enroll, reconstruct []time.Duration
}

func (w *windowTrial) run(p fuzzy.Params, reads int, readings [][]byte) {
	start := time.Now()
	key, helper, err := fuzzy.Enroll(p, nil, readings[0], readings[1:reads]...)
	if err != nil {
		w.refused = err
		return
	}
	w.enroll = append(w.enroll, time.Since(start))
	defer key.Wipe()
	w.helper = len(helper.Bytes())
	want, err := key.Derive("puflab trial", nil, 32)
	if err != nil {
		w.refused = err
		return
	}
	for _, reading := range readings[reads:] {
		start := time.Now()
		again, report, err := fuzzy.Reconstruct(reading, helper)
		w.reconstruct = append(w.reconstruct, time.Since(start))
		if err == nil {
			err = sameKey(again, want)
		}
		if err != nil {
			w.failures++
			w.failed = err
			continue
		}
		w.reports = append(w.reports, report)
	}
}

// sameKey wipes a key after comparing what it derives.
func sameKey(key *fuzzy.RootKey, want []byte) error {
	defer key.Wipe()
	got, err := key.Derive("puflab trial", nil, 32)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("reconstruction gave another key")
	}
	return nil
}

func (c *chipTrial) add(i int, w windowTrial) {
	for _, err := range []error{w.refused, w.failed} {
		if err != nil && c.First == "" {
			c.First = fmt.Sprintf("window %d: %v", i, err)
		}
	}
	if w.refused != nil {
		c.Refused++
		return
	}
	c.enroll = append(c.enroll, w.enroll...)
	c.reconstruct = append(c.reconstruct, w.reconstruct...)
	c.Failures += w.failures
	c.Reconstructions += w.failures + len(w.reports)
	c.Helper = max(c.Helper, w.helper)
	for _, r := range w.reports {
		c.MeanErrors += r.ErrorRate()
		c.MaxErrors = max(c.MaxErrors, r.ErrorRate())
		c.MinMargin = min(c.MinMargin, r.Margin())
		if r.List > 1 {
			c.Lists++
		}
	}
}

// finish turns sums into means and times into medians.
func (c *chipTrial) finish() {
	c.MeanErrors /= float64(max(1, c.Reconstructions-c.Failures))
	c.Enroll, c.Reconstruct = median(c.enroll), median(c.reconstruct)
}

// median returns 0 for no times.
func median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(times))[len(times)/2]
}

func (t trial) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s, stride %d, %d of the readings enrolled\n\n", t.Set, t.Stride, t.Reads)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "chip\twindows\trefused\treconstructions\tfailures\tbit errors\tworst\tmargin\tlists\thelper\tenrol\treconstruct\t")
	var total chipTrial
	for _, c := range t.Chips {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%.1f %%\t%.1f %%\t%.0f %%\t%d\t%d B\t%s\t%s\t\n", c.Name, c.Windows, c.Refused, c.Reconstructions, c.Failures,
			100*c.MeanErrors, 100*c.MaxErrors, 100*c.MinMargin, c.Lists, c.Helper, c.Enroll.Round(time.Microsecond), c.Reconstruct.Round(time.Microsecond))
		total.Reconstructions += c.Reconstructions
		total.Failures += c.Failures
		total.Refused += c.Refused
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var first strings.Builder
	for _, c := range t.Chips {
		if c.First != "" {
			fmt.Fprintf(&first, "%s, %s\n", c.Name, c.First)
		}
	}
	_, err := fmt.Fprintf(w, "\n%d failures in %d reconstructions, %d windows refused\n%s", total.Failures, total.Reconstructions, total.Refused, first.String())
	return err
}
