package fuzzy_test

import (
	"os"
	"path/filepath"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
)

// TestRealChips enrols every window of every chip from its first power-up and
// reconstructs from all others: no failure is allowed. By the computed bound one
// in 10^18 would be a surprise at their 6 % of bit errors.
func TestRealChips(t *testing.T) {
	root := os.Getenv("SEMIO_SRAM")
	if root == "" {
		t.Skip("SEMIO_SRAM names no folder of SRAM dumps (one sub-folder a chip, one .bin a power-up); public ones: github.com/TimothyClaeys/SramAnalyzer")
	}
	chips, err := filepath.Glob(filepath.Join(root, "*", "01.bin"))
	require.NoError(t, err)
	require.NotEmpty(t, chips, "no <chip>/01.bin under %s", root)

	p := fuzzy.SRAM1K().WithStride(1)
	for _, first := range chips {
		dir := filepath.Dir(first)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			dumps := readDumps(t, dir)
			require.Greater(t, len(dumps), 1)
			size, count, worst := p.ResponseSize(), 0, 0.0
			for at := 0; at+size <= len(dumps[0]); at += size {
				key, helper, err := fuzzy.Enroll(p, nil, dumps[0][at:at+size])
				require.NoError(t, err, "enrol window %d", at/size)
				want := derive(t, key)
				for i, d := range dumps[1:] {
					got, report, err := fuzzy.Reconstruct(d[at:at+size], helper)
					require.NoError(t, err, "window %d, dump %d", at/size, i+2)
					require.Equal(t, want, derive(t, got), "window %d, dump %d", at/size, i+2)
					worst = max(worst, report.ErrorRate())
					count++
				}
			}
			require.Less(t, worst, 0.10)
			t.Logf("%d reconstructions, none failed; worst reading has %.1f %% of its cells changed", count, 100*worst)
		})
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
