package broker_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/platform/broker"
)

func asNet(err error, ne *net.Error) bool { return errors.As(err, ne) }

// A client's receive maximum is kept, in order, and for longer than its first use: mochi sends what had to wait in any order, and
// its count never recovers.
func TestReceiveMaximum(t *testing.T) {
	w := newWorld(t)
	p, three := connectPacket("A-WATER"), uint16(3)
	p.Properties.ReceiveMaximum = &three
	app, dev := w.connect(w.cert("A-WATER"), p), w.join("D-1")
	app.subscribe(1, "t")
	const n = 100
	for i := range n {
		require.Zero(t, dev.publish(uint16(i+1), "t", fmt.Sprint(i)))
	}
	next := 0
	for next < n {
		var batch []*packets.Publish
		for range min(3, n-next) {
			m := app.message()
			require.Equal(t, fmt.Sprint(next), string(m.Payload))
			next++
			batch = append(batch, m)
		}
		app.sync() // no fourth
		for i := range batch {
			app.ack(batch[len(batch)-1-i])
		}
	}
	app.sync()
	require.Zero(t, w.broker.Stats().Cut)
}

// Client and broker number their packets independently of one another; mochi has one table for both.
func TestPacketIDsOfBothSidesAreApart(t *testing.T) {
	w := newWorld(t)
	app, dev := w.join("A-WATER"), w.join("D-1")
	app.subscribe(1, "t")
	var held []*packets.Publish
	for i := range 5 {
		require.Zero(t, dev.publish(uint16(i+1), "t", fmt.Sprint(i)))
		held = append(held, app.message())
	}
	for _, m := range held {
		require.Equal(t, []byte{1}, app.subscribe(m.PacketID, "other"), "SUBSCRIBE under the ID of a message in flight")
		require.Zero(t, app.publish(m.PacketID, "nobody", "x"))
		app.send(&packets.Unsubscribe{PacketID: m.PacketID, Topics: []string{"other"}, Properties: &packets.Properties{}})
		ack, ok := app.read().Content.(*packets.Unsuback)
		require.True(t, ok)
		require.Equal(t, m.PacketID, ack.PacketID)
		require.Zero(t, ack.Reasons[0])
	}
	// A deferred message is not forgotten either: the window of one is taken, the next waits, the client publishes under its ID.
	p, one := connectPacket("A-GAS"), uint16(1)
	p.Properties.ReceiveMaximum = &one
	gas := w.connect(w.cert("A-GAS"), p)
	gas.subscribe(1, "g")
	dev.publish(10, "g", "first")
	dev.publish(11, "g", "second")
	first := gas.message()
	require.Zero(t, gas.publish(first.PacketID+1, "nobody", "x"))
	gas.ack(first)
	require.Equal(t, "second", string(gas.message().Payload))
}

// One consumer that stops reading holds up nobody, and is cut off instead of losing messages unknowingly.
func TestSlowConsumerIsCutAndHoldsUpNobody(t *testing.T) {
	for name, l := range map[string]broker.Limits{
		"by messages": {Pending: 50, WriteTimeout: time.Minute}, // so that a publisher that waits for it is noticed
		"by bytes":    {Backlog: 64 << 10, WriteTimeout: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, limits(l))
			slow, dev, other := w.join("A-SLOW"), w.join("D-1"), w.join("A-WATER")
			slow.subscribe(1, "t")
			other.subscribe(1, "t")
			_ = slow.conn.NetConn().(*net.TCPConn).SetReadBuffer(4096)
			payload := string(make([]byte, 32<<10))
			start := time.Now()
			for i := range 400 {
				require.Zero(t, dev.publish(uint16(i+1), "t", payload))
				m := other.message()
				other.ack(m)
				if w.broker.Stats().Cut > 0 && i > 100 {
					break
				}
			}
			require.Less(t, time.Since(start), patience, "publisher was held up")
			require.EqualValues(t, 1, w.broker.Stats().Cut)
			// Also when it never reads again.
			require.Eventually(t, func() bool { return w.broker.Stats().Connections == 2 }, patience, time.Millisecond)
			other.sync()
			dev.sync()
		})
	}
}

func TestPacketSizeLimit(t *testing.T) {
	w := newWorld(t, limits(broker.Limits{PacketSize: 1024}))
	c := w.join("D-1")
	require.Zero(t, c.publish(1, "t", string(make([]byte, 900))))
	_ = c.trySend(publishPacket(2, "t", string(make([]byte, 1100))))
	c.disconnected()

	// The length alone is enough: nothing is allocated for what has not come.
	c = w.join("D-2")
	_, err := c.conn.Write([]byte{0x32, 0xff, 0xff, 0xff, 0x7f})
	require.NoError(t, err)
	c.disconnected()

	// Before CONNECT too.
	raw := w.dial(w.cert("D-3"))
	_, err = raw.Write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
	require.NoError(t, err)
	(&client{t: t, conn: raw}).disconnected()
}

func TestMalformedPacketsEndTheConnectionOnly(t *testing.T) {
	w := newWorld(t)
	good := w.join("A-WATER")
	cert := w.cert("D-1")
	for _, b := range [][]byte{
		{0x00, 0x00},
		{0xf0, 0x00},
		{0x10, 0x00},
		{0x30, 0x01, 0x00},
		{0x32, 0x03, 0x00, 0x01, 'a'},
		{0x82, 0x02, 0x00, 0x01},
		{0x82, 0x05, 0x00, 0x01, 0xff, 0xff, 0xff},
		{0xe0, 0x02, 0x00, 0x7f},
		{0x40, 0x04, 0x00, 0x01, 0x00, 0xff},
		{0x32, 0x80, 0x80, 0x80, 0x80, 0x01},
	} {
		c := w.connect(cert, connectPacket("D-1"))
		_, err := c.conn.Write(b)
		require.NoError(t, err)
		_ = c.conn.CloseWrite()
		c.disconnected()
	}
	good.sync()
	require.Zero(t, w.broker.Stats().Panics)
}

func TestPanicEndsItsConnectionOnly(t *testing.T) {
	w := newWorld(t)
	good, c := w.join("A-WATER"), w.join("D-1")
	w.rules.mu.Lock()
	w.rules.panic = true
	w.rules.mu.Unlock()
	c.send(publishPacket(1, "t", "x"))
	c.disconnected()
	good.sync()
	w.gone("D-1") // the connection ends first, then the fault is counted
	require.EqualValues(t, 1, w.broker.Stats().Panics)
	require.Contains(t, w.log.String(), "a fault in the authorizer")
}

func TestConnectionLimits(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		w := newWorld(t, limits(broker.Limits{Connections: 2}))
		one, two := w.join("D-1"), w.join("D-2")
		// A client under TLS 1.3 is done with its handshake before the server refuses, hence the read.
		c := &client{t: t, conn: w.dial(w.cert("D-3"))}
		_ = c.trySend(connectPacket("D-3"))
		require.Zero(t, c.disconnected())
		one.sync()
		_ = two.conn.Close()
		w.gone("D-2")
		w.join("D-4").sync()
	})
	t.Run("one identity", func(t *testing.T) {
		w := newWorld(t, limits(broker.Limits{PerIdentity: 1}))
		cert := w.cert("A-WATER")
		one := w.connect(cert, connectPacket("A-WATER--1"))
		c := &client{t: t, conn: w.dial(cert)}
		_ = c.trySend(connectPacket("A-WATER--2"))
		c.disconnected()
		one.sync()
		w.join("A-GAS").sync()
	})
	t.Run("handshakes", func(t *testing.T) {
		w := newWorld(t, limits(broker.Limits{Handshakes: 1}))
		good := w.join("D-1")
		silent, err := net.Dial("tcp", w.address())
		require.NoError(t, err)
		defer silent.Close()
		require.Eventually(t, func() bool {
			c, err := net.Dial("tcp", w.address())
			require.NoError(t, err)
			defer c.Close()
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err = c.Read(make([]byte, 1))
			var ne net.Error
			return !(errors.As(err, &ne) && ne.Timeout()) // closed by the broker
		}, patience, time.Millisecond)
		good.sync() // those with a certificate have slots of their own
		_ = silent.Close()
		require.Eventually(t, func() bool {
			d := tls.Dialer{Config: w.clientTLS(tls.Certificate{})}
			c, err := d.Dial("tcp", w.address())
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		}, patience, time.Millisecond)
	})
}

// flaky fails now and then, as a listener does when file descriptors run out.
type flaky struct {
	net.Listener
	mu    sync.Mutex
	calls int
}

func (f *flaky) Accept() (net.Conn, error) {
	f.mu.Lock()
	f.calls++
	fail := f.calls%2 == 1
	f.mu.Unlock()
	if fail {
		return nil, errors.New("accept: too many open files")
	}
	return f.Listener.Accept()
}

func TestAcceptErrorsDoNotEndTheListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &flaky{Listener: l}
	w := newWorld(t, func(c *broker.Config) { c.Listener = f })
	for i := range 4 {
		w.join(fmt.Sprintf("D-%d", i)).sync()
	}
	require.Contains(t, w.log.String(), "too many open files")
}

func TestCloseTellsClients(t *testing.T) {
	w := newWorld(t)
	c := w.join("D-1")
	silent := w.dial(w.cert("D-2")) // no CONNECT
	half, err := net.Dial("tcp", w.address())
	require.NoError(t, err)
	defer half.Close()
	require.NoError(t, w.broker.Close())
	require.EqualValues(t, 0x8b, c.disconnected())
	require.Zero(t, (&client{t: t, conn: silent}).disconnected())
	_, err = net.Dial("tcp", w.address())
	require.Error(t, err)
	require.Zero(t, w.broker.Stats().Connections)
	require.NoError(t, w.broker.Close())
	require.Error(t, w.broker.Run(context.Background()))
}
