package broker_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
	"github.com/semio-iot/semio/platform/broker"
)

// pipes is a listener without a network, for a broker inside a synctest bubble.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "127.0.0.1:1" }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubble runs f in a world without network under fake time.
func bubble(t *testing.T, l broker.Limits, f func(t *testing.T, w *world, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		w := newWorld(t, limits(l), func(c *broker.Config) { c.Listener = p })
		f(t, w, p)
		w.stop()
	})
}

func (p *pipes) client(t *testing.T, w *world, cert tls.Certificate) *client {
	raw, err := p.dial(t.Context(), "", "")
	require.NoError(t, err)
	c := tls.Client(raw, w.clientTLS(cert))
	require.NoError(t, c.Handshake())
	t.Cleanup(func() { _ = raw.Close() })
	return &client{t: t, conn: c}
}

// readEnd reads without a limit until the connection ends, and returns after what time it did.
func readEnd(c net.Conn) time.Duration {
	begin := time.Now()
	_, _ = io.Copy(io.Discard, c)
	return time.Since(begin)
}

func TestTimeLimitBeforeConnect(t *testing.T) {
	bubble(t, broker.Limits{ConnectTimeout: 7 * time.Second}, func(t *testing.T, w *world, p *pipes) {
		silent, err := p.dial(t.Context(), "", "")
		require.NoError(t, err)
		require.Equal(t, 7*time.Second, readEnd(silent), "no TLS")

		c := p.client(t, w, w.cert("D-1"))
		require.Equal(t, 7*time.Second, readEnd(c.conn), "TLS, but no CONNECT")

		c = p.client(t, w, w.cert("D-2"))
		begin := time.Now()
		trickle := make(chan struct{})
		go func() {
			defer close(trickle)
			for { // a byte now and then does not help
				if _, err := c.conn.Write([]byte{0x10}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		_ = readEnd(c.conn)
		require.LessOrEqual(t, time.Since(begin), 7*time.Second)
		<-trickle
		synctest.Wait()
		require.Zero(t, w.broker.Stats().Connections)
	})
}

func TestKeepAlive(t *testing.T) {
	bubble(t, broker.Limits{KeepAlive: time.Minute}, func(t *testing.T, w *world, p *pipes) {
		for asked, limit := range map[uint16]time.Duration{10: 15 * time.Second, 0: 90 * time.Second, 65535: 90 * time.Second} {
			c := p.client(t, w, w.cert("A-WATER"))
			cp := connectPacket("A-WATER")
			cp.KeepAlive = asked
			c.send(cp)
			require.Zero(t, c.read().Content.(*packets.Connack).ReasonCode)
			_ = c.conn.SetDeadline(time.Time{})
			require.Equal(t, limit, readEnd(c.conn).Round(time.Second), "keep-alive of %d s", asked)
		}
	})
}

// A session that ends by time takes its subscriptions with it. mochi leaves them in its index, where they come to life with the
// next connection of that client ID.
func TestExpiredSessionLeavesNothing(t *testing.T) {
	bubble(t, broker.Limits{SessionExpiry: time.Minute}, func(t *testing.T, w *world, p *pipes) {
		cert := w.cert("D-1")
		open := func(clean bool) *client {
			c := p.client(t, w, cert)
			c.send(sessionPacket("D-1", clean))
			c.connack = c.read().Content.(*packets.Connack)
			require.EqualValues(t, 60, *c.connack.Properties.SessionExpiryInterval)
			return c
		}
		c := open(true)
		c.subscribe(1, "down")
		hour := uint32(3600)
		c.send(&packets.Disconnect{Properties: &packets.Properties{SessionExpiryInterval: &hour}}) // is not believed
		c.disconnected()

		time.Sleep(30 * time.Second)
		c = open(false)
		require.True(t, c.connack.SessionPresent)
		c.send(&packets.Disconnect{Properties: &packets.Properties{SessionExpiryInterval: &hour}})
		c.disconnected()

		time.Sleep(2 * time.Minute)
		c = open(false)
		require.False(t, c.connack.SessionPresent)
		app := p.client(t, w, w.cert("A-WATER"))
		app.send(connectPacket("A-WATER"))
		app.read()
		require.Zero(t, app.publish(1, "down", "x"))
		c.sync()
	})
}

// A consumer whose connection takes nothing more is gone after the write timeout.
func TestWriteTimeout(t *testing.T) {
	bubble(t, broker.Limits{WriteTimeout: 5 * time.Second}, func(t *testing.T, w *world, p *pipes) {
		slow := p.client(t, w, w.cert("A-SLOW"))
		slow.send(connectPacket("A-SLOW"))
		slow.read()
		slow.subscribe(1, "t")
		dev := p.client(t, w, w.cert("D-1"))
		dev.send(connectPacket("D-1"))
		dev.read()
		begin := time.Now()
		require.Zero(t, dev.publish(1, "t", "x")) // net.Pipe buffers nothing, and nobody reads it
		require.Zero(t, dev.publish(2, "t", "x"))
		require.Zero(t, time.Since(begin), "the publisher was held up")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, w.broker.Stats().Connections)
		dev.sync()
	})
}

// Evict and Run's end do not wait for a peer that takes nothing.
func TestEvictOfStuckPeer(t *testing.T) {
	bubble(t, broker.Limits{}, func(t *testing.T, w *world, p *pipes) {
		c := p.client(t, w, w.cert("D-1"))
		c.send(connectPacket("D-1"))
		c.read()
		begin := time.Now()
		require.NoError(t, w.broker.Evict(t.Context(), mustID("D-1")))
		require.LessOrEqual(t, time.Since(begin), 500*time.Millisecond)

		c = p.client(t, w, w.cert("D-2"))
		c.send(connectPacket("D-2"))
		c.read()
		begin = time.Now()
		w.stop()
		require.LessOrEqual(t, time.Since(begin), 2*time.Second)
	})
}

// The whole path under fake time: a link keeps its connection for an hour, loses the broker, and comes back.
func TestLinkOverAnHour(t *testing.T) {
	bubble(t, broker.Limits{}, func(t *testing.T, w *world, p *pipes) {
		ups, downs := 0, 0
		l := w.link("D-1", "D-1", func(c *mqttlink.Config) { c.Dial = p.dial })
		_, stop := run(t, l, link.Receiver{Up: func() { ups++ }, Down: func(error) { downs++ }})
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, 1, ups)
		require.Zero(t, downs)
		require.NoError(t, w.broker.Evict(t.Context(), mustID("D-1")))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, ups)
		stop()
	})
}
