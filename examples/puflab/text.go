package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/semio-iot/semio/puf/pufstat"
)

// WriteText prints the figures as tables.
func (c *characterization) WriteText(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(format string, a ...any) { fmt.Fprintf(t, format+"\n", a...) }
	section := func(title string) { t.Flush(); fmt.Fprintf(&b, "\n%s\n", title) }

	fmt.Fprintf(&b, "%s of %d bytes, windows of %d\n", count(len(c.Chips), "chip"), c.Chips[0].Bytes, c.Window)
	section("Chips, and under each the simulated chip of the fitted model")
	row("\tpower-ups\tones\twithin, from first\twithin, any two\tfrom majority\tnever changed")
	for _, chip := range c.Chips {
		line := func(name string, f figures) {
			row("%s\t%d\t%s\t%s\t%s\t%s\t%.1f %%", name, chip.PowerUps, percent(f.Ones), percent(f.Within), percent(f.Pairs), percent(f.Majority), 100*f.Stable)
		}
		line(chip.Name, chip.figures)
		if chip.Model != nil {
			line("  model", chip.Model.figures)
		}
	}
	section("Distances between")
	if c.Between != nil {
		row("chips\t%s", percent(*c.Between))
	}
	row("windows of a chip\t%s", percent(c.BetweenWindows))
	for _, chip := range c.Chips {
		section(chip.Name)
		if m := chip.Model; m != nil {
			row("model\tnoise %.4f, ones %.4f, %s, correlation %.3f at %d cells", m.Config.Noise, m.Config.Ones, count(max(1, len(m.Config.Columns)), "column"), m.Config.Correlation, m.Config.CorrelationStride)
		}
		row("correlation\t%s", correlations(chip.Correlated))
		row("entropy of noise\t%.4f bit a cell", chip.NoiseEntropy)
		for _, e := range chip.Entropy {
			row("entropy of a cell\t%.4f (99 %%: %.4f)\t%s", e.Point, e.Lower, e.Name)
		}
		if a := chip.At; a != nil {
			line := func(name string, apart pufstat.Summary, f figures) {
				row("%s\t%s from room temperature, %s within, %.1f %% never changed", name, percent(apart), percent(f.Pairs), 100*f.Stable)
			}
			line(fmt.Sprintf("at %g degrees", a.Celsius), a.Apart, a.figures)
			line(fmt.Sprintf("model, drift %.4f", a.Drift), a.Model.Apart, a.Model.figures)
		}
		for i, f := range chip.Faults {
			if i == 10 {
				row("FAULT\tand %d more", len(chip.Faults)-i)
				break
			}
			row("FAULT\t%s", f)
		}
	}
	section("Pairing strides, symbols after debiasing, worst chip")
	row("stride\tsymbols a window\tleast\tones\tentropy of a symbol\tby")
	for _, s := range c.Strides {
		best := ""
		if s.Stride == c.BestStride.Stride {
			best = "  <- highest"
		}
		row("%d\t%.0f\t%.0f\t%.3f-%.3f\t%.4f\t%s, %s%s", s.Stride, s.Symbols.Mean, s.Symbols.Min, s.Ones.Min, s.Ones.Max, s.Entropy, pufstat.Lowest(s.Worst...).Name, c.Chips[s.Chip].Name, best)
	}
	t.Flush()
	if c.Report != "" {
		fmt.Fprintf(&b, "\nReport: %s (holds start-up values)\n", c.Report)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func percent(s pufstat.Summary) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f %% (%.2f-%.2f)", 100*s.Mean, 100*s.Min, 100*s.Max)
}

// count is a number of things.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func correlations(all []correlated) string {
	if len(all) == 0 {
		return "none beyond chance up to 1,024 cells"
	}
	var s []string
	for _, c := range all {
		s = append(s, fmt.Sprintf("%+.3f at %d", c.Coefficient, c.Lag))
	}
	return strings.Join(s, ", ")
}
