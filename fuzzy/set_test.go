package fuzzy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
)

// What the documentation of each set says of it.
func TestSets(t *testing.T) {
	for _, c := range []struct {
		name           string
		p              fuzzy.Params
		response, help int
		n, k           int
		entropy, rated float64
	}{
		{"SRAM512", fuzzy.SRAM512(), 512, 536, 1024, 320, 0.9375, 0.12},
		{"SRAM1K", fuzzy.SRAM1K(), 1024, 1024, 2048, 384, 0.9375, 0.20},
		{"SRAM1K320", fuzzy.SRAM1K320(), 1024, 1024, 2048, 320, 0.96875, 0.22},
		{"SRAM2K", fuzzy.SRAM2K(), 2048, 2000, 4096, 576, 0.921875, 0.25},
		{"SRAM4K", fuzzy.SRAM4K(), 4096, 3952, 8192, 1280, 0.875, 0.25},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.name, c.p.Name())
			got, err := fuzzy.ParseSet(c.name)
			require.NoError(t, err)
			require.Equal(t, c.p, got)
			require.Contains(t, fuzzy.Sets(), c.p)
			require.Equal(t, c.response, c.p.ResponseSize())
			require.Equal(t, c.help, c.p.MaxHelperSize())
			n, k := c.p.Code()
			require.Equal(t, c.n, n)
			require.Equal(t, c.k, k)
			require.Equal(t, c.entropy, c.p.SymbolEntropy())
			require.Equal(t, c.rated, c.p.Rating().ErrorRate)
			require.Less(t, c.p.Rating().Failure, 1e-9)
			require.Equal(t, 256.0, c.p.EntropyFloor())
			require.Equal(t, 0.15, c.p.DistanceLimit())

			b, err := c.p.Bound(fuzzy.Balanced(0.5, c.rated))
			require.NoError(t, err)
			require.LessOrEqual(t, b.Failure, c.p.Rating().Failure)
			require.InDelta(t, 256, b.Left, 1e-9)

			chip := fuzzy.NewChipFor(c.p, 500, fuzzy.Balanced(0.5, c.rated))
			key, helper := enroll(t, c.p, 1, chip.Enrolled())
			require.LessOrEqual(t, len(helper.Bytes()), c.help)
			require.Equal(t, c.p, helper.Params())
			for range 10 {
				got, report, err := fuzzy.Reconstruct(chip.Read(), helper)
				require.NoError(t, err)
				require.Equal(t, derive(t, key), derive(t, got))
				require.Equal(t, 1, report.List)
			}
			requireRefused(t, fuzzy.NewChipFor(c.p, 501, fuzzy.Balanced(0.5, 0.06)).Read(), helper, fuzzy.ErrReconstruct)
		})
	}
	require.Len(t, fuzzy.Sets(), 5)
	_, err := fuzzy.ParseSet("sram1k")
	require.NoError(t, err)
	_, err = fuzzy.ParseSet("SRAM3K")
	require.ErrorIs(t, err, fuzzy.ErrParams)
	require.Contains(t, err.Error(), "SRAM512, SRAM1K, SRAM1K320, SRAM2K, SRAM4K")
	require.Zero(t, fuzzy.Params{}.Rating())
	require.Empty(t, fuzzy.Params{}.Name())
}

// At a quarter of all bits wrong the lists find what the first decoder loses, with
// the sets that have the entropy to spare.
func TestAQuarterOfAllBitsWrong(t *testing.T) {
	fuzzy.SkipUnderRace(t)
	for _, p := range []fuzzy.Params{fuzzy.SRAM1K(), fuzzy.SRAM1K320(), fuzzy.SRAM2K(), fuzzy.SRAM4K()} {
		chip := fuzzy.NewChipFor(p, 510, fuzzy.Balanced(0.5, 0.25))
		_, helper := enroll(t, p, 1, chip.Enrolled())
		for range 40 {
			_, _, err := fuzzy.Reconstruct(chip.Read(), helper)
			require.NoError(t, err, "%s", p)
		}
	}
}

// A decoder is not used beyond what is asked for.
func TestReconstructUpTo(t *testing.T) {
	chip := fuzzy.NewChip(530, fuzzy.Balanced(0.5, 0.27))
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
	needed := map[int]int{}
	for range 60 {
		response := chip.Read()
		_, all, err := fuzzy.Reconstruct(response, helper)
		require.NoError(t, err)
		needed[all.List]++
		for _, paths := range []int{1, 7, 8, 31, 32, 1000} {
			_, report, err := fuzzy.ReconstructUpTo(paths, response, helper)
			if paths >= all.List {
				require.NoError(t, err)
				require.Equal(t, all, report)
			} else {
				require.ErrorIs(t, err, fuzzy.ErrReconstruct)
				require.Zero(t, report)
			}
		}
	}
	require.Positive(t, needed[1])
	require.Positive(t, needed[8])
	_, _, err := fuzzy.ReconstructUpTo(0, chip.Enrolled(), helper)
	require.ErrorIs(t, err, fuzzy.ErrParams)
}

func TestProfile(t *testing.T) {
	p := fuzzy.SRAM1K()
	chip := fuzzy.NewChip(520, fuzzy.Balanced(0.5, 0.04))
	// 384 bits with perfect symbols leave 384, with 0.97 bit 322.
	_, _, err := fuzzy.Enroll(p.WithEntropyFloor(384).WithSymbolEntropy(1), nil, chip.Read())
	require.NoError(t, err)
	_, _, err = fuzzy.Enroll(p.WithEntropyFloor(330).WithSymbolEntropy(0.97), nil, chip.Read())
	var low *fuzzy.EntropyError
	require.ErrorAs(t, err, &low)
	require.Equal(t, 330.0, low.Floor)

	a, b, c := chip.Read(), chip.Read(), chip.Read()
	_, _, err = fuzzy.Enroll(p.WithDistanceLimit(0.10), nil, a, b, c)
	require.NoError(t, err)
	_, _, err = fuzzy.Enroll(p.WithDistanceLimit(0.05), nil, a, b, c)
	var apart *fuzzy.ReadingsError
	require.ErrorAs(t, err, &apart)
	require.Equal(t, 409, apart.Limit)
	require.Contains(t, err.Error(), "more than 4.99 % apart")
	for _, bad := range []fuzzy.Params{
		p.WithEntropyFloor(255), p.WithEntropyFloor(385), p.WithDistanceLimit(0), p.WithDistanceLimit(0.3), p.WithDistanceLimit(-1),
	} {
		_, _, err := fuzzy.Enroll(bad, nil, a)
		require.ErrorIs(t, err, fuzzy.ErrParams, "%+v", bad)
	}
}
