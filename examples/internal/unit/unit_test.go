package unit_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

func TestParseChip(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	for text, want := range map[string]unit.Chip{
		"sim:42":               {Kind: "sim", Seed: 42},
		"dumps:/a/b":           {Kind: "dumps", Dir: "/a/b"},
		"dumps:/a/b@4096":      {Kind: "dumps", Dir: "/a/b", Offset: 4096},
		"dumps:/a@home/b":      {Kind: "dumps", Dir: "/a@home/b"},
		"dumps:/a@home/b@1024": {Kind: "dumps", Dir: "/a@home/b", Offset: 1024},
		"sysfs:/sys/devices":   {Kind: "sysfs", Dir: "/sys/devices"},
		"sysfs:/s/1.sram@64":   {Kind: "sysfs", Dir: "/s/1.sram", Offset: 64},
		"dumps:b":              {Kind: "dumps", Dir: filepath.Join(here, "b")},
	} {
		got, err := unit.ParseChip(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
		again, err := unit.ParseChip(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, text := range []string{"", "sim", "sim:", "sim:x", "sim:-1", "dumps:", "dumps:@5", "sysfs:", "tpm:0"} {
		_, err := unit.ParseChip(text)
		require.ErrorContains(t, err, "want ", text)
	}
}

func TestUnit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "D-1")
	_, err := unit.Open(dir)
	require.ErrorIs(t, err, unit.ErrNone)
	chip := unit.Chip{Kind: "sim", Seed: 1}
	u, err := unit.Create(dir, chip, nil)
	require.NoError(t, err)

	_, err = unit.Open(dir)
	require.ErrorIs(t, err, unit.ErrInUse)
	_, err = u.PowerUp(t.Context())
	require.ErrorIs(t, err, devicegw.ErrNotProduced)
	require.NoError(t, u.Close())

	u, err = unit.Open(dir)
	require.NoError(t, err)
	require.Equal(t, chip, u.Chip)
	require.NoError(t, u.Close())
	_, err = unit.Create(dir, unit.Chip{Kind: "sim", Seed: 2}, nil)
	require.ErrorContains(t, err, "it has chip sim:1, not sim:2: name another folder")
}

func TestChipsThatAreNone(t *testing.T) {
	one := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(one, "0.bin"), make([]byte, 2048), 0o600))
	_, err := unit.Chip{Kind: "dumps", Dir: one}.Open()
	require.ErrorContains(t, err, "one power-up, want two or more")
	require.NoError(t, os.WriteFile(filepath.Join(one, "1.bin"), make([]byte, 2048), 0o600))
	_, err = unit.Chip{Kind: "dumps", Dir: one, Offset: 1025}.Open()
	require.ErrorContains(t, err, "dumps of 2048 bytes, want 2049")
	_, err = unit.Chip{Kind: "dumps", Dir: one, Offset: 1024}.Open()
	require.NoError(t, err)
	_, err = unit.Chip{Kind: "dumps", Dir: filepath.Join(one, "none")}.Open()
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A file stands in for what Linux exports. It is enrolled in one power-up and wakes up in others, as often as its process starts.
func TestSysfs(t *testing.T) {
	exported := t.TempDir()
	_, err := unit.Chip{Kind: "sysfs", Dir: exported}.Open()
	require.ErrorIs(t, err, puf.ErrNoRegion)
	chip := pufsim.New(7, pufsim.Config{Size: 2048})
	powerUp := func() {
		sram := make([]byte, 2048)
		require.NoError(t, chip.Measure(t.Context(), sram))
		require.NoError(t, os.WriteFile(filepath.Join(exported, "2020000.sram"), sram, 0o600))
	}
	powerUp()
	u, err := unit.Create(filepath.Join(t.TempDir(), "D-1"), unit.Chip{Kind: "sysfs", Dir: exported, Offset: 512}, nil)
	require.NoError(t, err)
	source, err := u.Chip.Open()
	require.NoError(t, err)
	vault, err := keyvault.Enroll(t.Context(), source, u.NVM, &keyvault.Options{Readings: 1})
	require.NoError(t, err)
	key := vault.Signer().Public()
	for range 3 {
		powerUp()
		for range 2 {
			vault, err := unit.Wake(t.Context(), u)
			require.NoError(t, err)
			require.Equal(t, key, vault.Signer().Public())
		}
	}
}
