package main

import (
	"fmt"
	"html/template"
	"math"

	"github.com/semio-iot/semio/puf/pufstat"
)

const (
	wide      = 960
	plotHigh  = 300
	plotLow   = 220
	shareBins = 120 // of distances from 0 to 60 %
)

// distancesPlot shows how far readings of one chip, windows and chips lie apart.
func (c *characterization) distancesPlot() template.HTML {
	var within []float64
	for _, chip := range c.Chips {
		within = append(within, chip.stat.Within(c.Window)...)
	}
	type series struct {
		class, name string
		v           []float64
	}
	all := []series{{"s0", "same chip", within}, {"s2", "other windows of a chip", c.betweenWindows}, {"s1", "other chips", c.between}}
	if len(within)+len(c.betweenWindows)+len(c.between) == 0 {
		return ""
	}
	const most = 0.6
	bins := make([][]float64, len(all))
	top := 0.0
	for i, s := range all {
		bins[i] = make([]float64, shareBins)
		for _, d := range s.v {
			bins[i][min(shareBins-1, int(d/most*shareBins))] += 1 / float64(len(s.v))
		}
		for _, v := range bins[i] {
			top = math.Max(top, v)
		}
	}
	p := newChart(wide, plotHigh, "Histogram of distances within and between chips", 0, most, 0, top*1.18)
	p.axes(ticks(0, most, 6), asPercent, "share of bits that differ", ticks(0, top*1.1, 4), asPercent, "share of windows")
	p.upright("limit", 0.15)
	p.text(p.x.at(0.15)-7, p.y.end+12, "end", "tick", "limit of the checks, 15 %")
	p.upright("limit", 0.25)
	p.text(p.x.at(0.25)+7, p.y.end+12, "start", "tick", "25 %, what industry promises to correct")
	for i, s := range all {
		highest, at := 0.0, 0
		for k, v := range bins[i] {
			if v > 0 {
				x := float64(k) / shareBins * most
				p.bar(s.class+" see", x, x+most/shareBins, v, fmt.Sprintf("%s: %s of windows at %s", s.name, asPercent(v), asPercent(x)))
			}
			if v > highest {
				highest, at = v, k
			}
		}
		if len(s.v) == 0 {
			continue
		}
		// The left hill has room to its right, the right ones have it to their left.
		mean := pufstat.Summarize(s.v).Mean
		x, anchor := p.x.at((float64(at)+0.5)/shareBins*most), "start"
		if x += 16; mean > most/2 {
			x, anchor = x-48, "end"
		}
		p.text(x, p.y.at(highest)+12-18*float64(i/2), anchor, "label "+s.class+"t", fmt.Sprintf("%s: %s", s.name, asPercent(mean)))
	}
	return p.done()
}

// stabilityPlot shows how many cells were 1 in how many power-ups, and the model's expectation.
func (f *chipFigures) stabilityPlot() template.HTML {
	cells := float64(8 * f.Bytes)
	n := len(f.Counts) - 1
	// Logarithmic: most cells never change, and those that do are what one wants to see.
	lg := func(k int) float64 { return math.Log10(math.Max(float64(k)/cells, 1e-5)) }
	low := 0.0
	for _, k := range f.Counts {
		if k > 0 {
			low = math.Min(low, math.Floor(lg(k)))
		}
	}
	p := newChart(wide/2, plotHigh, "Cells by the number of power-ups in which they were 1", -0.5, float64(n)+0.5, low, 0.15)
	var decades []float64
	for d := low; d <= 0; d++ {
		decades = append(decades, d)
	}
	var whole []float64
	for _, v := range ticks(0, float64(n), 8) {
		if v == math.Trunc(v) {
			whole = append(whole, v)
		}
	}
	p.axes(whole, asNumber, "power-ups in which a cell was 1", decades, func(v float64) string { return asPercent1(math.Pow(10, v)) }, "share of cells")
	for k, v := range f.Counts {
		if v == 0 {
			continue
		}
		y := lg(v)
		left, right, top := p.x.at(float64(k)-0.38), p.x.at(float64(k)+0.38), p.y.at(y)
		fmt.Fprintf(&p.b, `<rect class="s0" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%d cells</title></rect>`, left, top, right-left, p.y.start-top, v)
	}
	if f.Model != nil {
		for k, v := range f.Model.Counts {
			if v > 0 {
				p.diamond("s1 ring", float64(k), lg(v), fmt.Sprintf("model: %d cells", v))
			}
		}
	}
	return p.done()
}

// asPercent1 writes percents of decades.
func asPercent1(v float64) string { return fmt.Sprintf("%g %%", math.Round(v*1e6)/1e4) }

// powerUpsPlot shows how the chip's power-ups go: distance of each from the first and from the majority.
func (f *chipFigures) powerUpsPlot() template.HTML {
	first, majority := append([]float64{0}, f.stat.Within(0)...), f.stat.WithinMajority(0)
	top := 0.0
	xs := make([]float64, len(majority))
	for i := range xs {
		xs[i] = float64(i + 1)
		top = math.Max(top, math.Max(first[i], majority[i]))
	}
	top = math.Max(top*1.2, 0.001)
	p := newChart(wide/2, plotHigh, "Distance of each power-up from the first one and from the majority", 0.5, float64(len(xs))+0.5, 0, top)
	var whole []float64
	for _, v := range ticks(1, float64(len(xs)), 8) {
		if v == math.Trunc(v) {
			whole = append(whole, v)
		}
	}
	p.axes(whole, asNumber, "power-up", ticks(0, top, 4), asPercent, "share of bits that differ")
	p.line("s0 stroke", xs[1:], first[1:])
	p.line("s1 stroke dash", xs, majority)
	for i := range xs {
		if i > 0 {
			p.dot("s0", xs[i], first[i], "from the first: "+asPercent(first[i]))
		}
		p.diamond("s1", xs[i], majority[i], "from the majority: "+asPercent(majority[i]))
	}
	return p.done()
}

// windowsPlot shows which windows of the memory are noisy: mean and largest distance of their later power-ups from the first.
func (f *chipFigures) windowsPlot(window int) template.HTML {
	n := f.Bytes / window
	mean, worst, at := make([]float64, n), make([]float64, n), make([]float64, n)
	within := f.stat.Within(window)
	if n < 2 || len(within) == 0 {
		return ""
	}
	top := 0.0
	for i, d := range within {
		mean[i%n] += d * float64(n) / float64(len(within))
		worst[i%n] = math.Max(worst[i%n], d)
		top = math.Max(top, d*1.2)
	}
	for i := range at {
		at[i] = float64(i*window) / 1024
	}
	top = math.Max(top, 0.001)
	p := newChart(wide/2, plotHigh, "Distance of each window from its first power-up", 0, float64(f.Bytes)/1024, 0, top)
	p.axes(ticks(0, float64(f.Bytes)/1024, 6), asNumber, "address in KB", ticks(0, top, 5), asPercent, "share of bits that differ")
	p.line("s0 stroke", at, mean)
	for i := range at {
		p.diamond("s1 small", at[i], worst[i], fmt.Sprintf("window at %d: mean %s, largest %s", i*window, asPercent(mean[i]), asPercent(worst[i])))
	}
	return p.done()
}

// autocorrelationPlot shows whether cells know of those at a distance.
func (f *chipFigures) autocorrelationPlot() template.HTML {
	limit := 0.02
	for _, r := range f.autocorrelation {
		limit = math.Max(limit, math.Abs(r)*1.35)
	}
	n := float64(len(f.autocorrelation))
	p := newChart(wide, plotLow, "Correlation of cells with those at a distance", 0, n+1, -limit, limit)
	chance := 4 / math.Sqrt(float64(8*f.Bytes))
	p.axes(ticks(0, n, 8), asNumber, "distance in cells (grey: what chance does)", ticks(-limit, limit, 4), asNumber, "correlation")
	p.band(-chance, chance)
	for i, r := range f.autocorrelation {
		lag := float64(i + 1)
		class := "soft"
		if math.Abs(r) > chance {
			class = "s0"
		}
		p.bar(class, lag-0.4, lag+0.4, r, fmt.Sprintf("%+.4f at %d cells", r, i+1))
	}
	if len(f.Correlated) > 0 {
		c := f.Correlated[0]
		anchor, dx := "end", -5.0
		if float64(c.Lag) < n/2 {
			anchor, dx = "start", 5
		}
		y := p.y.at(c.Coefficient) - 5
		if c.Coefficient < 0 {
			y += 16
		}
		p.text(p.x.at(float64(c.Lag))+dx, y, anchor, "label", fmt.Sprintf("%+.3f at %d cells", c.Coefficient, c.Lag))
	}
	return p.done()
}

// columnsPlot shows the share of ones by a cell's place in a row.
func (f *chipFigures) columnsPlot(period int) template.HTML {
	shares, err := f.stat.Phases(period)
	if err != nil {
		return ""
	}
	reach := 0.05
	for _, v := range shares {
		reach = math.Max(reach, math.Abs(v-0.5)*1.15)
	}
	p := newChart(wide, plotLow, "Share of ones by the place of a cell in a row", -1, float64(period), 0.5-reach, 0.5+reach)
	p.axes(ticks(0, float64(period), 8), asNumber, fmt.Sprintf("number of the cell modulo %d", period), ticks(0.5-reach, 0.5+reach, 4), asPercent, "ones")
	p.across("axis", 0.5)
	for i, v := range shares {
		top, bottom := p.y.at(math.Max(v, 0.5)), p.y.at(math.Min(v, 0.5))
		fmt.Fprintf(&p.b, `<rect class="s0" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s of the cells at %d</title></rect>`,
			p.x.at(float64(i)-0.36), top, p.x.at(float64(i)+0.36)-p.x.at(float64(i)-0.36), bottom-top, asPercent(v), i)
	}
	return p.done()
}

// stridesPlot shows what each pairing stride leaves of a symbol.
func (c *characterization) stridesPlot() template.HTML {
	n := len(c.Strides)
	p := newChart(wide, plotHigh, "Min-entropy of a debiased symbol by pairing stride", -0.5, float64(n)-0.5, 0, 1.12)
	var at []float64
	for i := range c.Strides {
		at = append(at, float64(i))
	}
	stride := func(v float64) string { return fmt.Sprint(c.Strides[int(v)].Stride) }
	p.axes(at, stride, "pairing stride in cells", ticks(0, 1, 5), asNumber, "bits a symbol, worst chip")
	for i, s := range c.Strides {
		class := "s0"
		if s.Entropy < claimed {
			class = "s1 hatch"
		}
		p.bar(class, float64(i)-0.36, float64(i)+0.36, s.Entropy, fmt.Sprintf("stride %d: %.4f bit, %s", s.Stride, s.Entropy, pufstat.Lowest(s.Worst...).Name))
		weight, y := "inside", p.y.at(s.Entropy)+32
		if s.Stride == c.BestStride.Stride {
			weight = "inside label"
		}
		if y > p.y.start-8 {
			weight, y = "tick", p.y.at(s.Entropy)-6
		}
		p.text(p.x.at(float64(i)), y, "middle", weight, fmt.Sprintf("%.3f", s.Entropy))
	}
	p.across("limit", claimed)
	return p.done()
}

// claimed is what parameter set SRAM1K claims of a symbol unless its profile says otherwise.
const claimed = 0.9375
