package spipuf

import (
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// Defaults of [Config].
const (
	DefaultSize    = 1024
	DefaultClock   = physic.MegaHertz
	DefaultOffTime = time.Second
	DefaultSettle  = 5 * time.Millisecond
)

// MaxClock is what all chips here bear at any temperature of theirs.
const MaxClock = 16 * physic.MegaHertz

var (
	ErrPower    = errors.New("spipuf: the power pin cannot be driven; give Config.Power a free GPIO that this program may use")
	ErrLine     = errors.New("spipuf: a line to the memory cannot be driven, so it would feed the memory while it is off; set Config.CS, SCK and MOSI to pins that this program may use as GPIO, or isolate the lines and set Config.Isolated")
	ErrNoMemory = errors.New("spipuf: the memory does not answer; check Config.Chip, its supply, the wiring, and that SCK and MOSI return to their SPI function")
	ErrNotFresh = errors.New("spipuf: the memory kept its mode register, so it was not without power; check the power switch, pull-ups to another supply, and the resistor that empties the capacitor, or raise Config.OffTime")
	ErrClosed   = errors.New("spipuf: source is closed; open it again")
)

// Chip is a kind of memory. The zero value is none.
type Chip int

// The memories this package knows.
const (
	Chip23K640   Chip = iota + 1 // 8 KiB
	Chip23K256                   // 32 KiB
	Chip23LC512                  // 64 KiB
	Chip23LC1024                 // 128 KiB
)

// layout is what differs between the chips.
type layout struct {
	name    string
	size    int
	address int  // bytes of an address
	powerUp byte // mode register after power-up
}

func (c Chip) layout() (layout, bool) {
	switch c {
	case Chip23K640:
		return layout{"23K640", 8 << 10, 2, modeByte}, true
	case Chip23K256:
		return layout{"23K256", 32 << 10, 2, modeByte}, true
	case Chip23LC512:
		return layout{"23LC512", 64 << 10, 2, modeSequential}, true
	case Chip23LC1024:
		return layout{"23LC1024", 128 << 10, 3, modeSequential}, true
	}
	return layout{}, false
}

// String returns the chip's name.
func (c Chip) String() string {
	if l, ok := c.layout(); ok {
		return l.name
	}
	return fmt.Sprintf("Chip(%d)", int(c))
}

// Size returns the chip's bytes, 0 for an unknown chip.
func (c Chip) Size() int {
	l, _ := c.layout()
	return l.size
}

// Config describes memory and wiring. Chip, Port and Power are required; of the others a zero field means its default.
type Config struct {
	Chip Chip
	Port spi.Port // not connected yet; Open connects it, the caller closes it after the source

	Power          gpio.PinOut // switches the memory's supply
	PowerActiveLow bool        // supply is on while Power is low, as with a P-MOSFET

	// CS, SCK and MOSI are held low while the memory is off. Default: what Port reports as its pins (spi.Pins).
	CS, SCK, MOSI gpio.PinOut

	// Isolated says that a buffer without own supply keeps the lines from feeding the memory. CS, SCK and MOSI must then be
	// nil: they stay with the port, which selects the chip itself.
	Isolated bool

	Offset  int              // first byte of the reading; default 0
	Size    int              // bytes of the reading; default 1024
	Clock   physic.Frequency // default 1 MHz, at most 16 MHz
	OffTime time.Duration    // without power before each reading; default 1 s
	Settle  time.Duration    // from power to the first command; default 5 ms
}

func (c *Config) setDefaults() error {
	if c.Size == 0 {
		c.Size = DefaultSize
	}
	if c.Clock == 0 {
		c.Clock = DefaultClock
	}
	if c.OffTime == 0 {
		c.OffTime = DefaultOffTime
	}
	if c.Settle == 0 {
		c.Settle = DefaultSettle
	}
	whole := c.Chip.Size()
	switch {
	case whole == 0:
		return fmt.Errorf("spipuf: Config.Chip is %v, want one of the package's", c.Chip)
	case c.Port == nil:
		return errors.New("spipuf: Config.Port is nil; open one, for example with periph's spireg.Open")
	case c.Power == nil || c.Power == gpio.INVALID:
		// gpioreg.ByName returns nil for a name it does not know.
		return fmt.Errorf("%w: Config.Power is nil or invalid: is the name right, and was the host initialised?", ErrPower)
	case c.Isolated && (c.CS != nil || c.SCK != nil || c.MOSI != nil):
		return errors.New("spipuf: Config.Isolated with CS, SCK or MOSI; leave these nil, or Isolated false")
	case c.Offset < 0 || c.Size < 0 || c.Offset > whole || c.Size > whole-c.Offset:
		return fmt.Errorf("spipuf: %d bytes at %d do not lie within the %d of a %v", c.Size, c.Offset, whole, c.Chip)
	case c.Clock < 0 || c.Clock > MaxClock:
		return fmt.Errorf("spipuf: Config.Clock is %v, want at most %v", c.Clock, MaxClock)
	case c.OffTime < 0:
		return fmt.Errorf("spipuf: Config.OffTime is %v, want a positive time", c.OffTime)
	case c.Settle < 0:
		return fmt.Errorf("spipuf: Config.Settle is %v, want a positive time", c.Settle)
	}
	return nil
}
