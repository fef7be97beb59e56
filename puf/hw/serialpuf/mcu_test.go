package serialpuf_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// encode makes a frame after the package's documentation, not after its code.
func encode(flags uint16, data []byte) []byte {
	b := []byte{'P', 'U', 'F', '1', byte(len(data) >> 8), byte(len(data)), byte(flags >> 8), byte(flags)}
	b = append(b, data...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(0xedb88320)))
}

// mcu is the firmware that the package's documentation describes, over a simulated chip.
type mcu struct {
	chip puf.Source

	// answer is called with the number of the request, from 1, and the good frame, and returns what goes onto the line. Nil:
	// the frame.
	answer func(n int, frame []byte) []byte
	before func(n int) // called before the answer

	mu       sync.Mutex
	requests []uint16 // sizes asked for
}

func (m *mcu) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.requests)
}

// serve answers until the line ends. Its magic may follow any junk.
func (m *mcu) serve(t *testing.T, line io.ReadWriter) {
	var got []byte
	b := make([]byte, 1)
	for {
		n, err := line.Read(b)
		if err != nil {
			return
		}
		got = append(got, b[:n]...)
		if i := bytes.Index(got, []byte("PUFR")); i > 0 {
			got = got[i:]
		}
		if !bytes.HasPrefix(got, []byte("PUFR")) || len(got) < 12 {
			continue
		}
		req := got[:12]
		got = nil
		if crc32.ChecksumIEEE(req[:8]) != binary.BigEndian.Uint32(req[8:]) || req[6] != 0 || req[7] != 0 {
			continue
		}
		m.mu.Lock()
		m.requests = append(m.requests, binary.BigEndian.Uint16(req[4:]))
		count := len(m.requests)
		m.mu.Unlock()
		if m.before != nil {
			m.before(count)
		}
		reading := make([]byte, m.chip.Size())
		if err := m.chip.Measure(t.Context(), reading); err != nil {
			return
		}
		out := encode(1, reading)
		if m.answer != nil {
			out = m.answer(count, out)
		}
		if _, err := line.Write(out); err != nil {
			return
		}
	}
}

// port is one end of a line in memory. It behaves as a port of go.bug.st/serial: a Read that times out gives 0 and nil.
type port struct {
	in, out chan byte
	ended   chan struct{} // closed when either end was closed
	end     func()
	timeout time.Duration
}

func newLine() (host, device *port) {
	a, b, ended := make(chan byte, 1<<19), make(chan byte, 1<<19), make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	return &port{a, b, ended, end, -1}, &port{b, a, ended, end, -1}
}

func (p *port) SetReadTimeout(d time.Duration) error { p.timeout = d; return nil }

func (p *port) Read(b []byte) (int, error) {
	var expired <-chan time.Time
	if p.timeout >= 0 {
		t := time.NewTimer(p.timeout)
		defer t.Stop()
		expired = t.C
	}
	select {
	case b[0] = <-p.in:
	case <-p.ended:
		return 0, io.EOF
	case <-expired:
		return 0, nil
	}
	n := 1
	for ; n < len(b) && len(p.in) > 0; n++ {
		b[n] = <-p.in
	}
	return n, nil
}

func (p *port) Write(b []byte) (int, error) {
	for i, v := range b {
		select {
		case p.out <- v:
		case <-p.ended:
			return i, os.ErrClosed
		}
	}
	return len(b), nil
}

func (p *port) Close() error { p.end(); return nil }

// resettable is a port whose buffers can be emptied.
type resettable struct {
	*port
	resets int
}

func (p *resettable) ResetInputBuffer() error {
	p.resets++
	for len(p.in) > 0 {
		<-p.in
	}
	return nil
}

func (p *resettable) ResetOutputBuffer() error { return nil }

func newChip(size int) *pufsim.Chip { return pufsim.New(7, pufsim.Config{Size: size}) }

func reading(t *testing.T, chip puf.Source) []byte {
	t.Helper()
	b := make([]byte, chip.Size())
	require.NoError(t, chip.Measure(t.Context(), b))
	return b
}
