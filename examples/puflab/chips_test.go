package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// dumps writes power-ups of simulated chips as folders of a temporary one, which it returns.
func dumps(t *testing.T, chips, readings int, c pufsim.Config) string {
	t.Helper()
	root := t.TempDir()
	for i := range chips {
		record(t, filepath.Join(root, fmt.Sprintf("chip-%d", i)), pufsim.New(uint64(i), c), readings)
	}
	return root
}

// record writes power-ups of a simulated chip into a new folder.
func record(t *testing.T, dir string, sim *pufsim.Chip, readings int) {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o700))
	for j := range readings {
		b := make([]byte, sim.Size())
		require.NoError(t, sim.Measure(t.Context(), b))
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.bin", j)), b, 0o600))
	}
}

func TestLoadChips(t *testing.T) {
	root, second := dumps(t, 2, 3, pufsim.Config{}), dumps(t, 1, 2, pufsim.Config{})
	p := newProgress(io.Discard, "x")
	// A folder without dumps and a file lie beside those of the chips.
	require.NoError(t, os.Mkdir(filepath.Join(root, "notes"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, "README.md"), nil, 0o600))

	chips, err := loadChips(t.Context(), []string{root, filepath.Join(second, "chip-0")}, p)
	require.NoError(t, err)
	require.Len(t, chips, 3)
	for i, want := range []struct {
		name     string
		readings int
	}{{filepath.Join(root, "chip-0"), 3}, {"chip-1", 3}, {filepath.Join(second, "chip-0"), 2}} {
		require.Equal(t, want.name, chips[i].name)
		require.Len(t, chips[i].readings, want.readings)
	}
	first, err := os.ReadFile(filepath.Join(root, "chip-1", "00.bin"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(first, chips[1].readings[0]))
}

func TestLoadChipsRefuses(t *testing.T) {
	p := newProgress(io.Discard, "x")
	torn := dumps(t, 1, 2, pufsim.Config{})
	require.NoError(t, os.Truncate(filepath.Join(torn, "chip-0", "01.bin"), 100))
	empty := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(empty, "sub"), 0o700))
	for name, dirs := range map[string][]string{
		"none": nil, "missing": {filepath.Join(empty, "gone")}, "empty": {filepath.Join(empty, "sub")}, "empty sub-folders": {empty}, "torn": {torn},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadChips(t.Context(), dirs, p)
			var wrong wrongUsage
			require.ErrorAs(t, err, &wrong)
		})
	}
	_, err := loadChips(t.Context(), []string{empty}, p)
	require.ErrorIs(t, err, puf.ErrFormat)
}
