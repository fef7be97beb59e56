package publicbroker_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mosquittotest"
	"github.com/semio-iot/semio/platform/publicbroker"
)

const patience = 60 * time.Second

func TestNew(t *testing.T) {
	for _, broker := range []string{"mqtt://b", "mqtts://b:8883", "ws://b/mqtt", "wss://b"} {
		l, err := publicbroker.New(publicbroker.Config{Broker: broker})
		require.NoError(t, err, broker)
		require.ErrorIs(t, l.Publish(t.Context(), "t", nil), link.ErrDown, "nothing is dialled yet")
	}
	for broker, want := range map[string]string{
		"":                  "want mqtts, wss, mqtt or ws",
		"broker.example":    "want mqtts, wss, mqtt or ws",
		"https://b":         "want mqtts, wss, mqtt or ws",
		"mqtt://user:pw@b":  "holds a user name",
		"mqtts://b/folder":  "only ws and wss URLs have a path",
		"mqtts://:8883":     "has no host",
		"mqtts://host:port": "no URL",
	} {
		l, err := publicbroker.New(publicbroker.Config{Broker: broker})
		require.ErrorContains(t, err, want, broker)
		require.Nil(t, l)
	}
}

func TestRandomPrefix(t *testing.T) {
	a, b := publicbroker.RandomPrefix(), publicbroker.RandomPrefix()
	require.NotEqual(t, a, b)
	for _, p := range []string{a, b} {
		_, err := control.ParsePrefix(p)
		require.NoError(t, err)
	}
}

// TestMosquitto runs links over Debian's broker, which knows nobody here: the four schemes, one after the other from one client
// to another.
func TestMosquitto(t *testing.T) {
	m := startMosquitto(t)
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			from, to := run(t, m.url(scheme), m.roots), run(t, m.url(scheme), m.roots)
			topic := publicbroker.RandomPrefix() + "/up"
			require.NoError(t, to.link.Subscribe(t.Context(), topic))
			require.NoError(t, from.link.Publish(t.Context(), topic, []byte("a record")))
			got := <-to.messages
			require.Equal(t, topic, got.Topic)
			require.Equal(t, "a record", string(got.Payload))
			got.Ack()
		})
	}
	t.Run("server certificate of an authority that the system does not know", func(t *testing.T) {
		l, err := publicbroker.New(publicbroker.Config{Broker: m.url("mqtts")})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx, link.Receiver{Up: func() { t.Error("connected") }}) }()
		require.Eventually(t, func() bool { return l.LastError() != nil }, patience, time.Millisecond)
		require.ErrorContains(t, l.LastError(), "broker's certificate is not trusted: check that the roots")
		cancel()
		require.NoError(t, <-ended)
	})
}

type client struct {
	link     *publicbroker.Link
	messages chan link.Message
}

// run starts a link and returns when it is connected.
func run(t *testing.T, broker string, roots *x509.CertPool) client {
	l, err := publicbroker.New(publicbroker.Config{Broker: broker, Roots: roots})
	require.NoError(t, err)
	c := client{l, make(chan link.Message, 10)}
	ctx, cancel := context.WithCancel(context.Background())
	up, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		ended <- l.Run(ctx, link.Receiver{Up: func() { up <- struct{}{} }, Message: func(m link.Message) { c.messages <- m }})
	}()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	select {
	case <-up:
	case <-time.After(patience):
		require.FailNow(t, "no connection", l.LastError())
	}
	return c
}

var schemes = []string{"mqtt", "mqtts", "ws", "wss"}

type mosquitto struct {
	*mosquittotest.Server
	roots *x509.CertPool
}

func (m mosquitto) url(scheme string) string { return m.URL(scheme, slices.Index(schemes, scheme)) }

// startMosquitto serves the four schemes for everybody.
func startMosquitto(t *testing.T) mosquitto {
	files, roots := serverCert(t)
	return mosquitto{roots: roots, Server: mosquittotest.Start(t, len(schemes), files, func(dir string, ports []int) string {
		conf := "allow_anonymous true\nper_listener_settings false\n"
		for i, scheme := range schemes {
			conf += fmt.Sprintf("listener %d 127.0.0.1\n", ports[i])
			if strings.HasPrefix(scheme, "ws") {
				conf += "protocol websockets\n"
			}
			if scheme == "mqtts" || scheme == "wss" {
				conf += fmt.Sprintf("certfile %[1]s/server.pem\nkeyfile %[1]s/key.pem\n", dir)
			}
		}
		return conf
	})}
}

// serverCert returns the files of a certificate that signs itself, and the pool that trusts it.
func serverCert(t *testing.T) (map[string][]byte, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a stranger"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return map[string][]byte{
		"server.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"key.pem":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, pool
}
