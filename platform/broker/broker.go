package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/semio-iot/semio/identity"
)

// Config says what a broker serves with. Cert or GetCertificate, Verifier and Authorizer are required.
type Config struct {
	Cert tls.Certificate // the server's, with the host names that clients dial
	// GetCertificate, instead of Cert, is asked at each handshake: a broker that runs for long outlives its certificate.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	Verifier   *identity.Verifier // of client certificates, revocation included
	Authorizer Authorizer         // perhaps a RenewalAuthorizer too

	Listen   string       // TCP address: "127.0.0.1:0"
	Listener net.Listener // instead of Listen: already open, for example passed by the init system; below TLS
	Host     string       // host in URL where the address listened on is not what clients dial

	Limits Limits

	// Observer sees each publication that reaches the broker, wills and refused ones included. It is called on the
	// goroutine of the connection, hence from many at once: it returns soon, and changes and keeps nothing of payload.
	Observer func(from identity.ID, topic string, payload []byte)

	Logger *slog.Logger // none: nothing is logged. Payloads never are.
}

// Broker is an embedded MQTT 5 broker. Its methods are safe for concurrent use.
type Broker struct {
	cfg      Config
	listener net.Listener
	server   *mqtt.Server
	tls      *tls.Config

	started    atomic.Bool
	closeOnce  sync.Once
	closing    chan struct{} // closed when Close was called or Run's context ended
	ended      chan struct{} // closed when Run has ended
	conns      sync.WaitGroup
	handshakes chan struct{} // slots
	stats      counters

	mu       sync.Mutex // guards the rest
	open     map[*conn]struct{}
	byID     map[identity.ID]map[*conn]struct{}
	byClient map[string]*conn
}

// New checks cfg and listens. Clients are served by [Broker.Run].
func New(cfg Config) (*Broker, error) {
	switch {
	case cfg.GetCertificate == nil && (len(cfg.Cert.Certificate) == 0 || cfg.Cert.PrivateKey == nil):
		return nil, errors.New("broker: Config.Cert is empty: have the CA issue a server certificate for the host that clients dial")
	case cfg.Verifier == nil:
		return nil, errors.New("broker: Config.Verifier is nil")
	case cfg.Authorizer == nil:
		return nil, errors.New("broker: Config.Authorizer is nil: without one nobody may connect")
	}
	if err := cfg.Limits.setDefaults(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Broker{
		cfg:        cfg,
		listener:   cfg.Listener,
		closing:    make(chan struct{}),
		ended:      make(chan struct{}),
		handshakes: make(chan struct{}, cfg.Limits.Handshakes),
		open:       map[*conn]struct{}{},
		byID:       map[identity.ID]map[*conn]struct{}{},
		byClient:   map[string]*conn{},
		tls: &tls.Config{
			GetCertificate: cfg.GetCertificate,
			MinVersion:     tls.VersionTLS13,
			// The Verifier does all of the verification, in VerifyConnection: it knows roles, revocation and the time floor.
			ClientAuth:             tls.RequireAnyClientCert,
			SessionTicketsDisabled: true,
		},
	}
	if b.tls.GetCertificate == nil {
		b.tls.Certificates = []tls.Certificate{cfg.Cert}
	}
	b.server = mqtt.New(b.options())
	if err := b.server.AddHook(&hook{b: b}, nil); err != nil {
		return nil, fmt.Errorf("broker: add hook: %w", err)
	}
	if b.listener == nil {
		address := cfg.Listen
		if address == "" {
			address = "127.0.0.1:0"
		}
		var err error
		if b.listener, err = net.Listen("tcp", address); err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
	}
	return b, nil
}

func (b *Broker) options() *mqtt.Options {
	l := b.cfg.Limits
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumClients = math.MaxInt64 // Limits.Connections, counted before MQTT
	c.MaximumSessionExpiryInterval = uint32(l.SessionExpiry / time.Second)
	c.MaximumPacketSize = uint32(l.PacketSize)
	c.ReceiveMaximum = uint16(l.ReceiveMaximum)
	// mochi drops silently at its limit. conn cuts the connection at Pending, well before.
	c.MaximumInflight = uint16(2*l.Pending + 1)
	c.MaximumClientWritesPending = 1024
	c.TopicAliasMaximum = 0
	c.SharedSubAvailable = 0
	c.RetainAvailable = 0
	c.MaximumQos = 1
	c.MinimumProtocolVersion = 5
	c.Compatibilities.NoInheritedPropertiesOnAck = true
	return &mqtt.Options{
		Capabilities: c,
		Logger:       slog.New(quiet{b.cfg.Logger.Handler()}),
		// One write for each packet: conn tells them apart by that, and gathers them itself.
		ClientNetWriteBufferSize: 1,
		ClientNetReadBufferSize:  2048,
		SysTopicResendInterval:   int64((10 * 365 * 24 * time.Hour) / time.Second),
	}
}

// URL is the address to dial, "mqtts://host:port".
func (b *Broker) URL() string {
	host, port, err := net.SplitHostPort(b.listener.Addr().String())
	if err != nil {
		host = b.listener.Addr().String()
	}
	if b.cfg.Host != "" {
		host = b.cfg.Host
	}
	if port == "" {
		return "mqtts://" + host
	}
	return "mqtts://" + net.JoinHostPort(host, port)
}

// Run serves until ctx ends or Close is called, then ends all connections and returns nil once they have. It is called
// once.
func (b *Broker) Run(ctx context.Context) error {
	if !b.started.CompareAndSwap(false, true) {
		return errors.New("broker: Run called a second time, or after Close: make another Broker")
	}
	defer close(b.ended)
	if err := b.server.Serve(); err != nil {
		b.stop()
		return fmt.Errorf("broker: %w", err)
	}
	defer context.AfterFunc(ctx, b.stop)()
	b.conns.Go(b.revokeLive)
	b.accept()
	for _, c := range b.connections() {
		c.kick(packets.ErrServerShuttingDown)
	}
	b.conns.Wait()
	return b.server.Close()
}

// Close ends Run and waits for it. It is idempotent, and releases the listener also where Run was never called.
func (b *Broker) Close() error {
	b.stop()
	if b.started.CompareAndSwap(false, true) {
		close(b.ended) // Run was never called, and will not be
	}
	<-b.ended
	return nil
}

func (b *Broker) stop() {
	b.closeOnce.Do(func() {
		close(b.closing)
		_ = b.listener.Close()
	})
}

// accept takes connections until stop. An error of Accept is not the end of it: out of file descriptors, for one, passes.
func (b *Broker) accept() {
	var wait time.Duration
	for {
		raw, err := b.listener.Accept()
		if err == nil {
			wait = 0
			b.admit(raw)
			continue
		}
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		select {
		case <-b.closing:
			return
		default:
		}
		b.cfg.Logger.Warn("accept failed, trying again", "error", err, "wait", wait)
		select {
		case <-b.closing:
			return
		case <-time.After(wait):
		}
	}
}

func (b *Broker) admit(raw net.Conn) {
	select {
	case b.handshakes <- struct{}{}:
	default:
		b.stats.refused.Add(1)
		_ = raw.Close()
		return
	}
	b.conns.Go(func() {
		c := b.handshake(raw)
		<-b.handshakes
		if c != nil {
			b.serve(c)
		}
	})
}

// handshake returns a connection with a verified identity, nil when there is none. What follows up to CONNECT shares its
// time limit.
func (b *Broker) handshake(raw net.Conn) *conn {
	limit := time.Now().Add(b.cfg.Limits.ConnectTimeout)
	_ = raw.SetDeadline(limit)
	// During a shutdown nobody would end this otherwise.
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-b.closing:
			_ = raw.SetDeadline(time.Unix(1, 0))
		case <-done:
		}
	}()

	c := newConn(raw, b)
	cfg := b.tls.Clone()
	cfg.VerifyConnection = func(cs tls.ConnectionState) error { return b.identify(c, cs.PeerCertificates) }
	c.tls = tls.Server(raw, cfg)
	if err := c.tls.Handshake(); err != nil {
		b.stats.refused.Add(1)
		b.cfg.Logger.Debug("TLS handshake failed", "remote", raw.RemoteAddr().String(), "error", err)
		_ = raw.Close()
		return nil
	}
	if err := b.enter(c); err != nil {
		b.stats.refused.Add(1)
		b.cfg.Logger.Warn("connection refused", "id", c.id, "error", err)
		_ = raw.Close()
		return nil
	}
	_ = raw.SetDeadline(time.Time{})
	_ = c.tls.SetReadDeadline(limit)
	return c
}

// serve runs MQTT on c until it ends. Whatever happens in there, a connection must not take the platform down: mochi's decoders
// see bytes of clients before anybody else.
func (b *Broker) serve(c *conn) {
	defer b.leave(c)
	defer b.endInTime(c)()
	defer func() {
		if p := recover(); p != nil {
			b.stats.panics.Add(1)
			b.cfg.Logger.Error("connection ended by a panic", "id", c.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	err := b.server.EstablishConnection(listenerID, c)
	b.cfg.Logger.Debug("connection ended", "id", c.id, "client", c.clientID, "error", err)
}

const listenerID = "semio"

// Stats are counters since New.
type Stats struct {
	Connections int    // open now
	Refused     uint64 // connections: no slot, no acceptable certificate, no acceptable CONNECT
	Denied      uint64 // publications, filters and deliveries that the Authorizer did not allow
	Cut         uint64 // connections ended because the consumer fell behind
	Dropped     uint64 // messages for absent sessions beyond Limits.Pending
	Panics      uint64 // connections ended by a fault in the broker: please report
	Received    uint64 // publications
	Sent        uint64 // deliveries
}

type counters struct {
	refused, denied, cut, panics atomic.Uint64
}

// Stats returns the counters.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	open := len(b.open)
	b.mu.Unlock()
	return Stats{
		Connections: open,
		Refused:     b.stats.refused.Load(),
		Denied:      b.stats.denied.Load(),
		Cut:         b.stats.cut.Load(),
		Panics:      b.stats.panics.Load(),
		Dropped:     uint64(atomic.LoadInt64(&b.server.Info.InflightDropped)),
		Received:    uint64(atomic.LoadInt64(&b.server.Info.MessagesReceived)),
		Sent:        uint64(atomic.LoadInt64(&b.server.Info.MessagesSent)),
	}
}
