package serialpuf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/hw/serialpuf"
	"github.com/semio-iot/semio/puf/puftest"
)

// open returns a source whose line ends at m.
func open(t *testing.T, m *mcu, cfg serialpuf.Config) *serialpuf.Source {
	t.Helper()
	host, device := newLine()
	src, err := serialpuf.New(host, cfg)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() { defer close(ended); m.serve(t, device) }()
	t.Cleanup(func() { src.Close(); <-ended })
	return src
}

func TestSource(t *testing.T) {
	puftest.TestSource(t, func() puf.Source { return open(t, &mcu{chip: newChip(1024)}, serialpuf.Config{}) })
}

// A line with deadlines whose reads and writes meet: nothing is buffered.
func TestSourceOverConn(t *testing.T) {
	puftest.TestSource(t, func() puf.Source {
		host, device := net.Pipe()
		src, err := serialpuf.New(host, serialpuf.Config{Size: 700})
		require.NoError(t, err)
		ended := make(chan struct{})
		go func() { defer close(ended); (&mcu{chip: newChip(700)}).serve(t, device) }()
		t.Cleanup(func() { src.Close(); <-ended })
		return src
	})
}

func TestLargestReading(t *testing.T) {
	m := &mcu{chip: newChip(65535)}
	src := open(t, m, serialpuf.Config{Size: 65535})
	require.Equal(t, reading(t, newChip(65535)), reading(t, src))
	require.Equal(t, []uint16{65535}, m.requests)
}

// What the documentation gives as bytes.
func TestDocumentedBytes(t *testing.T) {
	host, device := newLine()
	src, err := serialpuf.New(host, serialpuf.Config{Size: 4})
	require.NoError(t, err)
	_, err = device.Write([]byte{0x50, 0x55, 0x46, 0x31, 0, 4, 0, 1, 0xde, 0xad, 0xbe, 0xef, 0x70, 0x5e, 0x3f, 0x96})
	require.NoError(t, err)
	require.Equal(t, []byte{0xde, 0xad, 0xbe, 0xef}, reading(t, src))

	host, device = newLine()
	src, err = serialpuf.New(host, serialpuf.Config{Size: 1024})
	require.NoError(t, err)
	_, err = device.Write(encode(1, make([]byte, 1024)))
	require.NoError(t, err)
	reading(t, src)
	sent := make([]byte, 100)
	n, err := device.Read(sent)
	require.NoError(t, err)
	require.Equal(t, []byte{0x50, 0x55, 0x46, 0x52, 4, 0, 0, 0, 0x55, 0x59, 8, 0x32}, sent[:n])
}

// Each case is a line or an MCU that fails, and the only error that explains it.
func TestRefuses(t *testing.T) {
	flip := func(frame []byte, at int) []byte { frame[at] ^= 0x10; return frame }
	for name, c := range map[string]struct {
		answer   func(n int, frame []byte) []byte
		want     error
		requests int
		says     string
		after    time.Duration // the call's duration at most
	}{
		"silent":              {func(int, []byte) []byte { return nil }, serialpuf.ErrNoReply, 3, "3 requests", 16 * time.Second},
		"one bit of the data": {func(_ int, f []byte) []byte { return flip(f, 500) }, serialpuf.ErrChecksum, 3, "", 3 * time.Second},
		"one bit of the CRC":  {func(_ int, f []byte) []byte { return flip(f, len(f)-1) }, serialpuf.ErrChecksum, 3, "", 3 * time.Second},
		"the fresh bit lost":  {func(_ int, f []byte) []byte { f[7] = 0; return f }, serialpuf.ErrChecksum, 3, "", 3 * time.Second},
		"length damaged":      {func(_ int, f []byte) []byte { return flip(f, 4) }, serialpuf.ErrShort, 3, "got 1036 bytes, want 5132", 3 * time.Second},
		"length too small":    {func(_ int, f []byte) []byte { f[4] = 1; return f }, serialpuf.ErrChecksum, 3, "", 3 * time.Second},
		"cut in the data":     {func(_ int, f []byte) []byte { return f[:1000] }, serialpuf.ErrShort, 3, "got 1000 bytes, want 1036", 3 * time.Second},
		"cut in the header":   {func(_ int, f []byte) []byte { return f[:5] }, serialpuf.ErrShort, 3, "got 5 bytes, want 8", 3 * time.Second},
		"cut in the magic":    {func(_ int, f []byte) []byte { return f[:3] }, serialpuf.ErrNoReply, 3, "", 16 * time.Second},
		"a byte lost":         {func(_ int, f []byte) []byte { return append(f[:99], f[100:]...) }, serialpuf.ErrShort, 3, "got 1035 bytes, want 1036", 3 * time.Second},
		"a byte too many":     {func(_ int, f []byte) []byte { return append(f[:99:99], f[98:]...) }, serialpuf.ErrChecksum, 3, "", 3 * time.Second},
		"not fresh":           {func(_ int, f []byte) []byte { return encode(0, f[8:1032]) }, serialpuf.ErrNotFresh, 1, "power", time.Second},
		"other flag":          {func(_ int, f []byte) []byte { return encode(3, f[8:1032]) }, serialpuf.ErrFlags, 1, "got 0x0003, known 0x0001", time.Second},
		"highest flag":        {func(_ int, f []byte) []byte { return encode(0x8001, f[8:1032]) }, serialpuf.ErrFlags, 1, "0x8001", time.Second},
		"a byte less":         {func(_ int, f []byte) []byte { return encode(1, f[8:1031]) }, serialpuf.ErrSize, 1, "got 1023 bytes, want 1024", time.Second},
		"twice the size":      {func(_ int, f []byte) []byte { return encode(1, make([]byte, 2048)) }, serialpuf.ErrSize, 1, "got 2048", time.Second},
		"nothing inside":      {func(_ int, f []byte) []byte { return encode(1, nil) }, serialpuf.ErrSize, 1, "got 0 bytes", time.Second},
		"largest size":        {func(_ int, f []byte) []byte { return encode(1, make([]byte, 65535)) }, serialpuf.ErrSize, 1, "got 65535", time.Second},
		"noise":               {func(int, []byte) []byte { return bytes.Repeat([]byte("PUF0"), 50000) }, serialpuf.ErrNoise, 1, "skipped", time.Second},
		"an echoing line":     {func(int, []byte) []byte { return []byte("PUFR\x04\x00\x00\x00\x55\x59\x08\x32") }, serialpuf.ErrNoReply, 3, "36 bytes skipped", 16 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mcu{chip: newChip(1024), answer: c.answer}
				src := open(t, m, serialpuf.Config{})
				start := time.Now()
				err := src.Measure(t.Context(), make([]byte, 1024))
				require.ErrorIs(t, err, c.want)
				require.ErrorContains(t, err, c.says)
				var e *serialpuf.FrameError
				require.ErrorAs(t, err, &e)
				require.Equal(t, c.requests, e.Requests, err)
				require.Equal(t, c.requests, m.count(), err)
				require.LessOrEqual(t, time.Since(start), c.after)
			})
		})
	}
}

// Each of these costs time or a second request, not the reading.
func TestRecovers(t *testing.T) {
	junk := []byte("boot: PUF ok\r\n\xff\x00PUFPPUF")
	for name, c := range map[string]struct {
		answer   func(n int, frame []byte) []byte
		requests int
		within   time.Duration
	}{
		"junk before":                {func(_ int, f []byte) []byte { return append(junk, f...) }, 1, time.Second},
		"junk after":                 {func(_ int, f []byte) []byte { return append(f, junk...) }, 1, time.Second},
		"rest of another frame":      {func(_ int, f []byte) []byte { return append(bytes.Clone(f[300:]), f...) }, 1, time.Second},
		"magic twice":                {func(_ int, f []byte) []byte { return append([]byte("PUF1"), f...) }, 1, 2 * time.Second},
		"noise that is a magic":      {func(_ int, f []byte) []byte { return append([]byte("PUF1\xff\xff\x00\x01"), f...) }, 1, 2 * time.Second},
		"damaged one just before":    {func(_ int, f []byte) []byte { return append(append(bytes.Clone(f[:1035]), f[1035]^1), f...) }, 1, time.Second},
		"cut one just before":        {func(_ int, f []byte) []byte { return append(bytes.Clone(f[:400]), f...) }, 1, time.Second},
		"100 kB of boot log":         {func(_ int, f []byte) []byte { return append(bytes.Repeat([]byte("PUF"), 34000), f...) }, 1, time.Second},
		"first answer damaged":       {func(n int, f []byte) []byte { f[700] ^= byte(1 >> (n - 1)); return f }, 2, time.Second},
		"first two answers missing":  {func(n int, f []byte) []byte { return f[:len(f)*(n/3)] }, 3, 11 * time.Second},
		"first answer cut":           {func(n int, f []byte) []byte { return f[:len(f)-2+2*min(n-1, 1)] }, 2, time.Second},
		"first damaged, then silent": {func(n int, f []byte) []byte { f[20] ^= byte(1 >> (n - 1)); return f[:len(f)*(n%2)] }, 3, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mcu{chip: newChip(1024), answer: c.answer}
				src := open(t, m, serialpuf.Config{})
				// Of the chip's power-ups the last asked for is the one delivered.
				same := newChip(1024)
				var want []byte
				for range c.requests {
					want = reading(t, same)
				}
				start := time.Now()
				require.Equal(t, want, reading(t, src))
				require.Equal(t, c.requests, m.count())
				require.LessOrEqual(t, time.Since(start), c.within)
			})
		})
	}
}

// A byte at a time, in less than the gap, for as long as Timeout allows.
func TestSlowLine(t *testing.T) {
	for _, c := range []struct {
		each time.Duration
		want error
	}{{10 * time.Millisecond, nil}, {499 * time.Millisecond, serialpuf.ErrShort}, {600 * time.Millisecond, serialpuf.ErrShort}} {
		t.Run(c.each.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host, device := newLine()
				src, err := serialpuf.New(host, serialpuf.Config{Size: 64})
				require.NoError(t, err)
				ended := make(chan struct{})
				defer func() { host.Close(); <-ended }()
				go func() {
					defer close(ended)
					for _, b := range encode(1, make([]byte, 64)) {
						time.Sleep(c.each)
						if _, err := device.Write([]byte{b}); err != nil {
							return
						}
					}
				}()
				start := time.Now()
				err = src.Measure(t.Context(), make([]byte, 64))
				if c.want == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, c.want)
				}
				require.LessOrEqual(t, time.Since(start), serialpuf.DefaultTimeout+time.Second)
			})
		})
	}
}

// An MCU that talks without end is not listened to without end, whatever it says.
func TestChatter(t *testing.T) {
	for name, c := range map[string]struct {
		say  []byte
		want error
	}{
		"log lines":      {[]byte("tick\n"), serialpuf.ErrNoReply},
		"damaged frames": {append(encode(1, make([]byte, 20)), 0)[1:], serialpuf.ErrNoReply},
		"bad checksums":  {append(encode(1, make([]byte, 20))[:31], 0xff), serialpuf.ErrChecksum},
		"magics":         {[]byte("PUF1"), serialpuf.ErrShort},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host, device := newLine()
				src, err := serialpuf.New(host, serialpuf.Config{})
				require.NoError(t, err)
				ended := make(chan struct{})
				defer func() { host.Close(); <-ended }()
				go func() {
					defer close(ended)
					for {
						if _, err := device.Write(c.say); err != nil {
							return
						}
						time.Sleep(50 * time.Millisecond)
					}
				}()
				start := time.Now()
				require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), c.want)
				require.LessOrEqual(t, time.Since(start), serialpuf.DefaultTimeout+time.Second)
			})
		})
	}
}

func TestCancel(t *testing.T) {
	for name, cancelled := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancel": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		},
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mcu{chip: newChip(1024), answer: func(int, []byte) []byte { return nil }}
				src := open(t, m, serialpuf.Config{})
				ctx, cancel := cancelled(t.Context())
				defer cancel()
				start := time.Now()
				err := src.Measure(ctx, make([]byte, 1024))
				require.ErrorIs(t, err, ctx.Err())
				require.Less(t, time.Since(start), 1200*time.Millisecond)
			})
		})
	}
}

// A caller that waits for its turn heeds its context and Close as well.
func TestCancelWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := open(t, &mcu{chip: newChip(1024), answer: func(int, []byte) []byte { return nil }}, serialpuf.Config{})
		first := make(chan error, 1)
		go func() { first <- src.Measure(t.Context(), make([]byte, 1024)) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, src.Measure(ctx, make([]byte, 1024)), context.DeadlineExceeded)

		third := make(chan error, 1)
		go func() { third <- src.Measure(t.Context(), make([]byte, 1024)) }()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, src.Close())
		require.Less(t, time.Since(start), time.Second)
		require.ErrorIs(t, <-first, serialpuf.ErrClosed)
		require.ErrorIs(t, <-third, serialpuf.ErrClosed)
		require.NoError(t, src.Close())
		require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), serialpuf.ErrClosed)
	})
}

// A peer that does not read what is sent: the request is given up with the context, or after Reply.
func TestWriteBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, device := net.Pipe()
		defer device.Close()
		src, err := serialpuf.New(host, serialpuf.Config{Size: 64})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, src.Measure(ctx, make([]byte, 64)), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))

		require.ErrorContains(t, src.Measure(t.Context(), make([]byte, 64)), "send request")
		require.Equal(t, 6*time.Second, time.Since(start))

		// The line is as good as before.
		ended := make(chan struct{})
		go func() { defer close(ended); (&mcu{chip: newChip(64)}).serve(t, device) }()
		require.Equal(t, reading(t, newChip(64)), reading(t, src))
		require.NoError(t, src.Close())
		<-ended
	})
}

func TestUnplugged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, device := newLine()
		src, err := serialpuf.New(host, serialpuf.Config{})
		require.NoError(t, err)
		time.AfterFunc(time.Second, func() { device.Close() })
		err = src.Measure(t.Context(), make([]byte, 1024))
		require.ErrorIs(t, err, io.EOF)
		require.ErrorContains(t, err, "plugged in")
		require.ErrorContains(t, src.Measure(t.Context(), make([]byte, 1024)), "plugged in")
	})
}

// An answer that came after its call had ended is dropped where the line can, and else it is the next reading: none is
// delivered twice.
func TestLateAnswer(t *testing.T) {
	for _, reset := range []bool{false, true} {
		t.Run(fmt.Sprint("buffers reset ", reset), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host, device := newLine()
				var line io.ReadWriter = host
				if reset {
					line = &resettable{port: host}
				}
				src, err := serialpuf.New(line, serialpuf.Config{Size: 256, Attempts: 1})
				require.NoError(t, err)
				m := &mcu{chip: newChip(256), before: func(n int) {
					// Never while the host reads an old frame: what comes with it is dropped.
					time.Sleep(time.Second)
					if n == 1 {
						time.Sleep(5 * time.Second)
					}
				}}
				ended := make(chan struct{})
				defer func() { src.Close(); <-ended }()
				go func() { defer close(ended); m.serve(t, device) }()
				require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 256)), serialpuf.ErrNoReply)
				time.Sleep(10 * time.Second)
				same := newChip(256)
				first, second := reading(t, same), reading(t, same)
				if reset {
					require.Equal(t, second, reading(t, src))
				} else {
					require.Equal(t, first, reading(t, src))
					time.Sleep(10 * time.Second)
					require.Equal(t, second, reading(t, src))
				}
			})
		})
	}
}

// A line whose Read returns at once and empty costs pauses, not a CPU.
func TestReadThatDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &impatient{}
		src, err := serialpuf.New(line, serialpuf.Config{Reply: time.Second, Attempts: 2})
		require.NoError(t, err)
		require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), serialpuf.ErrNoReply)
		require.Less(t, line.reads, 500)
	})
}

type impatient struct{ reads int }

func (l *impatient) Read([]byte) (int, error)    { l.reads++; return 0, nil }
func (l *impatient) Write(b []byte) (int, error) { return len(b), nil }

type faulty struct {
	impatient
	setUp, write error
	short        bool
}

func (l *faulty) SetReadTimeout(time.Duration) error { return l.setUp }
func (l *faulty) Write(b []byte) (int, error) {
	if l.short {
		return len(b) - 1, nil
	}
	return 0, l.write
}

func TestLineFaults(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		line *faulty
		want error
	}{
		"set up":      {&faulty{setUp: broken}, broken},
		"write":       {&faulty{write: broken}, broken},
		"short write": {&faulty{short: true}, io.ErrShortWrite},
	} {
		t.Run(name, func(t *testing.T) {
			src, err := serialpuf.New(c.line, serialpuf.Config{})
			require.NoError(t, err)
			require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), c.want)
			require.NoError(t, src.Close(), "a line without Close")
		})
	}
}

func TestConfigRefused(t *testing.T) {
	for name, cfg := range map[string]serialpuf.Config{
		"Size negative":  {Size: -1},
		"Size too large": {Size: 65536},
		"Timeout":        {Timeout: -1},
		"Reply":          {Reply: -1},
		"Gap":            {Gap: -1},
		"Attempts":       {Attempts: -1},
		"Baud":           {Baud: -1},
	} {
		t.Run(name, func(t *testing.T) {
			field, _, _ := strings.Cut(name, " ")
			src, err := serialpuf.New(&impatient{}, cfg)
			require.ErrorContains(t, err, "Config."+field)
			require.Nil(t, src)
			src, err = serialpuf.Open("/dev/null", cfg)
			require.ErrorContains(t, err, "Config."+field)
			require.Nil(t, src)
		})
	}
	_, err := serialpuf.New(nil, serialpuf.Config{})
	require.Error(t, err)
}

func TestTimeout(t *testing.T) {
	for _, c := range []struct {
		cfg  serialpuf.Config
		want time.Duration
	}{
		{serialpuf.Config{}, 15 * time.Second},
		{serialpuf.Config{Attempts: 1}, 5 * time.Second},
		{serialpuf.Config{Timeout: 7 * time.Second}, 7 * time.Second},
		{serialpuf.Config{Timeout: time.Second}, time.Second},
		{serialpuf.Config{Reply: 10 * time.Millisecond}, 30 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			src := open(t, &mcu{chip: newChip(1024), answer: func(int, []byte) []byte { return nil }}, c.cfg)
			start := time.Now()
			require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), serialpuf.ErrNoReply)
			took := time.Since(start)
			// Each wait ends at the poll after its time.
			require.GreaterOrEqual(t, took, c.want, "%+v", c.cfg)
			require.Less(t, took, c.want+400*time.Millisecond, "%+v", c.cfg)
		})
	}
}

// No copy of a reading stays behind, whether it was delivered or refused.
func TestBuffersAreCleared(t *testing.T) {
	for _, flags := range []uint16{0, 1} {
		line := &keeper{frame: encode(flags, bytes.Repeat([]byte("SECRET"), 10))}
		src, err := serialpuf.New(line, serialpuf.Config{Size: 60})
		require.NoError(t, err)
		err = src.Measure(t.Context(), make([]byte, 60))
		require.Equal(t, flags == 1, err == nil, err)
		require.NotEmpty(t, line.seen)
		for _, b := range line.seen {
			require.Equal(t, make([]byte, len(b)), b)
		}
	}
}

// keeper is a line that keeps the buffers it read into, and gives 40 bytes at a time.
type keeper struct {
	impatient
	frame []byte
	seen  [][]byte
}

func (l *keeper) Read(b []byte) (int, error) {
	n := copy(b, l.frame[:min(40, len(l.frame))])
	l.frame = l.frame[n:]
	l.seen = append(l.seen, b)
	return n, nil
}

// Errors are logged; nothing of the reading may be in them.
func TestErrorsShowNothingOfTheReading(t *testing.T) {
	secret := bytes.Repeat([]byte("SECRET"), 170)
	for _, frame := range [][]byte{encode(0, secret), encode(5, secret), encode(1, secret)} {
		host, device := newLine()
		src, err := serialpuf.New(host, serialpuf.Config{Size: 64})
		require.NoError(t, err)
		_, err = device.Write(frame)
		require.NoError(t, err)
		dst := make([]byte, 64)
		err = src.Measure(t.Context(), dst)
		require.Error(t, err)
		for _, s := range []string{fmt.Sprintf("%+v %#v", err, err), fmt.Sprintf("%+v %#v", src, src)} {
			require.NotContains(t, s, "SECRET")
			require.NotContains(t, s, "83, 69, 67")
			require.NotContains(t, s, "0x53, 0x45, 0x43")
		}
		require.Equal(t, make([]byte, 64), dst)
	}
}
