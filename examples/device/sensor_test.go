package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSensor(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	measure := func(s sensor) float64 {
		t.Helper()
		celsius, err := s.read()
		require.NoError(t, err)
		return celsius
	}
	s, err := openSensor("auto", root)
	require.NoError(t, err)
	require.Equal(t, "simulated", s.name, "a machine without thermometer")
	require.InDelta(t, 20.5, measure(s), 4)

	write("hwmon0/temp1_input", "asleep\n") // some chips answer with an error until they are awake
	good := write("hwmon1/temp2_input", "-12345\n")
	write("hwmon2/temp1_input", "99000\n")
	s, err = openSensor("auto", root)
	require.NoError(t, err)
	require.Equal(t, good, s.name)
	require.Equal(t, -12.345, measure(s))
	require.NoError(t, os.WriteFile(good, []byte("21000\n"), 0o600))
	require.Equal(t, 21.0, measure(s), "it is read each time")
	require.NoError(t, os.Remove(good))
	_, err = s.read()
	require.ErrorIs(t, err, os.ErrNotExist)

	s, err = openSensor("simulated", root)
	require.NoError(t, err)
	require.Equal(t, "simulated", s.name)
	for name, want := range map[string]string{
		filepath.Join(root, "nothing"): "want auto, simulated, or a file like /sys/class/hwmon/hwmon0/temp1_input",
		write("text", "warm"):          "holds no number of thousandths of a degree",
	} {
		_, err := openSensor(name, root)
		require.ErrorContains(t, err, want)
	}
}
