package broker_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/link/linktest"
	"github.com/semio-iot/semio/internal/mqttlink"
)

// TestLinkSuiteMosquitto runs the suite over Debian's broker: mutual TLS, the certificate's name as user name and client ID.
func TestLinkSuiteMosquitto(t *testing.T) {
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin = "/usr/sbin/mosquitto"; !executable(bin) {
			t.Skip("mosquitto is not installed: apt-get install mosquitto")
		}
	}
	w := newWorld(t) // for its CA
	port := startMosquitto(t, bin, w)

	cuts := &cutter{last: map[int]net.Conn{}}
	newLink := func(name string, opts ...func(*mqttlink.Config)) link.Link {
		return w.link(name, name, append([]func(*mqttlink.Config){func(c *mqttlink.Config) {
			c.Broker = fmt.Sprintf("mqtts://127.0.0.1:%d", port)
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

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func startMosquitto(t *testing.T, bin string, w *world) (port int) {
	// As root mosquitto becomes a user of its own, who must be able to read this: t.TempDir lies under a folder of mode 0700.
	dir, err := os.MkdirTemp("", "semio-mosquitto-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))

	cert := serverCert(t, w.ca)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	write := func(name string, blocks ...*pem.Block) {
		var b strings.Builder
		for _, block := range blocks {
			require.NoError(t, pem.Encode(&b, block))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644)) // a key for this test alone
	}
	var chain []*pem.Block
	for _, der := range cert.Certificate {
		chain = append(chain, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	write("ca.pem", &pem.Block{Type: "CERTIFICATE", Bytes: w.ca.Certificate().Raw})
	write("server.pem", chain...)
	write("key.pem", &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "acl"), []byte("pattern readwrite linktest/#\n"), 0o644))

	// Another process may take a free port before mosquitto does; then it ends, and the next one is tried.
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port = l.Addr().(*net.TCPAddr).Port
		require.NoError(t, l.Close())
		conf := fmt.Sprintf(`listener %d 127.0.0.1
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
`, port, dir)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "mosquitto.conf"), []byte(conf), 0o644))
		ctx, cancel := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, bin, "-c", filepath.Join(dir, "mosquitto.conf"))
		var stderr logBuffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		stop := func() {
			cancel()
			<-ended
		}
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				_ = c.Close()
				t.Cleanup(func() {
					stop()
					if t.Failed() {
						t.Logf("mosquitto: %s", stderr.String())
					}
				})
				return port
			}
			select {
			case <-ended:
				deadline = time.Time{}
			case <-time.After(5 * time.Millisecond):
			}
		}
		stop()
		t.Logf("mosquitto did not start: %s", stderr.String())
	}
	require.FailNow(t, "mosquitto does not start")
	return 0
}
