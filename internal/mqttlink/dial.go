package mqttlink

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/semio-iot/semio/internal/wsconn"
)

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
	c, err := l.dialNet(ctx, "tcp", l.url.Host)
	if err != nil {
		return nil, err
	}
	return wsconn.Client(ctx, c, l.url, "mqtt")
}
