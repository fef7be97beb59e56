package fuzzy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
)

// TestRealChips enrols every window of every chip and reconstructs from all readings
// that were not enrolled: no failure is allowed, and no list needed. By the computed
// bound one in 10^18 would be a surprise at their 6 % of bit errors.
func TestRealChips(t *testing.T) {
	root := os.Getenv("SEMIO_SRAM")
	if root == "" {
		t.Skip("SEMIO_SRAM names no folder of SRAM dumps (one sub-folder a chip, one .bin a power-up); public ones: github.com/TimothyClaeys/SramAnalyzer")
	}
	chips, err := filepath.Glob(filepath.Join(root, "*", "01.bin"))
	require.NoError(t, err)
	require.NotEmpty(t, chips, "no <chip>/01.bin under %s", root)
	for _, first := range chips {
		dir := filepath.Dir(first)
		dumps := readDumps(t, dir)
		require.Greater(t, len(dumps), 3)
		for _, c := range []struct {
			p        fuzzy.Params
			readings int
			step     int // windows from one tried to the next
		}{
			{fuzzy.SRAM1K(), 1, 1}, {fuzzy.SRAM1K(), 3, 1}, {fuzzy.SRAM512(), 1, 5}, {fuzzy.SRAM1K320(), 3, 5}, {fuzzy.SRAM2K(), 1, 5}, {fuzzy.SRAM4K(), 3, 5},
		} {
			t.Run(fmt.Sprintf("%s, %s, %d readings", filepath.Base(dir), c.p.Name(), c.readings), func(t *testing.T) {
				size, count, worst := c.p.ResponseSize(), 0, 0.0
				for at := 0; at+size <= len(dumps[0]); at += c.step * size {
					var readings [][]byte
					for _, d := range dumps {
						readings = append(readings, d[at:at+size])
					}
					key, helper, err := fuzzy.Enroll(c.p, nil, readings[0], readings[1:c.readings]...)
					require.NoError(t, err, "enrol window %d", at/size)
					want := derive(t, key)
					for i, r := range readings[c.readings:] {
						got, report, err := fuzzy.Reconstruct(r, helper)
						require.NoError(t, err, "window %d, reading %d", at/size, c.readings+i)
						require.Equal(t, want, derive(t, got), "window %d, reading %d", at/size, c.readings+i)
						require.Equal(t, 1, report.List)
						worst = max(worst, report.ErrorRate())
						count++
					}
				}
				require.Less(t, worst, 0.10)
				t.Logf("%d reconstructions, none failed; worst reading has %.1f %% of its cells changed", count, 100*worst)
			})
		}
	}
}

// TestRealChipsWithWrongStride needs the board whose rows differ: pairing cells 32
// apart leaves it 0.47 bit a symbol, far from the profile's claim, and every window
// of it must be refused.
func TestRealChipsWithWrongStride(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(os.Getenv("SEMIO_SRAM"), "stm32f401-b", "01.bin"))
	if err != nil {
		t.Skip("SEMIO_SRAM has no stm32f401-b/01.bin, board Franck.dev of github.com/TimothyClaeys/SramAnalyzer")
	}
	p := fuzzy.SRAM1K().WithStride(32)
	for at := 0; at+p.ResponseSize() <= len(b); at += p.ResponseSize() {
		_, _, err := fuzzy.Enroll(p, nil, b[at:at+p.ResponseSize()])
		require.ErrorIs(t, err, fuzzy.ErrFault, "window %d", at/p.ResponseSize())
	}
}

func readDumps(t *testing.T, dir string) [][]byte {
	names, err := filepath.Glob(filepath.Join(dir, "*.bin"))
	require.NoError(t, err)
	sort.Strings(names)
	var dumps [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		dumps = append(dumps, b)
	}
	return dumps
}

// derive stands for the key: it never comes out itself.
func derive(t testing.TB, key *fuzzy.RootKey) []byte {
	b, err := key.Derive("test", nil, 32)
	require.NoError(t, err)
	return b
}
