// Package pufsim simulates SRAM chips for development and tests without hardware.
//
// Start with [New]; the chip it returns is a [puf.Source]. [Fit] finds the [Config] of a measured one.
//
//	chip := pufsim.New(1, pufsim.Config{})
//	reading := make([]byte, chip.Size())
//	err := chip.Measure(ctx, reading)
//
// The model is the hidden-variable one (R. Maes, "An Accurate Probabilistic Reliability Model for Silicon PUFs", CHES 2013): a cell
// has a skew, normally distributed over the cells, and powers up as 1 when skew plus the noise of that power-up, normal too, is
// positive. Most cells are so skewed that they never change and a few are coins, as in real memory. Bias moves all skews, a column's
// offset those of its cells, correlation ties a cell to one before it, temperature, supply and age move each cell in its own way.
//
// Noise grows with the square root of the absolute temperature, as thermal noise does. It, columns, correlation and the drift with
// temperature are fitted to STM32F401 boards at room temperature and at -18 degrees: docs/puf.md has the figures side by side. Supply and
// ageing are plausible in shape and size, and fitted to nothing.
//
// A simulated chip has no secret: whoever knows the seed has its readings.
package pufsim

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/semio-iot/semio/puf"
)

// Defaults of [Config]. Fitted noises are 0.115 to 0.118 and fitted temperature drifts 0.0037 and 0.0038; 0.12 rounds up.
const (
	DefaultSize             = 1024
	DefaultNoise            = 0.12
	DefaultTemperatureDrift = 0.0037
	DefaultSupplyDrift      = 0.002
	DefaultAgeing           = 0.028
)

// RoomTemperature is a new chip's temperature and the one without drift, in degrees Celsius.
const RoomTemperature = 25.0

// Config describes a kind of chip. Lengths of skew, noise and drifts are in standard deviations of the skew. A zero field
// means its default.
type Config struct {
	Size  int     // bytes; default 1024
	Ones  float64 // expected share of ones, in (0, 1), before Columns; default 0.5
	Noise float64 // standard deviation of a power-up's noise at RoomTemperature; default 0.12, and negative for none

	// Correlation of a cell's skew with that of the cell CorrelationStride bits before, in (-1, 1); default 0, stride 1.
	Correlation       float64
	CorrelationStride int

	// Columns are added to the skews: Columns[i mod len(Columns)] to that of cell i. They belong to the design, every chip has them.
	Columns []float64

	// TemperatureDrift is the standard deviation over the cells of the change of skew for each degree away from
	// RoomTemperature; default 0.0037 (some 9 % of the bits differ at 85 degrees), negative for none.
	TemperatureDrift float64

	// SupplyDrift is the standard deviation over the cells of the change of skew for each percent away from the nominal supply
	// voltage; default 0.002, negative for none.
	SupplyDrift float64

	// Ageing is how far the skew of a cell that keeps its start-up value moves towards the other value in the first year; the
	// movement goes with the fourth root of time. Default 0.028 (4 % of the cells turn in ten years), negative for none.
	Ageing float64
}

func (c Config) orDefault() (Config, error) {
	def := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Size == 0 {
		c.Size = DefaultSize
	}
	if c.CorrelationStride == 0 {
		c.CorrelationStride = 1
	}
	def(&c.Ones, 0.5)
	def(&c.Noise, DefaultNoise)
	def(&c.TemperatureDrift, DefaultTemperatureDrift)
	def(&c.SupplyDrift, DefaultSupplyDrift)
	def(&c.Ageing, DefaultAgeing)
	c.Noise, c.TemperatureDrift, c.SupplyDrift, c.Ageing = max(c.Noise, 0), max(c.TemperatureDrift, 0), max(c.SupplyDrift, 0), max(c.Ageing, 0)
	c.Columns = slices.Clone(c.Columns)
	sum := c.Noise + c.TemperatureDrift + c.SupplyDrift + c.Ageing
	for _, x := range c.Columns {
		sum += math.Abs(x)
	}
	switch {
	case c.Size < 0 || c.Size > puf.MaxDump:
		return c, fmt.Errorf("pufsim: size of %d bytes, want 1 to %d", c.Size, puf.MaxDump)
	case !(c.Ones > 0 && c.Ones < 1):
		return c, fmt.Errorf("pufsim: share of ones %v, want one between 0 and 1", c.Ones)
	case !(math.Abs(c.Correlation) < 1):
		return c, fmt.Errorf("pufsim: correlation %v, want one between -1 and 1", c.Correlation)
	case c.CorrelationStride < 0:
		return c, fmt.Errorf("pufsim: correlation stride %d, want a positive one", c.CorrelationStride)
	case math.IsNaN(sum) || math.IsInf(sum, 0):
		return c, fmt.Errorf("pufsim: noise %v, drifts %v and %v, ageing %v or a column's offset is no number", c.Noise, c.TemperatureDrift, c.SupplyDrift, c.Ageing)
	}
	return c, nil
}

// Chip is a simulated memory. Its cells depend on seed and Config alone, its n-th power-up on these, n, temperature, supply and age. It is
// safe for concurrent use.
type Chip struct {
	config Config
	err    error // of the Config, told by Measure
	seed   uint64
	skew   []float32 // for each cell, the bias included
	drift  []float32 // change of skew for each degree

	mu          sync.Mutex // guards what follows
	powerUps    uint64
	temperature float64
	supply      float64 // percent above nominal
	years       float64
	threshold   []uint32 // for each cell, P(1) * 2^32 under these conditions, saturated; nil when to be computed
}

// Streams of random numbers of one seed.
const (
	streamSkew uint64 = iota
	streamDrift
	streamPowerUp
	streamSupply
)

func stream(seed, kind, n uint64) *rand.ChaCha8 {
	var key [32]byte
	copy(key[:], "pufsim/1")
	binary.LittleEndian.PutUint64(key[8:], seed)
	binary.LittleEndian.PutUint64(key[16:], kind)
	binary.LittleEndian.PutUint64(key[24:], n)
	return rand.NewChaCha8(key)
}

// New makes the chip of that seed, at [RoomTemperature] and not aged. A Config out of bounds is reported by Measure.
func New(seed uint64, c Config) *Chip {
	c, err := c.orDefault()
	chip := &Chip{config: c, err: err, seed: seed, temperature: RoomTemperature}
	if err != nil {
		return chip
	}
	// The noise widens the distribution that the share of ones is counted over.
	mean := math.Sqrt2 * math.Erfinv(2*c.Ones-1) * math.Sqrt(1+c.Noise*c.Noise)
	n := 8 * c.Size
	chip.skew, chip.drift = make([]float32, n), make([]float32, n)
	skews, drifts := rand.New(stream(seed, streamSkew, 0)), rand.New(stream(seed, streamDrift, 0))
	fresh := math.Sqrt(1 - c.Correlation*c.Correlation)
	deviation := make([]float64, n)
	for i := range n {
		deviation[i] = skews.NormFloat64()
		if i >= c.CorrelationStride {
			deviation[i] = c.Correlation*deviation[i-c.CorrelationStride] + fresh*deviation[i]
		}
		chip.skew[i] = float32(mean + deviation[i])
		if len(c.Columns) > 0 {
			chip.skew[i] += float32(c.Columns[i%len(c.Columns)])
		}
		chip.drift[i] = float32(c.TemperatureDrift * drifts.NormFloat64())
	}
	return chip
}

// Size returns the number of bytes of a reading.
func (c *Chip) Size() int { return c.config.Size }

// PowerUps returns the number of readings taken.
func (c *Chip) PowerUps() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.powerUps
}

// SetPowerUps sets how many readings were taken before, for a process that goes on where another ended: the next one is number n,
// counted from 0.
func (c *Chip) SetPowerUps(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.powerUps = n
}

// SetTemperature sets the temperature of the power-ups to come, in degrees Celsius.
func (c *Chip) SetTemperature(celsius float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.temperature, c.threshold = celsius, nil
}

// SetSupply sets the supply voltage of the power-ups to come, as a multiple of the nominal one.
func (c *Chip) SetSupply(nominal float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.supply, c.threshold = 100*(nominal-1), nil
}

// SetAge sets how many years the chip has been powered, its cells holding their start-up values.
func (c *Chip) SetAge(years float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.years, c.threshold = max(years, 0), nil
}

// Measure implements [puf.Source] with a new power-up.
func (c *Chip) Measure(ctx context.Context, dst []byte) error {
	if c.err != nil {
		return c.err
	}
	if len(dst) != c.config.Size {
		return &puf.SizeError{What: "buffer", Got: len(dst), Want: c.config.Size}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("measure simulated chip: %w", err)
	}
	c.mu.Lock()
	if c.threshold == nil {
		c.threshold = c.thresholds()
	}
	threshold, n := c.threshold, c.powerUps
	c.powerUps++
	c.mu.Unlock()

	// A stream for each power-up: what one reading draws does not shift the next.
	random := stream(c.seed, streamPowerUp, n)
	for i := range dst {
		var b byte
		for j := 0; j < 8; j += 2 {
			r := random.Uint64()
			b = b<<2 | less(uint32(r), threshold[8*i+j])<<1 | less(uint32(r>>32), threshold[8*i+j+1])
		}
		dst[i] = b
	}
	return nil
}

func less(r, threshold uint32) byte {
	if r < threshold || threshold == math.MaxUint32 {
		return 1
	}
	return 0
}

// thresholds computes each cell's chance of a 1. Called with mu held.
func (c *Chip) thresholds() []uint32 {
	degrees := c.temperature - RoomTemperature
	noise := c.config.Noise * thermal(c.temperature)
	aged := c.config.Ageing * math.Sqrt(math.Sqrt(c.years))
	supplies := rand.New(stream(c.seed, streamSupply, 0))
	out := make([]uint32, len(c.skew))
	for i, s := range c.skew {
		skew := float64(s)
		skew -= math.Copysign(aged, skew)
		skew += float64(c.drift[i]) * degrees
		if c.supply != 0 {
			skew += c.config.SupplyDrift * supplies.NormFloat64() * c.supply
		}
		p := 1.0
		switch {
		case noise > 0:
			p = 0.5 * math.Erfc(-skew/(noise*math.Sqrt2))
		case skew <= 0:
			p = 0
		}
		out[i] = uint32(min(p*(1<<32), math.MaxUint32))
	}
	return out
}

// thermal is how much larger noise is than at RoomTemperature.
func thermal(celsius float64) float64 {
	const zero = -273.15
	return math.Sqrt(max(0, celsius-zero) / (RoomTemperature - zero))
}
