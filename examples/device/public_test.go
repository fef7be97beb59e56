package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/fieldtest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/internal/mosquittotest"
	"github.com/semio-iot/semio/platform/publicbroker"
)

// TestPublicBroker has an anonymous Mosquitto stand in for the public one.
func TestPublicBroker(t *testing.T) {
	t.Parallel()
	url := mosquittotest.Anonymous(t).URL("mqtt", 0)
	link := func() *publicbroker.Link {
		l, err := publicbroker.New(publicbroker.Config{Broker: url})
		require.NoError(t, err)
		return l
	}
	prefix := publicbroker.RandomPrefix()
	w := fieldtest.NewPublic(t, url, link(), prefix)
	dir, sticker := w.Device("D-THERMO-1")
	received := make(chan appgw.Event, 10_000)
	app := w.RunApplication("A-WATER", func(c *appgw.Config) {
		c.Broker, c.Link = "", link()
		c.OnEvent = func(_ context.Context, _ identity.DeviceID, e appgw.Event) error { received <- e; return nil }
	})
	p := clitest.Start(t, program, "-unit", dir, "-broker", url, "-public", "-prefix", prefix, "-every", "20ms", "-sensor", "simulated")
	require.Equal(t, prefix, p.Ready["prefix"])
	protection := p.Ready["protection"].(map[string]any)
	require.Equal(t, "public", protection["mode"])
	require.Contains(t, protection["not_protected"], "without TLS (mqtts, wss) everybody on the way to the broker sees and can do the same")
	require.NoError(t, app.Connect(t.Context(), sticker))
	p.Find("what", "sent")
	require.EqualValues(t, 1, (<-received).Seq)

	// Nobody cuts it off, and it wipes itself all the same.
	require.NoError(t, w.Platform.Retire(t.Context(), sticker.Device))
	p.Find("what", "retired")
	require.Equal(t, cli.ExitDone, p.Wait())
}

// Over TLS, with a server certificate of an authority that is not among the system's.
func TestPublicBrokerWithRoots(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t, fieldtest.ExpiredServer())
	dir, _ := w.Device("D-THERMO-1")
	serve := func(cert tls.Certificate) string {
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		require.NoError(t, err)
		files := map[string][]byte{
			"server.pem": party.EncodeCertificates(cert.Certificate...),
			"key.pem":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		}
		return mosquittotest.Start(t, 1, files, func(dir string, ports []int) string {
			return fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\ncertfile %[2]s/server.pem\nkeyfile %[2]s/key.pem\n", ports[0], dir)
		}).URL("mqtts", 0)
	}
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(roots, party.EncodeCertificates(w.Roots[0].Raw), 0o600))

	good := serve(w.Server(w.Authority))
	p := clitest.Start(t, program, "-unit", dir, "-public", "-v", "-broker", good, "-broker-roots", roots)
	p.Says("connected to broker")
	require.Equal(t, cli.ExitInterrupted, p.Stop())
	p = clitest.Start(t, program, "-unit", dir, "-public", "-broker", good)
	p.Says("broker's certificate is not trusted: check that the roots")
	p.Stop()
	// The device has no clock of its own, but this TLS goes by the machine's.
	p = clitest.Start(t, program, "-unit", dir, "-public", "-broker", serve(w.Server(w.YearAgo())), "-broker-roots", roots)
	p.Says("broker's certificate is not valid now: check this machine's clock, then renew the certificate")
	p.Stop()
}

func TestPublicBrokerThatIsNone(t *testing.T) {
	w := fieldtest.New(t)
	dir, _ := w.Device("D-THERMO-1")
	p := clitest.Start(t, program, "-unit", dir, "-public", "-broker", w.URL)
	p.Says("broker's certificate is not trusted: check that the roots are those of the CA that issued it")
	p.Stop()
}
