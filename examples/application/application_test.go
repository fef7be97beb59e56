package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/fieldtest"
	"github.com/semio-iot/semio/examples/internal/journal"
)

func TestMain(m *testing.M) { clitest.Main(m, program) }

// do runs a command of the application, which must succeed, and returns what it printed.
func do(t *testing.T, dir, command string, args ...string) string {
	t.Helper()
	return clitest.OK(t, program, append([]string{command, "-party", dir}, args...)...)
}

func TestCommissionReceiveCommandDecommission(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir := w.Application("A-WATER").Dir()
	first, sticker := w.Device("D-THERMO-1")
	second, photographed := w.Device("D-THERMO-2")
	heard := make(chan string, 10)
	run := func(dir string) *devicegw.Gateway {
		return w.RunDevice(dir, func(c *devicegw.Config) {
			c.OnCall = func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
				return devicegw.Reply{Body: append([]byte("did "), c.Body...)}, nil
			}
			c.OnEvent = func(_ context.Context, e devicegw.Event) error { heard <- string(e.Body); return nil }
		})
	}
	d1, d2 := run(first), run(second)
	events := filepath.Join(t.TempDir(), "events")
	args := []string{"run", "-party", dir, "-broker", w.URL, "-events", events, "-prefix", "semio/1"}
	app := clitest.Start(t, program, args...)
	require.Equal(t, "A-WATER", app.Ready["application"])
	app.Find("what", "online")
	require.Equal(t, "no device is connected\n", do(t, dir, "list"))

	// By the text, and by a photo.
	require.Equal(t, "D-THERMO-1 is connected; it follows as soon as it can be reached.\n", do(t, dir, "connect", sticker.Encode()))
	require.Equal(t, "D-THERMO-1", app.Find("what", "connected")["device"])
	photo := filepath.Join(t.TempDir(), "photo.png")
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, printed(t, photographed)))
	require.NoError(t, os.WriteFile(photo, b.Bytes(), 0o600))
	require.JSONEq(t, `{"device":"D-THERMO-2"}`, do(t, dir, "connect", "-json", "-photo", photo))
	require.NoError(t, d1.WaitConnected(t.Context()))
	require.NoError(t, d2.WaitConnected(t.Context()))

	send := func(d *devicegw.Gateway, texts ...string) {
		for _, text := range texts {
			_, err := d.Send(t.Context(), devicegw.Event{Type: "text/plain", Body: []byte(text)})
			require.NoError(t, err)
		}
	}
	send(d1, "21.5 °C", "21.6 °C")
	require.NoError(t, d1.Flush(t.Context()))
	require.Equal(t, "21.5 °C", app.Find("what", "event")["event"].(map[string]any)["text"])

	require.Equal(t, "did open the valve\n", do(t, dir, "call", "D-THERMO-1", "open", "the", "valve"))
	require.JSONEq(t, `{"device":"D-THERMO-2","text":"did close"}`, do(t, dir, "call", "-json", "D-THERMO-2", "close"))
	require.Equal(t, "event 1 for D-THERMO-2 is kept and will be delivered.\n", do(t, dir, "send", "D-THERMO-2", "good", "night"))
	require.Equal(t, "good night", <-heard)
	require.Equal(t, []string{"D-THERMO-1", "D-THERMO-2"}, names(t, do(t, dir, "list", "-json")))

	// Over a restart; what was sent meanwhile comes.
	require.Equal(t, cli.ExitInterrupted, app.Stop())
	send(d1, "21.7 °C")
	app = clitest.Start(t, program, args...)
	require.Equal(t, "21.7 °C", app.Find("what", "event")["event"].(map[string]any)["text"])
	require.Equal(t, []uint64{1, 2, 3}, numbers(t, events))

	require.Equal(t, "D-THERMO-1 is disconnected; it follows as soon as it can be reached.\n", do(t, dir, "disconnect", "D-THERMO-1"))
	require.NoError(t, d1.WaitDisconnected(t.Context()))
	require.Equal(t, []string{"D-THERMO-2"}, names(t, do(t, dir, "list", "-json")))
	require.Equal(t, cli.ExitInterrupted, app.Stop())
}

func names(t *testing.T, out string) (names []string) {
	dec := json.NewDecoder(bytes.NewReader([]byte(out)))
	for dec.More() {
		var d listed
		require.NoError(t, dec.Decode(&d))
		names = append(names, d.Device)
		require.NotEmpty(t, d.Binding)
	}
	return names
}

func numbers(t *testing.T, file string) (seqs []uint64) {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range bytes.Lines(b) {
		var e journal.Entry
		require.NoError(t, json.Unmarshal(line, &e))
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

// A socket of a process that was killed is taken over; one of a process that lives is not, because its store is locked.
func TestSocket(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir := w.Application("A-WATER").Dir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, socketName), nil, 0o600))
	args := []string{"run", "-party", dir, "-broker", w.URL}
	clitest.Start(t, program, args...)
	info, err := os.Stat(filepath.Join(dir, socketName))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
	require.Contains(t, clitest.Fails(t, program, args...), "another process")
	require.Equal(t, "no device is connected\n", do(t, dir, "list"), "the first one still answers")
}
