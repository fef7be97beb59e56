package puf_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/puftest"
)

// machine stands in for a device whose SRAM the kernel exports: a file that a power cycle fills with start-up values.
type machine struct {
	t    testing.TB
	chip *pufsim.Chip
	file string

	keep float64 // share of bits that outlive a power cycle
	off  int     // power cycles
}

func newMachine(t testing.TB, size int) *machine {
	dir := filepath.Join(t.TempDir(), "platform", "soc", "9ff00.sram")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	m := &machine{t: t, chip: pufsim.New(7, pufsim.Config{Size: size}), file: filepath.Join(dir, "9ff00.sram")}
	require.NoError(t, m.cycle(t.Context()))
	return m
}

// cycle is the device's power switch.
func (m *machine) cycle(ctx context.Context) error {
	m.off++
	b := measure(m.t, m.chip)
	if old, err := os.ReadFile(m.file); err == nil {
		r := rand.New(rand.NewPCG(uint64(m.off), 1))
		for i := range 8 * len(b) {
			if r.Float64() < m.keep {
				setBit(b, i, bit(old, i))
			}
		}
	}
	return os.WriteFile(m.file, b, 0o600)
}

func (m *machine) memory() []byte {
	b, err := os.ReadFile(m.file)
	require.NoError(m.t, err)
	return b
}

func (m *machine) open(c puf.SysfsConfig) *puf.Sysfs {
	s, err := puf.OpenSysfs(m.file, c)
	require.NoError(m.t, err)
	return s
}

func TestSysfsIsASource(t *testing.T) {
	t.Run("one reading in a power-up", func(t *testing.T) {
		puftest.TestSource(t, func() puf.Source { return newMachine(t, 2048).open(puf.SysfsConfig{}) })
	})
	t.Run("power switched", func(t *testing.T) {
		puftest.TestSource(t, func() puf.Source {
			m := newMachine(t, 2048)
			return m.open(puf.SysfsConfig{Offset: 100, Size: 1024, PowerCycle: m.cycle})
		})
	})
}

func TestSysfsLeavesMarkerAndInverse(t *testing.T) {
	m := newMachine(t, 2048)
	before := m.memory()
	s := m.open(puf.SysfsConfig{Offset: 16, Size: 1024})
	reading := measure(t, s)
	require.Equal(t, before[16:16+1024], reading)

	after := m.memory()
	require.Equal(t, before[:16], after[:16], "bytes before the reading are not the source's")
	require.Equal(t, before[16+1024+puf.SysfsTrailer:], after[16+1024+puf.SysfsTrailer:], "bytes behind the trailer are not the source's")
	for i, b := range reading {
		require.Equal(t, ^b, after[16+i], "byte %d", i)
	}

	// A warm reboot: another process, the same memory.
	var fault *puf.CheckError
	err := m.open(puf.SysfsConfig{Offset: 16, Size: 1024}).Measure(t.Context(), make([]byte, 1024))
	require.ErrorAs(t, err, &fault)
	require.ErrorIs(t, err, puf.ErrNotPowerCycled)
	require.ErrorIs(t, err, puf.ErrExhausted)
	require.ErrorContains(t, err, "switch the device off")
	require.Equal(t, 512.0, fault.Got)
	require.Equal(t, after, m.memory(), "a refused reading changes nothing")

	require.NoError(t, m.cycle(t.Context()))
	require.NoError(t, puf.CheckPair(reading, measure(t, s), puf.Limits{}))
}

func TestSysfsRestart(t *testing.T) {
	m := newMachine(t, 1024+puf.SysfsTrailer)
	reading := measure(t, m.open(puf.SysfsConfig{}))
	require.Len(t, reading, 1024)

	again := m.open(puf.SysfsConfig{Restart: true})
	for range 2 {
		require.Equal(t, reading, measure(t, again), "a restart within a power-up has that power-up's reading")
	}
	// What changed since is not given out as a reading.
	spoilt := m.memory()
	spoilt[500] ^= 1
	require.NoError(t, os.WriteFile(m.file, spoilt, 0o600))
	err := again.Measure(t.Context(), reading)
	require.ErrorIs(t, err, puf.ErrNotPowerCycled)
	require.Equal(t, make([]byte, 1024), reading, "on an error nothing of the memory stays in the buffer")

	require.NoError(t, m.cycle(t.Context()))
	fresh := m.memory()[:1024]
	require.Equal(t, fresh, measure(t, again))
}

// A process killed anywhere in Measure leaves a memory that gives the start-up values or an error, and never anything else. What it
// writes comes in the order of the source: trailer, then inverse.
func TestSysfsKilledAnywhere(t *testing.T) {
	const size = 256
	m := newMachine(t, size+puf.SysfsTrailer)
	before := m.memory()
	reading := measure(t, m.open(puf.SysfsConfig{}))
	after := m.memory()
	order := make([]int, 0, len(after))
	for i := range puf.SysfsTrailer {
		order = append(order, size+i)
	}
	for i := range size {
		order = append(order, i)
	}
	state := bytes.Clone(before)
	refused, given := 0, 0
	for written := 0; written <= len(order); written++ {
		if written > 0 {
			state[order[written-1]] = after[order[written-1]]
		}
		for _, restart := range []bool{false, true} {
			require.NoError(t, os.WriteFile(m.file, state, 0o600))
			dst := make([]byte, size)
			if err := m.open(puf.SysfsConfig{Restart: restart}).Measure(t.Context(), dst); err != nil {
				require.ErrorIs(t, err, puf.ErrNotPowerCycled)
				require.Equal(t, make([]byte, size), dst)
				refused++
				continue
			}
			require.Equal(t, reading, dst, "killed after %d bytes, restart %v", written, restart)
			given++
		}
	}
	require.Greater(t, refused, size, "the inverse is never taken for a reading")
	require.Greater(t, given, 30, "until the marker stands the reading can be taken again")
}

// A memory that was off too briefly keeps a part of its bits, here of marker and inverse.
func TestSysfsPowerOffTooShort(t *testing.T) {
	for _, c := range []struct {
		keep float64
		want error
	}{{0, nil}, {0.1, nil}, {0.4, puf.ErrNotPowerCycled}, {0.9, puf.ErrNotPowerCycled}, {1, puf.ErrNotPowerCycled}} {
		m := newMachine(t, 2048)
		s := m.open(puf.SysfsConfig{PowerCycle: m.cycle})
		measure(t, s)
		m.keep = c.keep
		err := s.Measure(t.Context(), make([]byte, s.Size()))
		require.ErrorIs(t, err, c.want, "%v kept", c.keep)
		require.NotErrorIs(t, err, puf.ErrExhausted, "%v kept: the switch can be tried again", c.keep)
		require.Equal(t, 2, m.off)
	}
}

// No chip's start-up values look like the marker, whatever their bias.
func TestSysfsMarkerIsNoPowerUp(t *testing.T) {
	for _, ones := range []float64{0.1, 0.3, 0.5, 0.7, 0.9} {
		for seed := range uint64(40) {
			file := write(t, t.TempDir(), "0.sram", biased(seed, 1024, ones))
			s, err := puf.OpenSysfs(file, puf.SysfsConfig{})
			require.NoError(t, err)
			require.NoError(t, s.Measure(t.Context(), make([]byte, s.Size())), "%v ones, seed %d", ones, seed)
		}
	}
}

func TestSysfsPowerSwitchFails(t *testing.T) {
	m := newMachine(t, 2048)
	stuck := errors.New("relay stuck")
	s := m.open(puf.SysfsConfig{PowerCycle: func(context.Context) error { return stuck }})
	measure(t, s)
	require.ErrorIs(t, s.Measure(t.Context(), make([]byte, s.Size())), stuck)

	gone := m.open(puf.SysfsConfig{PowerCycle: func(context.Context) error { return os.Remove(m.file) }})
	require.ErrorIs(t, gone.Measure(t.Context(), make([]byte, gone.Size())), fs.ErrNotExist)
}

// A driver that takes the region into use while it is read shows when the memory is looked at again.
func TestSysfsSharedMemory(t *testing.T) {
	// /dev/zero swallows what is written: a memory that keeps nothing.
	if _, err := os.Stat("/dev/zero"); err != nil {
		t.Skip("no /dev/zero here")
	}
	m := newMachine(t, 2048)
	s := m.open(puf.SysfsConfig{})
	require.NoError(t, os.Remove(m.file))
	require.NoError(t, os.Symlink("/dev/zero", m.file))
	dst := bytes.Repeat([]byte{1}, s.Size())
	require.ErrorIs(t, s.Measure(t.Context(), dst), puf.ErrNotKept)
	require.Equal(t, make([]byte, s.Size()), dst)
}

func TestOpenSysfs(t *testing.T) {
	m := newMachine(t, 2048)
	soc := filepath.Dir(filepath.Dir(m.file))
	for _, path := range []string{m.file, filepath.Dir(m.file), soc} {
		s, err := puf.OpenSysfs(path, puf.SysfsConfig{})
		require.NoError(t, err)
		require.Equal(t, m.file, s.Path())
		require.Equal(t, 2048-puf.SysfsTrailer, s.Size())
	}
	other := write(t, soc, "a0000.sram", make([]byte, 4096))
	write(t, soc, "driver.sram", make([]byte, 4096)) // no address
	found, err := puf.FindSysfs(soc)
	require.NoError(t, err)
	require.Equal(t, []string{m.file, other}, found)
	_, err = puf.OpenSysfs(soc, puf.SysfsConfig{})
	require.ErrorIs(t, err, puf.ErrSeveralRegions)
	require.ErrorContains(t, err, other)

	_, err = puf.OpenSysfs(t.TempDir(), puf.SysfsConfig{})
	require.ErrorIs(t, err, puf.ErrNoRegion)
	_, err = puf.OpenSysfs(filepath.Join(soc, "none"), puf.SysfsConfig{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = puf.FindSysfs(filepath.Join(soc, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)

	for _, c := range []puf.SysfsConfig{
		{Offset: -1}, {Size: -1}, {Size: 2048}, {Size: 2048 - puf.SysfsTrailer + 1}, {Offset: 1, Size: 2048 - puf.SysfsTrailer}, {Offset: 2048},
		{Offset: math.MaxInt}, {Size: math.MaxInt}, {Offset: math.MaxInt, Size: math.MaxInt}, {Offset: math.MinInt, Size: 1},
	} {
		var small *puf.SizeError
		_, err := puf.OpenSysfs(m.file, c)
		require.ErrorAs(t, err, &small, "%+v", c)
		require.Equal(t, 2048, small.Got)
	}
}
