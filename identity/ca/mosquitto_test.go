package ca_test

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/mosquittotest"
)

// Mosquitto asks for our certificates, takes the name from them and holds to our revocation list; Go's TLS takes its server certificate.
func TestMosquitto(t *testing.T) {
	a := newCA(t, ca.Config{})
	type peer struct {
		key   *ecdsa.PrivateKey
		chain [][]byte
	}
	issue := func(a *ca.Authority, name string) peer {
		k := newKey(t)
		chain, err := a.Issue(newCSR(t, k, name, identity.CSROptions{}), ca.IssueOptions{})
		require.NoError(t, err)
		return peer{k, chain}
	}
	good, app, ended, stranger := issue(a, "D-1"), issue(a, "A-1"), issue(a, "D-2"), issue(newCA(t, ca.Config{}), "D-1")
	crl, err := a.Revoke(parseID(t, "D-2"))
	require.NoError(t, err)
	key := newKey(t)
	server, err := a.IssueServer(key.Public(), parseID(t, "P-1"), []string{"localhost", "127.0.0.1"})
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	broker := mosquittotest.Start(t, 1, map[string][]byte{
		"root.pem": text("CERTIFICATE", a.Certificate().Raw), "crl.pem": text("X509 CRL", crl),
		"server.pem": text("CERTIFICATE", server[0]), "server.key": text("PRIVATE KEY", keyDER),
	}, func(dir string, ports []int) string {
		return fmt.Sprintf("listener %d 127.0.0.1\ncafile %[2]s/root.pem\ncrlfile %[2]s/crl.pem\ncertfile %[2]s/server.pem\nkeyfile %[2]s/server.key\n"+
			"require_certificate true\nuse_identity_as_username true\ntls_version tlsv1.3\n", ports[0], dir)
	})
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	connect := func(p peer) error {
		c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", broker.Ports[0]), &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "localhost",
			Certificates: []tls.Certificate{{Certificate: p.chain, PrivateKey: p.key}},
		})
		if err != nil {
			return err
		}
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		if _, err := c.Write([]byte("\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test")); err != nil { // MQTT 3.1.1: CONNECT
			return err
		}
		ack := make([]byte, 4)
		if _, err := io.ReadFull(c, ack); err != nil {
			return err
		}
		require.Equal(t, []byte{0x20, 2, 0, 0}, ack)
		return nil
	}
	require.NoError(t, connect(good))
	require.NoError(t, connect(app))
	// Its alert may be lost in the reset of the connection, so its reason cannot be asked for.
	require.Error(t, connect(ended), "revoked")
	require.Error(t, connect(stranger), "another CA's")
}
