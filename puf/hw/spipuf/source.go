package spipuf

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/spi"

	"github.com/semio-iot/semio/puf"
)

// Source takes readings from a memory. It is safe for concurrent use; readings are taken one after the other.
type Source struct {
	cfg     Config
	turn    chan struct{} // holds one token while somebody uses the memory
	closing chan struct{} // closed when Close was called
	close   func() error

	// With the token:
	lines  *lines
	memory *memory
	marked bool // the mode register was given modeMark before the last power-off
}

// Open connects the port and switches the memory off. It refuses with [ErrPower] or [ErrLine] when the pins do not obey.
func Open(cfg Config) (*Source, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	conn, err := cfg.Port.Connect(cfg.Clock, spi.Mode0, 8)
	if err != nil {
		return nil, fmt.Errorf("connect SPI port: %w", err)
	}
	s := &Source{cfg: cfg, turn: make(chan struct{}, 1), closing: make(chan struct{})}
	if s.lines, err = newLines(cfg); err != nil {
		return nil, err
	}
	l, _ := cfg.Chip.layout()
	if s.memory, err = newMemory(l, cfg.Port, conn, s.lines.cs()); err != nil {
		return nil, err
	}
	if err := s.lines.off(); err != nil {
		return nil, fmt.Errorf("switch memory off: %w", err)
	}
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		return s.lines.off()
	})
	return s, nil
}

// Size returns the number of bytes of a reading.
func (s *Source) Size() int { return s.cfg.Size }

// Close ends a running Measure, waits for it, and leaves the memory without power and its lines low. The port is the
// caller's to close. Later calls return what the first did.
func (s *Source) Close() error { return s.close() }

// Measure implements [puf.Source]: the memory is switched off for [Config.OffTime], on, read, and off again, also when something
// fails on the way.
func (s *Source) Measure(ctx context.Context, dst []byte) error {
	if len(dst) != s.cfg.Size {
		return &puf.SizeError{What: "buffer", Got: len(dst), Want: s.cfg.Size}
	}
	err := s.interrupted(ctx)
	if err == nil {
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
			// Of several that are ready, select takes any.
			err = s.interrupted(ctx)
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.closing:
			err = ErrClosed
		}
	}
	if err == nil {
		err = s.measure(ctx, dst)
	}
	if err != nil {
		return fmt.Errorf("measure %v over SPI: %w", s.cfg.Chip, err)
	}
	return nil
}

func (s *Source) measure(ctx context.Context, dst []byte) error {
	if !s.marked {
		if err := s.powered(ctx, s.mark); err != nil {
			return err
		}
	}
	// A mark holds for one power-up.
	s.marked = false
	if err := s.wait(ctx, s.cfg.OffTime); err != nil {
		return err
	}
	return s.powered(ctx, func() error {
		if err := s.memory.checkFresh(); err != nil {
			return err
		}
		if err := s.memory.setMode(modeSequential); err != nil {
			return err
		}
		if err := s.memory.read(dst, s.cfg.Offset); err != nil {
			return err
		}
		return s.mark()
	})
}

// mark also shows, after a reading, that the memory still had power.
func (s *Source) mark() error {
	if err := s.memory.setMode(modeMark); err != nil {
		return err
	}
	s.marked = true
	return nil
}

// powered calls do with the memory powered and connected, and cuts power whatever happens.
func (s *Source) powered(ctx context.Context, do func() error) (err error) {
	defer func() {
		if off := s.lines.off(); off != nil {
			// The memory may be on, with the mark or without.
			s.marked = false
			err = errors.Join(err, off)
		}
	}()
	if err := s.lines.on(); err != nil {
		return err
	}
	if err := s.wait(ctx, s.cfg.Settle); err != nil {
		return err
	}
	if err := s.lines.connect(); err != nil {
		return err
	}
	return do()
}

func (s *Source) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return s.interrupted(ctx)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return ErrClosed
	}
}

// interrupted returns why a call must end, if it must.
func (s *Source) interrupted(ctx context.Context) error {
	select {
	case <-s.closing:
		return ErrClosed
	default:
		return ctx.Err()
	}
}
