package e2e_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

func TestCheckEpoch(t *testing.T) {
	for _, c := range []struct {
		highest, epoch uint64
		want           error
	}{
		{0, 1, nil}, {7, 8, nil}, {7, 7 + 1<<32, nil},
		{0, 0, e2e.ErrStaleEpoch}, {7, 7, e2e.ErrStaleEpoch}, {7, 6, e2e.ErrStaleEpoch}, {7, 0, e2e.ErrStaleEpoch},
		{math.MaxUint64, math.MaxUint64, e2e.ErrStaleEpoch}, {math.MaxUint64, 0, e2e.ErrStaleEpoch},
		{7, 8 + 1<<32, e2e.ErrEpochJump}, {0, math.MaxUint64, e2e.ErrEpochJump},
	} {
		if c.want == nil {
			require.NoError(t, e2e.CheckEpoch(c.highest, c.epoch), "%d after %d", c.epoch, c.highest)
		} else {
			require.ErrorIs(t, e2e.CheckEpoch(c.highest, c.epoch), c.want, "%d after %d", c.epoch, c.highest)
		}
	}
}

func TestEpochWindow(t *testing.T) {
	var w e2e.EpochWindow
	for _, c := range []struct {
		epoch uint64
		want  error
	}{
		{0, e2e.ErrStaleEpoch}, {3, nil}, {3, e2e.ErrReplay}, {1, nil}, {1, e2e.ErrReplay}, {0, e2e.ErrStaleEpoch},
		{66, nil}, {3, e2e.ErrReplay}, {2, e2e.ErrStaleEpoch}, {4, nil}, {65, nil}, {65, e2e.ErrReplay},
		{1 << 33, e2e.ErrEpochJump}, {1000, nil}, {66, e2e.ErrStaleEpoch}, {937, nil}, {936, e2e.ErrStaleEpoch}, {1000, e2e.ErrReplay},
		{1064, nil}, {1000, e2e.ErrStaleEpoch}, {1001, nil},
	} {
		before := w
		check := w.Check(c.epoch)
		got := w.Accept(c.epoch)
		require.Equal(t, check, got, "Check and Accept agree on %d", c.epoch)
		if c.want == nil {
			require.NoError(t, got, "epoch %d", c.epoch)
		} else {
			require.ErrorIs(t, got, c.want, "epoch %d", c.epoch)
			require.Equal(t, before, w, "a refusal changes nothing")
		}
		back, err := e2e.ParseEpochWindow(w.Marshal())
		require.NoError(t, err)
		require.Equal(t, w, back)
	}
}

// Against a set that remembers everything: the window never takes an epoch twice, and takes every new one within its width.
func TestEpochWindowAgainstASet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var w e2e.EpochWindow
	used := map[uint64]bool{}
	for range 20000 {
		epoch := w.Highest + uint64(r.IntN(140)) + 1
		if back := uint64(r.IntN(140)); r.IntN(3) > 0 && back < epoch {
			epoch -= back
		}
		fits := epoch > 0 && !used[epoch] && epoch+64 > w.Highest
		require.Equal(t, fits, w.Accept(epoch) == nil, "epoch %d, window %+v", epoch, w)
		used[epoch] = used[epoch] || fits
	}
}

func TestParseEpochWindowRefuses(t *testing.T) {
	good := e2e.EpochWindow{Highest: 5, Bits: 0b10011}.Marshal()
	_, err := e2e.ParseEpochWindow(good)
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"nothing":            nil,
		"short":              good[:16],
		"long":               append(good[:17:17], 0),
		"version 2":          append([]byte{2}, good[1:]...),
		"bits of none":       e2e.EpochWindow{Bits: 1}.Marshal(),
		"highest not used":   e2e.EpochWindow{Highest: 5, Bits: 2}.Marshal(),
		"bit of epoch 0":     e2e.EpochWindow{Highest: 5, Bits: 1 | 1<<5}.Marshal(),
		"bit of epoch below": e2e.EpochWindow{Highest: 5, Bits: 1 | 1<<63}.Marshal(),
	} {
		t.Run(name, func(t *testing.T) {
			w, err := e2e.ParseEpochWindow(b)
			require.Error(t, err)
			require.Zero(t, w)
		})
	}
}
