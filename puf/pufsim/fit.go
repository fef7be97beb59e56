package pufsim

import (
	"errors"
	"fmt"
	"math"

	"github.com/semio-iot/semio/puf/pufstat"
)

// ErrFit says that a model cannot be fitted.
var ErrFit = errors.New("pufsim: no fit; give at least 3 power-ups of one chip under the same conditions, the memory unwritten")

// maxPeriod is the longest pattern of columns and the farthest correlation that Fit looks for, in cells.
const maxPeriod = 1024

// Fit returns the Config of chips like c, measured at [RoomTemperature]: its size, the offsets of its columns, its noise and its
// correlation. What one chip at one temperature does not show, drifts and ageing, stays at its default.
//
// Noise is the one of highest likelihood for the counts of [pufstat.Chip.Counts]. Columns have the period, a power of two up to 1,024,
// that explains the cells best by the Bayesian information criterion; none when that is 1. The correlation is the strongest one, at
// a power of two up to 1,024, that is left beside the columns, and 0 unless chance would be five standard deviations off.
func Fit(c *pufstat.Chip) (Config, error) {
	if c.Readings() < 3 || c.Size() < 128 {
		return Config{}, fmt.Errorf("%w: %d power-ups of %d bytes", ErrFit, c.Readings(), c.Size())
	}
	shares, err := columns(c)
	if err != nil {
		return Config{}, err
	}
	m := model{offsets: make([]float64, len(shares))}
	cells := 8 * c.Size()
	for i, p := range shares {
		// A column of which every cell came up alike would lie infinitely far out.
		least := 0.5 * float64(len(shares)) / float64(cells)
		m.offsets[i] = quantile(min(max(p, least), 1-least))
	}
	m.noise = m.fitNoise(c.Counts())
	out := Config{Size: c.Size(), Noise: m.noise}
	mean := 0.0
	for _, p := range shares {
		mean += p / float64(len(shares))
	}
	out.Ones = mean
	if !(out.Ones > 0 && out.Ones < 1) {
		return Config{}, fmt.Errorf("%w: all cells are alike", ErrFit)
	}
	// The noise widens the distribution behind the shares.
	wide := math.Sqrt(1 + m.noise*m.noise)
	if len(shares) > 1 {
		middle := quantile(mean)
		for _, x := range m.offsets {
			out.Columns = append(out.Columns, (x-middle)*wide)
		}
	}
	out.CorrelationStride, out.Correlation = correlation(c, shares)
	out.Correlation *= 1 + m.noise*m.noise
	return out, nil
}

// FitTemperature returns the TemperatureDrift under which chips of Config c come as far from room, readings at [RoomTemperature], as the
// readings of other, which are the same chip's at another temperature.
func FitTemperature(c Config, room, other *pufstat.Chip, celsius float64) (float64, error) {
	c, err := c.orDefault()
	if err != nil {
		return 0, err
	}
	degrees := math.Abs(celsius - RoomTemperature)
	if degrees == 0 {
		return 0, fmt.Errorf("%w: both at %v degrees", ErrFit, celsius)
	}
	got, err := pufstat.Across(room, other)
	if err != nil {
		return 0, err
	}
	target := pufstat.Summarize(got).Mean
	m := c.model()
	at := func(change float64) float64 { return m.distance(math.Hypot(m.noise*thermal(celsius), change)) }
	low, high := 0.0, 10.0
	if target <= at(low) || target >= at(high) {
		return 0, fmt.Errorf("%w: %.4f of the bits differ between the temperatures, and %.4f would without drift", ErrFit, target, at(0))
	}
	for range 50 {
		if mid := (low + high) / 2; at(mid) < target {
			low = mid
		} else {
			high = mid
		}
	}
	return low / degrees, nil
}

// Expected returns the distance of two power-ups of a chip of Config c that the model expects, as a share of bits.
func Expected(c Config) (float64, error) {
	c, err := c.orDefault()
	if err != nil {
		return 0, err
	}
	m := c.model()
	return m.distance(m.noise), nil
}

// model is the distribution of skews, mixed over the columns.
type model struct {
	offsets []float64 // of the share of ones: normal quantiles, before the noise
	noise   float64
}

func (c Config) model() model {
	m := model{offsets: []float64{0}, noise: c.Noise}
	if len(c.Columns) > 0 {
		m.offsets = append([]float64(nil), c.Columns...)
	}
	wide := math.Sqrt(1 + c.Noise*c.Noise)
	for i := range m.offsets {
		m.offsets[i] = m.offsets[i]/wide + quantile(c.Ones)
	}
	return m
}

// over integrates f(skew) over the cells. The trapezoidal rule is exact to many digits for what is smooth on the scale of the noise.
func (m model) over(f func(skew float64, weight float64)) {
	const reach = 7.0
	step := max(0.004, min(m.noise/3, 0.05))
	wide := math.Sqrt(1 + m.noise*m.noise)
	for x := -reach; x <= reach; x += step {
		w := step * math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) / float64(len(m.offsets))
		for _, o := range m.offsets {
			f(o*wide+x, w)
		}
	}
}

// distance is the chance that a bit differs in two power-ups, the second one with noise of its own, drift included.
func (m model) distance(noise float64) float64 {
	sum := 0.0
	m.over(func(skew, w float64) {
		p, q := normal(skew/m.noise), normal(skew/noise)
		sum += w * (p*(1-q) + q*(1-p))
	})
	return sum
}

// logLikelihood of the counts of cells that were 1 in k of n power-ups.
func (m model) logLikelihood(counts []int) float64 {
	n := len(counts) - 1
	p := make([]float64, len(counts))
	term := make([]float64, len(counts))
	m.over(func(skew, w float64) {
		one := normal(skew / m.noise)
		zero := normal(-skew / m.noise)
		term[0] = w
		for k := 1; k <= n; k++ {
			term[k] = term[k-1] * one
		}
		z := 1.0
		for k := n; k >= 0; k-- {
			p[k] += term[k] * z
			z *= zero
		}
	})
	sum, choose := 0.0, 1.0
	for k, cells := range counts {
		if cells > 0 {
			sum += float64(cells) * math.Log(max(p[k]*choose, 1e-300))
		}
		choose = choose * float64(n-k) / float64(k+1)
	}
	return sum
}

// fitNoise finds the noise of highest likelihood by golden section over its logarithm.
func (m model) fitNoise(counts []int) float64 {
	at := func(x float64) float64 { m.noise = math.Exp(x); return m.logLikelihood(counts) }
	golden := (math.Sqrt(5) - 1) / 2
	a, b := math.Log(0.01), math.Log(3.0)
	c, d := b-golden*(b-a), a+golden*(b-a)
	fc, fd := at(c), at(d)
	for range 24 {
		if fc > fd {
			b, d, fd = d, c, fc
			c = b - golden*(b-a)
			fc = at(c)
		} else {
			a, c, fc = c, d, fd
			d = a + golden*(b-a)
			fd = at(d)
		}
	}
	return math.Exp((a + b) / 2)
}

// columns returns the share of ones of each column, for the period that explains the cells best.
func columns(c *pufstat.Chip) ([]float64, error) {
	cells := float64(8 * c.Size())
	var best []float64
	least := math.Inf(1)
	for period := 1; period <= min(maxPeriod, c.Size()/16); period *= 2 {
		shares, err := c.Phases(period)
		if err != nil {
			return nil, err
		}
		// Cells count once, however often they were read.
		information := float64(period) * math.Log(cells)
		for _, p := range shares {
			information += 2 * cells / float64(period) * entropy(p)
		}
		if information < least {
			best, least = shares, information
		}
	}
	return best, nil
}

// entropy of a bit, in nats.
func entropy(p float64) float64 {
	if p <= 0 || p >= 1 {
		return 0
	}
	return -p*math.Log(p) - (1-p)*math.Log(1-p)
}

// correlation returns the strongest correlation of the cells' majorities that columns do not explain, as that of normals.
func correlation(c *pufstat.Chip, shares []float64) (stride int, r float64) {
	n := 8 * c.Size()
	bits := pufstat.Bits(c.Majority())
	x := make([]float64, n)
	variance := 0.0
	for i, b := range bits {
		x[i] = float64(b) - shares[i%len(shares)]
		variance += x[i] * x[i] / float64(n)
	}
	for lag := 1; lag <= min(maxPeriod, n/2); lag *= 2 {
		sum := 0.0
		for i := lag; i < n; i++ {
			sum += x[i] * x[i-lag]
		}
		if v := sum / float64(n-lag) / variance; math.Abs(v) > math.Abs(r) && math.Abs(v) > 5/math.Sqrt(float64(n-lag)) {
			stride, r = lag, v
		}
	}
	// Signs of normals with correlation r have that of 2/pi * arcsin(r).
	return stride, math.Sin(math.Pi / 2 * r)
}

// normal is the distribution function of the normal distribution, quantile its inverse.
func normal(x float64) float64   { return 0.5 * math.Erfc(-x/math.Sqrt2) }
func quantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }
