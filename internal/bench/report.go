package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/tabwriter"
)

// Report is what [Measure] found, and its JSON form.
type Report struct {
	Go   string `json:"go"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`

	Pairs []Pair `json:"pairs"`
}

// Pair is one contender of ours beside one peer.
type Pair struct {
	Op   string `json:"op"`
	Size int    `json:"size,omitempty"` // bytes
	Ours string `json:"ours"`
	Peer string `json:"peer"`

	OursNS float64 `json:"ours_ns"` // an operation in nanoseconds, median of the rounds
	PeerNS float64 `json:"peer_ns"`

	// Ratio is the median over the rounds of our time by the peer's. It is not OursNS by PeerNS: those two medians may come
	// from different rounds. Low and High are its 95 % interval, if the rounds are independent. Half of the rounds lie
	// between Q1 and Q3.
	Ratio  float64 `json:"ratio"`
	Low    float64 `json:"ratio_low"`
	High   float64 `json:"ratio_high"`
	Q1     float64 `json:"ratio_q1"`
	Q3     float64 `json:"ratio_q3"`
	Rounds int     `json:"rounds"`
}

func newReport() *Report {
	return &Report{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Pairs: []Pair{}}
}

// pairsOf compares each contender of ours with each peer. times holds for each case an operation's nanoseconds in each round.
func pairsOf(g Group, cases []*Case, times [][]float64) []Pair {
	var out []Pair
	for i, ours := range cases {
		for j, peer := range cases {
			if !ours.Ours || peer.Ours {
				continue
			}
			ratios := make([]float64, len(times[i]))
			for r := range ratios {
				ratios[r] = times[i][r] / max(times[j][r], 1e-3)
			}
			low, high := medianInterval(ratios)
			out = append(out, Pair{
				Op: g.Op, Size: g.Size, Ours: ours.Name, Peer: peer.Name,
				OursNS: quantile(times[i], 0.5), PeerNS: quantile(times[j], 0.5),
				Ratio: quantile(ratios, 0.5), Low: low, High: high, Q1: quantile(ratios, 0.25), Q3: quantile(ratios, 0.75),
				Rounds: len(ratios),
			})
		}
	}
	return out
}

// quantile interpolates between the two values next to q, which runs from 0 to 1. x is not empty and stays as it is.
func quantile(x []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(x))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// medianInterval is the 95 % interval of the median by order statistics, which assumes no distribution: of n values the number
// below the true median is binomial, with a standard deviation of half the root of n.
func medianInterval(x []float64) (low, high float64) {
	s := slices.Sorted(slices.Values(x))
	n := float64(len(s))
	half := 1.96 * math.Sqrt(n) / 2
	first := max(0, int(math.Floor(n/2-half))-1)
	last := min(len(s)-1, int(math.Ceil(n/2+half)))
	return s[first], s[last]
}

// WriteTable writes r for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "operation\tours\ttime\tpeer\ttime\tours/peer\t95 %% interval\tmiddle half\trounds\n")
	for i, p := range r.Pairs {
		g := Group{Op: p.Op, Size: p.Size}.String()
		if i > 0 && g == (Group{Op: r.Pairs[i-1].Op, Size: r.Pairs[i-1].Size}).String() {
			g = ""
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f .. %.2f\t%.2f .. %.2f\t%d\n",
			g, p.Ours, formatTime(p.OursNS), p.Peer, formatTime(p.PeerNS), p.Ratio, p.Low, p.High, p.Q1, p.Q3, p.Rounds)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	_, err := fmt.Fprintf(w, "\n%s %s/%s, %d CPUs. Below 1.00 ours is faster. Ratios are medians of interleaved rounds, with the interval of the median\nand the middle half of the rounds.\n",
		r.Go, r.OS, r.Arch, r.CPUs)
	if err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// WriteJSON writes r for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

func formatTime(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.2f µs", ns/1e3)
	default:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	}
}
