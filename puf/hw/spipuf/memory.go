package spipuf

import (
	"errors"
	"fmt"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/spi"
)

// Commands of all chips.
const (
	cmdWriteMode = 0x01
	cmdRead      = 0x03
	cmdReadMode  = 0x05
)

// Modes of operation, bits 7 and 6 of the mode register (status register in DS22100). The others are reserved, or the HOLD pin's.
const (
	modeByte       = 0x00
	modeSequential = 0x40
	modePage       = 0x80
	modeMask       = 0xc0

	// modeMark is no chip's mode after power-up.
	modeMark = modePage
)

// defaultTx is the longest transfer of a port that tells no limit: spidev's default.
const defaultTx = 4096

// memory is the powered chip.
type memory struct {
	layout
	conn spi.Conn
	cs   gpio.PinOut // nil: the port selects the chip
	tx   int         // longest transfer in bytes
}

func newMemory(l layout, port spi.Port, c spi.Conn, cs gpio.PinOut) (*memory, error) {
	m := &memory{layout: l, conn: c, cs: cs, tx: defaultTx}
	for _, v := range []any{c, port} {
		if limits, ok := v.(conn.Limits); ok && limits.MaxTxSize() > 0 {
			m.tx = limits.MaxTxSize()
			break
		}
	}
	if least := 1 + l.address + 1; m.tx < least {
		return nil, fmt.Errorf("spipuf: the port transfers at most %d bytes at once, want %d or more", m.tx, least)
	}
	return m, nil
}

// transfer selects the chip for one exchange. r has the length of w, as SPI moves both ways at once.
func (m *memory) transfer(w, r []byte) (err error) {
	if m.cs != nil {
		if err := m.cs.Out(gpio.Low); err != nil {
			return fmt.Errorf("%w: select: %w", ErrLine, err)
		}
		defer func() {
			if high := m.cs.Out(gpio.High); high != nil {
				err = errors.Join(err, fmt.Errorf("%w: deselect: %w", ErrLine, high))
			}
		}()
	}
	return m.conn.Tx(w, r)
}

func (m *memory) mode() (byte, error) {
	var r [2]byte
	if err := m.transfer([]byte{cmdReadMode, 0}, r[:]); err != nil {
		return 0, fmt.Errorf("read mode: %w", err)
	}
	return r[1] & modeMask, nil
}

// setMode changes the mode and reads it back.
func (m *memory) setMode(mode byte) error {
	var r [2]byte
	if err := m.transfer([]byte{cmdWriteMode, mode}, r[:]); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	got, err := m.mode()
	if err != nil {
		return err
	}
	if got != mode {
		return fmt.Errorf("%w (mode register 0x%02x, want 0x%02x)", ErrNoMemory, got, mode)
	}
	return nil
}

// checkFresh tells whether the mode register is as after power-up.
func (m *memory) checkFresh() error {
	switch got, err := m.mode(); {
	case err != nil:
		return err
	case got == modeMark:
		return ErrNotFresh
	case got != m.powerUp:
		return fmt.Errorf("%w (mode register 0x%02x after power-up, want 0x%02x)", ErrNoMemory, got, m.powerUp)
	}
	return nil
}

// read fills dst from address at, in sequential mode. Each transfer carries its own address, so that none depends on the one
// before.
func (m *memory) read(dst []byte, at int) error {
	header := 1 + m.address
	size := min(m.tx, header+len(dst))
	w, r := make([]byte, size), make([]byte, size)
	defer clear(r)
	w[0] = cmdRead
	for len(dst) > 0 {
		n := min(len(dst), size-header)
		for i := range m.address {
			w[1+i] = byte(at >> (8 * (m.address - 1 - i)))
		}
		if err := m.transfer(w[:header+n], r[:header+n]); err != nil {
			return fmt.Errorf("read %d bytes at %d: %w", n, at, err)
		}
		copy(dst, r[header:header+n])
		dst, at = dst[n:], at+n
	}
	return nil
}
