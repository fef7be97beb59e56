package main

import (
	"fmt"
	"math"
)

// estimate is a failure rate found by simulation.
type estimate struct {
	Paths  int     `json:"paths"`   // of the largest decoder that was tried
	Failed int     `json:"failed"`  // plain simulation: readings that failed
	Of     int     `json:"decoded"` // readings decoded
	Rate   float64 `json:"rate"`
	Error  float64 `json:"standard_error"`
	Low    float64 `json:"low_95"`
	High   float64 `json:"high_95"`
}

// plainEstimate has Wilson's 95 % interval.
func plainEstimate(paths, failed, of int) estimate {
	const z = 1.959964
	n := float64(of)
	p := float64(failed) / n
	mid := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return estimate{Paths: paths, Failed: failed, Of: of, Rate: p, Error: math.Sqrt(p * (1 - p) / n), Low: max(0, mid-half), High: mid + half}
}

// replicatedEstimate is the mean of independent unbiased estimates, with Student's 95 % interval from how they scatter.
func replicatedEstimate(paths, of int, rates []float64) estimate {
	n := float64(len(rates))
	var mean, square float64
	for _, r := range rates {
		mean += r / n
	}
	for _, r := range rates {
		square += (r - mean) * (r - mean)
	}
	deviation := math.Sqrt(square / (n - 1) / n)
	half := student95(len(rates)-1) * deviation
	return estimate{Paths: paths, Of: of, Rate: mean, Error: deviation, Low: max(0, mean-half), High: mean + half}
}

// student95 is the 97.5 % point of Student's distribution.
func student95(freedom int) float64 {
	table := []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131}
	return table[min(freedom, len(table))-1]
}

func (e estimate) name() string {
	if e.Paths == 1 {
		return "successive cancellation"
	}
	return fmt.Sprintf("with list of %d", e.Paths)
}

func (e estimate) String() string {
	if e.Rate == 0 {
		return fmt.Sprintf("%-24s none failed; below %.1e with 95 %% confidence", e.name(), e.High)
	}
	return fmt.Sprintf("%-24s %.2e ± %.1e (95 %%: %.1e to %.1e)", e.name(), e.Rate, e.Error, e.Low, e.High)
}
