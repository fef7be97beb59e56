package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/platform/adminhttp"
)

func TestMain(m *testing.M) { clitest.Main(m, program) }

// world is an authority, a platform's folder, a registrar and an operator.
type world struct {
	*clitest.Authority
	t         *testing.T
	dir       string
	registrar *party.Party
	operator  *party.Party
}

func newWorld(t *testing.T) *world { return newWorldOf(t, clitest.NewAuthority(t, 0)) }

func newWorldOf(t *testing.T, a *clitest.Authority) *world {
	return &world{Authority: a, t: t, dir: a.Party("P-SEMIO").Dir(), registrar: a.Party("R-LINE"), operator: a.Party("O-ALICE")}
}

// serve are the arguments of a platform on free ports.
func (w *world) serve(more ...string) []string {
	return append([]string{"serve", "-party", w.dir, "-ca", w.URL, "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-operators", "O-ALICE",
		"-crl-every", "50ms"}, more...)
}

func (w *world) client(url string, p *party.Party) *adminhttp.Client {
	c, err := p.TLS()
	require.NoError(w.t, err)
	v, err := p.Verifier()
	require.NoError(w.t, err)
	client, err := adminhttp.NewClient(adminhttp.ClientConfig{URL: url, Verifier: v, Certificate: c})
	require.NoError(w.t, err)
	w.t.Cleanup(client.Close)
	return client
}

func (w *world) register(url, name string) error {
	_, err := w.client(url, w.registrar).Register(w.t.Context(), w.Registration(name, w.registrar))
	return err
}

func (w *world) admin(s *clitest.Server, command string, more ...string) []string {
	return append([]string{command, "-platform", s.URL("admin"), "-party", w.operator.Dir()}, more...)
}

func TestServe(t *testing.T) {
	w := newWorld(t)
	s := clitest.Start(t, program, w.serve()...)
	require.Equal(t, "semio/1", s.Ready["prefix"])
	require.Contains(t, fmt.Sprint(s.Ready["protection"]), "mutual-tls")
	require.True(t, strings.HasPrefix(s.URL("broker"), "mqtts://127.0.0.1:"))
	require.NoError(t, w.register(s.URL("admin"), "D-1"))
	require.NoError(t, w.register(s.URL("admin"), "D-2"))

	app := w.Party("A-WATER")
	admission := filepath.Join(t.TempDir(), "admission.pem")
	clitest.OK(t, program, w.admin(s, "admit", "-in", filepath.Join(app.Dir(), "credential.pem"), "-out", admission)...)
	b, err := party.ReadAdmission(admission)
	require.NoError(t, err)
	fetched, err := w.client(s.URL("admin"), app).Admission(t.Context())
	require.NoError(t, err)
	require.Equal(t, b, fetched)

	require.Contains(t, clitest.OK(t, program, w.admin(s, "retire", "D-1")...), "D-1 is retired")
	// The authority is asked, and its list comes back.
	require.Eventually(t, func() bool {
		var d adminhttp.Device
		first, _, _ := strings.Cut(clitest.OK(t, program, w.admin(s, "devices", "-json")...), "\n")
		return json.Unmarshal([]byte(first), &d) == nil && d.Status == "retired" && d.Listed
	}, clitest.Wait, 20*time.Millisecond)
	require.Regexp(t, `D-1 +retired\nD-2 +registered\n`, clitest.OK(t, program, w.admin(s, "devices")...))

	// What the authority revokes elsewhere comes too.
	_, err = w.Revoke(app.ID())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return strings.Contains(clitest.OK(t, program, w.admin(s, "applications")...), "revoked")
	}, clitest.Wait, 20*time.Millisecond)
	for _, line := range []string{"registered           D-1", "admitted             A-WATER", "retired              D-1\n", "application revoked"} {
		require.Contains(t, clitest.OK(t, program, w.admin(s, "audit")...), line)
	}
	require.Equal(t, cli.ExitInterrupted, s.Stop())
}

// Without a way to the authority everything comes by files.
func TestFilesOnly(t *testing.T) {
	w := newWorld(t)
	alone := []string{"serve", "-party", w.dir, "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-operators", "O-ALICE"}
	require.Contains(t, clitest.Fails(t, program, alone...), "with -ca URL the platform asks the authority itself; without, make a request with server-request")
	out := filepath.Join(t.TempDir(), "request.pem")
	clitest.OK(t, program, "server-request", "-party", w.dir, "-out", out)
	der, err := party.ReadRequest(out)
	require.NoError(t, err)
	chain := filepath.Join(t.TempDir(), "server.pem")
	ders, err := w.issueServer(der)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(chain, party.EncodeCertificates(ders...), 0o600))
	clitest.OK(t, program, "install", "-party", w.dir, "-server", chain)

	s := clitest.Start(t, program, alone...)
	require.NoError(t, w.register(s.URL("admin"), "D-1"))
	clitest.OK(t, program, w.admin(s, "retire", "D-1")...)
	crl, err := w.Revoke(mustID(t, "D-1"))
	require.NoError(t, err)
	list := filepath.Join(t.TempDir(), "crl.pem")
	writeCRL(t, list, crl)
	clitest.OK(t, program, w.admin(s, "add-crl", "-in", list)...)
	require.Contains(t, clitest.OK(t, program, w.admin(s, "devices", "-json")...), `"listed":true`)
	s.Stop()

	// A registrar who was revoked stays out after a restart, though nobody brings the list again.
	_, err = w.Revoke(w.registrar.ID())
	require.NoError(t, err)
	crl, err = w.CRL()
	require.NoError(t, err)
	writeCRL(t, list, crl)
	s = clitest.Start(t, program, alone...)
	clitest.OK(t, program, w.admin(s, "add-crl", "-in", list)...)
	s.Stop()
	s = clitest.Start(t, program, alone...)
	require.ErrorIs(t, w.register(s.URL("admin"), "D-2"), adminhttp.ErrUnauthenticated)

	require.Contains(t, clitest.Fails(t, program, append(alone, "-hosts", "other.example")...), `not for host "other.example"`)
}

// What was registered and retired stays so, whenever the process is killed.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	p := clitest.Child(t, 0, w.serve()...)
	require.NoError(t, w.register(p.URL("admin"), "D-1"))
	require.NoError(t, w.register(p.URL("admin"), "D-2"))
	p.Kill()
	p = clitest.Child(t, 0, w.serve()...)
	clitest.OK(t, program, w.admin(p.Server, "retire", "D-1")...)
	p.Kill()
	p = clitest.Child(t, 0, w.serve()...)
	require.Regexp(t, `D-1 +retired\nD-2 +registered\n`, clitest.OK(t, program, w.admin(p.Server, "devices")...))
	require.Contains(t, clitest.OK(t, program, w.admin(p.Server, "audit")...), "registered           D-2", "the log is whole: audit verifies it")
	require.Equal(t, cli.ExitInterrupted, p.Stop())
}

// Killed in the middle of its work: every device whose registration it has answered is in the registry, and the log is whole.
func TestKilledUnderLoad(t *testing.T) {
	w := newWorld(t)
	answered := map[string]bool{}
	for round := range 3 {
		p := clitest.Child(t, 0, w.serve()...)
		url := p.URL("admin")
		killed := make(chan struct{})
		for n := 0; ; n++ {
			if n == 4+3*round {
				go func() { p.Kill(); close(killed) }()
			}
			name := fmt.Sprintf("D-%d-%d", round, n)
			if w.register(url, name) != nil {
				break
			}
			answered[name] = true
		}
		<-killed
	}
	require.GreaterOrEqual(t, len(answered), 12)
	s := clitest.Start(t, program, w.serve()...)
	listed := clitest.OK(t, program, w.admin(s, "devices")...)
	for name := range answered {
		require.Regexp(t, name+` +registered`, listed)
	}
	require.NotEmpty(t, clitest.OK(t, program, w.admin(s, "audit")...))
}

func TestWrongInput(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	fresh := w.Party("P-FRESH").Dir()
	uncertified := filepath.Join(t.TempDir(), "p")
	clitest.OK(t, program, "init", "-party", uncertified, "-id", "P-NEW")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no folder":            {[]string{"serve", "-party", t.TempDir()}, "the command init makes one, and -party names the folder"},
		"not certified":        {[]string{"serve", "-party", uncertified}, "no certificate yet; have the authority answer request.pem"},
		"operator's folder":    {[]string{"serve", "-party", w.operator.Dir()}, "is O-ALICE, want platform (P-…): name another folder with -party"},
		"authority is away":    {w.serve("-party", fresh, "-ca", "https://127.0.0.1:1"), "Nobody listens there: start the server, or correct host and port."},
		"another authority":    {w.serve("-party", fresh, "-ca", other.URL), "compare roots.pem with the root of the authority that both should trust"},
		"host is not granted":  {w.serve("-hosts", "bank.example"), `not granted the host "bank.example"; have the authority grant it`},
		"broker's port":        {w.serve("-listen", busy.Addr().String()), "Another program listens there: end it, or choose another address."},
		"administration's":     {w.serve("-admin", busy.Addr().String()), "Another program listens there: end it, or choose another address."},
		"platform is away":     {[]string{"devices", "-platform", "https://127.0.0.1:1", "-party", w.operator.Dir()}, "Nobody listens there"},
		"no operator's folder": {[]string{"devices", "-platform", "https://127.0.0.1:1", "-party", w.dir}, "is P-SEMIO, want operator (O-…)"},
		"no credential":        {[]string{"admit", "-platform", "https://127.0.0.1:1", "-party", w.operator.Dir(), "-in", filepath.Join(w.dir, "signing.key")}, `it has "PRIVATE KEY"`},
	} {
		t.Run(name, func(t *testing.T) { require.Contains(t, clitest.Fails(t, program, c.args...), c.want) })
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"claim":     {w.serve("-claim", "sometimes"), `-claim "sometimes": want required, registered or never`},
		"operators": {w.serve("-operators", "ALICE"), "-operators: "},
		"device":    {[]string{"retire", "-platform", "https://x", "-party", w.operator.Dir(), "A-WATER"}, "retire: "},
		"no device": {[]string{"retire", "-platform", "https://x", "-party", w.operator.Dir()}, "name the devices to retire"},
		"no https":  {[]string{"devices", "-platform", "http://x", "-party", w.operator.Dir()}, "want https://HOST:PORT"},
		"public":    {w.serve("-public"), "-public: say with -broker which broker"},
		"plain":     {w.serve("-broker", "mqtt://127.0.0.1:1"), "add -public if the broker is a stranger's"},
	} {
		t.Run(name, func(t *testing.T) {
			r := clitest.Run(t, program, c.args...)
			require.Equal(t, cli.ExitUsage, r.Code, r.Stderr)
			require.Contains(t, r.Stderr, c.want)
		})
	}

	t.Run("while it runs", func(t *testing.T) {
		s := clitest.Start(t, program, w.serve()...)
		require.Contains(t, clitest.Fails(t, program, w.serve()...), "file is in use by another process")
		require.Contains(t, clitest.Fails(t, program, "devices", "-platform", s.URL("admin"), "-party", w.Party("O-BOB").Dir()),
			"this is for an operator of this platform, and O-BOB is none")
		require.Contains(t, clitest.Fails(t, program, "devices", "-platform", s.URL("admin"), "-party", other.operator.Dir()),
			"compare roots.pem with the root of the authority that both should trust")
		require.Contains(t, clitest.Fails(t, program, w.admin(s, "admit", "-in", filepath.Join(other.Party("A-WATER").Dir(), "credential.pem"))...),
			"compare roots.pem with the root of the authority that both should trust")
		require.Contains(t, clitest.Fails(t, program, w.admin(s, "retire", "D-NONE")...), "D-NONE")
	})
	t.Run("another prefix", func(t *testing.T) {
		require.Contains(t, clitest.Fails(t, program, w.serve("-prefix", "semio/x")...),
			"this platform has the topic prefix semio/1, which its devices and applications have for life")
	})
	t.Run("registry of another authority", func(t *testing.T) {
		require.Contains(t, clitest.Fails(t, program, other.serve("-store", filepath.Join(w.dir, "registry.db"))...),
			"store belongs to another name, topic prefix or certificate; give those back (a certificate as Config.Previous), or use an empty store")
	})
	t.Run("store is none", func(t *testing.T) {
		require.Contains(t, clitest.Fails(t, program, w.serve("-store", filepath.Join(w.dir, "roots.pem"))...), "open store")
	})
}

// Over a stranger's broker the topics begin with what nobody else uses; a broker that is away is waited for, and said to be.
func TestOtherBroker(t *testing.T) {
	w := newWorld(t)
	public := w.serve("-broker", "mqtt://127.0.0.1:1", "-public")
	s := clitest.Start(t, program, public...)
	require.Regexp(t, `^semio/[a-z2-7]{26}$`, s.Ready["prefix"])
	require.Equal(t, "mqtt://127.0.0.1:1", s.Ready["broker"])
	require.Contains(t, fmt.Sprint(s.Ready["protection"]), "without TLS")
	require.NoError(t, w.register(s.URL("admin"), "D-1"))
	require.Eventually(t, func() bool { return strings.Contains(s.Stderr(), "broker not reachable") }, clitest.Wait, 10*time.Millisecond)
	require.Equal(t, cli.ExitInterrupted, s.Stop())
	again := clitest.Start(t, program, public...)
	require.Equal(t, s.Ready["prefix"], again.Ready["prefix"], "for life")
	again.Stop()

	// Its own certificate at a broker whose rules this program does not make.
	s = clitest.Start(t, program, newWorld(t).serve("-broker", "mqtts://127.0.0.1:1")...)
	require.NotContains(t, fmt.Sprint(s.Ready["protection"]), "the broker lets each certificate use its own")
	require.Contains(t, fmt.Sprint(s.Ready["protection"]), "this program tells another broker neither who may use which topic nor whom to cut off")
}

// A clock that is wrong is told from a certificate that is.
func TestClockWrong(t *testing.T) {
	for skew, want := range map[time.Duration]string{
		-400 * 24 * time.Hour: "A certificate is out of its validity. This machine's clock says 2",
		48 * time.Hour:        "A certificate is not valid yet. This machine's clock says 2",
	} {
		a := clitest.NewAuthority(t, skew)
		require.Contains(t, clitest.Fails(t, program, "serve", "-party", a.Unchecked("P-SEMIO").Dir(), "-ca", a.URL), want)
	}
}

// The disk is full: what was said to be registered is, the operator is told, and with room again it goes on.
func TestFullDisk(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no RLIMIT_FSIZE")
	}
	w := newWorld(t)
	out, err := clitest.Command(16<<10, w.serve()...).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "make room and start again. What was stored before is unharmed.")
	require.NotContains(t, string(out), "goroutine")
	require.NoError(t, os.Remove(filepath.Join(w.dir, "registry.db")))

	p := clitest.Child(t, 128<<10, w.serve()...)
	n := 0
	for ; n < 1000; n++ {
		if err := w.register(p.URL("admin"), fmt.Sprintf("D-%d", n)); err != nil {
			require.ErrorContains(t, err, "the server cannot answer now: see its log")
			break
		}
	}
	require.Positive(t, n)
	require.Less(t, n, 1000)
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr(), "file too large") }, clitest.Wait, 10*time.Millisecond, "the operator is told")
	p.Kill()
	s := clitest.Start(t, program, w.serve()...)
	require.Equal(t, n, strings.Count(clitest.OK(t, program, w.admin(s, "devices")...), "registered"))
	require.NoError(t, w.register(s.URL("admin"), "D-AGAIN"))
}

func writeCRL(t *testing.T, path string, crl []byte) {
	b, err := party.EncodeCRL(crl)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))
}
