package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// tlsConfigs are those of a client and a server that both show certificates on P-256, agree on P-256 and put a message into
// one record, whatever was sent before.
func tlsConfigs(m *members) (client, server *tls.Config) {
	both := tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256},
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}
	client, server = both.Clone(), both.Clone()
	client.RootCAs, client.ServerName, client.Certificates = m.roots, serverHost, []tls.Certificate{m.client}
	server.ClientCAs, server.ClientAuth, server.Certificates = m.roots, tls.RequireAndVerifyClientCert, []tls.Certificate{m.server}
	return client, server
}

// tlsPair runs the handshake over two connected ends. On an error it closes both.
func tlsPair(m *members, clientEnd, serverEnd net.Conn) (client, server *tls.Conn, err error) {
	clientConfig, serverConfig := tlsConfigs(m)
	client, server = tls.Client(clientEnd, clientConfig), tls.Server(serverEnd, serverConfig)
	served := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err != nil {
			serverEnd.Close() // so that the client does not wait
		}
		served <- err
	}()
	err = client.Handshake()
	if err != nil {
		clientEnd.Close()
	}
	if err = errors.Join(err, <-served); err != nil {
		return nil, nil, errors.Join(err, clientEnd.Close(), serverEnd.Close())
	}
	return client, server, nil
}

func tlsHandshake(m *members) error {
	a, b := net.Pipe()
	if _, _, err := tlsPair(m, a, b); err != nil {
		return err
	}
	return errors.Join(a.Close(), b.Close())
}

// tlsName asks which cipher the two agree on.
func tlsName(m *members) (string, error) {
	a, b := net.Pipe()
	c, _, err := tlsPair(m, a, b)
	if err != nil {
		return "", err
	}
	name := "TLS 1.3 " + map[uint16]string{
		tls.TLS_AES_128_GCM_SHA256: "AES-128-GCM", tls.TLS_AES_256_GCM_SHA384: "AES-256-GCM", tls.TLS_CHACHA20_POLY1305_SHA256: "ChaChaPoly",
	}[c.ConnectionState().CipherSuite]
	return name, errors.Join(a.Close(), b.Close())
}

// tlsChannel is TLS records without a transport: what the client writes comes back as bytes, and what is to be opened is given to
// the server. So one goroutine can seal and open, as with the other contenders.
type tlsChannel struct {
	client, server *tls.Conn
	sent, given    buffer
}

// newTLSChannel does the handshake over a pipe and then takes the pipe away.
func newTLSChannel(m *members) (channel, error) {
	c := &tlsChannel{}
	a, b := net.Pipe()
	c.sent.Conn, c.given.Conn = a, b
	var err error
	if c.client, c.server, err = tlsPair(m, &c.sent, &c.given); err != nil {
		return nil, err
	}
	c.sent.off, c.given.off = true, true
	return c, errors.Join(a.Close(), b.Close())
}

func (c *tlsChannel) ready(int) error { return nil }

func (c *tlsChannel) seal(dst, plaintext []byte) ([]byte, error) {
	c.sent.b = dst
	_, err := c.client.Write(plaintext)
	return c.sent.b, err
}

// open reads once: a record holds no more than maxSize.
func (c *tlsChannel) open(dst, record []byte) ([]byte, error) {
	if need := len(dst) + maxSize; need > cap(dst) {
		dst = append(make([]byte, 0, need), dst...)
	}
	c.given.b = record
	n, err := c.server.Read(dst[len(dst) : len(dst)+maxSize])
	if err == nil && len(c.given.b) > 0 {
		err = fmt.Errorf("%d bytes of the record were not read", len(c.given.b))
	}
	return dst[:len(dst)+n], err
}

// buffer is a connection until off, and then the bytes b.
type buffer struct {
	net.Conn
	off bool
	b   []byte
}

func (b *buffer) Write(p []byte) (int, error) {
	if !b.off {
		return b.Conn.Write(p)
	}
	b.b = append(b.b, p...)
	return len(p), nil
}

func (b *buffer) Read(p []byte) (int, error) {
	if !b.off {
		return b.Conn.Read(p)
	}
	if len(b.b) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, b.b)
	b.b = b.b[n:]
	return n, nil
}

func (b *buffer) SetWriteDeadline(t time.Time) error {
	if !b.off {
		return b.Conn.SetWriteDeadline(t)
	}
	return nil
}
