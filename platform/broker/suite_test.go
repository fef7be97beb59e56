package broker_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/link/linktest"
	"github.com/semio-iot/semio/internal/mqttlink"
)

// cutter dials, and breaks what it dialled.
type cutter struct {
	mu   sync.Mutex
	last map[int]net.Conn
}

func (c *cutter) dial(n int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.last[n] = conn
		return conn, err
	}
}

func (c *cutter) cut(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.last[n].(*net.TCPConn).SetLinger(0)
	_ = c.last[n].Close()
}

func TestLinkSuite(t *testing.T) {
	w := newWorld(t)
	for _, a := range []string{"publish", "subscribe"} {
		w.rules.set(a+" linktest/denied", true)
	}
	w.rules.set("authenticate A-REFUSED", true)
	certs := map[int]func(*mqttlink.Config){}
	cuts := &cutter{last: map[int]net.Conn{}}
	for n := range 3 {
		cert := w.cert(fmt.Sprintf("D-%d", n))
		certs[n] = func(c *mqttlink.Config) {
			c.TLS = w.clientTLS(cert)
			c.Dial = cuts.dial(n)
		}
	}
	linktest.TestLink(t, linktest.Broker{
		New: func(t *testing.T, n int) link.Link {
			return w.link("A-UNUSED", fmt.Sprintf("D-%d", n), certs[n])
		},
		Prefix: "linktest/",
		Cut:    cuts.cut,

		DeniedTopic:  "linktest/denied",
		DeniedFilter: "linktest/denied",
		Refused: func(t *testing.T) link.Link {
			return w.link("A-REFUSED", "A-REFUSED", func(c *mqttlink.Config) { c.Patience = -1 })
		},
		MaxPayload: 100 << 10,
	})
}
