package broker_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
	"github.com/semio-iot/semio/platform/broker"
)

const patience = 30 * time.Second // for what should happen at once, on a busy machine

// world is a CA with a broker.
type world struct {
	t        testing.TB
	ca       *ca.Authority
	verifier *identity.Verifier
	rules    *rules
	serving  *identity.Verifier // the broker's, verifier unless an option says otherwise
	broker   *broker.Broker
	log      *logBuffer
	stop     func()
}

type option func(*broker.Config)

func limits(l broker.Limits) option { return func(c *broker.Config) { c.Limits = l } }

func newCA(t testing.TB) (*ca.Authority, *identity.Verifier) {
	a, err := ca.New(ca.Config{Name: "Test CA", Signer: newKey(t), Store: new(ca.MemStore)})
	require.NoError(t, err)
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{a.Certificate()}})
	require.NoError(t, err)
	return a, v
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func serverCert(t testing.TB, a *ca.Authority) tls.Certificate {
	k := newKey(t)
	chain, err := a.IssueServer(k.Public(), mustID("P-SEMIO"), []string{"127.0.0.1", "localhost"})
	require.NoError(t, err)
	return tls.Certificate{Certificate: chain, PrivateKey: k}
}

func newWorld(t testing.TB, opts ...option) *world {
	w := &world{t: t, rules: newRules(), log: new(logBuffer)}
	w.ca, w.verifier = newCA(t)
	cfg := broker.Config{
		Cert: serverCert(t, w.ca), Verifier: w.verifier, Authorizer: w.rules,
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, o := range opts {
		o(&cfg)
	}
	b, err := broker.New(cfg)
	require.NoError(t, err)
	w.broker, w.serving = b, cfg.Verifier
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Error("broker does not stop")
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) address() string {
	u, err := url.Parse(w.broker.URL())
	require.NoError(w.t, err)
	return u.Host
}

func mustID(s string) identity.ID {
	id, err := identity.ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// cert issues a client certificate. The same name gets a new key each time, but for devices.
func (w *world) cert(name string) tls.Certificate {
	k := newKey(w.t)
	csr, err := identity.NewCSR(k, mustID(name), identity.CSROptions{})
	require.NoError(w.t, err)
	chain, err := w.ca.Issue(csr, ca.IssueOptions{NewKey: name[0] != 'D'})
	require.NoError(w.t, err)
	return tls.Certificate{Certificate: chain, PrivateKey: k}
}

func (w *world) clientTLS(cert tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.Certificate())
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
}

// rules is an Authorizer: everything is allowed but what is in deny, "publish topic" or "authenticate id".
type rules struct {
	mu    sync.Mutex
	deny  map[string]bool
	panic bool
	asked []string
}

func newRules() *rules { return &rules{deny: map[string]bool{}} }

func (r *rules) Authenticate(id identity.ID, clientID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deny["authenticate "+id.String()] {
		return errors.New("not registered")
	}
	return nil
}

func (r *rules) Allow(id identity.ID, clientID string, a broker.Action, topic string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panic {
		panic("a fault in the authorizer")
	}
	r.asked = append(r.asked, id.String()+" "+clientID+" "+a.String()+" "+topic)
	return !r.deny[a.String()+" "+topic] && !r.deny[id.String()+" "+a.String()+" "+topic]
}

func (r *rules) set(rule string, deny bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deny[rule] = deny
}

func (r *rules) questions() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.asked, "\n")
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// client is a raw MQTT client, to send what a well-behaved one would not.
type client struct {
	t       testing.TB
	conn    *tls.Conn
	clientD string
	connack *packets.Connack
}

func (w *world) dial(cert tls.Certificate) *tls.Conn {
	d := tls.Dialer{Config: w.clientTLS(cert), NetDialer: &net.Dialer{Timeout: patience}}
	c, err := d.Dial("tcp", w.address())
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	return c.(*tls.Conn)
}

func connectPacket(clientID string) *packets.Connect {
	return &packets.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, ClientID: clientID, CleanStart: true, KeepAlive: 30,
		Properties: &packets.Properties{}}
}

// connect sends CONNECT and reads CONNACK, whatever it says.
func (w *world) connect(cert tls.Certificate, p *packets.Connect) *client {
	c := &client{t: w.t, conn: w.dial(cert), clientD: p.ClientID}
	c.send(p)
	got := c.read()
	ack, ok := got.Content.(*packets.Connack)
	require.True(w.t, ok, "want CONNACK, got %v", got)
	c.connack = ack
	return c
}

// join connects as name and wants it to succeed.
func (w *world) join(name string) *client {
	c := w.connect(w.cert(name), connectPacket(name))
	require.Equal(w.t, byte(0), c.connack.ReasonCode, "CONNACK")
	return c
}

type packet interface {
	WriteTo(io.Writer) (int64, error)
}

func (c *client) send(p packet) {
	c.t.Helper()
	require.NoError(c.t, c.trySend(p))
}

func (c *client) trySend(p packet) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.WriteTo(c.conn)
	return err
}

func (c *client) read() *packets.ControlPacket {
	c.t.Helper()
	p, err := c.tryRead()
	require.NoError(c.t, err)
	return p
}

func (c *client) tryRead() (*packets.ControlPacket, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	return packets.ReadPacket(c.conn)
}

func (c *client) subscribe(id uint16, filters ...string) []byte {
	c.t.Helper()
	s := &packets.Subscribe{PacketID: id, Properties: &packets.Properties{}}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, packets.SubOptions{Topic: f, QoS: 1})
	}
	c.send(s)
	ack, ok := c.read().Content.(*packets.Suback)
	require.True(c.t, ok, "want SUBACK")
	require.Equal(c.t, id, ack.PacketID)
	return ack.Reasons
}

func publishPacket(id uint16, topic, payload string) *packets.Publish {
	p := &packets.Publish{PacketID: id, Topic: topic, Payload: []byte(payload), Properties: &packets.Properties{}}
	if id != 0 {
		p.QoS = 1
	}
	return p
}

// publish returns the reason code of the PUBACK.
func (c *client) publish(id uint16, topic, payload string) byte {
	c.t.Helper()
	c.send(publishPacket(id, topic, payload))
	ack, ok := c.read().Content.(*packets.Puback)
	require.True(c.t, ok, "want PUBACK")
	require.Equal(c.t, id, ack.PacketID)
	return ack.ReasonCode
}

func (c *client) message() *packets.Publish {
	c.t.Helper()
	got := c.read()
	p, ok := got.Content.(*packets.Publish)
	require.True(c.t, ok, "want PUBLISH, got %v", got)
	return p
}

func (c *client) ack(p *packets.Publish) {
	c.t.Helper()
	c.send(&packets.Puback{PacketID: p.PacketID, Properties: &packets.Properties{}})
}

// sync shows that everything sent before has been dealt with and nothing else has arrived.
func (c *client) sync() {
	c.t.Helper()
	c.send(&packets.Pingreq{})
	got := c.read()
	_, ok := got.Content.(*packets.Pingresp)
	require.True(c.t, ok, "want PINGRESP, got %v", got)
}

// disconnected reads up to the end of the connection and returns the reason of the DISCONNECT, 0 without one.
func (c *client) disconnected() byte {
	c.t.Helper()
	var reason byte
	for {
		p, err := c.tryRead()
		if err != nil {
			var ne net.Error
			require.False(c.t, errors.As(err, &ne) && ne.Timeout(), "connection is still open")
			return reason
		}
		if d, ok := p.Content.(*packets.Disconnect); ok {
			reason = d.ReasonCode
		}
	}
}

// linkOf is a link that gives up at the first refusal.
func (w *world) linkOf(cert tls.Certificate, clientID string) *mqttlink.Link {
	return w.link("", clientID, func(c *mqttlink.Config) { c.TLS, c.Patience = w.clientTLS(cert), -1 })
}

func (w *world) link(name, clientID string, opts ...func(*mqttlink.Config)) *mqttlink.Link {
	var cert tls.Certificate
	if name != "" {
		cert = w.cert(name)
	}
	cfg := mqttlink.Config{Broker: w.broker.URL(), TLS: w.clientTLS(cert), ClientID: clientID,
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond}
	for _, o := range opts {
		o(&cfg)
	}
	l, err := mqttlink.New(cfg)
	require.NoError(w.t, err)
	return l
}

// run starts l and returns its end.
func run(t testing.TB, l link.Link, r link.Receiver) (ended <-chan error, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		done <- l.Run(ctx, r)
		close(finished)
	}()
	stop = func() {
		cancel()
		<-finished
	}
	t.Cleanup(stop)
	return done, stop
}
