package spipuf

import (
	"errors"
	"fmt"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/pin"
	"periph.io/x/conn/v3/spi"
)

// lines are the power switch and what may feed the memory around it.
type lines struct {
	power     gpio.PinOut
	activeLow bool
	guarded   []line // in the order in which they go low: CS, SCK, MOSI; empty when isolated
}

// line is a pin that is low while the memory is off.
type line struct {
	name     string
	pin      gpio.PinOut
	function pin.Func // what a transfer needs it to be; none: it stays an output
}

// newLines collects the pins of c, whose port is connected already: before, SCK and MOSI may not have their SPI function.
func newLines(c Config) (*lines, error) {
	l := &lines{power: c.Power, activeLow: c.PowerActiveLow}
	if c.Isolated {
		return l, nil
	}
	ports, _ := c.Port.(spi.Pins)
	for _, p := range []struct {
		name   string
		pin    gpio.PinOut
		report func(spi.Pins) gpio.PinOut
		want   pin.Func
	}{
		{"CS", c.CS, spi.Pins.CS, pin.FuncNone},
		{"SCK", c.SCK, spi.Pins.CLK, spi.CLK},
		{"MOSI", c.MOSI, spi.Pins.MOSI, spi.MOSI},
	} {
		if p.pin == nil && ports != nil {
			p.pin = p.report(ports)
		}
		if p.pin == nil || p.pin == gpio.INVALID {
			return nil, fmt.Errorf("%w: Config.%s is not set, and the port does not report it", ErrLine, p.name)
		}
		guarded := line{name: p.name, pin: p.pin}
		if p.want != pin.FuncNone {
			guarded.function = function(p.pin, p.want)
		}
		l.guarded = append(l.guarded, guarded)
	}
	return l, nil
}

// resolve finds the pin behind an alias: an alias by name hides what the pin can do.
func resolve(p gpio.PinOut) any {
	if alias, ok := p.(gpio.RealPin); ok {
		return alias.Real()
	}
	return p
}

// function returns what p must become for a transfer: want, of the port that has it. It is none where p has no such function, as
// with a port that moves its pins by software.
func function(p gpio.PinOut, want pin.Func) pin.Func {
	f, ok := resolve(p).(pin.PinFunc)
	if !ok {
		return pin.FuncNone
	}
	// Whoever used the memory before, or was killed, left the pin as an output. Then what it can be says more than what it is.
	for _, f := range append([]pin.Func{f.Func()}, f.SupportedFuncs()...) {
		if f.Generalize() == want {
			return f
		}
	}
	return pin.FuncNone
}

// cs returns the chip select, nil when the port has it.
func (l *lines) cs() gpio.PinOut {
	if len(l.guarded) == 0 {
		return nil
	}
	return l.guarded[0].pin
}

// off drives the lines low and then cuts power. Power is cut whatever the lines do.
func (l *lines) off() error {
	var errs []error
	for _, g := range l.guarded {
		if err := g.pin.Out(gpio.Low); err != nil {
			errs = append(errs, fmt.Errorf("%w: drive %s (%s) low: %w", ErrLine, g.name, g.pin, err))
		}
	}
	if err := l.power.Out(gpio.Level(l.activeLow)); err != nil {
		errs = append(errs, fmt.Errorf("%w: switch off (%s): %w", ErrPower, l.power, err))
	}
	return errors.Join(errs...)
}

// on gives power. The lines stay low until the supply has settled, see connect.
func (l *lines) on() error {
	if err := l.power.Out(gpio.Level(!l.activeLow)); err != nil {
		return fmt.Errorf("%w: switch on (%s): %w", ErrPower, l.power, err)
	}
	return nil
}

// connect deselects the chip and gives SCK and MOSI back to the port.
func (l *lines) connect() error {
	for i, g := range l.guarded {
		if i == 0 {
			if err := g.pin.Out(gpio.High); err != nil {
				return fmt.Errorf("%w: drive %s (%s) high: %w", ErrLine, g.name, g.pin, err)
			}
			continue
		}
		if g.function == pin.FuncNone {
			continue
		}
		if err := resolve(g.pin).(pin.PinFunc).SetFunc(g.function); err != nil {
			return fmt.Errorf("%w: give %s (%s) back to the port as %s: %w", ErrLine, g.name, g.pin, g.function, err)
		}
	}
	return nil
}
