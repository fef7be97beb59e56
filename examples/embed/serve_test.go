package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/mosquittotest"
	"github.com/semio-iot/semio/internal/pgtest"
	"github.com/semio-iot/semio/internal/systemtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/publicbroker"
)

// A device's life in the portal: commissioned by its sticker, heard, commanded, given back.
func TestPortal(t *testing.T) {
	server := pgtest.Start(t)
	w := newWorld(t)
	p := w.serve(server.DSN(), "-broker", w.broker.URL())
	p.eventually(http.StatusOK, "/healthz")
	p.wantsToken()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	d := w.device("D-BOILER")
	wrong := d.Sticker
	var err error
	wrong.Claim, err = identity.NewClaimCode(bytes.Repeat([]byte{7}, identity.ClaimCodeSize))
	require.NoError(t, err)
	unknown := d.Sticker
	unknown.Device, err = identity.ParseDeviceID("D-NOWHERE")
	require.NoError(t, err)
	sticker := func(s identity.Sticker) map[string]string { return map[string]string{"sticker": s.Encode()} }
	mistyped := map[string]string{"sticker": strings.Replace(d.Sticker.Encode(), "BOILER", "BOILED", 1)}
	for name, c := range map[string]struct {
		status int
		body   any
		says   string
	}{
		"no sticker":     {http.StatusBadRequest, map[string]string{}, "sticker"},
		"mistyped":       {http.StatusBadRequest, mistyped, "sticker"},
		"no JSON object": {http.StatusBadRequest, "hello", "not the JSON that is wanted"},
		"unknown field":  {http.StatusBadRequest, map[string]string{"stiker": "x"}, "stiker"},
		"too long":       {http.StatusRequestEntityTooLarge, map[string]string{"sticker": strings.Repeat("x", maxBody)}, "too large"},
		"unknown device": {http.StatusNotFound, sticker(unknown), "D-NOWHERE"},
		"wrong code":     {http.StatusForbidden, sticker(wrong), "claim"},
		"without code":   {http.StatusUnprocessableEntity, sticker(identity.Sticker{Device: d.ID}), "claim code"},
	} {
		require.Contains(t, p.want(c.status, "POST", "/devices", c.body), c.says, name)
	}
	require.Equal(t, "[]\n", p.want(http.StatusOK, "GET", "/devices", nil))
	require.Contains(t, p.want(http.StatusNotFound, "POST", "/devices/D-BOILER/commands", message{}), "not connected")
	p.want(http.StatusBadRequest, "DELETE", "/devices/BOILER", nil)

	require.Contains(t, p.want(http.StatusCreated, "POST", "/devices", sticker(d.Sticker)), "D-BOILER")
	p.want(http.StatusCreated, "POST", "/devices", sticker(d.Sticker)) // twice is once
	require.NoError(t, d.Gateway.WaitConnected(ctx))
	for _, text := range []string{"21.5 °C", "", "21.7 °C"} {
		require.NoError(t, d.Send(ctx, text))
	}
	_, err = d.Gateway.Send(ctx, devicegw.Event{Type: "a\x00b", Body: []byte{0xff, 0}})
	require.NoError(t, err)
	require.NoError(t, d.Gateway.Flush(ctx))
	require.Equal(t, []string{"21.5 °C", "", "21.7 °C", ""}, p.readings("D-BOILER"))
	require.Contains(t, p.want(http.StatusOK, "GET", "/readings", nil), `"type":"ab","bytes":"/wA="`)
	p.want(http.StatusBadRequest, "GET", "/readings?after=x", nil)

	require.Contains(t, p.want(http.StatusOK, "POST", "/devices/D-BOILER/commands", message{Text: "open"}), "valve is open")
	require.Contains(t, p.want(http.StatusBadGateway, "POST", "/devices/D-BOILER/commands", message{Text: "fly"}), "unknown command")
	require.Contains(t, p.want(http.StatusOK, "GET", "/devices", nil), `"device":"D-BOILER","session":true`)
	require.Equal(t, 4, p.metric("readings_stored_total"))
	require.Equal(t, 4, p.metric("events_handled_total"))
	require.Equal(t, 1, p.metric("devices"))
	require.Equal(t, 1, p.metric("broker_online"))
	require.Positive(t, p.metric("records_bytes_total"))

	// Another instance's data is there after a restart, the device without a second sticker.
	p.stop()
	p = w.serve(server.DSN(), "-broker", w.broker.URL())
	require.NoError(t, d.Send(ctx, "22.0 °C"))
	require.NoError(t, d.Gateway.Flush(ctx))
	require.Equal(t, []string{"21.5 °C", "", "21.7 °C", "", "22.0 °C"}, p.readings("D-BOILER"))

	p.want(http.StatusNoContent, "DELETE", "/devices/D-BOILER", nil)
	require.NoError(t, d.Gateway.WaitDisconnected(ctx))
	require.Equal(t, "[]\n", p.want(http.StatusOK, "GET", "/devices", nil))
	require.Len(t, p.readings("D-BOILER"), 5, "what the service has stored is the service's")
}

func (p *portal) wantsToken() {
	for _, header := range []string{"", "Bearer ", "Bearer a token for this tes", portalToken, "Basic " + portalToken} {
		for _, path := range []string{"/devices", "/readings"} {
			req, err := http.NewRequestWithContext(p.t.Context(), "GET", p.url+path, nil)
			require.NoError(p.t, err)
			req.Header.Set("Authorization", header)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(p.t, err)
			resp.Body.Close()
			require.Equal(p.t, http.StatusUnauthorized, resp.StatusCode, "%q", header)
		}
	}
}

// PostgreSQL and the service die violent deaths under traffic, one, the other, and both at once: each reading is stored exactly once, and
// without PostgreSQL the service goes on by itself.
func TestKilledUnderTraffic(t *testing.T) {
	server := pgtest.Start(t)
	w := newWorld(t)
	p := w.spawn(server.DSN(), "-broker", w.broker.URL())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var devices []*systemtest.Device
	for i := range 3 {
		d := w.device(fmt.Sprintf("D-ROOM-%d", i+1))
		p.want(http.StatusCreated, "POST", "/devices", map[string]string{"sticker": d.Sticker.Encode()})
		require.NoError(t, d.Gateway.WaitConnected(ctx))
		devices = append(devices, d)
	}

	traffic, end := context.WithCancel(ctx)
	defer end()
	sent := make([][]string, len(devices))
	var senders sync.WaitGroup
	for i, d := range devices {
		senders.Go(func() {
			for n := 0; traffic.Err() == nil; n++ {
				text := fmt.Sprintf("%s %d", d.ID, n)
				if err := d.Send(ctx, text); err == nil {
					sent[i] = append(sent[i], text)
				} else if !isFull(err) {
					t.Error(err)
				}
				select {
				case <-traffic.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	flows := func() {
		t.Helper()
		p.eventually(http.StatusOK, "/healthz")
		before := p.metric("readings_stored_total")
		require.Eventually(t, func() bool { return p.metric("readings_stored_total") > before+30 }, patience, time.Millisecond, "traffic flows")
	}
	for _, victims := range []string{"database", "service", "database", "both"} {
		flows()
		if victims != "service" {
			server.Kill(t)
			require.Contains(t, p.eventually(http.StatusServiceUnavailable, "/healthz"), `"gateway":"ok","database":"not reachable"`)
			require.Contains(t, p.want(http.StatusServiceUnavailable, "GET", "/readings", nil), "database is not reachable")
		}
		if victims != "database" {
			p.stop()
		}
		if victims != "service" {
			server.Restart(t)
		}
		if victims != "database" {
			p = w.spawn(server.DSN(), "-broker", w.broker.URL())
		}
	}
	flows()
	end()
	senders.Wait()
	for i, d := range devices {
		require.NoError(t, d.Gateway.Flush(ctx))
		require.Equal(t, sent[i], p.readings(d.ID.String()), "each once, and in order")
	}
	require.NotContains(t, p.log.String(), server.Dir()+" user=", "addresses")
}

func isFull(err error) bool { return strings.Contains(err.Error(), "full") }

// Over a broker that belongs to a stranger the service needs no certificate there, and old sensors publish over the same connection.
func TestPublicBrokerWithOldSensors(t *testing.T) {
	server := pgtest.Start(t)
	m := mosquittotest.Anonymous(t)
	w := &world{System: systemtest.New(t), t: t}
	public := func() *publicbroker.Link {
		l, err := publicbroker.New(publicbroker.Config{Broker: m.URL("mqtt", 0)})
		require.NoError(t, err)
		return l
	}
	w.StartPlatform(func(c *platform.Config) { c.Link, c.Prefix = public(), publicbroker.RandomPrefix() })
	w.devices = func(c *devicegw.Config) { c.Link = public() }
	w.admitService()
	p := w.serve(server.DSN(), "-broker", m.URL("mqtt", 0), "-public", "-plain", "plant/+/temperature")
	p.eventually(http.StatusOK, "/healthz")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	d := w.device("D-BOILER")
	p.want(http.StatusCreated, "POST", "/devices", map[string]string{"sticker": d.Sticker.Encode()})
	require.NoError(t, d.Gateway.WaitConnected(ctx))
	old := newClient(t, m, "old sensor")
	require.NoError(t, old.link.client.AwaitConnection(ctx))
	const topic = "plant/7/temperature"
	require.Eventually(t, func() bool { // subscribed by now
		publish(t, old, topic, "first")
		return len(p.readings(topic)) > 0
	}, patience, 50*time.Millisecond)
	var want []string
	for i := range 400 { // more than may be unacknowledged
		text := fmt.Sprint(i)
		publish(t, old, topic, text)
		publish(t, old, "plant/7/noise", "not asked for")
		if i%10 == 0 {
			require.NoError(t, d.Send(ctx, text))
			want = append(want, text)
		}
	}
	require.NoError(t, d.Gateway.Flush(ctx))
	require.Equal(t, want, p.readings("D-BOILER"))
	require.Eventually(t, func() bool {
		got := p.readings(topic)
		return len(got) >= 400 && got[len(got)-1] == "399"
	}, patience, 20*time.Millisecond)
	require.Empty(t, p.readings("plant/7/noise"))
	require.Equal(t, len(want), p.metric("readings_stored_total"))
}

func TestUsage(t *testing.T) {
	w := newWorld(t)
	short := filepath.Join(t.TempDir(), "short")
	writeFile(t, short, "secret")
	all := []string{"serve", "-party", w.party, "-database", "host=" + t.TempDir(), "-broker", w.broker.URL(), "-token-file", w.token}
	with := func(args ...string) []string { return append(append([]string{}, all...), args...) }
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":             {[]string{"serve", "-h"}, cli.ExitDone, "SEMIO_DATABASE"},
		"no command":       {nil, cli.ExitUsage, "name a command"},
		"no database":      {[]string{"serve", "-party", w.party, "-broker", "mqtts://b", "-token-file", w.token}, cli.ExitUsage, "-database (or SEMIO_DATABASE) is missing"},
		"no server":        {all, cli.ExitFailed, "prepare the database"},
		"no such party":    {with("-party", t.TempDir()), cli.ExitFailed, "no party in this folder"},
		"short token":      {with("-token-file", short), cli.ExitFailed, "want 16 or more"},
		"no token":         {with("-token-file", short+"x"), cli.ExitFailed, "no such file"},
		"bad database URL": {with("-database", "postgres://u:geheim@h:port/"), cli.ExitFailed, "database"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs clitest.Buffer
			require.Equal(t, c.code, program.Run(t.Context(), c.args, cli.IO{Out: &out, Err: &errs}), "%s", &errs)
			require.Contains(t, errs.String(), c.says)
			require.NotContains(t, errs.String(), "geheim")
			require.NotContains(t, errs.String(), "goroutine")
		})
	}
}
