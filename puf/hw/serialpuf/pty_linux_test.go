package serialpuf_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/hw/serialpuf"
	"github.com/semio-iot/semio/puf/puftest"
)

// newPTY returns the MCU's end of a pseudo-terminal and the name of the host's.
func newPTY(t *testing.T) (*os.File, string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	raw, err := master.SyscallConn()
	require.NoError(t, err)
	var number int
	// Not through Fd, which would make reads ignore Close.
	require.NoError(t, raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	require.NoError(t, err)
	return master, fmt.Sprintf("/dev/pts/%d", number)
}

// openPTY returns a source at the host's end and has m serve the other.
func openPTY(t *testing.T, m *mcu, cfg serialpuf.Config) *serialpuf.Source {
	t.Helper()
	master, name := newPTY(t)
	return serve(t, m, master, name, cfg)
}

// serve opens the port first, as its MCU must not write before the terminal is raw and echoes nothing.
func serve(t *testing.T, m *mcu, master *os.File, name string, cfg serialpuf.Config) *serialpuf.Source {
	t.Helper()
	src, err := serialpuf.Open(name, cfg)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() { defer close(ended); m.serve(t, master) }()
	t.Cleanup(func() {
		require.NoError(t, src.Close())
		master.Close()
		<-ended
	})
	return src
}

func TestSourceOverTerminal(t *testing.T) {
	puftest.TestSource(t, func() puf.Source {
		return openPTY(t, &mcu{chip: newChip(1024)}, serialpuf.Config{})
	})
}

// The bytes that a terminal would change were it not raw: newlines, control characters, flow control, 0xff.
func TestTerminalPassesAllBytes(t *testing.T) {
	all := make([]byte, 0, 4096)
	for i := range 4096 {
		all = append(all, byte(i*(i/256+1)))
	}
	src := openPTY(t, &mcu{chip: newChip(1), answer: func(int, []byte) []byte { return encode(1, all) }}, serialpuf.Config{Size: len(all)})
	require.Equal(t, all, reading(t, src))
}

func TestTerminalRecovers(t *testing.T) {
	src := openPTY(t, &mcu{chip: newChip(1024), answer: func(n int, f []byte) []byte {
		if n == 1 {
			f[100] ^= 1
		}
		return append([]byte("boot PUF1"), f...)
	}}, serialpuf.Config{Gap: 10 * time.Millisecond})
	same := newChip(1024)
	reading(t, same)
	require.Equal(t, reading(t, same), reading(t, src))
}

// Old bytes are dropped in the kernel before a request.
func TestTerminalDropsOldFrames(t *testing.T) {
	master, name := newPTY(t)
	// Opened before the source takes the port for itself, to see when the bytes have passed through the kernel.
	watch, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(watch) })
	src := serve(t, &mcu{chip: newChip(1024)}, master, name, serialpuf.Config{})
	old := encode(1, make([]byte, 1024))
	_, err = master.Write(old)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := unix.IoctlGetInt(watch, unix.TIOCINQ)
		return err == nil && n == len(old)
	}, 60*time.Second, time.Millisecond)
	require.True(t, bytes.Equal(reading(t, newChip(1024)), reading(t, src)))
}

func TestTerminalGone(t *testing.T) {
	master, name := newPTY(t)
	src, err := serialpuf.Open(name, serialpuf.Config{})
	require.NoError(t, err)
	require.NoError(t, master.Close())
	require.ErrorContains(t, src.Measure(t.Context(), make([]byte, 1024)), "plugged in")
	src.Close()
}

func TestOpenRefuses(t *testing.T) {
	_, err := serialpuf.Open(filepath.Join(t.TempDir(), "none"), serialpuf.Config{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = serialpuf.Open("/dev/null", serialpuf.Config{})
	require.ErrorContains(t, err, "open serial port /dev/null")
}
