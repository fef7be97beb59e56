package main

import (
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/fieldtest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/party"
)

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no command":              {nil, "name a command"},
		"unknown command":         {[]string{"commission"}, `unknown command "commission"`},
		"no broker":               {[]string{"run"}, "-broker (or SEMIO_BROKER) is missing"},
		"no certificates over ws": {[]string{"run", "-broker", "ws://b"}, "nobody shows a certificate over ws. Give the mqtts URL that the platform printed, or add -public"},
		"no sticker":              {[]string{"connect"}, "type the sticker's text (SEMIO1:D-…), name its photo with -photo, or give - to read the text from stdin"},
		"two stickers":            {[]string{"connect", "-photo", "x.jpg", "SEMIO1:D-1:2RRY"}, "give the sticker or its photo, not both"},
		"no device to disconnect": {[]string{"disconnect"}, "name one device"},
		"two devices":             {[]string{"disconnect", "D-1", "D-2"}, "name one device"},
		"nothing to ask":          {[]string{"call", "D-1"}, "name a device and say what it shall do, for example: D-… temperature"},
		"nothing to send":         {[]string{"send", "D-1"}, "name a device and a text"},
	} {
		t.Run(name, func(t *testing.T) {
			r := clitest.Run(t, program, c.args...)
			require.Equal(t, cli.ExitUsage, r.Code, r.Stderr)
			require.Contains(t, r.Stderr, c.want)
		})
	}
}

func TestApplicationThatDoesNotStart(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir := w.Application("A-WATER").Dir()
	run := func(dir string, more ...string) []string {
		return append([]string{"run", "-party", dir, "-broker", w.URL}, more...)
	}
	long := filepath.Join(w.Dir, strings.Repeat("long/", 25))
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Clean(long)), 0o700))
	require.NoError(t, os.CopyFS(long, os.DirFS(dir)))
	// The secret files of a copy have the modes of CopyFS, which others may read.
	for _, key := range []string{"signing.key", "agreement.key"} {
		require.NoError(t, os.Chmod(filepath.Join(long, key), 0o600))
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no party":      {run(t.TempDir()), "the command init makes one, and -party names the folder"},
		"another role":  {run(w.Party("R-LINE2").Dir()), "want application (A-…): name another folder with -party"},
		"not certified": {run(uncertified(t)), "no certificate yet; have the authority answer request.pem"},
		"not admitted":  {run(w.Party("A-NEW").Dir()), "not admitted yet; give credential.pem to the platform's operator"},
		"clock, or certificate out of date": {
			run(expired(t)), "A certificate is out of its validity. This machine's clock says ",
		},
		"prefix mismatch": {
			run(dir, "-prefix", "semio/elsewhere"),
			"-prefix semio/elsewhere: the platform admitted this party under the topic prefix semio/1, which it has for life.",
		},
		"events of somebody else": {run(dir, "-events", filepath.Join(dir, "roots.pem")), "is no event: repair it or choose another file"},
		"folder with a long name": {run(long), "name the folder by a shorter path with -party"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, clitest.Fails(t, program, c.args...), c.want)
		})
	}
}

func uncertified(t *testing.T) string {
	id, err := identity.ParseID("A-NEW")
	require.NoError(t, err)
	p, err := party.Create(filepath.Join(t.TempDir(), "p"), id)
	require.NoError(t, err)
	return p.Dir()
}

// expired is the folder of a party that was certified more than a year ago.
func expired(t *testing.T) string {
	w := fieldtest.New(t, fieldtest.ExpiredServer())
	dir := filepath.Join(w.Dir, "A-OLD")
	id, err := identity.ParseID("A-OLD")
	require.NoError(t, err)
	p, err := party.Create(dir, id)
	require.NoError(t, err)
	chain := w.Expired(p.Request())
	endorsement, err := identity.Endorse(p.Signer(), chain[0], p.Key().PublicKey(), identity.EndorseOptions{})
	require.NoError(t, err)
	credential := append(party.EncodeCertificates(chain...), pem.EncodeToMemory(&pem.Block{Type: "SEMIO ENDORSEMENT", Bytes: endorsement})...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "credential.pem"), credential, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "roots.pem"), party.EncodeCertificates(w.Roots[0].Raw), 0o644))
	return dir
}

func TestApplicationThatWaits(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir := w.Application("A-WATER").Dir()
	_, sticker := w.Device("D-THERMO-1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "mqtts://" + l.Addr().String()
	require.NoError(t, l.Close())
	for _, c := range []struct{ name, broker, want string }{
		{"no broker", nobody, "broker not reachable"},
		{"broker of another authority", fieldtest.New(t).URL, "broker's certificate is not trusted: check that the roots are those of the CA that issued it"},
		{"no MQTT there", "wss://" + strings.TrimPrefix(w.URL, "mqtts://"), "connection attempt failed, will be repeated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := clitest.Start(t, program, "run", "-party", dir, "-broker", c.broker)
			p.Says(c.want)
			require.Contains(t, clitest.Fails(t, program, "connect", "-party", dir, "-wait", "1s", sticker.Encode()),
				"No answer in time. Is the platform running, and this application online?")
			require.Equal(t, cli.ExitInterrupted, p.Stop())
		})
	}
}

func TestCommandsThatFail(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir, second := w.Application("A-WATER").Dir(), w.Application("A-HEAT").Dir()
	first, sticker := w.Device("D-THERMO-1")
	_, other := w.Device("D-THERMO-2")
	absent, err := identity.ParseDeviceID("D-THERMO-9")
	require.NoError(t, err)
	code, err := identity.NewClaimCode([]byte("fifteen letters"))
	require.NoError(t, err)
	require.Contains(t, clitest.Fails(t, program, "list", "-party", dir),
		"the application does not run in "+dir+": start it with application run -party "+dir+" -broker URL")
	for _, party := range []string{dir, second} {
		clitest.Start(t, program, "run", "-party", party, "-broker", w.URL).Find("what", "online")
	}
	do(t, dir, "connect", sticker.Encode())
	w.RunDevice(first, func(c *devicegw.Config) {})

	typed := other.Encode()
	wrong := "2" // one character of the claim code
	if typed[20] == '2' {
		wrong = "3"
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a character mistyped":      {[]string{"connect", typed[:20] + wrong + typed[21:]}, "check characters: they do not fit the rest: a character is wrong or two are exchanged; compare with the label"},
		"a part missing":            {[]string{"connect", "SEMIO1"}, "want two or three parts after SEMIO1, parted by ':'; type the whole line"},
		"another label":             {[]string{"connect", "https://example.com"}, "it is no label of ours"},
		"photo that is none":        {[]string{"connect", "-photo", filepath.Join(dir, "roots.pem")}, "want a JPEG or PNG"},
		"code of another sticker":   {[]string{"connect", identity.Sticker{Device: other.Device, Claim: code}.Encode()}, "The claim code is not the one on this device's sticker"},
		"sticker without code":      {[]string{"connect", identity.Sticker{Device: other.Device}.Encode()}, "sticker has no claim code"},
		"device of another factory": {[]string{"connect", identity.Sticker{Device: absent, Claim: code}.Encode()}, "The platform knows no device of this name"},
		"no name of a device":       {[]string{"disconnect", "thermo"}, "identity: "},
		"device that is not ours":   {[]string{"disconnect", "D-THERMO-2"}, "device is not connected with this application"},
		"call it":                   {[]string{"call", "D-THERMO-2", "x"}, "device is not connected with this application"},
		"refused by the device":     {[]string{"call", "D-THERMO-1", "x"}, "delivery: calls are not handled here"},
		"too long":                  {[]string{"send", "D-THERMO-1", strings.Repeat("x", 100_000)}, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{c.args[0], "-party", dir}, c.args[1:]...)
			require.Contains(t, clitest.Fails(t, program, args...), c.want)
		})
	}
	require.Contains(t, clitest.Fails(t, program, "connect", "-party", second, sticker.Encode()),
		"Another application has it: its owner must disconnect it first.")
}

// The disk is full when an event comes. The back-end says so, and has the event once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := fieldtest.New(t)
	dir := w.Application("A-WATER").Dir()
	device, sticker := w.Device("D-THERMO-1")
	events := filepath.Join(t.TempDir(), "events")
	args := []string{"run", "-party", dir, "-broker", w.URL, "-events", events}
	app := clitest.Start(t, program, args...)
	app.Find("what", "online")
	do(t, dir, "connect", sticker.Encode())
	require.Equal(t, cli.ExitInterrupted, app.Stop())

	full := clitest.Child(t, 256<<10, args...) // enough for the gateway's memory
	d := w.RunDevice(device, func(c *devicegw.Config) {})
	require.NoError(t, d.WaitConnected(t.Context()))
	const n = 6
	for range n {
		_, err := d.Send(t.Context(), devicegw.Event{Body: []byte(strings.Repeat("x", 60_000))})
		require.NoError(t, err)
	}
	full.Says("The disk, the quota or the limit on a file's size is exhausted: make room and start again.")
	require.Equal(t, cli.ExitInterrupted, full.Stop())
	require.NotContains(t, full.Stderr(), "goroutine")

	clitest.Start(t, program, args...)
	require.NoError(t, d.Flush(t.Context()))
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 6}, numbers(t, events), "each once, whatever was half-written")
}
