package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"github.com/semio-iot/semio/fuzzy"
)

func boundCommand() command {
	return command{
		name:    "bound",
		summary: "Print the computed bounds on failure, leakage and helper size over bit errors and biases",
		detail: "Computed by density evolution over the integers of the first decoder, rounded upwards: no figure\n" +
			"is sampled or stored. Bit errors fall on as many ones as zeros, so at 80 % ones the zeros bear\n" +
			"most of them. The lists behind the first decoder have no computed bound: see simulate.",
		setUp: func(flags *flag.FlagSet) action {
			set := flags.String("set", fuzzy.SRAM1K().Name(), "parameter `set`, or all")
			entropy := flags.Float64("entropy", 0, "min-entropy of a symbol in `bits`, as measured; 0: the least of the set")
			return func(ctx context.Context, _ []string, p *progress) (result, error) {
				sets := fuzzy.Sets()
				if *set != "all" {
					params, err := profile(*set, 1, *entropy)
					if err != nil {
						return nil, err
					}
					sets = []fuzzy.Params{params}
				}
				return computeBounds(ctx, sets, p)
			}
		},
	}
}

// bounds is what the command found.
type bounds struct {
	Sets []setBounds `json:"sets"`
}

type setBounds struct {
	Name          string       `json:"name"`
	Response      int          `json:"response_bytes"`
	Length        int          `json:"code_length"`
	Message       int          `json:"message_bits"`
	SymbolEntropy float64      `json:"symbol_entropy"`
	Floor         float64      `json:"entropy_floor"`
	RatedErrors   float64      `json:"rated_bit_errors"`
	RatedFailure  float64      `json:"rated_failure"`
	MaxHelper     int          `json:"helper_bytes_max"`
	Rows          []boundOfRow `json:"rows"`
}

type boundOfRow struct {
	Ones      float64 `json:"ones"`
	BitErrors float64 `json:"bit_errors"`
	FlipOnes  float64 `json:"flip_ones"`
	FlipZeros float64 `json:"flip_zeros"`
	Pass2     int     `json:"symbols_pass2"`
	Pass1     int     `json:"symbols_pass1"`
	Failure   float64 `json:"failure_bound"`
	Leakage   float64 `json:"leakage_bits"` // published about the symbols beyond the message
	Left      float64 `json:"left_bits"`
	Helper    int     `json:"helper_bytes"`
	Refused   float64 `json:"chips_refused"`
}

// boundRows are the biases and bit errors of the table.
func boundRows() [][2]float64 {
	return [][2]float64{
		{0.5, 0.05}, {0.5, 0.10}, {0.5, 0.12}, {0.5, 0.15}, {0.5, 0.20}, {0.5, 0.22}, {0.5, 0.25}, {0.5, 0.28},
		{0.6, 0.10}, {0.6, 0.15}, {0.6, 0.20}, {0.6, 0.25},
		{0.7, 0.10}, {0.7, 0.15}, {0.7, 0.20}, {0.7, 0.25},
		{0.8, 0.06}, {0.8, 0.10}, {0.8, 0.15}, {0.8, 0.20},
	}
}

func computeBounds(ctx context.Context, sets []fuzzy.Params, progress *progress) (result, error) {
	var found bounds
	for _, p := range sets {
		n, k := p.Code()
		s := setBounds{
			Name: p.Name(), Response: p.ResponseSize(), Length: n, Message: k, SymbolEntropy: p.SymbolEntropy(), Floor: p.EntropyFloor(),
			RatedErrors: p.Rating().ErrorRate, RatedFailure: p.Rating().Failure, MaxHelper: p.MaxHelperSize(),
			Rows: make([]boundOfRow, len(boundRows())),
		}
		err := forEach(ctx, len(s.Rows), progress, p.Name()+", rows", func(_ context.Context, i int) error {
			at := boundRows()[i]
			m := fuzzy.Balanced(at[0], at[1])
			b, err := p.Bound(m)
			if err != nil {
				return err
			}
			used := b.Pass2 + b.Pass1
			s.Rows[i] = boundOfRow{
				Ones: at[0], BitErrors: at[1], FlipOnes: m.FlipOnes, FlipZeros: m.FlipZeros, Pass2: b.Pass2, Pass1: b.Pass1,
				Failure: b.Failure, Leakage: float64(used - k), Left: b.Left, Helper: helperSize(p, at[0]), Refused: b.Refused,
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		found.Sets = append(found.Sets, s)
	}
	return found, nil
}

// helperSize is that of a chip with the expected number of equal pairs: a bit of mask 2 for each two of them.
func helperSize(p fuzzy.Params, ones float64) int {
	pairs := float64(8*p.ResponseSize()) / 2
	equal := pairs * (1 - 2*ones*(1-ones))
	n, _ := p.Code()
	mask2 := int(math.Ceil(math.Floor(equal/2) / 8))
	return min(p.MaxHelperSize(), 16+16+int(pairs)/8+mask2+n/8+16)
}

func (b bounds) WriteText(w io.Writer) error {
	for i, s := range b.Sets {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s: %d bytes of SRAM, code (%d, %d), helper data of at most %d bytes, %.4g bit a symbol, %.0f bits to be left\n"+
			"rated for %.0f %% bit errors: first decoder fails less than once in %.1e reconstructions there\n\n",
			s.Name, s.Response, s.Length, s.Message, s.MaxHelper, s.SymbolEntropy, s.Floor, 100*s.RatedErrors, 1/s.RatedFailure)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(table, "ones\tbit errors\tof ones\tof zeros\tsymbols\tfailure below\tleakage\tleft\thelper\tchips refused\t")
		for _, r := range s.Rows {
			fmt.Fprintf(table, "%.0f %%\t%.0f %%\t%.1f %%\t%.1f %%\t%d + %d\t%s\t%.0f\t%.0f\t%d B\t%s\t\n", 100*r.Ones, 100*r.BitErrors, 100*r.FlipOnes,
				100*r.FlipZeros, r.Pass2, r.Pass1, upwards(r.Failure), r.Leakage, math.Floor(r.Left), r.Helper, upwards(r.Refused))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// upwards prints a bound with two digits, rounded up.
func upwards(p float64) string {
	if p < 1e-15 {
		return "1e-15"
	}
	unit := math.Pow(10, math.Floor(math.Log10(p))-1)
	return fmt.Sprintf("%.1e", math.Ceil(p/unit)*unit)
}
