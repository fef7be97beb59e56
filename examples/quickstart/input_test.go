package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf/pufsim"
)

// store writes n power-ups of a simulated chip, of size bytes, into a folder: raw, or Intel HEX with the name's ending.
func store(t *testing.T, folder string, seed uint64, n, size int, ext string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(folder, 0o700))
	chip := pufsim.New(seed, pufsim.Config{Size: size})
	b := make([]byte, size)
	for i := range n {
		require.NoError(t, chip.Measure(t.Context(), b))
		out := b
		if strings.EqualFold(ext, ".hex") {
			out = intelHex(b)
		}
		require.NoError(t, os.WriteFile(filepath.Join(folder, fmt.Sprintf("%02d%s", i+1, ext)), out, 0o600))
	}
}

func intelHex(b []byte) []byte {
	var out bytes.Buffer
	for at := 0; at < len(b); at += 16 {
		record := append([]byte{16, byte(at >> 8), byte(at), 0}, b[at:at+16]...)
		sum := byte(0)
		for _, x := range record {
			sum += x
		}
		fmt.Fprintf(&out, ":%X%02X\r\n", record, -sum)
	}
	out.WriteString(":00000001FF\r\n")
	return out.Bytes()
}

func TestOpenChips(t *testing.T) {
	for name, c := range map[string]struct {
		fill func(t *testing.T, dir string)
		what []string // of the chips
	}{
		"one chip": {
			func(t *testing.T, dir string) { store(t, dir+"/a", 1, 4, 3*sramSize, ".bin") },
			[]string{"a+0x0", "a+0x400", "a+0x800"},
		},
		"two chips, raw and Intel HEX, either case": {
			func(t *testing.T, dir string) {
				store(t, dir+"/a", 1, 2, 2*sramSize, ".BIN")
				store(t, dir+"/b", 2, 2, sramSize, ".Hex")
			},
			[]string{"a+0x0", "b+0x0", "a+0x400"},
		},
		"more chips than devices": {
			func(t *testing.T, dir string) {
				for i := range uint64(5) {
					store(t, fmt.Sprintf("%s/chip %d", dir, i), i, 2, sramSize, ".bin")
				}
			},
			[]string{"chip 0+0x0", "chip 1+0x0", "chip 2+0x0"},
		},
		"a name that is a pattern, beside files and folders of others": {
			func(t *testing.T, dir string) {
				store(t, dir+"/board[1]", 1, 2, 3*sramSize, ".bin")
				store(t, dir+"/.hidden", 2, 2, 3*sramSize, ".bin")
				require.NoError(t, os.WriteFile(dir+"/README.md", nil, 0o600))
				require.NoError(t, os.Mkdir(dir+"/notes", 0o700))
			},
			[]string{"board[1]+0x0", "board[1]+0x400", "board[1]+0x800"},
		},
		"a linked folder": {
			func(t *testing.T, dir string) {
				elsewhere := t.TempDir()
				store(t, elsewhere, 1, 2, 3*sramSize, ".bin")
				if err := os.Symlink(elsewhere, dir+"/a"); err != nil {
					t.Skip(err) // Windows gives links to some users only
				}
			},
			[]string{"a+0x0", "a+0x400", "a+0x800"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.fill(t, dir)
			chips, err := openChips(dir)
			require.NoError(t, err)
			var what []string
			readings := map[string]bool{}
			for _, chip := range chips {
				what = append(what, chip.what)
				for range 2 {
					b := make([]byte, sramSize)
					require.NoError(t, chip.Measure(t.Context(), b))
					readings[string(b)] = true
				}
				require.EqualValues(t, 2, chip.powerUps.Load())
			}
			require.Equal(t, c.what, what)
			require.Len(t, readings, 2*devices, "each chip and each power-up is another one")
		})
	}
}

// Files of one stem are one power-up: the readings of a folder with both formats are as many as the stems.
func TestOneStemIsOnePowerUp(t *testing.T) {
	dir := t.TempDir()
	store(t, dir+"/a", 1, 3, 3*sramSize, ".bin")
	store(t, dir+"/a", 1, 3, 3*sramSize, ".hex")
	chips, err := openChips(dir)
	require.NoError(t, err)
	require.Equal(t, 3, chips[0].stored)
}

func TestOpenChipsRefuses(t *testing.T) {
	write := func(t *testing.T, path string, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
	for name, c := range map[string]struct {
		fill func(t *testing.T, dir string)
		says string
	}{
		"nothing":     {func(*testing.T, string) {}, "make one for each chip"},
		"a chip":      {func(t *testing.T, dir string) { store(t, dir, 1, 3, 4096, ".bin") }, "it is a chip itself: name the folder above"},
		"one reading": {func(t *testing.T, dir string) { store(t, dir+"/a", 1, 1, 4096, ".bin") }, "one power-up, want two or more"},
		"too small":   {func(t *testing.T, dir string) { store(t, dir+"/a", 1, 3, 2048, ".bin") }, "dumps of 2048 bytes, want 3072"},
		"one chip twice": {func(t *testing.T, dir string) {
			store(t, dir+"/a", 1, 3, 2048, ".bin")
			store(t, dir+"/b", 1, 3, 1024, ".bin")
		}, "power-ups of one chip"},
		"one file twice": {func(t *testing.T, dir string) {
			store(t, dir+"/a", 1, 3, 2048, ".bin")
			require.NoError(t, os.CopyFS(dir+"/c", os.DirFS(dir+"/a")))
			store(t, dir+"/b", 2, 3, 1024, ".bin")
		}, "power-ups of one chip"},
		"empty file": {func(t *testing.T, dir string) {
			store(t, dir+"/a", 1, 3, 4096, ".bin")
			write(t, dir+"/a/01.bin", nil)
		}, "01.bin: 0 bytes"},
		"truncated Intel HEX": {func(t *testing.T, dir string) {
			store(t, dir+"/a", 1, 3, 4096, ".hex")
			b, err := os.ReadFile(dir + "/a/01.hex")
			require.NoError(t, err)
			write(t, dir+"/a/01.hex", b[:len(b)/2])
		}, "01.hex: line"},
		"Intel HEX with a wrong digit": {func(t *testing.T, dir string) {
			store(t, dir+"/a", 1, 3, 4096, ".hex")
			b, err := os.ReadFile(dir + "/a/01.hex")
			require.NoError(t, err)
			b[20] ^= 1
			write(t, dir+"/a/01.hex", b)
		}, "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.fill(t, dir)
			_, err := openChips(dir)
			require.ErrorContains(t, err, c.says)
			var out, stderr bytes.Buffer
			require.Equal(t, exitUsage, run(t.Context(), []string{"-sram", dir}, &out, &stderr))
			require.Contains(t, stderr.String(), c.says)
			require.Empty(t, out.String(), "the story has not begun")
		})
	}
}

// Damage that only a later power-up meets ends the story with exit code 1, the step's name and the file's.
func TestDamagedDumps(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		says   string
	}{
		"dead": {func(t *testing.T, dir string) {
			for _, name := range []string{"01", "02", "03", "04"} {
				require.NoError(t, os.WriteFile(dir+"/"+name+".bin", make([]byte, 4096), 0o600))
			}
		}, "all bits are equal"},
		"truncated":      {func(t *testing.T, dir string) { require.NoError(t, os.Truncate(dir+"/02.bin", 4000)) }, "02.bin has 4000 bytes, want 4096"},
		"another chip's": {func(t *testing.T, dir string) { store(t, dir, 2, 1, 4096, ".bin") }, "differ too much for one chip"},
		"the same again": {func(t *testing.T, dir string) {
			b, err := os.ReadFile(dir + "/01.bin")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(dir+"/02.bin", b, 0o600))
		}, "exactly alike"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store(t, dir+"/a", 1, 4, 4096, ".bin")
			c.damage(t, dir+"/a")
			var out, stderr bytes.Buffer
			require.Equal(t, exitFailed, run(t.Context(), []string{"-sram", dir}, &out, &stderr))
			require.Contains(t, stderr.String(), "quickstart: enrol: ")
			require.Contains(t, stderr.String(), c.says)
			require.Regexp(t, regexp.MustCompile(`✗ enrol: .*`), out.String())
		})
	}
}

// broken is an output that ends.
type broken struct{ left int }

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	var stderr bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), nil, &broken{left: 80}, &stderr))
	require.Equal(t, "quickstart: write output: no space left on device\n", stderr.String())
}

// interrupter is an output that brings Ctrl-C with the first line that has the words.
type interrupter struct {
	words string
	stop  context.CancelCauseFunc
}

func (i *interrupter) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(i.words)) {
		i.stop(errors.New("interrupt signal received"))
	}
	return len(p), nil
}

func TestInterrupt(t *testing.T) {
	for _, words := range []string{"Parties", "sticker", "after the restart", "Summary"} {
		t.Run(words, func(t *testing.T) {
			tmp := t.TempDir()
			for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
				t.Setenv(name, tmp)
			}
			ctx, stop := context.WithCancelCause(t.Context())
			var stderr bytes.Buffer
			require.Equal(t, exitInterrupted, run(ctx, nil, &interrupter{words, stop}, &stderr))
			require.Equal(t, "quickstart: stopped: interrupt signal received\n", stderr.String())
			left, err := os.ReadDir(tmp)
			require.NoError(t, err)
			require.Empty(t, left, "the temporary folder is gone")
		})
	}
}

func TestStepThatWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		told, ctx := newTeller(t.Context(), &out)
		began := time.Now()
		err := told.step("wait", func() (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		require.Equal(t, patience, time.Since(began))
		require.ErrorContains(t, err, "wait: not done after 30s (context canceled)")
		require.Contains(t, out.String(), "✗ wait: not done after 30s")
	})
}

// Steps that are done in time leave no clock running.
func TestStepsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told, ctx := newTeller(t.Context(), io.Discard)
		for range 3 {
			require.NoError(t, told.step("work", func() (string, error) {
				time.Sleep(patience - time.Second)
				return "", nil
			}))
		}
		time.Sleep(2 * patience)
		require.NoError(t, ctx.Err())
	})
}

func TestStoreThatCannotBeOpened(t *testing.T) {
	for _, name := range []string{"ca", "registry.db", "A-WATER.db"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			if name == "ca" {
				require.NoError(t, os.WriteFile(path, []byte("a file"), 0o600))
			} else {
				require.NoError(t, os.Mkdir(path, 0o700))
			}
			told, ctx := newTeller(t.Context(), io.Discard)
			s := newStage(dir, slog.New(slog.DiscardHandler), told)
			chips, err := openChips("")
			require.NoError(t, err)
			err = s.play(ctx, chips)
			s.close()
			require.ErrorContains(t, err, path)
		})
	}
}

func TestFirstErrorIsKept(t *testing.T) {
	var first firstLine
	var stderr bytes.Buffer
	log := newLog(false, &stderr, &first).With("party", "platform")
	log.Warn("not this")
	require.Empty(t, first.String())
	log.Error("message not handled", "err", "disk full")
	log.Error("message not handled", "err", "later")
	require.Equal(t, `msg="message not handled" party=platform err="disk full"`, first.String())
	require.Empty(t, stderr.String())

	log = newLog(true, &stderr, &first)
	log.Debug("a detail")
	require.Contains(t, stderr.String(), "a detail")
	require.NotContains(t, first.String(), "a detail")
}

func TestReadingsThatRepeatAreTold(t *testing.T) {
	dir := t.TempDir()
	store(t, dir+"/a", 1, 4, 3*sramSize, ".bin")
	var out, stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), []string{"-sram", dir}, &out, &stderr), stderr.String())
	require.Contains(t, out.String(), "has 4 power-ups: later readings repeat earlier ones")
}
