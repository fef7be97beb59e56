package broker

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/semio-iot/semio/identity"
)

// drainTimeout is for how long a connection that is being closed may take to accept what is left, such as DISCONNECT;
// evictTimeout is the same where somebody waits for the end.
const (
	drainTimeout = time.Second
	evictTimeout = 200 * time.Millisecond
)

// conn is a client's connection as mochi sees it. Write never waits: mochi writes under a lock that it also takes when somebody
// publishes to that client, so one consumer that stops reading would hold up every publisher. What is written gathers in a
// buffer, which one goroutine, started on demand, empties; beyond Limits.Backlog or Limits.Pending the connection is cut.
//
// It also keeps the client's receive maximum, in the order of the messages.
type conn struct {
	b        *Broker
	raw      net.Conn
	tls      *tls.Conn
	chain    []*x509.Certificate
	id       identity.ID
	instance string        // of the certificate
	until    time.Time     // end of the validity of the way that the certificate was verified by
	lapsed   *lapsedClient // not nil: the certificate is not good any more
	ended    chan struct{} // closed when nothing of the connection is left

	standing standing
	evicted  atomic.Bool
	lastOut  atomic.Uint32 // packet ID of the last message to the client
	ids      packetIDs     // used by the reading goroutine

	clientID string // guarded by Broker.mu until claim returned

	mu       sync.Mutex // guards the rest
	client   *mqtt.Client
	out      []byte
	spare    []byte // the other buffer
	held     window
	flushing bool
	closing  bool
	closed   chan struct{} // closed when the transport is
}

func newConn(raw net.Conn, b *Broker) *conn {
	return &conn{b: b, raw: raw, ended: make(chan struct{}), closed: make(chan struct{}), held: newWindow()}
}

func (c *conn) Read(p []byte) (int, error) { return c.tls.Read(p) }
func (c *conn) LocalAddr() net.Addr        { return c.raw.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr       { return c.raw.RemoteAddr() }

// Write takes one whole packet.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return 0, net.ErrClosed
	}
	id, counted := messageID(p)
	if !counted || c.held.enter(id, p) {
		c.out = append(c.out, p...)
	}
	if len(c.out)+c.held.bytes > c.b.cfg.Limits.Backlog || c.held.pending() > c.b.cfg.Limits.Pending {
		c.cut()
		return 0, net.ErrClosed
	}
	c.flush()
	return len(p), nil
}

// acknowledged makes room for the next message.
func (c *conn) acknowledged(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.out = c.held.leave(id, c.out)
	c.flush()
}

// flush starts the writing goroutine unless it runs. c.mu is held.
func (c *conn) flush() {
	if !c.flushing && (c.closing || len(c.out) > 0) {
		c.flushing = true
		go c.write()
	}
}

func (c *conn) write() {
	for {
		c.mu.Lock()
		if len(c.out) == 0 {
			c.flushing = false
			closing := c.closing
			c.mu.Unlock()
			if closing {
				_ = c.tls.Close()
				close(c.closed)
			}
			return
		}
		timeout := c.b.cfg.Limits.WriteTimeout
		if c.closing {
			timeout = min(timeout, c.drain())
		}
		buf := c.out
		c.out, c.spare = c.spare[:0], nil
		// Under the lock, so that Close can shorten it.
		_ = c.tls.SetWriteDeadline(time.Now().Add(timeout))
		c.mu.Unlock()

		_, err := c.tls.Write(buf)

		c.mu.Lock()
		if cap(buf) <= 64<<10 {
			c.spare = buf[:0]
		}
		if err != nil {
			// No notice would get through: tls.Conn.Close would wait for 5 s to send one.
			c.closing, c.out, c.held = true, nil, newWindow()
			_ = c.raw.Close()
			c.mu.Unlock()
			close(c.closed)
			return
		}
		c.mu.Unlock()
	}
}

// Close returns at once. What is in the buffer is still written, for at most a second.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut()
	return nil
}

// shut is Close with c.mu held.
func (c *conn) shut() {
	if c.closing {
		return
	}
	c.closing = true
	c.held = newWindow()
	_ = c.tls.SetReadDeadline(time.Unix(1, 0)) // ends mochi's read now
	_ = c.tls.SetWriteDeadline(time.Now().Add(c.drain()))
	c.flush()
}

func (c *conn) drain() time.Duration {
	if c.evicted.Load() {
		return evictTimeout
	}
	return drainTimeout
}

// cut ends a connection whose consumer is too slow. c.mu is held.
func (c *conn) cut() {
	c.b.stats.cut.Add(1)
	c.b.cfg.Logger.Warn("consumer fell behind and is disconnected", "id", c.id, "client", c.clientID,
		"unacknowledged", c.held.pending(), "bytes", len(c.out)+c.held.bytes)
	c.out = c.out[:0]
	c.shut()
}

// discard drops what has not been written, so that nothing follows an eviction.
func (c *conn) discard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = c.out[:0]
	c.held.reset()
}

// kick ends the connection with a DISCONNECT, where MQTT was spoken on it.
func (c *conn) kick(code packets.Code) {
	c.mu.Lock()
	cl := c.client
	c.mu.Unlock()
	if cl != nil {
		// Its error is the code.
		_ = c.b.server.DisconnectClient(cl, code)
	}
	_ = c.Close()
}

func (c *conn) evict() {
	c.evicted.Store(true) // first: the will is sent when the connection ends
	c.discard()
	c.kick(packets.ErrAdministrativeAction)
}

// SetDeadline is how mochi keeps time between packets. Writes have a limit of their own.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline has no effect on a connection that is being closed: its read must end.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	return c.tls.SetReadDeadline(t)
}

// SetWriteDeadline has no effect.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
