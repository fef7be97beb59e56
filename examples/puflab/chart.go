package main

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// chart is a plot as SVG. Colours and lines are classes of the page's style sheet, so that they follow light and dark: s0, s1, … for
// series, soft, grid and axis for the rest.
type chart struct {
	b             strings.Builder
	width, height float64
	x, y          scale
}

// scale maps a range of values to one of pixels.
type scale struct {
	from, to   float64
	start, end float64 // pixels
}

func (s scale) at(v float64) float64 {
	return s.start + (v-s.from)/(s.to-s.from)*(s.end-s.start)
}

// Room for what stands around the plot.
const (
	marginLeft   = 62
	marginRight  = 18
	marginTop    = 14
	marginBottom = 46
)

// newChart starts a plot of these ranges. what describes it to who does not see it.
func newChart(width, height float64, what string, x0, x1, y0, y1 float64) *chart {
	c := &chart{width: width, height: height}
	if x1 <= x0 {
		x1 = x0 + 1
	}
	if y1 <= y0 {
		y1 = y0 + 1
	}
	c.x = scale{x0, x1, marginLeft, width - marginRight}
	c.y = scale{y0, y1, height - marginBottom, marginTop}
	fmt.Fprintf(&c.b, `<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`, width, height, html.EscapeString(what))
	return c
}

func (c *chart) done() template.HTML {
	c.b.WriteString("</svg>")
	// Everything in it was written by this file: numbers, its own tags and escaped text.
	return template.HTML(c.b.String())
}

// axes draws a grid at the ticks, and what they mean.
func (c *chart) axes(xTicks []float64, xFormat func(float64) string, xTitle string, yTicks []float64, yFormat func(float64) string, yTitle string) {
	for _, v := range yTicks {
		y := c.y.at(v)
		fmt.Fprintf(&c.b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, c.x.start, c.x.end, y, y)
		c.text(c.x.start-8, y+4, "end", "tick", yFormat(v))
	}
	for _, v := range xTicks {
		x := c.x.at(v)
		fmt.Fprintf(&c.b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x, x, c.y.start, c.y.start+5)
		c.text(x, c.y.start+19, "middle", "tick", xFormat(v))
	}
	fmt.Fprintf(&c.b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, c.x.start, c.x.end, c.y.start, c.y.start)
	c.text((c.x.start+c.x.end)/2, c.height-6, "middle", "title", xTitle)
	fmt.Fprintf(&c.b, `<text class="title" text-anchor="middle" transform="translate(14 %.1f) rotate(-90)">%s</text>`, (c.y.start+c.y.end)/2, html.EscapeString(yTitle))
}

func (c *chart) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(&c.b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, x, y, anchor, html.EscapeString(s))
}

// bar fills x0 to x1 up to v, from the axis or, where 0 is in range, from 0. tip is shown under the pointer.
func (c *chart) bar(class string, x0, x1, v float64, tip string) {
	left, right := c.x.at(x0), c.x.at(x1)
	base, top := c.y.at(math.Max(0, c.y.from)), c.y.at(math.Max(c.y.from, math.Min(c.y.to, v)))
	fmt.Fprintf(&c.b, `<rect class="%s" x="%.2f" y="%.2f" width="%.2f" height="%.2f"><title>%s</title></rect>`,
		class, left, math.Min(base, top), math.Max(0.5, right-left), math.Abs(base-top), html.EscapeString(tip))
}

func (c *chart) dot(class string, x, y float64, tip string) {
	fmt.Fprintf(&c.b, `<circle class="%s" cx="%.1f" cy="%.1f" r="4"><title>%s</title></circle>`, class, c.x.at(x), c.y.at(y), html.EscapeString(tip))
}

// diamond marks a second series without relying on its colour.
func (c *chart) diamond(class string, x, y float64, tip string) {
	px, py := c.x.at(x), c.y.at(y)
	fmt.Fprintf(&c.b, `<path class="%s" d="M%.1f %.1fl5 5l-5 5l-5 -5z"><title>%s</title></path>`, class, px, py-5, html.EscapeString(tip))
}

func (c *chart) line(class string, xs, ys []float64) {
	fmt.Fprintf(&c.b, `<path class="%s" fill="none" d="`, class)
	for i := range xs {
		fmt.Fprintf(&c.b, "%c%.1f %.1f", "ML"[min(i, 1)], c.x.at(xs[i]), c.y.at(ys[i]))
	}
	c.b.WriteString(`"/>`)
}

// across marks a value of y over the whole width, upright one of x.
func (c *chart) across(class string, v float64) {
	fmt.Fprintf(&c.b, `<line class="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, class, c.x.start, c.x.end, c.y.at(v), c.y.at(v))
}

func (c *chart) upright(class string, v float64) {
	fmt.Fprintf(&c.b, `<line class="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, class, c.x.at(v), c.x.at(v), c.y.start, c.y.end)
}

// band shades a range of y.
func (c *chart) band(from, to float64) {
	top, bottom := c.y.at(math.Min(to, c.y.to)), c.y.at(math.Max(from, c.y.from))
	fmt.Fprintf(&c.b, `<rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, c.x.start, top, c.x.end-c.x.start, bottom-top)
}

// ticks returns round values in the range, some n of them.
func ticks(from, to float64, n int) []float64 {
	if !(to > from) || n < 1 {
		return []float64{from}
	}
	raw := (to - from) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if step*m >= raw {
			step *= m
			break
		}
	}
	var out []float64
	for i := math.Ceil(from/step - 1e-9); i*step <= to+step*1e-9; i++ {
		out = append(out, i*step)
	}
	return out
}

func asPercent(v float64) string { return trimZeros(fmt.Sprintf("%.1f", 100*v)) + " %" }

func asNumber(v float64) string { return trimZeros(fmt.Sprintf("%.3f", v)) }

func trimZeros(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}
