package mqttlink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/gorilla/websocket"
)

// attempt opens the transport of one connection. autopaho gives a custom AttemptConnection no time limit: ctx ends with Run only.
func (l *Link) attempt(ctx context.Context, _ autopaho.ClientConfig, _ *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer cancel()
	raw, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newConn(raw, l.cfg.MaxPacket, l.cfg.AckTimeout)
	l.mu.Lock()
	l.conn = c
	l.mu.Unlock()
	return c, nil
}

func (l *Link) dial(ctx context.Context) (net.Conn, error) {
	if webSocket(l.url) {
		return l.dialWebSocket(ctx)
	}
	return l.dialNet(ctx, "tcp", l.url.Host)
}

func (l *Link) dialNet(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := l.cfg.Dial(ctx, network, address)
	if err != nil {
		return nil, &dialError{err}
	}
	if l.cfg.TLS == nil {
		return c, nil
	}
	t := tls.Client(c, l.cfg.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, &handshakeError{err}
	}
	return t, nil
}

func (l *Link) dialWebSocket(ctx context.Context) (net.Conn, error) {
	d := websocket.Dialer{
		Subprotocols:      []string{"mqtt"},
		NetDialContext:    l.dialNet,
		NetDialTLSContext: l.dialNet, // does the handshake itself
	}
	ws, resp, err := d.DialContext(ctx, l.url.String(), nil)
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("WebSocket upgrade answered with %q: %w", resp.Status, err)
		}
		return nil, err
	}
	if ws.Subprotocol() != "mqtt" {
		_ = ws.Close()
		return nil, errors.New("WebSocket server does not speak the mqtt subprotocol")
	}
	ws.SetReadLimit(int64(l.cfg.MaxPacket) + 16)
	return &wsConn{Conn: ws}, nil
}

// wsConn is a WebSocket as a stream of bytes: packets and messages need not coincide.
type wsConn struct {
	*websocket.Conn
	message io.Reader
}

func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			kind, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("mqttlink: broker sends a WebSocket message that is not binary")
			}
			c.message = r
		}
		n, err := c.message.Read(p)
		if errors.Is(err, io.EOF) {
			c.message, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
