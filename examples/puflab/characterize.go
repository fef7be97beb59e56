package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/puf"
)

func characterizeCommand() command {
	return command{
		name:    "characterize",
		args:    "DIR…",
		summary: "Print the statistics of chips and their power-ups, and draw them",
		detail: `
DIR is a folder of power-up dumps (.bin, .hex, .core) of one chip, or a folder of such folders. All
chips are of one kind: what is found is what a device profile needs, from the limits of the checks
to the pairing stride and the entropy of a symbol.

Prints bias, distances within and between chips, stability of the cells, estimates of min-entropy,
every pairing stride, and the simulator's model fitted to each chip, its figures beside the
measured ones. Writes the same with plots as one HTML page, which holds start-up values: make it of
chips that will not be enrolled, or keep it as secret as a key. Fails when a reading fails the
checks of package puf.`,
		setUp: func(flags *flag.FlagSet) action {
			c := new(characterizeFlags)
			flags.StringVar(&c.report, "report", "puflab-report.html", "write the page to this `file`; empty: do not")
			flags.IntVar(&c.window, "window", 1024, "look at windows of this many `bytes`, a power of two: the size of a response")
			flags.Var(&c.at, "at", "compare the only chip with its power-ups at another temperature, `CELSIUS=DIR`, and fit the drift")
			c.dumps.declare(flags)
			return c.act
		},
	}
}

type characterizeFlags struct {
	report string
	window int
	at     atFlag
	dumps  dumpFlags
}

func (c *characterizeFlags) act(ctx context.Context, args []string, p *progress) (result, error) {
	opts, err := c.dumps.options()
	if err != nil {
		return nil, err
	}
	chips, err := loadChips(ctx, args, p, opts...)
	if err != nil {
		return nil, err
	}
	found, err := characterize(ctx, chips, c.window, p)
	if err != nil {
		return nil, err
	}
	if c.at.dir != "" {
		if found.Chips[0].At, err = found.figuresAt(ctx, c.at, p, opts); err != nil {
			return nil, err
		}
	}
	if c.report != "" {
		page, err := found.page()
		if err != nil {
			return found, fmt.Errorf("draw the report: %w", err)
		}
		if err := files.Write(c.report, page, true); err != nil {
			return found, fmt.Errorf("report: %w", err)
		}
		found.Report = c.report
	}
	if n := found.faults(); n > 0 {
		return found, fmt.Errorf("%d readings fail the checks", n)
	}
	return found, nil
}

// dumpFlags say which part of a dump is the region.
type dumpFlags struct {
	elf, section string
	base         uint64
}

func (d *dumpFlags) declare(flags *flag.FlagSet) {
	flags.StringVar(&d.elf, "elf", "", "take the region of a section of this firmware, an ELF `file`")
	flags.StringVar(&d.section, "section", ".noinit", "`name` of that section")
	flags.Uint64Var(&d.base, "base", 0, "`address` of the first byte of raw dumps, for -elf")
}

func (d *dumpFlags) options() ([]puf.Option, error) {
	if d.elf == "" {
		return nil, nil
	}
	r, err := puf.SectionRegion(d.elf, d.section)
	if err != nil {
		return nil, wrongUsage{err}
	}
	return []puf.Option{puf.At(r), puf.RawBase(d.base)}, nil
}
