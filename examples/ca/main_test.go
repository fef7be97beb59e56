package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

func TestMain(m *testing.M) { clitest.Main(m, program) }

// world is an authority's folder and those around it.
type world struct {
	t         *testing.T
	dir, root string
}

func newWorld(t *testing.T) *world {
	dir := filepath.Join(t.TempDir(), "ca")
	clitest.OK(t, program, "init", "-dir", dir, "-name", "Example Root")
	return &world{t, dir, filepath.Join(dir, "root.pem")}
}

func (w *world) request(name string) *party.Party {
	id, err := identity.ParseID(name)
	require.NoError(w.t, err)
	p, err := party.Create(filepath.Join(w.t.TempDir(), name), id)
	require.NoError(w.t, err)
	return p
}

// certified makes a party as a person would: files and commands.
func (w *world) certified(name string) *party.Party {
	p := w.request(name)
	chain := filepath.Join(p.Dir(), "chain.pem")
	clitest.OK(w.t, program, "issue", "-dir", w.dir, "-in", filepath.Join(p.Dir(), "request.pem"), "-out", chain, "-new-key")
	w.install(p, chain)
	return p
}

func (w *world) install(p *party.Party, chain string) {
	certs, err := party.ReadCertificates(chain)
	require.NoError(w.t, err)
	roots, err := party.ReadCertificates(w.root)
	require.NoError(w.t, err)
	var ders [][]byte
	for _, c := range certs {
		ders = append(ders, c.Raw)
	}
	require.NoError(w.t, p.Install(ders, roots))
}

func (w *world) client(url string, p *party.Party) *cahttp.Client {
	return w.patient(url, p, clitest.Wait)
}

func (w *world) impatient(url string, p *party.Party) *cahttp.Client { return w.patient(url, p, 0) }

func (w *world) patient(url string, p *party.Party, patience time.Duration) *cahttp.Client {
	c, err := p.TLS()
	require.NoError(w.t, err)
	client, err := cahttp.NewClient(cahttp.ClientConfig{URL: url, Roots: p.Roots(), Certificate: &c, Patience: patience})
	require.NoError(w.t, err)
	w.t.Cleanup(client.Close)
	return client
}

func TestFilesOnly(t *testing.T) {
	w := newWorld(t)
	app := w.certified("A-WATER")
	cred, err := app.Credential()
	require.NoError(t, err)
	// The same again is the same authority, and the same certificate.
	clitest.OK(t, program, "init", "-dir", w.dir, "-name", "Example Root")
	out := clitest.OK(t, program, "issue", "-dir", w.dir, "-in", filepath.Join(app.Dir(), "request.pem"))
	block, _ := pem.Decode([]byte(out))
	require.Equal(t, cred.Chain[0], block.Bytes)

	// A platform's certificate outlives its devices' patience; a server's comes from a request of its own.
	p := w.request("P-SEMIO")
	out = clitest.OK(t, program, "issue", "-dir", w.dir, "-in", filepath.Join(p.Dir(), "request.pem"))
	block, _ = pem.Decode([]byte(out))
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.Greater(t, time.Until(leaf.NotAfter), 9*365*24*time.Hour)
	der, err := p.ServerRequest([]string{"localhost"})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "server-request.pem")
	require.NoError(t, os.WriteFile(file, party.EncodeRequest(der), 0o600))
	r := clitest.Run(t, program, "issue", "-dir", w.dir, "-in", file)
	require.Contains(t, r.Stderr, "certificate for server of P-SEMIO at [localhost]")

	list := filepath.Join(t.TempDir(), "crl.pem")
	require.JSONEq(t, `{"number":2,"revoked":1}`, without(t, clitest.OK(t, program, "revoke", "-dir", w.dir, "-out", list, "-json", "A-WATER"), "next_update"))
	require.Contains(t, clitest.OK(t, program, "crl", "-dir", w.dir), "list 2 names 1 certificates")
	v, err := app.Verifier()
	require.NoError(t, err)
	crl, err := party.ReadCRL(list)
	require.NoError(t, err)
	require.NoError(t, v.VerifyRevoked(crl, cred))
	if runtime.GOOS != "windows" {
		st, err := os.Stat(filepath.Join(w.dir, "root.key"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	}
}

// The answer to a request for other keys, which the present ones have signed, is given without asking who brings it.
func TestRekeyByFile(t *testing.T) {
	w := newWorld(t)
	app := w.certified("A-WATER")
	before := app.Signer()
	request, err := app.Rekey()
	require.NoError(t, err)
	in, out := filepath.Join(t.TempDir(), "rekey.pem"), filepath.Join(t.TempDir(), "chain.pem")
	require.NoError(t, os.WriteFile(in, party.EncodeRekey(request), 0o600))
	clitest.OK(t, program, "issue", "-dir", w.dir, "-in", in, "-out", out)
	w.install(app, out)
	require.NotEqual(t, before, app.Signer())
	require.Contains(t, clitest.Fails(t, program, "issue", "-dir", w.dir, "-in", out), "want one")
}

func without(t *testing.T, text, key string) string {
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &m))
	delete(m, key)
	b, err := json.Marshal(m)
	require.NoError(t, err)
	return string(b)
}

func TestServe(t *testing.T) {
	w := newWorld(t)
	boss, line, plat := w.certified("O-ROOT"), w.certified("R-LINE"), w.certified("P-SEMIO")
	published := filepath.Join(t.TempDir(), "crl.pem")
	s := clitest.Start(t, program, "serve", "-dir", w.dir, "-listen", "127.0.0.1:0", "-operators", "O-ROOT", "-publish", published)
	url := s.URL("url")
	require.FileExists(t, published)

	// A second process on the folder is told what to do instead; and does it.
	require.Contains(t, clitest.Fails(t, program, "crl", "-dir", w.dir), "in use by another process: end it first, or ask it with -ca URL and -party")
	app := w.request("A-WATER")
	chain := filepath.Join(app.Dir(), "chain.pem")
	clitest.OK(t, program, "issue", "-ca", url, "-party", boss.Dir(), "-in", filepath.Join(app.Dir(), "request.pem"), "-out", chain)
	w.install(app, chain)

	// What a platform may ask is granted while the authority serves.
	server, err := plat.ServerRequest([]string{"localhost", "127.0.0.1"})
	require.NoError(t, err)
	_, err = w.client(url, plat).IssueServer(t.Context(), server)
	require.ErrorIs(t, err, cahttp.ErrForbidden)
	clitest.OK(t, program, "grant", "-dir", w.dir, "-id", "P-SEMIO", "-hosts", "localhost, 127.0.0.1", "-revoke")
	_, err = w.client(url, plat).IssueServer(t.Context(), server)
	require.NoError(t, err)

	device, err := identity.NewCSR(w.request("A-KEY").Signer(), must(identity.ParseID("D-1")), identity.CSROptions{})
	require.NoError(t, err)
	_, err = w.client(url, line).Issue(t.Context(), device, ca.IssueOptions{})
	require.NoError(t, err)
	clitest.OK(t, program, "grant", "-dir", w.dir, "-id", "R-LINE", "-names", "D-1")
	other, err := identity.NewCSR(w.request("A-OTHER").Signer(), must(identity.ParseID("D-2")), identity.CSROptions{})
	require.NoError(t, err)
	_, err = w.client(url, line).Issue(t.Context(), other, ca.IssueOptions{})
	require.ErrorIs(t, err, cahttp.ErrForbidden)
	require.ErrorContains(t, err, "R-LINE makes devices called D-1…, not D-2; have the authority grant it")
	_, err = w.client(url, plat).Revoke(t.Context(), must(identity.ParseID("D-1")))
	require.NoError(t, err)
	require.Contains(t, clitest.OK(t, program, "revoke", "-ca", url, "-party", boss.Dir(), "A-WATER"), "A-WATER is revoked: list 3 names 2 certificates")
	require.Contains(t, clitest.OK(t, program, "crl", "-ca", url, "-roots", w.root), "list 3 names 2 certificates")
	require.Eventually(t, func() bool {
		der, err := party.ReadCRL(published)
		if err != nil {
			return false
		}
		list, err := x509.ParseRevocationList(der)
		return err == nil && list.Number.Int64() == 3
	}, clitest.Wait, 10*time.Millisecond)
	require.Equal(t, cli.ExitInterrupted, s.Stop())
}

// What was issued and revoked stays so, whenever the process is killed.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	line, boss := w.certified("R-LINE"), w.certified("O-ROOT")
	serve := func() *clitest.Process {
		return clitest.Child(t, 0, "serve", "-dir", w.dir, "-listen", "127.0.0.1:0", "-operators", "O-ROOT")
	}
	key := w.request("A-KEY").Signer()
	csr, err := identity.NewCSR(key, must(identity.ParseID("D-1")), identity.CSROptions{})
	require.NoError(t, err)
	p := serve()
	first, err := w.client(p.URL("url"), line).Issue(t.Context(), csr, ca.IssueOptions{})
	require.NoError(t, err)
	p.Kill()
	p = serve()
	again, err := w.client(p.URL("url"), line).Issue(t.Context(), csr, ca.IssueOptions{})
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = w.client(p.URL("url"), boss).Revoke(t.Context(), must(identity.ParseID("D-1")))
	require.NoError(t, err)
	p.Kill()
	p = serve()
	_, err = w.client(p.URL("url"), line).Issue(t.Context(), csr, ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrRevoked)
}

// Killed in the middle of its work: what it has answered it knows, and nothing that it hands out is beyond revocation.
func TestKilledUnderLoad(t *testing.T) {
	w := newWorld(t)
	line, boss := w.certified("R-LINE"), w.certified("O-ROOT")
	serve := func() *clitest.Process {
		return clitest.Child(t, 0, "serve", "-dir", w.dir, "-listen", "127.0.0.1:0", "-operators", "O-ROOT")
	}
	answered := map[string][][]byte{}
	requests := map[string][]byte{}
	for round := range 3 {
		p := serve()
		client := w.impatient(p.URL("url"), line)
		killed := make(chan struct{})
		for n := 0; ; n++ {
			if n == 4+3*round {
				go func() { p.Kill(); close(killed) }()
			}
			name := fmt.Sprintf("D-%d-%d", round, n)
			csr, err := identity.NewCSR(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(identity.ParseID(name)), identity.CSROptions{})
			require.NoError(t, err)
			requests[name] = csr
			chain, err := client.Issue(t.Context(), csr, ca.IssueOptions{})
			if err != nil {
				break
			}
			answered[name] = chain
		}
		<-killed
	}
	require.GreaterOrEqual(t, len(answered), 12)
	p := serve()
	for name, chain := range answered {
		again, err := w.client(p.URL("url"), line).Issue(t.Context(), requests[name], ca.IssueOptions{})
		require.NoError(t, err)
		require.Equal(t, chain, again, name)
		_, err = w.client(p.URL("url"), boss).Revoke(t.Context(), must(identity.ParseID(name)))
		require.NoError(t, err)
	}
}

// Killed in the middle of init, the next init completes it.
func TestInitResumes(t *testing.T) {
	w := newWorld(t)
	root, err := os.ReadFile(w.root)
	require.NoError(t, err)
	require.NoError(t, os.Remove(w.root))
	require.Contains(t, clitest.Fails(t, program, "crl", "-dir", w.dir), "make one with init")
	clitest.OK(t, program, "init", "-dir", w.dir, "-name", "Example Root")
	again, err := os.ReadFile(w.root)
	require.NoError(t, err)
	require.Equal(t, root, again)
}

func TestWrongInput(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	app := w.request("A-WATER")
	request := filepath.Join(app.Dir(), "request.pem")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no folder":       {[]string{"crl", "-dir", t.TempDir()}, "no certificate authority in this folder: make one with init, or name the right folder with -dir"},
		"another name":    {[]string{"init", "-dir", w.dir, "-name", "Other"}, `it holds the authority "Example Root", not "Other"`},
		"no request":      {[]string{"issue", "-dir", w.dir, "-in", w.root}, `want one "CERTIFICATE REQUEST", it has "CERTIFICATE"`},
		"missing file":    {[]string{"issue", "-dir", w.dir, "-in", "/nowhere/request.pem"}, "no such file"},
		"a key":           {[]string{"issue", "-dir", w.dir, "-in", filepath.Join(app.Dir(), "signing.key")}, `it has "PRIVATE KEY"`},
		"unknown name":    {[]string{"revoke", "-dir", w.dir, "D-NONE"}, "ca: unknown name or certificate"},
		"nobody there":    {[]string{"crl", "-ca", "https://127.0.0.1:1", "-roots", w.root}, "Nobody listens there: start the server, or correct host and port."},
		"not certified":   {[]string{"issue", "-ca", "https://127.0.0.1:1", "-party", app.Dir(), "-in", request}, "no certificate yet; have the authority answer request.pem"},
		"no party":        {[]string{"issue", "-ca", "https://127.0.0.1:1", "-party", t.TempDir(), "-in", request}, "no party in this folder"},
		"port in use":     {[]string{"serve", "-dir", w.dir, "-listen", "127.0.0.1:99999"}, "listen"},
		"host is no host": {[]string{"serve", "-dir", w.dir, "-hosts", "*.example"}, "neither a DNS name (without wildcard) nor an IP address"},
		"grant of no one": {[]string{"grant", "-dir", t.TempDir(), "-id", "P-SEMIO"}, "no certificate authority in this folder"},
	} {
		t.Run(name, func(t *testing.T) { require.Contains(t, clitest.Fails(t, program, c.args...), c.want) })
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"whom":       {[]string{"revoke", "-dir", w.dir}, "name one party or device to revoke"},
		"no name":    {[]string{"revoke", "-dir", w.dir, "water"}, "invalid name"},
		"as whom":    {[]string{"revoke", "-ca", "https://x", "A-1"}, "-ca needs -party"},
		"operators":  {[]string{"serve", "-dir", w.dir, "-operators", "A-WATER"}, "-operators: "},
		"no https":   {[]string{"crl", "-ca", "http://x", "-roots", w.root}, "want https://HOST:PORT"},
		"id":         {[]string{"grant", "-dir", w.dir, "-id", "A-WATER"}, "want a platform (P-…) or a registrar (R-…)"},
		"names":      {[]string{"grant", "-dir", w.dir, "-id", "P-SEMIO", "-names", "D-X"}, "-names is for registrars, and P-SEMIO is a platform"},
		"hosts":      {[]string{"grant", "-dir", w.dir, "-id", "R-LINE", "-revoke"}, "-hosts and -revoke are for platforms, and R-LINE is a registrar"},
		"id missing": {[]string{"grant", "-dir", w.dir}, "-id (or SEMIO_ID) is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			r := clitest.Run(t, program, c.args...)
			require.Equal(t, cli.ExitUsage, r.Code, r.Stderr)
			require.Contains(t, r.Stderr, c.want)
		})
	}

	t.Run("another authority", func(t *testing.T) {
		s := clitest.Start(t, program, "serve", "-dir", w.dir, "-listen", "127.0.0.1:0")
		require.Contains(t, clitest.Fails(t, program, "crl", "-ca", s.URL("url"), "-roots", other.root),
			"compare roots.pem with the root of the authority that both should trust")
		stranger := other.certified("O-ROOT")
		require.Contains(t, clitest.Fails(t, program, "issue", "-ca", s.URL("url"), "-party", stranger.Dir(), "-in", request), "certificate signed by unknown authority")
	})
	t.Run("exposed key", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("no such modes")
		}
		require.NoError(t, os.Chmod(filepath.Join(other.dir, "root.key"), 0o644))
		require.Contains(t, clitest.Fails(t, program, "crl", "-dir", other.dir), "chmod 600")
	})
	t.Run("damaged grants", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(w.dir, "grants.json"), []byte("{"), 0o600))
		require.Contains(t, clitest.Fails(t, program, "serve", "-dir", w.dir), "correct it, or remove it and grant anew")
	})
}

// A full disk: nothing is half-written, the message says what to do, and with room again it goes on.
func TestFullDisk(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no RLIMIT_FSIZE")
	}
	w := newWorld(t)
	app := w.request("A-WATER")
	args := []string{"issue", "-dir", w.dir, "-in", filepath.Join(app.Dir(), "request.pem"), "-out", filepath.Join(app.Dir(), "chain.pem")}
	out, err := clitest.Command(512, args...).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "make room and start again. What was stored before is unharmed.")
	require.NotContains(t, string(out), "goroutine")
	require.NoFileExists(t, filepath.Join(app.Dir(), "chain.pem"))
	clitest.OK(t, program, args...)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
