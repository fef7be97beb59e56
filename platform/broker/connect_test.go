package broker_test

import (
	"context"
	"crypto/tls"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
	"github.com/semio-iot/semio/platform/broker"
)

func TestMessageFromLinkToLink(t *testing.T) {
	w := newWorld(t)
	got := make(chan link.Message, 1)
	up := make(chan struct{}, 1)
	app := w.link("A-WATER", "A-WATER--2")
	run(t, app, link.Receiver{Up: func() { up <- struct{}{} }, Message: func(m link.Message) { got <- m }})
	<-up
	require.NoError(t, app.Subscribe(context.Background(), "semio/1/app/A-WATER/+/+/up"))

	dev := w.link("D-1", "D-1")
	run(t, dev, link.Receiver{Up: func() { up <- struct{}{} }})
	<-up
	require.NoError(t, dev.Publish(context.Background(), "semio/1/app/A-WATER/aa/D-1/up", []byte("record")))
	m := <-got
	m.Ack()
	require.Equal(t, "semio/1/app/A-WATER/aa/D-1/up", m.Topic)
	require.Equal(t, "record", string(m.Payload))
	require.Contains(t, w.rules.questions(), "A-WATER A-WATER--2 subscribe semio/1/app/A-WATER/+/+/up\n")
	require.Contains(t, w.rules.questions(), "D-1 D-1 publish semio/1/app/A-WATER/aa/D-1/up\n")
	require.Contains(t, w.rules.questions(), "A-WATER A-WATER--2 receive semio/1/app/A-WATER/aa/D-1/up")
}

func TestNew(t *testing.T) {
	a, v := newCA(t)
	good := broker.Config{Cert: serverCert(t, a), Verifier: v, Authorizer: newRules()}
	for name, change := range map[string]func(*broker.Config){
		"no certificate":     func(c *broker.Config) { c.Cert = tls.Certificate{} },
		"no verifier":        func(c *broker.Config) { c.Verifier = nil },
		"no authorizer":      func(c *broker.Config) { c.Authorizer = nil },
		"bad address":        func(c *broker.Config) { c.Listen = "127.0.0.1:notaport" },
		"packets too small":  func(c *broker.Config) { c.Limits.PacketSize = 10 },
		"negative limit":     func(c *broker.Config) { c.Limits.Connections = -1 },
		"pending too many":   func(c *broker.Config) { c.Limits.Pending = 32768 },
		"keepalive too long": func(c *broker.Config) { c.Limits.KeepAlive = 11 * time.Hour },
		"negative time":      func(c *broker.Config) { c.Limits.ConnectTimeout = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			b, err := broker.New(cfg)
			require.Error(t, err)
			require.Nil(t, b)
		})
	}
	b, err := broker.New(good)
	require.NoError(t, err)
	require.Regexp(t, `^mqtts://127\.0\.0\.1:\d+$`, b.URL())
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.Error(t, b.Run(context.Background()), "Run after Close")

	good.Host = "broker.example"
	b, err = broker.New(good)
	require.NoError(t, err)
	require.Regexp(t, `^mqtts://broker\.example:\d+$`, b.URL())
	require.NoError(t, b.Close())
}

// refused runs a link that gives up at the first refusal and returns why.
func refused(t *testing.T, w *world, name, clientID string, opts ...func(*mqttlink.Config)) *mqttlink.ConnectError {
	t.Helper()
	l := w.link(name, clientID, append(opts, func(c *mqttlink.Config) { c.Patience = -1 })...)
	ended, _ := run(t, l, link.Receiver{Up: func() { t.Error("connected") }})
	select {
	case err := <-ended:
		var e *mqttlink.ConnectError
		require.ErrorAs(t, err, &e)
		return e
	case <-time.After(patience):
		require.FailNow(t, "Run does not end", "last error: %v", l.LastError())
		return nil
	}
}

func TestClientIDMustBeThatOfTheCertificate(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ name, clientID string }{
		{"D-1", "D-2"},          // another device's
		{"D-3", "A-WATER"},      // another role's
		{"D-4", "D-4--2"},       // devices have no instances
		{"D-5", "nonsense"},     //
		{"A-GAS", "A-GAS--"},    // an empty instance
		{"A-AIR", "a-air"},      // another spelling
		{"A-FIRE", "A-FIRE2"},   // a longer name
		{"A-OIL", "A-WATER--2"}, // an instance of another
	} {
		t.Run(c.clientID, func(t *testing.T) {
			e := refused(t, w, c.name, c.clientID)
			require.Equal(t, mqttlink.ReasonClientID, e.Reason)
			require.Equal(t, byte(0x85), e.Code)
			require.ErrorContains(t, e, "must be the name in our certificate")
		})
	}
	c := w.connect(w.cert("D-6"), connectPacket(""))
	require.Equal(t, byte(0x85), c.connack.ReasonCode, "an empty client ID asks the broker to choose one")
}

func TestAuthorizerRefusesIdentity(t *testing.T) {
	w := newWorld(t)
	w.rules.set("authenticate D-1", true)
	e := refused(t, w, "D-1", "D-1")
	require.Equal(t, mqttlink.ReasonIdentity, e.Reason)
	require.Equal(t, byte(0x87), e.Code)
	require.NotContains(t, e.Error(), "not registered: ", "the reason is for the log")
	require.Contains(t, w.log.String(), "not registered")
}

func TestCertificates(t *testing.T) {
	w := newWorld(t)
	revoked := w.cert("D-REVOKED")
	crl, err := w.ca.Revoke(mustID("D-REVOKED"))
	require.NoError(t, err)
	require.NoError(t, w.verifier.AddCRL(crl))
	foreign := newWorld(t)
	for name, c := range map[string]struct {
		id   string
		cert tls.Certificate
	}{
		"another CA's": {"D-1", foreign.cert("D-1")},
		"revoked":      {"D-REVOKED", revoked},
		"none":         {"D-1", tls.Certificate{}},
		"a server's":   {"P-SEMIO", serverCert(t, w.ca)},
	} {
		t.Run(name, func(t *testing.T) {
			e := refused(t, w, "A-UNUSED", c.id, func(cfg *mqttlink.Config) {
				cfg.TLS = w.clientTLS(c.cert)
				if c.cert.Certificate == nil {
					cfg.TLS.Certificates = nil
				}
			})
			require.Equal(t, mqttlink.ReasonIdentity, e.Reason, e.Error())
			require.Zero(t, e.Code)
		})
	}
}

func TestServerCertificateIsVerified(t *testing.T) {
	w := newWorld(t)
	foreign := newWorld(t)
	e := refused(t, w, "D-1", "D-1", func(c *mqttlink.Config) { c.TLS.RootCAs = foreign.clientTLS(tls.Certificate{}).RootCAs })
	require.Equal(t, mqttlink.ReasonServerCA, e.Reason)
	e = refused(t, w, "D-2", "D-2", func(c *mqttlink.Config) { c.TLS.ServerName = "elsewhere.example" })
	require.Equal(t, mqttlink.ReasonServerName, e.Reason)
	e = refused(t, w, "D-3", "D-3", func(c *mqttlink.Config) {
		c.TLS.Time = func() time.Time { return time.Now().Add(-24 * time.Hour) }
	})
	require.Equal(t, mqttlink.ReasonServerExpired, e.Reason)
	require.ErrorContains(t, e, "clock")
}

func TestTLS12IsRefused(t *testing.T) {
	w := newWorld(t)
	e := refused(t, w, "D-1", "D-1", func(c *mqttlink.Config) {
		c.TLS.MinVersion, c.TLS.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	})
	require.Equal(t, mqttlink.ReasonProtocol, e.Reason)
}

func TestOlderMQTTIsRefused(t *testing.T) {
	w := newWorld(t)
	c := &client{t: t, conn: w.dial(w.cert("D-1"))}
	// CONNECT of MQTT 3.1.1, clean session, keep-alive 30 s, client ID D-1
	_, err := c.conn.Write([]byte{0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 30, 0, 3, 'D', '-', '1'})
	require.NoError(t, err)
	b := make([]byte, 4)
	_, err = c.conn.Read(b)
	require.NoError(t, err)
	require.Equal(t, byte(0x20), b[0])
	require.NotZero(t, b[3], "CONNACK must refuse")
}

func TestUserNameDoesNotCount(t *testing.T) {
	w := newWorld(t)
	p := connectPacket("D-1")
	p.UsernameFlag, p.Username = true, "A-WATER"
	c := w.connect(w.cert("D-1"), p)
	require.Zero(t, c.connack.ReasonCode)
	require.Zero(t, c.publish(1, "a", "x"))
	require.Contains(t, w.rules.questions(), "D-1 D-1 publish a")
	require.NotContains(t, w.rules.questions(), "A-WATER")
}

func TestConnackStatesWhatIsNotSupported(t *testing.T) {
	w := newWorld(t, limits(broker.Limits{KeepAlive: time.Minute, PacketSize: 4096, ReceiveMaximum: 7}))
	p := connectPacket("D-1")
	p.KeepAlive = 0
	c := w.connect(w.cert("D-1"), p)
	require.Zero(t, c.connack.ReasonCode)
	props := c.connack.Properties
	require.EqualValues(t, 1, *props.MaximumQOS)
	require.EqualValues(t, 0, *props.RetainAvailable)
	require.EqualValues(t, 0, *props.SharedSubAvailable)
	require.EqualValues(t, 4096, *props.MaximumPacketSize)
	require.EqualValues(t, 7, *props.ReceiveMaximum)
	require.EqualValues(t, 60, *props.ServerKeepAlive, "no keep-alive is the longest one")
	require.Nil(t, props.TopicAliasMaximum)

	p = connectPacket("D-2")
	p.KeepAlive = 65535 // would wrap around in mochi
	c = w.connect(w.cert("D-2"), p)
	require.EqualValues(t, 60, *c.connack.Properties.ServerKeepAlive)
}

func TestExtendedAuthenticationIsRefused(t *testing.T) {
	w := newWorld(t)
	p := connectPacket("D-1")
	p.Properties.AuthMethod = "SCRAM"
	require.EqualValues(t, 0x8c, w.connect(w.cert("D-1"), p).connack.ReasonCode)
}

func TestTakeover(t *testing.T) {
	w := newWorld(t)
	cert := w.cert("D-1")
	first := w.connect(cert, connectPacket("D-1"))
	require.Zero(t, first.subscribe(1, "old")[0]&0x80)
	// Many times: the race inside mochi that claim avoids (the new connection is not listed) shows only now and then.
	for range 20 {
		next := w.connect(cert, connectPacket("D-1"))
		require.Zero(t, next.connack.ReasonCode)
		require.EqualValues(t, 0x8e, first.disconnected())
		require.Zero(t, next.subscribe(1, "t")[0]&0x80)
		next.send(publishPacket(2, "t", "to itself"))
		seen := map[byte]bool{}
		for range 2 {
			seen[next.read().Type] = true
		}
		require.True(t, seen[packets.PUBLISH] && seen[packets.PUBACK], "%v", seen)
		first = next
	}
	require.Equal(t, 1, w.broker.Stats().Connections)
}

func TestInstancesLiveSideBySide(t *testing.T) {
	w := newWorld(t)
	cert := w.cert("A-WATER")
	one := w.connect(cert, connectPacket("A-WATER--1"))
	two := w.connect(cert, connectPacket("A-WATER--2"))
	plain := w.connect(cert, connectPacket("A-WATER"))
	for _, c := range []*client{one, two, plain} {
		require.Zero(t, c.connack.ReasonCode)
		c.sync()
	}
	require.Equal(t, 3, w.broker.Stats().Connections)
}

// A broker that outlives its certificate shows the next one, without a restart.
func TestCertificateIsAskedForAtEachHandshake(t *testing.T) {
	var shown atomic.Pointer[tls.Certificate]
	w := newWorld(t, func(c *broker.Config) {
		first := c.Cert
		shown.Store(&first)
		c.Cert = tls.Certificate{}
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil }
	})
	see := func() []byte {
		c := w.cert("A-WATER")
		conn, err := tls.Dial("tcp", w.address(), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{c}})
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Raw
	}
	require.Equal(t, shown.Load().Certificate[0], see())
	next := serverCert(t, w.ca)
	shown.Store(&next)
	require.Equal(t, next.Certificate[0], see())
}
