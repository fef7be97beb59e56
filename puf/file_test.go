package puf_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/puftest"
)

// readings takes n power-ups of a simulated chip.
func readings(t testing.TB, seed uint64, n int) [][]byte {
	t.Helper()
	chip := pufsim.New(seed, pufsim.Config{})
	out := make([][]byte, n)
	for i := range out {
		out[i] = make([]byte, chip.Size())
		require.NoError(t, chip.Measure(t.Context(), out[i]))
	}
	return out
}

// toHex writes b as Intel HEX at 0x20000000.
func toHex(b []byte) []byte {
	var out strings.Builder
	record := func(rec ...byte) {
		sum := byte(0)
		for _, x := range rec {
			sum -= x
		}
		fmt.Fprintf(&out, ":%s\n", hex.EncodeToString(append(rec, sum)))
	}
	record(2, 0, 0, 4, 0x20, 0)
	for i := 0; i < len(b); i += 16 {
		n := min(16, len(b)-i)
		record(append([]byte{byte(n), byte(i >> 8), byte(i), 0}, b[i:i+n]...)...)
	}
	record(0, 0, 0, 1)
	return []byte(out.String())
}

func write(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

func measure(t testing.TB, s puf.Source) []byte {
	t.Helper()
	b := make([]byte, s.Size())
	require.NoError(t, s.Measure(context.Background(), b))
	return b
}

func TestFilesAreSources(t *testing.T) {
	dir := t.TempDir()
	var raw, hexa string
	for i, b := range readings(t, 1, 6) {
		path := write(t, dir, fmt.Sprintf("%02d.bin", i), b)
		if i == 0 {
			raw, hexa = path, write(t, t.TempDir(), "dump.HEX", toHex(b))
		}
	}
	open := func(s puf.Source, err error) puf.Source {
		require.NoError(t, err)
		return s
	}
	t.Run("raw", func(t *testing.T) { puftest.TestSource(t, func() puf.Source { return open(puf.OpenFile(raw)) }) })
	t.Run("hex", func(t *testing.T) { puftest.TestSource(t, func() puf.Source { return open(puf.OpenFile(hexa)) }) })
	t.Run("folder", func(t *testing.T) { puftest.TestSource(t, func() puf.Source { return open(puf.OpenDir(dir)) }) })
	t.Run("window of a folder", func(t *testing.T) {
		puftest.TestSource(t, func() puf.Source { return puf.Window(open(puf.OpenDir(dir)), 100, 512) })
	})
}

func TestOpenFile(t *testing.T) {
	b := readings(t, 1, 1)[0]
	dir := t.TempDir()
	for _, path := range []string{write(t, dir, "a.bin", b), write(t, dir, "b.hex", toHex(b))} {
		src, err := puf.OpenFile(path)
		require.NoError(t, err)
		require.Equal(t, 1024, src.Size())
		require.Equal(t, b, measure(t, src))
		err = src.Measure(t.Context(), make([]byte, 1024))
		require.ErrorIs(t, err, puf.ErrExhausted)
		require.ErrorContains(t, err, "power-up 2 of 1")

		src, err = puf.OpenFile(path, puf.Wrap())
		require.NoError(t, err)
		require.Equal(t, b, measure(t, src))
		require.Equal(t, b, measure(t, src))

		src, err = puf.OpenFile(path, puf.StartAt(1))
		require.NoError(t, err)
		require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), puf.ErrExhausted)
	}
}

func TestOpenFileRefuses(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "d.bin"), 0o700))
	big := write(t, dir, "big.bin", nil)
	require.NoError(t, os.Truncate(big, puf.MaxDump+1))
	for name, c := range map[string]struct {
		path string
		opts []puf.Option
		want error
	}{
		"missing":         {path: filepath.Join(dir, "none.bin"), want: fs.ErrNotExist},
		"no extension":    {path: write(t, dir, "dump", []byte{1}), want: puf.ErrFormat},
		"other extension": {path: write(t, dir, "dump.elf", []byte{1}), want: puf.ErrFormat},
		"a folder":        {path: filepath.Join(dir, "d.bin"), want: puf.ErrFormat},
		"empty":           {path: write(t, dir, "e.bin", nil), want: puf.ErrFormat},
		"too large":       {path: big, want: puf.ErrFormat},
		"not hex":         {path: write(t, dir, "x.hex", []byte("hello"))},
		"hex cut short":   {path: write(t, dir, "y.hex", toHex(make([]byte, 64))[:100])},
		"hex with a gap":  {path: write(t, dir, "z.hex", []byte(":0100000001FE\n:0100040001FA\n:00000001FF\n"))},
		"negative start":  {path: write(t, dir, "n.bin", []byte{1}), opts: []puf.Option{puf.StartAt(-1)}},
	} {
		t.Run(name, func(t *testing.T) {
			src, err := puf.OpenFile(c.path, c.opts...)
			require.ErrorContains(t, err, "open dump")
			require.Nil(t, src)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
}

func TestFillGaps(t *testing.T) {
	path := write(t, t.TempDir(), "z.hex", []byte(":0100000001FE\n:0100040001FA\n:00000001FF\n"))
	src, err := puf.OpenFile(path, puf.FillGaps(0xee))
	require.NoError(t, err)
	require.Equal(t, []byte{1, 0xee, 0xee, 0xee, 1}, measure(t, src))
}

func TestOpenDir(t *testing.T) {
	all := readings(t, 2, 4)
	dir := t.TempDir()
	// In another order than that of the names, the second as Intel HEX alone, the third in both formats, and things to
	// leave alone.
	write(t, dir, "04.bin", all[3])
	write(t, dir, "02.hex", toHex(all[1]))
	write(t, dir, "03.hex", []byte("the raw file of the same stem is read"))
	write(t, dir, "03.bin", all[2])
	write(t, dir, "01.BIN", all[0])
	write(t, dir, "README.md", []byte("dumps"))
	write(t, dir, ".00.bin", []byte("hidden"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "00.bin"), 0o700))

	t.Run("in order", func(t *testing.T) {
		src, err := puf.OpenDir(dir)
		require.NoError(t, err)
		require.Equal(t, 4, src.Len())
		for i, want := range all {
			require.True(t, bytes.Equal(want, measure(t, src)), "power-up %d", i)
		}
		for range 2 {
			require.ErrorIs(t, src.Measure(t.Context(), make([]byte, src.Size())), puf.ErrExhausted)
		}
	})
	t.Run("wrapping", func(t *testing.T) {
		src, err := puf.OpenDir(dir, puf.Wrap(), puf.StartAt(6))
		require.NoError(t, err)
		for _, want := range []int{2, 3, 0, 1, 2} {
			require.True(t, bytes.Equal(all[want], measure(t, src)), "power-up %d", want)
		}
	})
	t.Run("start", func(t *testing.T) {
		src, err := puf.OpenDir(dir, puf.StartAt(3))
		require.NoError(t, err)
		require.Equal(t, all[3], measure(t, src))
		require.ErrorIs(t, src.Measure(t.Context(), make([]byte, src.Size())), puf.ErrExhausted)
	})
}

func TestOpenDirRefuses(t *testing.T) {
	_, err := puf.OpenDir(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = puf.OpenDir(t.TempDir())
	require.ErrorIs(t, err, puf.ErrFormat)
	dir := t.TempDir()
	write(t, dir, "1.hex", []byte("junk"))
	_, err = puf.OpenDir(dir)
	require.ErrorContains(t, err, "1.hex")
}

// A dump that cannot be read is told each time and not passed over: the order of the others would say nothing any more.
func TestBadDumpInFolder(t *testing.T) {
	all := readings(t, 2, 3)
	for name, spoil := range map[string]func(path string) error{
		"shorter": func(path string) error { return os.WriteFile(path, all[1][:1000], 0o600) },
		"longer":  func(path string) error { return os.WriteFile(path, append(all[1], 0), 0o600) },
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, b := range all {
				write(t, dir, fmt.Sprint(i, ".bin"), b)
			}
			src, err := puf.OpenDir(dir)
			require.NoError(t, err)
			measure(t, src)
			second := filepath.Join(dir, "1.bin")
			require.NoError(t, spoil(second))
			for range 2 {
				err := src.Measure(t.Context(), make([]byte, 1024))
				require.ErrorContains(t, err, "1.bin")
				require.NotErrorIs(t, err, puf.ErrExhausted)
			}
			write(t, dir, "1.bin", all[1])
			require.Equal(t, all[1], measure(t, src))
			require.Equal(t, all[2], measure(t, src))
		})
	}
}

func TestWindow(t *testing.T) {
	b := readings(t, 3, 1)[0]
	path := write(t, t.TempDir(), "a.bin", b)
	src, err := puf.OpenFile(path, puf.Wrap())
	require.NoError(t, err)
	for _, c := range []struct{ offset, size int }{{0, 1024}, {0, 1}, {1023, 1}, {512, 512}, {100, 200}} {
		w := puf.Window(src, c.offset, c.size)
		require.Equal(t, c.size, w.Size())
		require.Equal(t, b[c.offset:c.offset+c.size], measure(t, w))
	}
	require.Equal(t, b[110:120], measure(t, puf.Window(puf.Window(src, 100, 100), 10, 10)))

	const maxInt = int(^uint(0) >> 1)
	for _, c := range []struct{ offset, size int }{
		{0, 1025}, {1024, 1}, {1, 1024}, {-1, 10}, {0, 0}, {0, -1}, {maxInt, 1}, {1, maxInt}, {maxInt, maxInt}, {-maxInt - 1, maxInt},
		{2000, 10},
	} {
		var wrong *puf.SizeError
		buf := make([]byte, max(0, min(c.size, 2000)))
		err := puf.Window(src, c.offset, c.size).Measure(t.Context(), buf)
		require.ErrorAs(t, err, &wrong, "window of %d at %d", c.size, c.offset)
		require.Positive(t, wrong.Want)
	}
}

func TestWindowPassesErrorsOn(t *testing.T) {
	path := write(t, t.TempDir(), "a.bin", readings(t, 3, 1)[0])
	src, err := puf.OpenFile(path, puf.StartAt(1))
	require.NoError(t, err)
	require.ErrorIs(t, puf.Window(src, 0, 10).Measure(t.Context(), make([]byte, 10)), puf.ErrExhausted)
}

// sramDirs are the folders of real dumps, a chip each.
func sramDirs(t *testing.T) []string {
	t.Helper()
	root := os.Getenv("SEMIO_SRAM")
	if root == "" {
		t.Skip("SEMIO_SRAM names no folder of dumps; see github.com/TimothyClaeys/SramAnalyzer")
	}
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(root, e.Name()))
		}
	}
	require.NotEmpty(t, dirs)
	return dirs
}

// Every window of real memory passes the checks, and so does every pair with the first reading.
func TestRealDumpsPass(t *testing.T) {
	for _, dir := range sramDirs(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			src, err := puf.OpenDir(dir)
			require.NoError(t, err)
			var first []byte
			for n := range src.Len() {
				b := measure(t, src)
				for at := 0; at+1024 <= len(b); at += 1024 {
					// All windows of the first reading, and every window in some later one.
					if first == nil || at/1024%src.Len() == n {
						require.NoError(t, puf.Check(b[at:at+1024], puf.Limits{}), "reading %d, window at %d", n, at)
					}
					if first != nil {
						require.NoError(t, puf.CheckPair(first[at:at+1024], b[at:at+1024], puf.Limits{}), "reading %d, window at %d", n, at)
					}
				}
				if first == nil {
					first = b
					require.NoError(t, puf.Check(first, puf.Limits{}), "the whole memory")
				}
			}
		})
	}
}

func TestRealChipsAreTold(t *testing.T) {
	dirs := sramDirs(t)
	if len(dirs) < 2 {
		t.Skip("one chip only")
	}
	a, err := puf.OpenDir(dirs[0])
	require.NoError(t, err)
	b, err := puf.OpenDir(dirs[1])
	require.NoError(t, err)
	x, y := measure(t, puf.Window(a, 0, 1024)), measure(t, puf.Window(b, 0, 1024))
	require.ErrorIs(t, puf.CheckPair(x, y, puf.Limits{}), puf.ErrDistance)
}
