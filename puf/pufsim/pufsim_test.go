package pufsim_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log"
	"math"
	"math/bits"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/puftest"
)

func measure(t testing.TB, c *pufsim.Chip) []byte {
	t.Helper()
	b := make([]byte, c.Size())
	require.NoError(t, c.Measure(context.Background(), b))
	return b
}

// distance is the share of bits that differ.
func distance(a, b []byte) float64 {
	n := 0
	for i := range a {
		n += bits.OnesCount8(a[i] ^ b[i])
	}
	return float64(n) / float64(8*len(a))
}

func ones(b []byte) float64 { return distance(b, make([]byte, len(b))) }

func TestIsASource(t *testing.T) {
	seed := uint64(0)
	puftest.TestSource(t, func() puf.Source { seed++; return pufsim.New(seed, pufsim.Config{}) })
	t.Run("window", func(t *testing.T) {
		puftest.TestSource(t, func() puf.Source { return puf.Window(pufsim.New(1, pufsim.Config{Size: 5000}), 777, 2048) })
	})
}

// The figures are those of two STM32F401 boards, 96 KB each: 0.052 to 0.055 of the bits differ from the first reading, half are
// ones. Over 64 KB of cells the standard error of the mean distance is below 0.0006, so a bound of 0.0535 ± 0.002 fails once in
// a thousand seeds; the seeds are fixed.
func TestDefaultsFitMeasuredMemory(t *testing.T) {
	for seed := range uint64(4) {
		c := pufsim.New(seed, pufsim.Config{Size: 1 << 16})
		first := measure(t, c)
		require.InDelta(t, 0.5, ones(first), 0.01, "seed %d", seed)
		sum := 0.0
		for range 14 {
			b := measure(t, c)
			d := distance(first, b)
			require.InDelta(t, 0.0535, d, 0.003, "seed %d", seed)
			sum += d
		}
		require.InDelta(t, 0.0535, sum/14, 0.002, "seed %d", seed)
	}
}

func TestChipsDiffer(t *testing.T) {
	for seed := range uint64(10) {
		a, b := measure(t, pufsim.New(seed, pufsim.Config{})), measure(t, pufsim.New(seed+1, pufsim.Config{}))
		require.InDelta(t, 0.5, distance(a, b), 0.04, "seed %d", seed)
	}
}

func TestDeterministic(t *testing.T) {
	config := pufsim.Config{Size: 300, Ones: 0.6, Correlation: 0.3, CorrelationStride: 32}
	a, b := pufsim.New(42, config), pufsim.New(42, config)
	for i := range 5 {
		require.Equal(t, measure(t, a), measure(t, b), "power-up %d", i)
	}
	require.Equal(t, uint64(5), a.PowerUps())

	// What happens at one power-up does not shift the noise of the next.
	measure(t, a)
	b.SetTemperature(85)
	measure(t, b)
	b.SetTemperature(pufsim.RoomTemperature)
	require.Equal(t, measure(t, a), measure(t, b))

	// Another process goes on where this one is.
	again := pufsim.New(42, config)
	again.SetPowerUps(a.PowerUps())
	require.Equal(t, measure(t, a), measure(t, again))
	measure(t, b)

	// A call that is refused is no power-up.
	require.Error(t, a.Measure(context.Background(), make([]byte, 299)))
	require.Equal(t, measure(t, a), measure(t, b))
}

// Others' examples and golden values stand on the chips of a seed.
func TestGolden(t *testing.T) {
	c := pufsim.New(1, pufsim.Config{})
	for i, want := range []string{"9a4386aee44bc038", "3d7143d25420484e"} {
		sum := sha256.Sum256(measure(t, c))
		require.Equal(t, want, hex.EncodeToString(sum[:8]), "power-up %d", i)
	}
}

func TestConcurrentCallsGiveThePowerUpsOfTheSeed(t *testing.T) {
	want := map[string]bool{}
	for c, n := pufsim.New(9, pufsim.Config{}), 0; n < 8; n++ {
		want[string(measure(t, c))] = true
	}
	c := pufsim.New(9, pufsim.Config{})
	got := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range got {
		got[i] = make([]byte, c.Size())
		wg.Go(func() {
			if err := c.Measure(context.Background(), got[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, b := range got {
		require.True(t, want[string(b)])
		delete(want, string(b))
	}
	require.Empty(t, want)
}

func TestOnes(t *testing.T) {
	for _, p := range []float64{0.2, 0.4, 0.6, 0.8, 0.95} {
		require.InDelta(t, p, ones(measure(t, pufsim.New(3, pufsim.Config{Size: 1 << 15, Ones: p}))), 0.01)
	}
}

func TestNoise(t *testing.T) {
	// The distance of two power-ups under the model is acos(1/(1+noise^2))/pi.
	for _, noise := range []float64{0.05, 0.12, 0.3, 1} {
		c := pufsim.New(3, pufsim.Config{Size: 1 << 15, Noise: noise})
		want := math.Acos(1/(1+noise*noise)) / math.Pi
		require.InDelta(t, want, distance(measure(t, c), measure(t, c)), 0.004, "noise %v", noise)
	}
	c := pufsim.New(3, pufsim.Config{Noise: -1})
	require.Equal(t, measure(t, c), measure(t, c), "without noise every power-up is the same")
}

func TestTemperatureAndAge(t *testing.T) {
	c := pufsim.New(5, pufsim.Config{Size: 1 << 15})
	first := measure(t, c)
	last := distance(first, measure(t, c))
	for _, celsius := range []float64{45, 65, 85, 125} {
		c.SetTemperature(celsius)
		d := distance(first, measure(t, c))
		require.Greater(t, d, last+0.002, "at %v degrees", celsius)
		last = d
		if celsius == 85 {
			require.InDelta(t, 0.088, d, 0.004)
		}
	}
	c.SetTemperature(pufsim.RoomTemperature)
	last = distance(first, measure(t, c))
	require.InDelta(t, 0.0535, last, 0.003)
	for _, years := range []float64{1, 10, 50} {
		c.SetAge(years)
		d := distance(first, measure(t, c))
		require.Greater(t, d, last+0.002, "after %v years", years)
		last = d
	}
	still := pufsim.New(5, pufsim.Config{Size: 1 << 15, TemperatureDrift: -1, SupplyDrift: -1, Ageing: -1})
	first = measure(t, still)
	still.SetAge(50)
	still.SetSupply(0.8)
	require.InDelta(t, 0.0535, distance(first, measure(t, still)), 0.003)

	// Without drift the noise alone follows the temperature: acos(1/sqrt((1+a^2)(1+b^2)))/pi for noises a and b.
	still.SetTemperature(125)
	a, b := pufsim.DefaultNoise, pufsim.DefaultNoise*math.Sqrt((125+273.15)/(25+273.15))
	require.InDelta(t, math.Acos(1/math.Sqrt((1+a*a)*(1+b*b)))/math.Pi, distance(first, measure(t, still)), 0.003)
	still.SetTemperature(-300)
	require.Equal(t, measure(t, still), measure(t, still), "below absolute zero there is no noise, and no NaN")
}

func TestSupply(t *testing.T) {
	c := pufsim.New(5, pufsim.Config{Size: 1 << 15, SupplyDrift: 0.01})
	first := measure(t, c)
	last := distance(first, measure(t, c))
	for _, nominal := range []float64{0.9, 1.2} {
		c.SetSupply(nominal)
		d := distance(first, measure(t, c))
		require.Greater(t, d, last+0.002, "at %v of the nominal supply", nominal)
		last = d
	}
	c.SetSupply(1)
	require.InDelta(t, 0.0535, distance(first, measure(t, c)), 0.003)
}

// Columns shift their cells, on every chip alike.
func TestColumns(t *testing.T) {
	offsets := []float64{-0.3, 0, 0, 0.5}
	for seed := range uint64(2) {
		b := measure(t, pufsim.New(seed, pufsim.Config{Size: 1 << 15, Columns: offsets}))
		var ones [4]float64
		for i := range 8 * len(b) {
			ones[i%4] += float64(b[i/8]>>(7-i%8)&1) / float64(2*len(b))
		}
		for i, o := range offsets {
			want := 0.5 * math.Erfc(-o/math.Sqrt(1+pufsim.DefaultNoise*pufsim.DefaultNoise)/math.Sqrt2)
			require.InDelta(t, want, ones[i], 0.01, "column %d, seed %d", i, seed)
		}
	}
	offsets[0] = 9
	c := pufsim.New(1, pufsim.Config{Columns: offsets})
	offsets[0] = -9
	require.Equal(t, byte(0x88), measure(t, c)[0]&0x88, "a Config is copied")
}

func TestCorrelation(t *testing.T) {
	for _, stride := range []int{1, 8, 32} {
		b := measure(t, pufsim.New(5, pufsim.Config{Size: 1 << 14, Correlation: 0.6, CorrelationStride: stride}))
		equal := func(lag int) float64 {
			n := 0
			for i := lag; i < 8*len(b); i++ {
				if b[i/8]>>(7-i%8)&1 == b[(i-lag)/8]>>(7-(i-lag)%8)&1 {
					n++
				}
			}
			return float64(n) / float64(8*len(b)-lag)
		}
		// Signs of normals with correlation r agree with probability 1 - acos(r)/pi; the noise takes a little of r.
		want := 1 - math.Acos(0.6/(1+pufsim.DefaultNoise*pufsim.DefaultNoise))/math.Pi
		require.InDelta(t, want, equal(stride), 0.01, "stride %d", stride)
		require.InDelta(t, 0.5, equal(stride+3), 0.15, "stride %d", stride)
	}
	b := measure(t, pufsim.New(5, pufsim.Config{Correlation: 0.95, CorrelationStride: 32}))
	require.ErrorIs(t, puf.Check(b, puf.Limits{}), puf.ErrStripes)
}

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]pufsim.Config{
		"size": {Size: -1}, "huge": {Size: puf.MaxDump + 1}, "ones": {Ones: 1}, "negative ones": {Ones: -0.5}, "ones NaN": {Ones: math.NaN()},
		"correlation": {Correlation: 1}, "correlation NaN": {Correlation: math.NaN()}, "stride": {CorrelationStride: -1},
		"noise NaN": {Noise: math.NaN()}, "noise": {Noise: math.Inf(1)}, "drift": {TemperatureDrift: math.NaN()}, "ageing": {Ageing: math.Inf(1)},
		"supply": {SupplyDrift: math.Inf(1)}, "column": {Columns: []float64{0, math.NaN()}},
	} {
		t.Run(name, func(t *testing.T) {
			chip := pufsim.New(1, c)
			chip.SetTemperature(0)
			require.ErrorContains(t, chip.Measure(context.Background(), nil), "pufsim:")
		})
	}
}

func TestReadingIsNotTorn(t *testing.T) {
	// All bits are drawn: with even odds for every cell two readings differ in half of them.
	c := pufsim.New(1, pufsim.Config{Noise: 1e6})
	a, b := measure(t, c), measure(t, c)
	require.InDelta(t, 0.5, distance(a, b), 0.03)
	require.False(t, bytes.Equal(a[:64], b[:64]) || bytes.Equal(a[960:], b[960:]))
}

func Example() {
	chip := pufsim.New(1, pufsim.Config{})
	reading := make([]byte, chip.Size())
	if err := chip.Measure(context.Background(), reading); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(reading), puf.Check(reading, puf.Limits{}))
	// Output: 1024 <nil>
}

func BenchmarkMeasure(b *testing.B) {
	c := pufsim.New(1, pufsim.Config{})
	buf := make([]byte, c.Size())
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Measure(context.Background(), buf); err != nil {
			b.Fatal(err)
		}
	}
}
