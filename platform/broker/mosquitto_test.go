package broker_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/link/linktest"
	"github.com/semio-iot/semio/internal/mosquittotest"
	"github.com/semio-iot/semio/internal/mqttlink"
)

// TestLinkSuiteMosquitto runs the suite over Debian's broker: mutual TLS, the certificate's name as user name and client ID.
func TestLinkSuiteMosquitto(t *testing.T) {
	w := newWorld(t) // for its CA
	m := startMosquitto(t, w)

	cuts := &cutter{last: map[int]net.Conn{}}
	newLink := func(name string, opts ...func(*mqttlink.Config)) link.Link {
		return w.link(name, name, append([]func(*mqttlink.Config){func(c *mqttlink.Config) {
			c.Broker = m.URL("mqtts", 0)
		}}, opts...)...)
	}
	linktest.TestLink(t, linktest.Broker{
		New: func(t *testing.T, n int) link.Link {
			return newLink(fmt.Sprintf("A-%d", n), func(c *mqttlink.Config) { c.Dial = cuts.dial(n) })
		},
		Prefix: "linktest/",
		Cut:    cuts.cut,

		DeniedTopic: "elsewhere", // its file of access rules refuses no filter
		DenialCuts:  true,
		Refused: func(t *testing.T) link.Link {
			return newLink("A-REFUSED", func(c *mqttlink.Config) {
				c.TLS.Certificates = nil
				c.Patience = -1
			})
		},
		MaxPayload: 100 << 10,
	})
}

func startMosquitto(t *testing.T, w *world) *mosquittotest.Server {
	cert := serverCert(t, w.ca)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	encode := func(kind string, ders ...[]byte) (out []byte) {
		for _, der := range ders {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		}
		return out
	}
	files := map[string][]byte{
		"ca.pem":     encode("CERTIFICATE", w.ca.Certificate().Raw),
		"server.pem": encode("CERTIFICATE", cert.Certificate...),
		"key.pem":    encode("PRIVATE KEY", key),
		"acl":        []byte("pattern readwrite linktest/#\n"),
	}
	return mosquittotest.Start(t, 1, files, func(dir string, ports []int) string {
		return fmt.Sprintf(`listener %d 127.0.0.1
cafile %[2]s/ca.pem
certfile %[2]s/server.pem
keyfile %[2]s/key.pem
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
use_username_as_clientid true
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
acl_file %[2]s/acl
log_dest stderr
log_type all
`, ports[0], dir)
	})
}
