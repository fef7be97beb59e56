package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
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
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/internal/systemtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/broker"
)

const patience = time.Minute

// world is a system whose one application is the service.
type world struct {
	*systemtest.System
	t       *testing.T
	broker  *broker.Broker
	party   string // the service's folder
	token   string // its file
	devices func(*devicegw.Config)
}

const portalToken = "a token for this test"

// newWorld has the platform's own broker, with mutual TLS.
func newWorld(t *testing.T) *world {
	w := &world{System: systemtest.New(t), t: t}
	verifier, err := identity.NewVerifier(identity.VerifierConfig{Roots: w.Roots})
	require.NoError(t, err)
	w.broker, err = broker.New(broker.Config{Cert: w.ServerCert(), Verifier: verifier, Authorizer: systemtest.Authorizer{S: w.System}})
	require.NoError(t, err)
	// The platform is there before the broker asks it; it connects when the broker serves.
	w.StartPlatform(func(c *platform.Config) {
		c.Broker, c.Enforcer = w.broker.URL(), platform.EvictFunc(w.broker.Evict)
	})
	w.Live(w.broker.Run)
	w.devices = func(c *devicegw.Config) { c.Broker = w.broker.URL() }
	w.admitService()
	return w
}

// admitService does with the folder what its owner does with the commands init and install.
func (w *world) admitService() {
	t := w.t
	w.party = filepath.Join(t.TempDir(), "embed")
	id, err := identity.ParseID("A-EMBED")
	require.NoError(t, err)
	p, err := party.Create(w.party, id)
	require.NoError(t, err)
	chain, err := w.Authority.Issue(p.Request(), ca.IssueOptions{})
	require.NoError(t, err)
	require.NoError(t, p.Install(chain, w.Roots))
	credential, err := p.Credential()
	require.NoError(t, err)
	admission, err := w.Platform.Admit(t.Context(), credential)
	require.NoError(t, err)
	require.NoError(t, p.InstallAdmission(admission))
	w.token = filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(w.token, []byte(portalToken+"\n"), 0o600))
}

// device is produced and powered; it obeys "open" and nothing else.
func (w *world) device(name string) *systemtest.Device {
	d := w.NewDevice(name)
	d.PowerUp(func(c *devicegw.Config) {
		w.devices(c)
		c.OnCall = func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
			if string(c.Body) != "open" {
				return devicegw.Reply{}, fmt.Errorf("unknown command %q", c.Body)
			}
			return devicegw.Reply{Type: "text/plain", Body: []byte("valve is open")}, nil
		}
	})
	return d
}

// portal is the running service as its users see it.
type portal struct {
	t    *testing.T
	url  string
	log  *clitest.Buffer
	stop func() // as Ctrl-C does, or kill -9 a process
}

// flags are those that every test has, and more.
func (w *world) flags(dsn string, more ...string) []string {
	return append([]string{"serve", "-party", w.party, "-database", dsn, "-listen", "127.0.0.1:0", "-token-file", w.token, "-json"}, more...)
}

// serve starts the service.
func (w *world) serve(dsn string, more ...string) *portal {
	t := w.t
	ctx, cancel := context.WithCancel(context.Background())
	r, out := io.Pipe()
	p := &portal{t: t, log: new(clitest.Buffer)}
	ended := make(chan int, 1)
	go func() {
		ended <- program.Run(ctx, w.flags(dsn, more...), cli.IO{Out: out, Err: p.log})
		out.Close()
	}()
	p.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case code := <-ended:
			require.Equal(t, cli.ExitInterrupted, code, "%s", p.log)
		case <-time.After(patience):
			require.Fail(t, "the service does not end")
		}
	})
	p.ready(r)
	return p
}

// asService in the environment makes the test's program the service.
const asService = "SEMIO_TEST_EMBED"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		cli.Main(program)
	}
	os.Exit(m.Run())
}

// spawn starts the service as a process; stop is kill -9.
func (w *world) spawn(dsn string, more ...string) *portal {
	p := &portal{t: w.t, log: new(clitest.Buffer)}
	cmd := exec.Command(os.Args[0], w.flags(dsn, more...)...)
	cmd.Env = append(os.Environ(), asService+"=1")
	cmd.Stderr = p.log
	out, err := cmd.StdoutPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, cmd.Start())
	p.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // ended by a signal, which is its error
	})
	p.ready(out)
	return p
}

// ready reads where the portal is.
func (p *portal) ready(out io.Reader) {
	p.t.Cleanup(p.stop)
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("service: %s", p.log)
		}
	})
	var ready struct {
		Ready bool   `json:"ready"`
		URL   string `json:"url"`
	}
	require.NoError(p.t, json.NewDecoder(out).Decode(&ready), "%s", p.log)
	require.True(p.t, ready.Ready)
	p.url = ready.URL
}

// do sends a request with the token and returns status and body.
func (p *portal) do(method, path string, body any) (int, string) {
	p.t.Helper()
	b, err := json.Marshal(body)
	require.NoError(p.t, err)
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, bytes.NewReader(b))
	require.NoError(p.t, err)
	req.Header.Set("Authorization", "Bearer "+portalToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return resp.StatusCode, string(got)
}

func (p *portal) want(status int, method, path string, body any) string {
	p.t.Helper()
	code, got := p.do(method, path, body)
	require.Equal(p.t, status, code, "%s %s: %s", method, path, got)
	return got
}

func (p *portal) eventually(status int, path string) string {
	p.t.Helper()
	var got string
	require.Eventually(p.t, func() bool {
		var code int
		code, got = p.do("GET", path, nil)
		return code == status
	}, patience, 20*time.Millisecond, "no %d from %s", status, path)
	return got
}

// readings are the bodies of one source, in the order of the table.
func (p *portal) readings(source string) (out []string) {
	p.t.Helper()
	after := int64(0)
	for {
		var page []readingAnswer
		got := p.want(http.StatusOK, "GET", fmt.Sprintf("/readings?source=%s&after=%d", source, after), nil)
		require.NoError(p.t, json.Unmarshal([]byte(got), &page))
		if len(page) == 0 {
			return out
		}
		for _, r := range page {
			out = append(out, r.Text)
			after = r.ID
		}
	}
}

// metric reads one of /metrics.
func (p *portal) metric(name string) (value int) {
	p.t.Helper()
	for line := range strings.Lines(p.want(http.StatusOK, "GET", "/metrics", nil)) {
		if rest, ok := strings.CutPrefix(line, "embed_"+name+" "); ok {
			_, err := fmt.Sscan(rest, &value)
			require.NoError(p.t, err)
			return value
		}
	}
	require.Fail(p.t, "no metric "+name)
	return 0
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}
