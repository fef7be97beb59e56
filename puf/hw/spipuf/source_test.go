package spipuf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
	"periph.io/x/conn/v3/physic"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/hw/spipuf"
	"github.com/semio-iot/semio/puf/puftest"
)

var chips = []spipuf.Chip{spipuf.Chip23K640, spipuf.Chip23K256, spipuf.Chip23LC512, spipuf.Chip23LC1024}

// quick keeps the waits of tests outside a bubble short.
func quick(c spipuf.Config) spipuf.Config {
	c.OffTime, c.Settle = time.Microsecond, 10*time.Microsecond
	return c
}

func open(t *testing.T, c spipuf.Config) *spipuf.Source {
	t.Helper()
	src, err := spipuf.Open(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, src.Close()) })
	return src
}

func measure(t *testing.T, src puf.Source) []byte {
	t.Helper()
	b := make([]byte, src.Size())
	require.NoError(t, src.Measure(t.Context(), b))
	return b
}

func TestSource(t *testing.T) {
	for _, kind := range chips {
		t.Run(kind.String(), func(t *testing.T) {
			puftest.TestSource(t, func() puf.Source {
				b := newBoard(kind)
				b.empties = 0
				t.Cleanup(func() { b.requireOff(t) })
				return open(t, quick(b.config()))
			})
		})
	}
}

// The bytes are those of the memory's region, through every limit of a transfer and at every place, and each Measure is a
// power-up of its own.
func TestReadsTheRegion(t *testing.T) {
	for _, kind := range chips {
		whole := kind.Size()
		for _, c := range []struct{ offset, size, limit int }{
			{0, 1024, 4096}, {0, 1024, 0}, {0, 4092, 4096}, {0, 4093, 4096}, {1, 5000, 4096}, {256, 512, 65536}, {whole - 1, 1, 4096},
			{whole - 1024, 1024, 64}, {300, 20, 5}, {0, whole, 4096},
		} {
			t.Run(fmt.Sprintf("%v %d at %d by %d", kind, c.size, c.offset, c.limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBoard(kind)
					if b.limit = c.limit; c.limit == 0 {
						b.limit = 4096
					}
					cfg := b.config()
					cfg.Offset, cfg.Size = c.offset, c.size
					src := open(t, cfg)
					for range 2 {
						got := measure(t, src)
						require.True(t, bytes.Equal(b.content[c.offset:c.offset+c.size], got))
						b.requireOff(t)
					}
					for i, r := range b.buffers {
						if b.transfers[i][0] == 0x03 {
							require.True(t, bytes.Equal(make([]byte, len(r)), r), "a copy of the reading stays behind")
						}
					}
					// One for the first mark, and one for each reading.
					require.Equal(t, 3, b.powerUps)
				})
			})
		}
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(spipuf.Chip23LC1024)
		src := open(t, b.config())
		require.Equal(t, []string{"1MHz Mode0"}, b.connected)
		start := time.Now()
		measure(t, src)
		require.Equal(t, time.Second+2*5*time.Millisecond, time.Since(start), "marked, off for a second, on")
		start = time.Now()
		measure(t, src)
		require.Equal(t, time.Second+5*time.Millisecond, time.Since(start), "off for a second, on")
	})
}

// A memory that was powered before the program began, as by a power pin that floats, is not read as it is.
func TestPoweredBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(spipuf.Chip23K256)
		require.NoError(t, b.power.Out(gpio.High))
		before := bytes.Clone(b.content)
		clear(b.content)
		src := open(t, b.config())
		b.requireOff(t)
		got := measure(t, src)
		require.NotEqual(t, make([]byte, 1024), got)
		require.NoError(t, puf.CheckPair(before[:1024], got, puf.Limits{}))
	})
}

// A program that was killed leaves SCK and MOSI as outputs. The next one knows what they have to be.
func TestLinesLeftAsOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(spipuf.Chip23K256)
		first, err := spipuf.Open(b.config())
		require.NoError(t, err)
		measure(t, first)
		require.NoError(t, first.Close())
		require.Equal(t, "OUT", b.sck.Fn)
		second := open(t, b.config())
		measure(t, second)
	})
}

func TestWirings(t *testing.T) {
	for name, change := range map[string]func(b *board, c *spipuf.Config){
		"power active low": func(b *board, c *spipuf.Config) {
			b.activeLow, c.PowerActiveLow = true, true
		},
		"chip select of the port": func(_ *board, c *spipuf.Config) { c.CS = nil },
		"all pins given": func(b *board, c *spipuf.Config) {
			c.SCK, c.MOSI = b.sck, b.mosi
			c.Port = portOnly{b}
		},
		"isolated": func(b *board, c *spipuf.Config) {
			b.hardCS = true
			c.CS, c.Isolated = nil, true
		},
		"port moves its pins by software": func(b *board, _ *spipuf.Config) {
			b.sck.spi, b.sck.Fn, b.mosi.spi, b.mosi.Fn = "", "OUT", "", "OUT"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBoard(spipuf.Chip23LC1024)
				cfg := b.config()
				change(b, &cfg)
				src := open(t, cfg)
				for range 2 {
					require.True(t, bytes.Equal(measure(t, src), b.content[:1024]))
					b.requireOff(t)
				}
				if name == "isolated" {
					require.Empty(t, append(append(b.cs.moves, b.sck.moves...), b.mosi.moves...), "lines of the port were driven")
				}
			})
		})
	}
}

// portOnly hides the port's pins.
type portOnly struct{ b *board }

func (p portOnly) String() string { return p.b.String() }
func (p portOnly) Connect(f physic.Frequency, mode spiMode, bits int) (spiConn, error) {
	return p.b.Connect(f, mode, bits)
}

// What keeps the memory alive, and what keeps it from answering.
func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *board, c *spipuf.Config)
		want   error
	}{
		"off for too short":   {func(_ *board, c *spipuf.Config) { c.OffTime = 100 * time.Millisecond }, spipuf.ErrNotFresh},
		"large capacitor":     {func(b *board, _ *spipuf.Config) { b.empties = time.Hour }, spipuf.ErrNotFresh},
		"pull-up":             {func(b *board, _ *spipuf.Config) { b.fed = true }, spipuf.ErrNotFresh},
		"power not connected": {func(b *board, c *spipuf.Config) { b.power.Out(gpio.High); c.Power = &gpiotest.Pin{N: "free"} }, spipuf.ErrNotFresh},
		"wrong polarity":      {func(_ *board, c *spipuf.Config) { c.PowerActiveLow = true }, spipuf.ErrNoMemory},
		"called isolated, and is not": {
			func(b *board, c *spipuf.Config) { b.hardCS, b.fed, c.CS, c.Isolated = true, true, nil, true }, spipuf.ErrNotFresh,
		},
		"no answer":         {func(b *board, _ *spipuf.Config) { b.dead = true }, spipuf.ErrNoMemory},
		"bus error at once": {func(b *board, _ *spipuf.Config) { b.failTx = 1 }, errTx},
		"pins stay outputs": {func(b *board, _ *spipuf.Config) { b.sck.fixed, b.sck.Fn = true, "OUT" }, spipuf.ErrNoMemory},
		"function refused":  {func(b *board, _ *spipuf.Config) { b.mosi.failFunc = errors.New("busy") }, spipuf.ErrLine},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBoard(spipuf.Chip23LC1024)
				cfg := b.config()
				c.change(b, &cfg)
				src, err := spipuf.Open(cfg)
				require.NoError(t, err)
				for range 2 {
					dst := make([]byte, 1024)
					err := src.Measure(t.Context(), dst)
					require.ErrorIs(t, err, c.want)
					require.ErrorContains(t, err, "measure 23LC1024 over SPI: ")
					require.Equal(t, make([]byte, 1024), dst)
					if cfg.Power == b.power && !cfg.PowerActiveLow && !cfg.Isolated {
						b.requireOff(t)
					}
					if b.failTx > 0 {
						b.failTx = len(b.transfers) + 1
					}
				}
			})
		})
	}
}

// The wrong chip is seen where its mode after power-up differs.
func TestWrongChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(spipuf.Chip23K256)
		cfg := b.config()
		cfg.Chip = spipuf.Chip23LC1024
		src := open(t, cfg)
		require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), spipuf.ErrNoMemory)
	})
}

// A line tied to ground reads as the power-up mode of this chip, so the modes that are set must read back as well.
func TestAnswerLineLow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(spipuf.Chip23K256)
		src := open(t, b.config())
		measure(t, src)
		b.low = true
		require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), spipuf.ErrNoMemory)
		b.requireOff(t)
	})
}

// Whatever step fails, power is off and the lines are low when Measure returns, and the next Measure works.
func TestEveryStepFails(t *testing.T) {
	count := func(t *testing.T, fail func(*board, int)) {
		for n, done := 1, false; !done; n++ {
			require.Less(t, n, 60)
			synctest.Test(t, func(t *testing.T) {
				b := newBoard(spipuf.Chip23LC1024)
				src, err := spipuf.Open(b.config())
				require.NoError(t, err)
				fail(b, n)
				err = src.Measure(t.Context(), make([]byte, 1024))
				if done = err == nil; done {
					require.Greater(t, n, 4, "nothing failed")
				}
				failing := b.power.fail != nil
				b.failTx = 0
				for _, w := range []*wire{b.power, b.cs, b.sck, b.mosi} {
					failing = failing || w.fail != nil
					w.fail = nil
				}
				if !failing {
					b.requireOff(t)
				}
				require.True(t, bytes.Equal(measure(t, src), b.content[:1024]))
				b.requireOff(t)
			})
		}
	}
	broken := errors.New("pin is gone")
	t.Run("transfers", func(t *testing.T) { count(t, func(b *board, n int) { b.failTx = n }) })
	t.Run("chip select", func(t *testing.T) {
		count(t, func(b *board, n int) { b.cs.fail, b.cs.failFrom = broken, b.cs.calls+n })
	})
	t.Run("power", func(t *testing.T) {
		count(t, func(b *board, n int) { b.power.fail, b.power.failFrom = broken, b.power.calls+n })
	})
}

// A line that cannot be driven at the end does not keep power from being cut, and the reading is refused: the next would be
// of a memory that was fed.
func TestPowerIsCutWhateverTheLinesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(spipuf.Chip23LC1024)
		src, err := spipuf.Open(b.config())
		require.NoError(t, err)
		measure(t, src)
		broken := errors.New("pin is gone")
		b.mosi.fail = broken
		err = src.Measure(t.Context(), make([]byte, 1024))
		require.ErrorIs(t, err, spipuf.ErrLine)
		require.ErrorIs(t, err, broken)
		require.Equal(t, gpio.Low, b.power.Read())
		require.ErrorIs(t, src.Close(), spipuf.ErrLine)
		require.ErrorIs(t, src.Close(), spipuf.ErrLine, "Close says the same again")
		require.Equal(t, gpio.Low, b.power.Read())
	})
}

func TestOpenRefuses(t *testing.T) {
	broken := errors.New("pin is busy")
	for name, c := range map[string]struct {
		change func(b *board, c *spipuf.Config)
		want   error
		says   string
	}{
		"no chip":             {func(_ *board, c *spipuf.Config) { c.Chip = 0 }, nil, "Chip(0)"},
		"unknown chip":        {func(_ *board, c *spipuf.Config) { c.Chip = 9 }, nil, "Chip(9)"},
		"no port":             {func(_ *board, c *spipuf.Config) { c.Port = nil }, nil, "Config.Port"},
		"no power pin":        {func(_ *board, c *spipuf.Config) { c.Power = nil }, spipuf.ErrPower, "Config.Power"},
		"invalid power pin":   {func(_ *board, c *spipuf.Config) { c.Power = gpio.INVALID }, spipuf.ErrPower, "Config.Power"},
		"power pin busy":      {func(b *board, _ *spipuf.Config) { b.power.fail = broken }, spipuf.ErrPower, "POWER"},
		"chip select busy":    {func(b *board, _ *spipuf.Config) { b.cs.fail = broken }, spipuf.ErrLine, "CS"},
		"clock busy":          {func(b *board, _ *spipuf.Config) { b.sck.fail = broken }, spipuf.ErrLine, "SCK"},
		"data busy":           {func(b *board, _ *spipuf.Config) { b.mosi.fail = broken }, spipuf.ErrLine, "MOSI"},
		"pins not known":      {func(b *board, c *spipuf.Config) { c.Port = portOnly{b} }, spipuf.ErrLine, "Config.SCK"},
		"invalid chip select": {func(_ *board, c *spipuf.Config) { c.CS = gpio.INVALID }, spipuf.ErrLine, "Config.CS"},
		"isolated and driven": {func(_ *board, c *spipuf.Config) { c.Isolated = true }, nil, "Config.Isolated"},
		"port refuses":        {func(b *board, _ *spipuf.Config) { b.connect = broken }, broken, "connect SPI port"},
		"tiny transfers":      {func(b *board, _ *spipuf.Config) { b.limit = 4 }, nil, "at most 4 bytes"},
		"offset negative":     {func(_ *board, c *spipuf.Config) { c.Offset = -1 }, nil, "do not lie within"},
		"size negative":       {func(_ *board, c *spipuf.Config) { c.Size = -1 }, nil, "do not lie within"},
		"a byte too far":      {func(_ *board, c *spipuf.Config) { c.Offset = 128<<10 - 1023 }, nil, "do not lie within"},
		"far out":             {func(_ *board, c *spipuf.Config) { c.Offset, c.Size = 1<<31-1, 1<<31-1 }, nil, "do not lie within"},
		"clock too fast":      {func(_ *board, c *spipuf.Config) { c.Clock = spipuf.MaxClock + 1 }, nil, "Config.Clock"},
		"clock negative":      {func(_ *board, c *spipuf.Config) { c.Clock = -1 }, nil, "Config.Clock"},
		"off time negative":   {func(_ *board, c *spipuf.Config) { c.OffTime = -1 }, nil, "Config.OffTime"},
		"settle negative":     {func(_ *board, c *spipuf.Config) { c.Settle = -1 }, nil, "Config.Settle"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBoard(spipuf.Chip23LC1024)
			cfg := b.config()
			c.change(b, &cfg)
			src, err := spipuf.Open(cfg)
			require.ErrorContains(t, err, c.says)
			require.Nil(t, src)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			require.Empty(t, b.transfers)
			require.NotContains(t, b.power.moves, true, "power was given")
		})
	}
}

func TestCancel(t *testing.T) {
	for name, c := range map[string]struct {
		prepare bool          // a reading before
		after   time.Duration // from the start of Measure
	}{
		"first settling":    {false, time.Millisecond},
		"off":               {false, 500 * time.Millisecond},
		"off, later":        {true, 500 * time.Millisecond},
		"settling":          {true, time.Second + time.Millisecond},
		"settling, the end": {true, time.Second + 5*time.Millisecond - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBoard(spipuf.Chip23K256)
				src := open(t, b.config())
				if c.prepare {
					measure(t, src)
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.after)
				defer cancel()
				start := time.Now()
				require.ErrorIs(t, src.Measure(ctx, make([]byte, 1024)), context.DeadlineExceeded)
				require.Equal(t, c.after, time.Since(start))
				b.requireOff(t)
				require.True(t, bytes.Equal(measure(t, src), b.content[:1024]))
			})
		})
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(spipuf.Chip23K256)
		src := open(t, b.config())
		errs := make(chan error, 2)
		for range cap(errs) {
			go func() { errs <- src.Measure(t.Context(), make([]byte, 1024)) }()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, src.Measure(ctx, make([]byte, 1024)), context.DeadlineExceeded, "waiting for its turn")
		start := time.Now()
		require.NoError(t, src.Close())
		require.Zero(t, time.Since(start))
		b.requireOff(t)
		for range cap(errs) {
			require.ErrorIs(t, <-errs, spipuf.ErrClosed)
		}
		require.ErrorIs(t, src.Measure(t.Context(), make([]byte, 1024)), spipuf.ErrClosed)
		moves := len(b.power.moves)
		require.NoError(t, src.Close())
		require.Len(t, b.power.moves, moves)
	})
}

func TestChips(t *testing.T) {
	for kind, want := range map[spipuf.Chip]struct {
		name string
		size int
	}{
		spipuf.Chip23K640:   {"23K640", 8192},
		spipuf.Chip23K256:   {"23K256", 32768},
		spipuf.Chip23LC512:  {"23LC512", 65536},
		spipuf.Chip23LC1024: {"23LC1024", 131072},
		0:                   {"Chip(0)", 0},
		-1:                  {"Chip(-1)", 0},
	} {
		require.Equal(t, want.name, kind.String())
		require.Equal(t, want.size, kind.Size())
	}
}
