package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/fieldtest"
	"github.com/semio-iot/semio/identity"
)

func TestLifeOfADevice(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir, sticker := w.Device("D-THERMO-1")
	received := make(chan appgw.Event, 10_000)
	app := w.RunApplication("A-WATER", func(c *appgw.Config) {
		c.OnEvent = func(_ context.Context, d identity.DeviceID, e appgw.Event) error {
			received <- e
			return nil
		}
	})
	milli := filepath.Join(t.TempDir(), "temp1_input")
	require.NoError(t, os.WriteFile(milli, []byte("21500\n"), 0o600))
	events := filepath.Join(t.TempDir(), "events")
	args := []string{"-unit", dir, "-broker", w.URL, "-sensor", milli, "-every", "20ms", "-events", events, "-prefix", "semio/1"}

	p := clitest.Start(t, program, args...)
	require.Equal(t, "D-THERMO-1", p.Ready["device"])
	require.Equal(t, "semio/1", p.Ready["prefix"])
	protection := p.Ready["protection"].(map[string]any)
	require.Equal(t, "mutual-tls", protection["mode"])
	require.NotEmpty(t, protection["protected"])
	require.NotEmpty(t, protection["not_protected"])

	require.NoError(t, app.Connect(t.Context(), sticker))
	sent := p.Find("what", "sent")
	require.EqualValues(t, 1, sent["seq"])
	e := <-received
	require.EqualValues(t, 1, e.Seq)
	require.Equal(t, sent["binding"], e.Binding.String())
	require.JSONEq(t, `{"celsius":21.5,"sensor":"`+milli+`"}`, string(e.Body))

	call := func(text string) (string, error) {
		r, err := app.Call(t.Context(), sticker.Device, "text/plain", []byte(text))
		return string(r.Body), err
	}
	for text, want := range map[string]string{
		"temperature": "21.5 °C",
		"every 0s":    "stopped measuring, until told otherwise or restarted",
	} {
		got, err := call(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	got, err := call("flush")
	require.NoError(t, err)
	require.Equal(t, "the application has everything", got)
	got, err = call("status")
	require.NoError(t, err)
	require.Equal(t, "D-THERMO-1 of A-WATER, 0 events queued, measures every 0s", got)
	for text, want := range map[string]string{
		"every now":    `want a time like 10s`,
		"every -1s":    `want a time like 10s`,
		"self-destroy": `: want temperature, every DURATION, flush or status`,
	} {
		_, err := call(text)
		require.ErrorContains(t, err, want)
	}
	_, err = app.Send(t.Context(), sticker.Device, appgw.Event{Type: "text/plain", Body: []byte("firmware 7 is out")})
	require.NoError(t, err)
	event := p.Find("what", "event")["event"].(map[string]any)
	require.Equal(t, "firmware 7 is out", event["text"])
	require.Equal(t, cli.ExitInterrupted, p.Stop())

	// The next power-up: the same keys from another reading, the same application, further numbers.
	p = clitest.Start(t, program, args...)
	sent = p.Find("what", "sent")
	for e := range received {
		if float64(e.Seq) >= sent["seq"].(float64) {
			break // it is connected again
		}
	}
	kept, err := os.ReadFile(events)
	require.NoError(t, err)
	require.Contains(t, string(kept), "firmware 7 is out")

	// End of life: it wipes itself and ends well, and does not come back.
	require.NoError(t, w.Platform.Retire(t.Context(), sticker.Device))
	p.Find("what", "retired")
	require.Equal(t, cli.ExitDone, p.Wait())
	require.Contains(t, clitest.Fails(t, program, args...), "The factory has not finished this device, or it was retired and has wiped itself")
}

func TestTextForPeople(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir, sticker := w.Device("D-THERMO-1")
	received := make(chan appgw.Event, 10_000)
	app := w.RunApplication("A-WATER", func(c *appgw.Config) {
		c.OnEvent = func(_ context.Context, _ identity.DeviceID, e appgw.Event) error { received <- e; return nil }
	})
	go func() {
		if app.Connect(t.Context(), sticker) == nil && (<-received).Seq == 1 {
			_ = w.Platform.Retire(t.Context(), sticker.Device)
		}
	}()
	r := clitest.Run(t, program, "-unit", dir, "-broker", w.URL, "-sensor", "simulated", "-every", "20ms")
	require.Equal(t, cli.ExitDone, r.Code, r.Stderr)
	for _, want := range []string{
		"Over the platform's own broker, with mutual TLS:",
		"  protected      what devices and applications say to each other, end to end",
		"  NOT protected  who runs the broker sees the names",
	} {
		require.Contains(t, r.Stderr, want)
	}
	require.Regexp(t, `^D-THERMO-1 is awake: chip sim:\d+, \d+ bit errors corrected; topics under semio/1; thermometer simulated\n`, r.Stdout)
	require.Regexp(t, `(?m)^connected: A-WATER$`, r.Stdout)
	require.Regexp(t, `(?m)^sent 1: \d+\.\d °C$`, r.Stdout)
	require.Regexp(t, `(?m)^D-THERMO-1 is retired: it has wiped itself$`, r.Stdout)
}
