package serialpuf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"github.com/semio-iot/semio/puf"
)

// Defaults of [Config].
const (
	DefaultSize     = 1024
	DefaultTimeout  = 30 * time.Second
	DefaultReply    = 5 * time.Second
	DefaultGap      = 500 * time.Millisecond
	DefaultAttempts = 3
)

const (
	// poll is the longest single wait for bytes, so also the time in which a cancelled context or Close is seen.
	poll = 100 * time.Millisecond

	// pause follows a read that gave nothing: a line whose reads do not wait must not take a whole CPU.
	pause = 5 * time.Millisecond

	// maxSkipped bounds what a Measure reads that is no frame: the rest of the largest one, and a boot log.
	maxSkipped = 128 << 10
)

// Config describes the line and its MCU. A zero field means its default.
type Config struct {
	Size     int           // bytes of a reading, 1 to 65535; default 1024
	Timeout  time.Duration // longest time of one Measure, all requests together; default 30 s
	Reply    time.Duration // longest time from a request to its frame, power-off included; default 5 s
	Gap      time.Duration // longest silence within a frame; default 500 ms
	Attempts int           // requests in one Measure; default 3
	Baud     int           // for Open; default 115200
}

func (c *Config) setDefaults() error {
	if c.Size == 0 {
		c.Size = DefaultSize
	}
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.Baud == 0 {
		c.Baud = DefaultBaud
	}
	for _, f := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{{"Timeout", &c.Timeout, DefaultTimeout}, {"Reply", &c.Reply, DefaultReply}, {"Gap", &c.Gap, DefaultGap}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < 0 {
			return fmt.Errorf("serialpuf: Config.%s is %v, want a positive time", f.name, *f.v)
		}
	}
	switch {
	case c.Size < 0 || c.Size > math.MaxUint16:
		return fmt.Errorf("serialpuf: Config.Size is %d bytes, want 1 to %d", c.Size, math.MaxUint16)
	case c.Attempts < 0:
		return fmt.Errorf("serialpuf: Config.Attempts is %d, want a positive number", c.Attempts)
	case c.Baud < 0:
		return fmt.Errorf("serialpuf: Config.Baud is %d, want a positive rate", c.Baud)
	}
	return nil
}

// Source takes readings from the MCU at the other end of a line. It is safe for concurrent use; readings are taken one after the
// other.
type Source struct {
	cfg  Config
	line io.ReadWriter

	turn    chan struct{} // holds one token while somebody uses the line
	closing chan struct{} // closed when Close was called
	close   func() error
}

// New returns a source over line. It does no I/O.
//
// Read must not block for good. A Read that times out returns 0 and either nil, as go.bug.st/serial does, or an error that is
// os.ErrDeadlineExceeded. Where line has SetReadTimeout (go.bug.st/serial), or SetReadDeadline and SetWriteDeadline (net.Conn,
// os.File), the source sets them; where it has ResetInputBuffer and ResetOutputBuffer, old bytes are dropped before a request.
// Where it has none of these, its Read has to return by itself at times. Close closes line if it is an io.Closer.
func New(line io.ReadWriter, cfg Config) (*Source, error) {
	if line == nil {
		return nil, errors.New("serialpuf: New without a line; use Open for a serial port")
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, line: line, turn: make(chan struct{}, 1), closing: make(chan struct{})}
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		if c, ok := line.(io.Closer); ok {
			return c.Close()
		}
		return nil
	})
	return s, nil
}

// Size returns the number of bytes of a reading.
func (s *Source) Size() int { return s.cfg.Size }

// Close ends a running Measure, waits for it, and closes the line. Later calls return what the first did.
func (s *Source) Close() error { return s.close() }

// Measure implements [puf.Source]: it has the MCU take a reading after a power-up. A reply that is no good is reported as a
// *FrameError.
func (s *Source) Measure(ctx context.Context, dst []byte) error {
	if len(dst) != s.cfg.Size {
		return &puf.SizeError{What: "buffer", Got: len(dst), Want: s.cfg.Size}
	}
	if err := s.interrupted(ctx); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return s.interrupted(ctx)
	case <-s.closing:
		return ErrClosed
	}
	if err := s.interrupted(ctx); err != nil {
		return err
	}
	if l, ok := s.line.(interface{ SetReadTimeout(time.Duration) error }); ok {
		if err := l.SetReadTimeout(poll); err != nil {
			return fmt.Errorf("measure over serial line: %w", lost("set up line", err))
		}
	}

	m := &measurement{Source: s, scanner: newScanner(), deadline: time.Now().Add(s.cfg.Timeout)}
	defer m.scanner.wipe()
	if err := m.run(ctx, dst); err != nil {
		return fmt.Errorf("measure over serial line: %w", err)
	}
	return nil
}

// interrupted returns why a call must end, if it must.
func (s *Source) interrupted(ctx context.Context) error {
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("measure over serial line: %w", err)
	}
	return nil
}

// measurement is one call of Measure.
type measurement struct {
	*Source
	scanner  *scanner
	deadline time.Time
	requests int
}

// run requests until a reading is good, or nothing is won by another request.
func (m *measurement) run(ctx context.Context, dst []byte) error {
	var told *FrameError // the last reply that was worse than none
	for {
		m.requests++
		f, err := m.request(ctx)
		if err == nil {
			err = m.judge(f)
		}
		if err == nil {
			copy(dst, f.data)
			return nil
		}
		var e *FrameError
		if !errors.As(err, &e) {
			return err
		}
		// A damaged frame tells more about the line than the silence after it.
		if told == nil || e.Err != ErrNoReply {
			told = e
		}
		again := e.Err == ErrNoReply || e.Err == ErrShort || e.Err == ErrChecksum
		if !again || m.requests >= m.cfg.Attempts || !time.Now().Before(m.deadline) {
			told.Requests, told.Skipped = e.Requests, e.Skipped
			return told
		}
		m.scanner.wipe()
	}
}

// request sends one request and returns the first frame whose checksum is right. Its data lies in the scanner.
func (m *measurement) request(ctx context.Context) (frame, error) {
	if err := m.send(ctx); err != nil {
		return frame{}, err
	}
	sent := time.Now()
	heard := sent
	var short *FrameError
	for {
		if f, ok := m.scanner.next(); ok {
			return f, nil
		}
		if m.scanner.skipped > maxSkipped {
			return frame{}, m.fail(ErrNoise, 0, 0)
		}
		now := time.Now()
		have, want := m.scanner.pending()
		if want > 0 && (now.Sub(heard) >= m.cfg.Gap || !now.Before(m.deadline)) {
			if short == nil {
				short = m.fail(ErrShort, have, want)
			}
			// What began here ends in silence, but a whole frame may lie behind a magic that was noise.
			m.scanner.giveUp()
			continue
		}
		// After a damaged frame the line is listened to until it is silent, so that its rest does not spoil the next reply. Inside
		// a frame the reply has come in time.
		damaged := m.scanner.broken || short != nil
		if damaged && now.Sub(heard) >= m.cfg.Gap || want == 0 && now.Sub(sent) >= m.cfg.Reply || !now.Before(m.deadline) {
			switch {
			case m.scanner.broken:
				return frame{}, m.fail(ErrChecksum, 0, 0)
			case short != nil:
				return frame{}, short
			}
			return frame{}, m.fail(ErrNoReply, 0, 0)
		}
		n, err := m.receive(ctx)
		if err != nil {
			return frame{}, err
		}
		if n > 0 {
			heard = time.Now()
		}
	}
}

// judge tells whether f is what was asked for.
func (m *measurement) judge(f frame) error {
	switch {
	case f.flags&^flagFresh != 0:
		return m.fail(ErrFlags, int(f.flags), flagFresh)
	case len(f.data) != m.cfg.Size:
		return m.fail(ErrSize, len(f.data), m.cfg.Size)
	case f.flags&flagFresh == 0:
		return m.fail(ErrNotFresh, 0, 0)
	}
	return nil
}

func (m *measurement) fail(err error, got, want int) *FrameError {
	return &FrameError{Err: err, Got: got, Want: want, Skipped: m.scanner.skipped, Requests: m.requests}
}

// send drops what lies in the line's buffers and writes a request.
func (m *measurement) send(ctx context.Context) error {
	// Unsent requests of an MCU that had stopped listening would block the port once its buffer is full.
	if l, ok := m.line.(interface{ ResetOutputBuffer() error }); ok {
		if err := l.ResetOutputBuffer(); err != nil {
			return lost("drop old requests", err)
		}
	}
	if l, ok := m.line.(interface{ ResetInputBuffer() error }); ok {
		if err := l.ResetInputBuffer(); err != nil {
			return lost("drop old replies", err)
		}
	}
	if l, ok := m.line.(interface{ SetWriteDeadline(time.Time) error }); ok {
		if err := l.SetWriteDeadline(earlier(time.Now().Add(m.cfg.Reply), m.deadline)); err != nil {
			return lost("set up line", err)
		}
		done := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(done)
			l.SetWriteDeadline(time.Unix(1, 0))
		})
		defer func() {
			// A late call would spoil the deadline of the next request.
			if !stop() {
				<-done
			}
		}()
	}
	req := appendRequest(nil, uint16(m.cfg.Size))
	n, err := m.line.Write(req)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err == nil && n < len(req):
		err = io.ErrShortWrite
	}
	if err != nil {
		return lost("send request", err)
	}
	return nil
}

// receive waits up to poll for bytes. It returns 0, nil when none came.
func (m *measurement) receive(ctx context.Context) (int, error) {
	if err := m.stopped(ctx); err != nil {
		return 0, err
	}
	if l, ok := m.line.(interface{ SetReadDeadline(time.Time) error }); ok {
		if err := l.SetReadDeadline(earlier(time.Now().Add(poll), m.deadline)); err != nil {
			return 0, lost("set up line", err)
		}
	}
	n, err := m.line.Read(m.scanner.space())
	m.scanner.received(n)
	switch {
	case n > 0:
		// An error beside bytes shows again at the next call.
		return n, nil
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
	default:
		return 0, lost("receive reply", err)
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-m.closing:
	}
	return 0, m.stopped(ctx)
}

// stopped is interrupted without the operation's name, which Measure adds.
func (m *measurement) stopped(ctx context.Context) error {
	select {
	case <-m.closing:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

func lost(op string, err error) error {
	return fmt.Errorf("%s (check that the adapter is plugged in, then open it again): %w", op, err)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
