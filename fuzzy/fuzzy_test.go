package fuzzy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
)

func enroll(t testing.TB, p fuzzy.Params, seed uint64, response []byte) (*fuzzy.RootKey, fuzzy.HelperData) {
	t.Helper()
	key, helper, err := fuzzy.Enroll(p, fuzzy.SeededRandom(seed), response)
	require.NoError(t, err)
	return key, helper
}

// The bound at each of these models is below 1e-7: with these seeds no failure may
// happen.
func TestReconstruct(t *testing.T) {
	for _, c := range []struct {
		ones, rate float64
		stride     int
	}{
		{0.5, 0, 1}, {0.5, 0.06, 1}, {0.5, 0.06, 32}, {0.5, 0.06, 4096}, {0.5, 0.15, 2}, {0.5, 0.20, 1},
		{0.4, 0.20, 1}, {0.6, 0.20, 8}, {0.7, 0.15, 1}, {0.3, 0.15, 1}, {0.78, 0.08, 1}, {0.22, 0.08, 1},
	} {
		t.Run(fmt.Sprintf("%v ones, %v errors, stride %d", c.ones, c.rate, c.stride), func(t *testing.T) {
			p := fuzzy.SRAM1K().WithStride(c.stride)
			for seed := range uint64(4) {
				chip := fuzzy.NewChip(seed, fuzzy.Balanced(c.ones, c.rate))
				key, helper := enroll(t, p, seed, chip.Enrolled())
				require.LessOrEqual(t, len(helper.Bytes()), p.MaxHelperSize())
				require.Equal(t, c.stride, helper.Params().Stride())
				parsed, err := fuzzy.ParseHelperData(helper.Bytes())
				require.NoError(t, err)
				require.Equal(t, helper, parsed)
				for range 5 {
					got, report, err := fuzzy.Reconstruct(chip.Read(), parsed)
					require.NoError(t, err)
					require.Equal(t, derive(t, key), derive(t, got))
					require.GreaterOrEqual(t, report.Used, 1400)
					// About 3,500 cells: 0.05 is six standard errors and more.
					require.InDelta(t, rateOfUsed(c.ones, c.rate), report.ErrorRate(), 0.05)
				}
			}
		})
	}
}

// rateOfUsed is the error rate of cells in use, of which half are ones.
func rateOfUsed(ones, rate float64) float64 {
	m := fuzzy.Balanced(ones, rate)
	return (m.FlipOnes + m.FlipZeros) / 2
}

func TestSizes(t *testing.T) {
	p := fuzzy.SRAM1K()
	require.Equal(t, 1024, p.ResponseSize())
	require.Equal(t, 1024, p.MaxHelperSize())
	require.Zero(t, fuzzy.Params{}.ResponseSize())
	require.Zero(t, fuzzy.Params{}.MaxHelperSize())
	require.Equal(t, "SRAM1K, stride 1, 0.9375 bit a symbol", p.String())
}

func TestReport(t *testing.T) {
	chip := fuzzy.NewChip(1, fuzzy.Balanced(0.5, 0.1))
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
	pass2, pass1 := helper.Symbols()

	_, r, err := fuzzy.Reconstruct(chip.Enrolled(), helper)
	require.NoError(t, err)
	require.Equal(t, fuzzy.Report{Used: 2048, Cells: 4*pass2 + 2*pass1, Rated: 0.2, List: 1}, r)
	require.Equal(t, 1.0, r.Margin())

	// Bytes 0x00 and 0xff make every pair there equal: erased, one error each.
	damaged := chip.Enrolled()
	var pairs, selected int
	for i := 900; i < 932; i++ {
		for b := 0; b < 8; b += 2 {
			if damaged[i]>>b&1 != damaged[i]>>(b+1)&1 {
				pairs++
			}
		}
		damaged[i] = 0
	}
	_, r, err = fuzzy.Reconstruct(damaged, helper)
	require.NoError(t, err)
	selected = r.Erased
	require.LessOrEqual(t, selected, pairs+64)
	require.Positive(t, selected)
	require.GreaterOrEqual(t, r.Errors, selected)

	require.Zero(t, fuzzy.Report{}.ErrorRate())
	require.Zero(t, fuzzy.Report{}.Margin())
	require.InDelta(t, -0.5, fuzzy.Report{Cells: 100, Errors: 30, Rated: 0.2}.Margin(), 1e-12)
}

func TestAnotherChip(t *testing.T) {
	for _, ones := range []float64{0.5, 0.7} {
		chip := fuzzy.NewChip(10, fuzzy.Balanced(ones, 0.05))
		_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
		for seed := range uint64(20) {
			other := fuzzy.NewChip(100+seed, fuzzy.Balanced(ones, 0.05))
			requireRefused(t, other.Read(), helper, fuzzy.ErrReconstruct)
		}
		inverse := chip.Enrolled()
		for i := range inverse {
			inverse[i] ^= 0xff
		}
		requireRefused(t, inverse, helper, fuzzy.ErrReconstruct)
	}
}

// Too noisy is an error, never a wrong key.
func TestTooManyErrors(t *testing.T) {
	chip := fuzzy.NewChip(11, fuzzy.Balanced(0.5, 0.35))
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
	for range 20 {
		requireRefused(t, chip.Read(), helper, fuzzy.ErrReconstruct)
	}
}

func requireRefused(t *testing.T, response []byte, helper fuzzy.HelperData, want error) {
	t.Helper()
	key, report, err := fuzzy.Reconstruct(response, helper)
	require.ErrorIs(t, err, want)
	require.Nil(t, key)
	require.Zero(t, report, "no report without a valid tag")
}

func TestBadResponses(t *testing.T) {
	chip := fuzzy.NewChip(12, fuzzy.Balanced(0.5, 0.05))
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
	half := fuzzy.NewChip(99, fuzzy.Balanced(0.5, 0.05)).Enrolled()[:512]
	for name, c := range map[string]struct {
		response []byte
		enroll   error
		again    error
	}{
		"nil":             {nil, fuzzy.ErrResponseSize, fuzzy.ErrResponseSize},
		"short":           {make([]byte, 1023), fuzzy.ErrResponseSize, fuzzy.ErrResponseSize},
		"long":            {make([]byte, 1025), fuzzy.ErrResponseSize, fuzzy.ErrResponseSize},
		"zeros":           {make([]byte, 1024), fuzzy.ErrResponseConstant, fuzzy.ErrResponseConstant},
		"ones":            {bytes.Repeat([]byte{0xff}, 1024), fuzzy.ErrResponseConstant, fuzzy.ErrResponseConstant},
		"one byte":        {bytes.Repeat([]byte{0xa5}, 1024), fuzzy.ErrResponseConstant, fuzzy.ErrResponseConstant},
		"a word":          {bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 256), fuzzy.ErrResponseConstant, fuzzy.ErrResponseConstant},
		"seven bytes":     {bytes.Repeat([]byte("sevenBB"), 147)[:1024], fuzzy.ErrResponseConstant, fuzzy.ErrResponseConstant},
		"half repeated":   {append(append([]byte{}, half...), half...), fuzzy.ErrResponseConstant, fuzzy.ErrReconstruct},
		"almost all zero": {append(make([]byte, 1023), 1), fuzzy.ErrFault, fuzzy.ErrReconstruct},
	} {
		t.Run(name, func(t *testing.T) {
			key, h, err := fuzzy.Enroll(fuzzy.SRAM1K(), nil, c.response)
			require.ErrorIs(t, err, c.enroll)
			require.Nil(t, key)
			require.Zero(t, h)
			requireRefused(t, c.response, helper, c.again)
		})
	}
}

func TestBadParams(t *testing.T) {
	response := fuzzy.NewChip(13, fuzzy.Balanced(0.5, 0.05)).Enrolled()
	p := fuzzy.SRAM1K()
	for name, bad := range map[string]fuzzy.Params{
		"zero":              {},
		"zero with figures": fuzzy.Params{}.WithStride(1).WithSymbolEntropy(1),
		"stride 0":          p.WithStride(0),
		"stride 3":          p.WithStride(3),
		"stride negative":   p.WithStride(-1),
		"stride over half":  p.WithStride(8192),
		"least int":         p.WithStride(math.MinInt),
		"no entropy":        p.WithSymbolEntropy(0),
		"negative entropy":  p.WithSymbolEntropy(-1),
		"over one bit":      p.WithSymbolEntropy(1.01),
		"not a number":      p.WithSymbolEntropy(math.NaN()),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := fuzzy.Enroll(bad, nil, response)
			require.ErrorIs(t, err, fuzzy.ErrParams)
			_, err = bad.Bound(fuzzy.Balanced(0.5, 0.1))
			require.ErrorIs(t, err, fuzzy.ErrParams)
			_, err = bad.BoundFor(512, 1536, fuzzy.Balanced(0.5, 0.1))
			require.ErrorIs(t, err, fuzzy.ErrParams)
		})
	}
}

func TestEntropyFloor(t *testing.T) {
	even := fuzzy.NewChip(14, fuzzy.Balanced(0.5, 0.05)).Enrolled()
	_, _, err := fuzzy.Enroll(fuzzy.SRAM1K().WithSymbolEntropy(0.93), nil, even)
	var low *fuzzy.EntropyError
	require.ErrorAs(t, err, &low)
	require.ErrorIs(t, err, fuzzy.ErrEntropy)
	require.Equal(t, 2048, low.Used)
	require.InDelta(t, 384-2048*0.07, low.Left, 1e-9)
	require.Equal(t, 256.0, low.Floor)
	require.Contains(t, err.Error(), "240.6 bits")

	// With fewer symbols the same figure leaves more.
	biased := fuzzy.NewChip(14, fuzzy.Balanced(0.75, 0.05)).Enrolled()
	_, _, err = fuzzy.Enroll(fuzzy.SRAM1K().WithSymbolEntropy(0.93), nil, biased)
	require.NoError(t, err)

	for seed := range uint64(3) {
		biased = fuzzy.NewChip(seed, fuzzy.Balanced(0.85, 0.05)).Enrolled()
		_, _, err = fuzzy.Enroll(fuzzy.SRAM1K(), nil, biased)
		require.ErrorAs(t, err, &low)
		require.Less(t, low.Used, 1400)
		require.Equal(t, 1400, low.MinUsed)
	}
}

// A chip with row structure: right with one stride, caught with another.
func TestFaultFindsAWrongStride(t *testing.T) {
	m := fuzzy.Balanced(0.5, 0.05)
	up, down := fuzzy.NewChip(15, fuzzy.Balanced(0.65, 0.05)).Enrolled(), fuzzy.NewChip(16, fuzzy.Balanced(0.35, 0.05)).Enrolled()
	rows := fuzzy.NewChip(17, m).Enrolled()
	for i := range rows {
		if i%8 < 4 {
			rows[i] = up[i]
		} else {
			rows[i] = down[i]
		}
	}
	_, _, err := fuzzy.Enroll(fuzzy.SRAM1K().WithStride(1), nil, rows)
	require.NoError(t, err)
	_, _, err = fuzzy.Enroll(fuzzy.SRAM1K().WithStride(32), nil, rows)
	var fault *fuzzy.FaultError
	require.ErrorAs(t, err, &fault)
	require.ErrorIs(t, err, fuzzy.ErrFault)
	require.Greater(t, fault.Got, fault.Limit)
}

func TestReadings(t *testing.T) {
	chip := fuzzy.NewChip(18, fuzzy.Balanced(0.5, 0.05))
	a, b, c := chip.Read(), chip.Read(), chip.Read()
	other := fuzzy.NewChip(19, fuzzy.Balanced(0.5, 0.05)).Read()
	p := fuzzy.SRAM1K()
	for name, v := range map[string]struct {
		readings [][]byte
		want     error
	}{
		"two":         {[][]byte{a, b}, fuzzy.ErrReadings},
		"four":        {[][]byte{a, b, c, chip.Read()}, fuzzy.ErrReadings},
		"replayed":    {[][]byte{a, b, a}, fuzzy.ErrReadings},
		"other chip":  {[][]byte{a, b, other}, fuzzy.ErrReadings},
		"wrong size":  {[][]byte{a, b, c[:1000]}, fuzzy.ErrResponseSize},
		"one cleared": {[][]byte{a, make([]byte, 1024), b}, fuzzy.ErrResponseConstant},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := fuzzy.Enroll(p, nil, v.readings[0], v.readings[1:]...)
			require.ErrorIs(t, err, v.want)
		})
	}
	_, _, err := fuzzy.Enroll(p, nil, a, b, a)
	var apart *fuzzy.ReadingsError
	require.ErrorAs(t, err, &apart)
	require.Equal(t, fuzzy.ReadingsError{First: 0, Second: 2, Differ: 0, Of: 8192, Limit: 1228}, *apart)
	require.Contains(t, err.Error(), "replayed")
	_, _, err = fuzzy.Enroll(p, nil, a, other, b)
	require.ErrorAs(t, err, &apart)
	require.Contains(t, err.Error(), "15 %")
}

// A majority of three lies nearer to later readings than one reading does.
func TestMajorityLowersErrors(t *testing.T) {
	chip := fuzzy.NewChip(20, fuzzy.Balanced(0.5, 0.06))
	a, b, c, later := chip.Read(), chip.Read(), chip.Read(), chip.Read()
	_, one, err := fuzzy.Enroll(fuzzy.SRAM1K(), nil, a)
	require.NoError(t, err)
	_, three, err := fuzzy.Enroll(fuzzy.SRAM1K(), nil, a, b, c)
	require.NoError(t, err)
	_, single, err := fuzzy.Reconstruct(later, one)
	require.NoError(t, err)
	_, majority, err := fuzzy.Reconstruct(later, three)
	require.NoError(t, err)
	// Against one reading 2 * 6 % * 94 % = 11 %, against the majority 7 %.
	require.InDelta(t, 0.113, single.ErrorRate(), 0.02)
	require.InDelta(t, 0.069, majority.ErrorRate(), 0.02)
}

func TestEnrollIsFreshAndLeavesItsInput(t *testing.T) {
	response := fuzzy.NewChip(21, fuzzy.Balanced(0.5, 0.05)).Enrolled()
	before := bytes.Clone(response)
	k1, h1 := enroll(t, fuzzy.SRAM1K(), 1, response)
	k2, h2 := enroll(t, fuzzy.SRAM1K(), 1, response)
	require.Equal(t, h1, h2, "same random bytes, same helper data")
	require.Equal(t, derive(t, k1), derive(t, k2))
	k3, h3, err := fuzzy.Enroll(fuzzy.SRAM1K(), nil, response)
	require.NoError(t, err)
	require.NotEqual(t, h1, h3)
	require.NotEqual(t, derive(t, k1), derive(t, k3), "a key is fresh even for the same cells")
	require.Equal(t, before, response)
}

func TestRandomFails(t *testing.T) {
	response := fuzzy.NewChip(22, fuzzy.Balanced(0.5, 0.05)).Enrolled()
	broken := errors.New("no entropy today")
	for name, r := range map[string]io.Reader{
		"error": iotest.ErrReader(broken),
		"short": io.MultiReader(bytes.NewReader(make([]byte, 63)), iotest.ErrReader(broken)),
	} {
		t.Run(name, func(t *testing.T) {
			key, helper, err := fuzzy.Enroll(fuzzy.SRAM1K(), r, response)
			require.ErrorIs(t, err, broken)
			require.Nil(t, key)
			require.Zero(t, helper)
		})
	}
}

func BenchmarkEnroll(b *testing.B) {
	for _, p := range fuzzy.Sets() {
		for _, readings := range []int{1, 3} {
			b.Run(fmt.Sprintf("%s/readings=%d", p.Name(), readings), func(b *testing.B) {
				chip := fuzzy.NewChipFor(p, 1, fuzzy.Balanced(0.5, 0.06))
				response, further := chip.Read(), [][]byte{chip.Read(), chip.Read()}[:readings-1]
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := fuzzy.Enroll(p, nil, response, further...); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// Reconstruct of readings that need each of the decoders, and of one that none finds.
func BenchmarkReconstruct(b *testing.B) {
	for _, p := range fuzzy.Sets() {
		chip := fuzzy.NewChipFor(p, 1, fuzzy.Balanced(0.5, 0.06))
		_, helper, err := fuzzy.Enroll(p, nil, chip.Enrolled())
		if err != nil {
			b.Fatal(err)
		}
		other := fuzzy.NewChipFor(p, 2, fuzzy.Balanced(0.5, 0.06)).Read()
		for _, c := range []struct {
			name     string
			paths    int
			response []byte
			want     error
		}{
			{"fits", 32, chip.Read(), nil}, {"refused by first", 1, other, fuzzy.ErrReconstruct}, {"refused by list of 8", 8, other, fuzzy.ErrReconstruct},
			{"refused by list of 32", 32, other, fuzzy.ErrReconstruct},
		} {
			b.Run(p.Name()+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := fuzzy.ReconstructUpTo(c.paths, c.response, helper); !errors.Is(err, c.want) {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
