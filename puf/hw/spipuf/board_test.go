package spipuf_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/pin"
	"periph.io/x/conn/v3/spi"

	"github.com/semio-iot/semio/puf/hw/spipuf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// board is a memory with its wiring, after the data sheets: it loses content and mode when it was without power for long enough, and
// keeps them when a line feeds it meanwhile. It is the port as well.
type board struct {
	chip    *pufsim.Chip
	kind    spipuf.Chip
	powerUp byte // mode after power-up
	address int  // bytes

	empties time.Duration // time without power after which the content is gone
	limit   int           // MaxTxSize

	power, cs, sck, mosi *wire
	activeLow            bool
	hardCS               bool // the port selects the chip, and cs is not connected

	// Faults.
	dead    bool // never answers
	low     bool // MISO is tied to ground
	fed     bool // a pull-up to another supply
	failTx  int  // the transfer that fails, counted from 1
	connect error

	mu        sync.Mutex // guards what follows
	on        bool
	onAt      time.Time
	offAt     time.Time
	leaked    bool // since power was cut, a line was high
	content   []byte
	mode      byte
	transfers [][]byte // what the host sent
	buffers   [][]byte // where it received
	powerUps  int      // that gave new content
	connected []string
}

// page is what is simulated of the memory: all of it would take the tests' time.
const page = 2048

// fresh is the content after a power-up. No two pages are alike, so that a wrong address shows.
func (b *board) fresh() []byte {
	out := make([]byte, b.kind.Size())
	if err := b.chip.Measure(context.Background(), out[:page]); err != nil {
		panic(err)
	}
	for i := page; i < len(out); i++ {
		out[i] = out[i%page] ^ byte(i/page)
	}
	return out
}

var errTx = errors.New("bus error")

func newBoard(kind spipuf.Chip) *board {
	b := &board{kind: kind, powerUp: 0x40, address: 2, empties: 200 * time.Millisecond, limit: 4096}
	switch kind {
	case spipuf.Chip23K640, spipuf.Chip23K256:
		b.powerUp = 0
	case spipuf.Chip23LC1024:
		b.address = 3
	}
	b.chip = pufsim.New(uint64(kind), pufsim.Config{Size: page})
	b.power = &wire{Pin: gpiotest.Pin{N: "POWER"}, b: b}
	b.cs = &wire{Pin: gpiotest.Pin{N: "CS", L: gpio.High}, b: b}
	b.sck = &wire{Pin: gpiotest.Pin{N: "SCK", Fn: "SPI0_CLK"}, b: b, spi: "SPI0_CLK"}
	b.mosi = &wire{Pin: gpiotest.Pin{N: "MOSI", Fn: "SPI0_MOSI", L: gpio.High}, b: b, spi: "SPI0_MOSI"}
	b.offAt = time.Now()
	return b
}

// config is the usual wiring: chip select on a GPIO, the other lines as the port reports them.
func (b *board) config() spipuf.Config {
	return spipuf.Config{Chip: b.kind, Port: b, Power: b.power, PowerActiveLow: b.activeLow, CS: b.cs}
}

// wire is a pin of the host.
type wire struct {
	gpiotest.Pin
	b   *board
	spi pin.Func // the pin's function for the port

	fail     error  // of Out
	failFrom int    // the first call of Out that fails, 0 for all
	calls    int    // of Out
	failFunc error  // of SetFunc
	fixed    bool   // has no other function than in and out
	moves    []bool // levels
}

func (w *wire) Out(l gpio.Level) error {
	w.calls++
	if w.fail != nil && w.calls >= w.failFrom {
		return w.fail
	}
	w.moves = append(w.moves, bool(l))
	w.Lock()
	w.L, w.Fn = l, "OUT"
	w.Unlock()
	w.b.changed()
	return nil
}

func (w *wire) SupportedFuncs() []pin.Func {
	out := []pin.Func{gpio.IN, gpio.OUT}
	if w.spi != "" && !w.fixed {
		out = append(out, "PWM0", w.spi)
	}
	return out
}

func (w *wire) SetFunc(f pin.Func) error {
	if w.failFunc != nil {
		return w.failFunc
	}
	if w.spi == "" || f != w.spi || w.fixed {
		return errors.New("no such function")
	}
	w.Lock()
	w.Fn = string(f)
	// The controller holds its data line as it likes between transfers.
	w.L = gpio.Level(w == w.b.mosi)
	w.Unlock()
	w.b.changed()
	return nil
}

func (w *wire) isSPI() bool { return w.Func() == w.spi || w.spi == "" }

// changed works out what a change of a pin does to the memory.
func (b *board) changed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	on := bool(b.power.Read()) != b.activeLow
	high := b.fed || bool(b.sck.Read()) || bool(b.mosi.Read()) || bool(b.cs.Read())
	if b.hardCS {
		high = b.fed
	}
	switch {
	case on && !b.on:
		if b.content == nil || !b.leaked && time.Since(b.offAt) >= b.empties {
			b.content, b.mode = b.fresh(), b.powerUp
			b.powerUps++
		}
		b.onAt = time.Now()
	case !on && b.on:
		b.offAt, b.leaked = time.Now(), false
	}
	b.on = on
	if !on && high {
		b.leaked = true
	}
}

func (b *board) String() string                      { return "SPI0.0" }
func (b *board) MaxTxSize() int                      { return b.limit }
func (b *board) CLK() gpio.PinOut                    { return b.sck }
func (b *board) MOSI() gpio.PinOut                   { return alias{b.mosi} }
func (b *board) MISO() gpio.PinIn                    { return gpio.INVALID }
func (b *board) CS() gpio.PinOut                     { return b.cs }
func (b *board) Duplex() conn.Duplex                 { return conn.Full }
func (b *board) Close() error                        { return nil }
func (b *board) Halt() error                         { return nil }
func (b *board) LimitSpeed(_ physic.Frequency) error { return nil }

// alias hides what a pin can do, as gpioreg's aliases do.
type alias struct{ gpio.PinIO }

func (a alias) Real() gpio.PinIO { return a.PinIO }

func (b *board) Connect(f physic.Frequency, mode spi.Mode, bits int) (spi.Conn, error) {
	b.connected = append(b.connected, f.String()+" "+mode.String())
	if b.connect != nil {
		return nil, b.connect
	}
	return link{b}, nil
}

type link struct{ *board }

func (l link) TxPackets([]spi.Packet) error { return errors.New("not used") }

func (l link) Tx(w, r []byte) error {
	b := l.board
	b.mu.Lock()
	defer b.mu.Unlock()
	b.transfers = append(b.transfers, append([]byte(nil), w...))
	b.buffers = append(b.buffers, r)
	if len(b.transfers) == b.failTx {
		return errTx
	}
	if len(w) != len(r) {
		return errors.New("full duplex moves as much both ways")
	}
	if len(w) > b.limit {
		return errors.New("transfer too long")
	}
	for i := range r {
		if r[i] = 0xff; b.low {
			r[i] = 0
		}
	}
	selected := b.hardCS || b.cs.Read() == gpio.Low
	if b.dead || b.low || !b.on || !selected || !b.sck.isSPI() || !b.mosi.isSPI() || time.Since(b.onAt) < time.Microsecond {
		return nil
	}
	switch w[0] {
	case 0x01:
		b.mode = w[1] & 0xc1
	case 0x05:
		r[1] = b.mode
	case 0x03:
		at := 0
		for _, a := range w[1 : 1+b.address] {
			at = at<<8 | int(a)
		}
		for i := 1 + b.address; i < len(r); i++ {
			r[i] = b.content[at%len(b.content)]
			// Only this mode goes on from byte to byte through the whole memory.
			if b.mode == 0x40 {
				at++
			}
		}
	default:
		panic("a command that could change the memory")
	}
	return nil
}

// requireOff tells that the memory has no power and nothing feeds it.
func (b *board) requireOff(t *testing.T) {
	t.Helper()
	require.Equal(t, b.activeLow, bool(b.power.Read()), "power is on")
	if b.hardCS {
		return
	}
	for _, w := range []*wire{b.cs, b.sck, b.mosi} {
		require.Equal(t, gpio.Low, w.Read(), "%s is high", w.N)
		require.Equal(t, "OUT", w.Fn, "%s is not held", w.N)
	}
}
