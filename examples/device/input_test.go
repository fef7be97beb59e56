package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/fieldtest"
	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/identity/party"
)

func TestMain(m *testing.M) { clitest.Main(m, program) }

// nobody is the address of a port where nobody listens.
func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no folder":                 {[]string{"-broker", "mqtts://b"}, "-unit (or SEMIO_UNIT) is missing"},
		"no broker":                 {[]string{"-unit", "x"}, "-broker (or SEMIO_BROKER) is missing"},
		"broker without scheme":     {[]string{"-unit", "x", "-broker", "b.example:8883"}, "want a URL like mqtts://broker.example:8883"},
		"no certificates over mqtt": {[]string{"-unit", "x", "-broker", "mqtt://b"}, "nobody shows a certificate over mqtt. Give the mqtts URL that the platform printed, or add -public"},
		"another protocol":          {[]string{"-unit", "x", "-public", "-broker", "https://b"}, "want mqtts, wss, mqtt or ws"},
		"password in the URL":       {[]string{"-unit", "x", "-public", "-broker", "mqtts://u:SECRET@b"}, "holds a user name"},
		"roots for our own broker":  {[]string{"-unit", "x", "-broker", "mqtts://b", "-broker-roots", "r.pem"}, "-broker-roots goes with -public"},
		"time that goes backwards":  {[]string{"-unit", "x", "-broker", "mqtts://b", "-every", "-1s"}, "want a positive time, or 0"},
		"argument":                  {[]string{"-unit", "x", "-broker", "mqtts://b", "now"}, `unexpected argument "now"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := clitest.Run(t, program, c.args...)
			require.Equal(t, cli.ExitUsage, r.Code, r.Stderr)
			require.Contains(t, r.Stderr, c.want)
			require.NotContains(t, r.Stderr, "SECRET")
		})
	}
}

func TestDeviceThatDoesNotWakeUp(t *testing.T) {
	t.Parallel()
	w, other := fieldtest.New(t), fieldtest.New(t)
	dir, _ := w.Device("D-THERMO-1")
	second, _ := w.Device("D-THERMO-2")
	args := func(dir string, more ...string) []string {
		return append([]string{"-unit", dir, "-broker", w.URL}, more...)
	}
	copied := func(change func(dir string)) string {
		to := t.TempDir()
		require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
		change(to)
		return to
	}
	chipOf := func(text string) func(string) {
		return func(dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "chip"), []byte(text+"\n"), 0o600))
		}
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no device in the folder": {args(t.TempDir()), "no device in this folder: name one that the factory made (FACTORY/units/D-…)"},
		"not produced": {
			args(copied(func(dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "nvm"))) })),
			"The factory has not finished this device, or it was retired and has wiped itself",
		},
		"flash of another chip":   {args(copied(chipOf("sim:99"))), "The folder's chip file and its nvm do not belong together: neither can be copied to another device"},
		"chip of an unknown kind": {args(copied(chipOf("tpm:0"))), "want sim:SEED, dumps:FOLDER[@OFFSET] or sysfs:PATH[@OFFSET]"},
		"dumps that are gone":     {args(copied(chipOf("dumps:/nowhere"))), "chip dumps:/nowhere@0: open dumps: open /nowhere: no such file or directory"},
		"no exported SRAM": {
			args(copied(chipOf("sysfs:" + t.TempDir()))), "no exported SRAM; give the SRAM's device-tree node, or a reserved part of it, the property export",
		},
		"firmware that trusts another authority": {
			args(copied(func(dir string) {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "roots.pem"), party.EncodeCertificates(other.Roots[0].Raw), 0o600))
			})),
			"The other side's certificate comes from another authority: compare roots.pem with the root of the authority that both should trust.",
		},
		"prefix mismatch": {
			args(dir, "-prefix", "semio/elsewhere"),
			"-prefix semio/elsewhere: the platform admitted this party under the topic prefix semio/1, which it has for life. Leave -prefix out, start the platform with -prefix semio/1",
		},
		"no thermometer":           {args(dir, "-sensor", "/nowhere"), "want auto, simulated, or a file like /sys/class/hwmon/hwmon0/temp1_input"},
		"no roots of the broker":   {args(dir, "-public", "-broker-roots", "/nowhere"), "-broker-roots: open /nowhere"},
		"file of events elsewhere": {args(dir, "-events", filepath.Join(dir, "chip")), "is no event: repair it or choose another file"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, clitest.Fails(t, program, c.args...), c.want)
		})
	}
	t.Run("a device runs once", func(t *testing.T) {
		u, err := unit.Open(second)
		require.NoError(t, err)
		defer u.Close()
		require.Contains(t, clitest.Fails(t, program, args(second)...), "in use by another process: end it first")
	})
}

// These end by themselves, or with somebody's help: the device waits, and says for what.
func TestDeviceThatWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		option []fieldtest.Option
		broker func(w *fieldtest.World) string
		want   string
	}{
		"no broker": {
			nil, func(*fieldtest.World) string { return "mqtts://" + nobody(t) },
			"connection attempt failed, will be repeated",
		},
		"broker of another authority": {
			nil, func(*fieldtest.World) string { return fieldtest.New(t).URL },
			"broker's certificate is not trusted: check that the roots are those of the CA that issued it",
		},
		"clock, or certificate out of date": {
			[]fieldtest.Option{fieldtest.ExpiredServer()}, func(w *fieldtest.World) string { return w.URL },
			"broker's certificate is not valid now: check this machine's clock, then renew the certificate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := fieldtest.New(t, c.option...)
			dir, _ := w.Device("D-THERMO-1")
			p := clitest.Start(t, program, "-unit", dir, "-broker", c.broker(w))
			p.Says(c.want)
			require.Equal(t, cli.ExitInterrupted, p.Stop())
		})
	}
}

// The flash is full when the platform's order comes. The device says so and takes the order once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir, sticker := w.Device("D-THERMO-1")
	app := w.RunApplication("A-WATER", func(c *appgw.Config) {})
	args := []string{"-unit", dir, "-broker", w.URL, "-every", "20ms", "-sensor", "simulated"}
	p := clitest.Child(t, 512, args...)
	require.NoError(t, app.Connect(t.Context(), sticker))
	p.Says("(check that the medium is writable and has space)")
	require.Equal(t, cli.ExitInterrupted, p.Stop())
	require.NotContains(t, p.Stderr(), "goroutine")
	clitest.Start(t, program, args...).Find("what", "sent")
}
