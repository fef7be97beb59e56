package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"text/tabwriter"
	"time"

	"github.com/semio-iot/semio/examples/puflab/internal/ecc"
	"github.com/semio-iot/semio/fuzzy"
)

func peersCommand() command {
	return command{
		name:    "peers",
		args:    "DIR…",
		summary: "Run the constructions of other SRAM PUFs over the same dumps as ours",
		detail: "Every window of 1,024 bytes (or of the set's size) of every chip is enrolled from its first\n" +
			"reading with each construction, from the window's first cells on, and reconstructed from all other\n" +
			"readings. The others are code offsets of raw cells; their codes, and those alone, are implemented\n" +
			"here. Left is the min-entropy of the cells (of ours, of the symbols) at -entropy bit each, less\n" +
			"what helper data publishes: below its length a key is not what it claims. -noise inverts so many\n" +
			"bits of each later reading on top, for the cold, the heat and the years that the dumps lack.",
		setUp: func(flags *flag.FlagSet) action {
			set := flags.String("set", fuzzy.SRAM1K().Name(), "our parameter `set`")
			stride := flags.Int("stride", 1, "distance of our paired `cells`")
			entropy := flags.Float64("entropy", 0.95, "min-entropy of a cell and of a symbol in `bits`")
			noise := flags.Float64("noise", 0, "share of `bits` inverted on top")
			return func(ctx context.Context, args []string, p *progress) (result, error) {
				params, err := profile(*set, *stride, *entropy)
				if err != nil {
					return nil, err
				}
				if !(*noise >= 0 && *noise < 0.5) {
					return nil, usagef("noise %v: want a share from 0 to below 0.5", *noise)
				}
				chips, err := loadChips(ctx, args, p)
				if err != nil {
					return nil, err
				}
				return runPeers(ctx, params, *noise, chips, p)
			}
		},
	}
}

// peer is a construction.
type peer interface {
	// describe fills in all of the row that does not depend on readings.
	describe(entropy float64) peerRow
	// enrol returns helper data and something to compare keys by.
	enrol(response []byte, r *rand.Rand) (helper any, key []byte, err error)
	// reconstruct returns the same from a later reading; another key, or none, is a failure.
	reconstruct(response []byte, helper any) (key []byte, err error)
}

// peers is what the command found.
type peers struct {
	Entropy float64   `json:"entropy"`
	Noise   float64   `json:"noise"`
	Windows int       `json:"windows"`
	Rows    []peerRow `json:"constructions"`
}

type peerRow struct {
	Name            string        `json:"name"`
	SRAM            int           `json:"sram_bytes"`
	Helper          int           `json:"helper_bytes"`
	Message         int           `json:"message_bits"`
	Leakage         int           `json:"leakage_bits"`
	Left            float64       `json:"left_bits"`
	Refused         int           `json:"windows_refused"`
	Reconstructions int           `json:"reconstructions"`
	Failures        int           `json:"failures"`
	Reconstruct     time.Duration `json:"reconstruct_ns"` // median

	times []time.Duration
}

func runPeers(ctx context.Context, p fuzzy.Params, noise float64, chips []chip, progress *progress) (result, error) {
	all, err := constructions(p)
	if err != nil {
		return nil, err
	}
	found := peers{Entropy: p.SymbolEntropy(), Noise: noise}
	for _, c := range all {
		found.Rows = append(found.Rows, c.describe(p.SymbolEntropy()))
	}
	size := max(1024, p.ResponseSize())
	for n, c := range chips {
		windows := len(c.readings[0]) / size
		if windows == 0 || len(c.readings) < 2 {
			return nil, usagef("%s has %d readings of %d bytes: want at least 2, of at least %d bytes", c.name, len(c.readings), len(c.readings[0]), size)
		}
		rows := make([][]peerRow, windows)
		err := forEach(ctx, windows, progress, c.name+", windows", func(_ context.Context, i int) (err error) {
			rows[i], err = runWindow(all, c.window(i, size), noise, rand.New(rand.NewPCG(uint64(n), uint64(i))))
			return err
		})
		if err != nil {
			return nil, err
		}
		found.Windows += windows
		for _, row := range rows {
			for k := range row {
				found.Rows[k].add(row[k])
			}
		}
	}
	for i := range found.Rows {
		found.Rows[i].Reconstruct = median(found.Rows[i].times)
	}
	return found, nil
}

func (p *peerRow) add(o peerRow) {
	p.Refused += o.Refused
	p.Reconstructions += o.Reconstructions
	p.Failures += o.Failures
	p.times = append(p.times, o.times...)
	p.Helper = max(p.Helper, o.Helper)
}

// runWindow tries every construction on one window: all on the same readings.
func runWindow(all []peer, readings [][]byte, noise float64, r *rand.Rand) ([]peerRow, error) {
	later := make([][]byte, 0, len(readings)-1)
	for _, reading := range readings[1:] {
		later = append(later, inverted(reading, noise, r))
	}
	rows := make([]peerRow, len(all))
	for k, c := range all {
		helper, key, err := c.enrol(readings[0], r)
		if refused(err) {
			rows[k].Refused++
			continue
		}
		if err != nil {
			return nil, err
		}
		if h, ok := helper.(fuzzy.HelperData); ok {
			rows[k].Helper = len(h.Bytes())
		}
		for _, reading := range later {
			start := time.Now()
			got, err := c.reconstruct(reading, helper)
			rows[k].times = append(rows[k].times, time.Since(start))
			rows[k].Reconstructions++
			if err != nil || !bytes.Equal(got, key) {
				rows[k].Failures++
			}
		}
	}
	return rows, nil
}

func inverted(reading []byte, noise float64, r *rand.Rand) []byte {
	out := append([]byte(nil), reading...)
	if noise == 0 {
		return out
	}
	for i := range 8 * len(out) {
		if r.Float64() < noise {
			out[i/8] ^= 0x80 >> (i % 8)
		}
	}
	return out
}

// constructions are the peers, ours last.
func constructions(p fuzzy.Params) ([]peer, error) {
	bch := func(m, t int) (ecc.Code, error) { return ecc.NewBCH(m, t) }
	standard, err1 := bch(7, 10)
	strongest, err2 := bch(7, 15)
	long, err3 := bch(9, 30)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return []peer{
		// wolfCrypt leaves the last of each 128 cells unused and, by default, stores whole codewords.
		&codeOffset{name: "wolfCrypt, BCH(127,64,10) x 16", code: standard, blocks: 16, every: 128},
		&codeOffset{name: "wolfCrypt strongest, BCH(127,36,15) x 16", code: strongest, blocks: 16, every: 128},
		&codeOffset{name: "repetition 7 + Golay(24,12) x 22", code: ecc.Repeated{Code: ecc.NewGolay(), Times: 7}, blocks: 22},
		&codeOffset{name: "repetition 15 + BCH(511,259,30)", code: ecc.Repeated{Code: long, Times: 15}, blocks: 1},
		ours{p},
	}, nil
}

// codeOffset publishes response xor codeword.
type codeOffset struct {
	name   string
	code   ecc.Code
	blocks int
	every  int // cells from one block to the next, 0: the code's length
}

func (c *codeOffset) spacing() int { return max(c.every, c.code.Len()) }

func (c *codeOffset) describe(entropy float64) peerRow {
	cells, message := c.blocks*c.code.Len(), c.blocks*c.code.Dimension()
	return peerRow{
		Name: c.name, SRAM: (c.blocks*c.spacing() + 7) / 8, Helper: (cells + 7) / 8, Message: message, Leakage: cells - message,
		Left: entropy*float64(cells) - float64(cells-message),
	}
}

func (c *codeOffset) enrol(response []byte, r *rand.Rand) (any, []byte, error) {
	var helper, key []byte
	for b := range c.blocks {
		message := make([]byte, c.code.Dimension())
		for i := range message {
			message[i] = byte(r.IntN(2))
		}
		key = append(key, message...)
		for i, x := range c.code.Encode(message) {
			helper = append(helper, x^cell(response, b*c.spacing()+i))
		}
	}
	return helper, key, nil
}

func (c *codeOffset) reconstruct(response []byte, helper any) ([]byte, error) {
	h := helper.([]byte)
	n := c.code.Len()
	word := make([]byte, n)
	var key []byte
	for b := range c.blocks {
		for i := range word {
			word[i] = h[b*n+i] ^ cell(response, b*c.spacing()+i)
		}
		message, ok := c.code.Decode(word)
		if !ok {
			return nil, errors.New("a block does not decode")
		}
		key = append(key, message...)
	}
	return key, nil
}

func cell(response []byte, i int) byte { return response[i/8] >> (7 - i%8) & 1 }

// ours is package fuzzy.
type ours struct{ p fuzzy.Params }

func (o ours) describe(entropy float64) peerRow {
	n, k := o.p.Code()
	return peerRow{
		Name: "ours, " + o.p.Name(), SRAM: o.p.ResponseSize(), Message: k, Leakage: n - k, Left: entropy*float64(n) - float64(n-k),
	}
}

func (o ours) enrol(response []byte, _ *rand.Rand) (any, []byte, error) {
	key, helper, err := fuzzy.Enroll(o.p, nil, response[:o.p.ResponseSize()])
	if err != nil {
		return nil, nil, err
	}
	defer key.Wipe()
	derived, err := key.Derive("puflab peers", nil, 32)
	return helper, derived, err
}

func (o ours) reconstruct(response []byte, helper any) ([]byte, error) {
	key, _, err := fuzzy.Reconstruct(response[:o.p.ResponseSize()], helper.(fuzzy.HelperData))
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return key.Derive("puflab peers", nil, 32)
}

func (p peers) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%d windows, %.3g bit a cell or symbol, %.3g %% of bits inverted on top\n\n", p.Windows, p.Entropy, 100*p.Noise)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "construction\tSRAM\thelper\tmessage\tpublished\tleft\treconstructions\tfailures\trate\ttime\t")
	for _, r := range p.Rows {
		fmt.Fprintf(table, "%s\t%d B\t%d B\t%d\t%d\t%.0f\t%d\t%d\t%.1f %%\t%s\t\n", r.Name, r.SRAM, r.Helper, r.Message, r.Leakage, r.Left, r.Reconstructions,
			r.Failures, 100*float64(r.Failures)/float64(max(1, r.Reconstructions)), r.Reconstruct.Round(time.Microsecond))
	}
	return table.Flush()
}
