package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/fieldtest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/mosquittotest"
	"github.com/semio-iot/semio/platform/publicbroker"
)

// TestPublicBroker has an anonymous Mosquitto stand in for the public one.
func TestPublicBroker(t *testing.T) {
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

func TestPublicBrokerThatIsNone(t *testing.T) {
	w := fieldtest.New(t)
	dir, _ := w.Device("D-THERMO-1")
	p := clitest.Start(t, program, "-unit", dir, "-public", "-broker", w.URL)
	p.Says("broker's certificate is not trusted: check that the roots are those of the CA that issued it")
	p.Stop()
}
