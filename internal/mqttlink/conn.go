package mqttlink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// conn is one connection as the client sees it. Lock and Unlock bracket each packet that the client writes, which it does in
// up to seven pieces: they leave as one write, so as one TLS record. A failed or blocked write closes the connection, since the
// client only learns of it from the reader.
type conn struct {
	net.Conn
	reader  *bufio.Reader
	frames  frames
	timeout time.Duration // of a write
	client  *paho.Client  // set before anybody else has the connection
	acks    *acks
	up      chan struct{} // closed when the receiver's Up is on its way
	maxSend int           // bytes of a packet; set before up is closed

	// gone ends when the connection is closed. The client leaves requests that are under way waiting for their answer when it
	// forgets its session, until they time out.
	gone  context.Context
	leave context.CancelFunc

	write  sync.Mutex
	packet []byte // collected between Lock and Unlock
	held   bool

	mu  sync.Mutex // guards err
	err error      // the first
}

func newConn(c net.Conn, maxPacket int, timeout time.Duration) *conn {
	gone, leave := context.WithCancel(context.Background())
	return &conn{
		gone:    gone,
		leave:   leave,
		Conn:    c,
		reader:  bufio.NewReaderSize(c, 4096),
		frames:  frames{max: maxPacket},
		timeout: timeout,
		up:      make(chan struct{}),
		maxSend: maxPacket,
	}
}

// Close is idempotent.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (c *conn) Lock() {
	c.write.Lock()
	c.held = true
}

func (c *conn) Unlock() {
	c.held = false
	_, err := c.send(c.packet)
	if cap(c.packet) > 16<<10 {
		c.packet = nil
	}
	c.packet = c.packet[:0]
	c.write.Unlock()
	if err != nil {
		_ = c.Close()
	}
}

// Write collects; the client writes packets only between Lock and Unlock.
func (c *conn) Write(p []byte) (int, error) {
	if !c.held {
		return 0, errors.New("mqttlink: write outside of a packet")
	}
	c.packet = append(c.packet, p...)
	return len(p), nil
}

func (c *conn) send(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	_ = c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
	n, err := c.Conn.Write(p)
	if err != nil {
		c.fail(fmt.Errorf("mqttlink: write to the broker: %w", err))
	}
	return n, err
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	if ferr := c.frames.scan(p[:n]); ferr != nil {
		n, err = 0, ferr
	}
	if err != nil {
		c.fail(err)
	}
	return n, err
}

func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.gone.Err() == nil { // not what our own Close causes
		c.err = err
	}
}

// cause says why the connection ended, once the client is done with it.
func (c *conn) cause() error {
	if code, ok := c.frames.disconnect(); ok {
		return &DisconnectError{Code: code}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return errors.New("mqttlink: connection closed: no answer to a keep-alive ping, or a packet that is not MQTT")
	}
	return fmt.Errorf("mqttlink: connection lost: %w", c.err)
}

// frames follows the packets in a stream of bytes, so as to refuse one that is too large before the client, which has no limit,
// allocates it, and to note the reason of a DISCONNECT. Used by the reading goroutine; the reason is read after it ended.
type frames struct {
	max   int
	state frameState
	kind  byte
	left  int // bytes of the body still to come
	shift uint
	code  byte
	ended bool // a DISCONNECT was seen
}

type frameState byte

const (
	frameType frameState = iota
	frameLength
	frameBody
)

const typeDisconnect = 14

func (f *frames) scan(p []byte) error {
	for len(p) > 0 {
		switch f.state {
		case frameType:
			f.kind, f.left, f.shift, f.state = p[0]>>4, 0, 0, frameLength
			p = p[1:]
		case frameLength:
			b := p[0]
			p = p[1:]
			f.left |= int(b&0x7f) << f.shift
			f.shift += 7
			if f.left > f.max {
				return fmt.Errorf("mqttlink: broker sends a packet above %d bytes: raise Config.MaxPacket if it is wanted", f.max)
			}
			if b&0x80 != 0 {
				if f.shift == 28 {
					return errors.New("mqttlink: broker sends a malformed packet length")
				}
				continue
			}
			f.begin()
		case frameBody:
			if f.kind == typeDisconnect && !f.ended {
				f.ended, f.code = true, p[0]
			}
			n := min(len(p), f.left)
			p = p[n:]
			if f.left -= n; f.left == 0 {
				f.state = frameType
			}
		}
	}
	return nil
}

func (f *frames) begin() {
	f.state = frameBody
	if f.left == 0 {
		f.ended = f.ended || f.kind == typeDisconnect
		f.state = frameType
	}
}

func (f *frames) disconnect() (code byte, ok bool) { return f.code, f.ended }
