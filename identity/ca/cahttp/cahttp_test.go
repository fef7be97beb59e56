package cahttp_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

// world is an authority that serves, and parties with certificates of it.
type world struct {
	t         *testing.T
	authority *ca.Authority
	roots     []*x509.Certificate
	url       string
	stop      func()
	now       func() time.Time // of the authority
}

func newWorld(t *testing.T) *world { return newWorldAt(t, time.Now()) }

// newWorldAt has an authority that was founded at that time.
func newWorldAt(t *testing.T, founded time.Time) *world {
	return serve(t, ca.Config{Name: "Test CA", Signer: newKey(t), Store: new(ca.MemStore)}, founded)
}

func serve(t *testing.T, cfg ca.Config, founded time.Time) *world {
	w := &world{t: t, now: func() time.Time { return founded }}
	cfg.Now = func() time.Time { return w.now() }
	authority, err := ca.New(cfg)
	require.NoError(t, err)
	boss, err := identity.ParseOperatorID("O-BOSS")
	require.NoError(t, err)
	s, err := cahttp.New(cahttp.Config{
		Authority: authority, Hosts: []string{"localhost", "127.0.0.1"}, Operators: []identity.OperatorID{boss},
		Grants: func(id identity.ID) (cahttp.Grant, error) {
			if id.String() == "R-THERMO" {
				return cahttp.Grant{Names: []string{"D-THERMO-", "D-OLD-"}, Revoke: true}, nil
			}
			if id.String() == "P-GOOD" {
				return cahttp.Grant{Hosts: []string{"localhost", "127.0.0.1"}, Revoke: true}, nil
			}
			return cahttp.Grant{}, nil
		},
	})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	w.authority, w.roots, w.url = authority, authority.Roots(), "https://"+ln.Addr().String()
	w.stop = func() {
		cancel()
		if err, ok := <-ended; ok {
			require.NoError(t, err)
			close(ended)
		}
	}
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) party(name string) *party.Party {
	p, err := party.Create(filepath.Join(w.t.TempDir(), "p"), id(w.t, name))
	require.NoError(w.t, err)
	chain, err := w.authority.Issue(p.Request(), ca.IssueOptions{})
	require.NoError(w.t, err)
	require.NoError(w.t, p.Install(chain, w.roots))
	return p
}

func (w *world) client(p *party.Party) *cahttp.Client {
	cfg := cahttp.ClientConfig{URL: w.url, Roots: w.roots}
	if p != nil {
		c, err := p.TLS()
		require.NoError(w.t, err)
		cfg.Certificate = &c
	}
	c, err := cahttp.NewClient(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

func id(t *testing.T, name string) identity.ID {
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	return id
}

func csr(t *testing.T, name string) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := identity.NewCSR(key, id(t, name), identity.CSROptions{})
	require.NoError(t, err)
	return der
}

// Everybody gets what his role is for, and nothing else.
func TestWhoMayAskWhat(t *testing.T) {
	w := newWorld(t)
	boss, other := w.party("O-BOSS"), w.party("O-OTHER")
	thermo := w.party("R-THERMO")
	line, good, bad, app := w.party("R-LINE"), w.party("P-GOOD"), w.party("P-BAD"), w.party("A-WATER")
	serverCSR := func(p *party.Party, hosts ...string) []byte {
		der, err := p.ServerRequest(hosts)
		require.NoError(t, err)
		return der
	}
	issue := func(name string) func(*cahttp.Client) error {
		return func(c *cahttp.Client) error {
			_, err := c.Issue(t.Context(), csr(t, name), ca.IssueOptions{})
			return err
		}
	}
	again := func(p *party.Party) func(*cahttp.Client) error {
		return func(c *cahttp.Client) error {
			_, err := c.Issue(t.Context(), p.Request(), ca.IssueOptions{})
			return err
		}
	}
	server := func(der []byte) func(*cahttp.Client) error {
		return func(c *cahttp.Client) error {
			_, err := c.IssueServer(t.Context(), der)
			return err
		}
	}
	revoke := func(name string) func(*cahttp.Client) error {
		return func(c *cahttp.Client) error {
			_, err := c.Revoke(t.Context(), id(t, name))
			return err
		}
	}
	list := func(c *cahttp.Client) error {
		_, err := c.CRL(t.Context())
		return err
	}
	for _, c := range []struct {
		what string
		who  *party.Party
		ask  func(*cahttp.Client) error
		want error // nil: granted
	}{
		{"anybody: list", nil, list, nil},
		{"anybody: device", nil, issue("D-0"), cahttp.ErrUnauthenticated},
		{"anybody: revoke", nil, revoke("A-WATER"), cahttp.ErrUnauthenticated},
		{"registrar: device", line, issue("D-1"), nil},
		{"registrar: another device of the name", line, issue("D-1"), ca.ErrOtherKey},
		{"registrar of some names: device", thermo, issue("D-THERMO-1"), nil},
		{"registrar of some names: another one", thermo, issue("D-VALVE-1"), cahttp.ErrForbidden},
		{"registrar of some names: nearly", thermo, issue("D-THERMO"), cahttp.ErrForbidden},
		{"registrar of some names: revoke", thermo, revoke("D-THERMO-1"), cahttp.ErrForbidden},
		{"registrar: application", line, issue("A-EVIL"), cahttp.ErrForbidden},
		{"registrar: registrar", line, issue("R-EVIL"), cahttp.ErrForbidden},
		{"registrar: revoke", line, revoke("D-1"), cahttp.ErrForbidden},
		{"registrar: server", line, server(serverCSR(good, "localhost")), cahttp.ErrForbidden},
		{"application: itself", app, again(app), nil},
		{"application: itself under another key", app, issue("A-WATER"), ca.ErrOtherKey},
		{"application: another", app, again(line), cahttp.ErrForbidden},
		{"application: device", app, issue("D-2"), cahttp.ErrForbidden},
		{"application: revoke another", app, revoke("R-LINE"), cahttp.ErrForbidden},
		{"platform: server", good, server(serverCSR(good, "localhost", "127.0.0.1")), nil},
		{"platform: host of others", good, server(serverCSR(good, "localhost", "bank.example")), cahttp.ErrForbidden},
		{"platform: server of another", bad, server(serverCSR(good, "localhost")), cahttp.ErrForbidden},
		{"platform without grant: server", bad, server(serverCSR(bad, "localhost")), cahttp.ErrForbidden},
		{"platform without grant: revoke", bad, revoke("D-1"), cahttp.ErrForbidden},
		{"platform: revoke application", good, revoke("A-WATER"), cahttp.ErrForbidden},
		{"platform: revoke device", good, revoke("D-1"), nil},
		{"platform: revoke again", good, revoke("D-1"), nil},
		{"platform: revoke unknown", good, revoke("D-999"), ca.ErrUnknown},
		{"registrar: revoked device", line, issue("D-1"), ca.ErrRevoked},
		{"operator of others: application", other, issue("A-EVIL"), cahttp.ErrForbidden},
		{"operator of others: revoke", other, revoke("A-WATER"), cahttp.ErrForbidden},
		{"operator: application", boss, issue("A-NEW"), nil},
		{"operator: server", boss, server(serverCSR(bad, "elsewhere.example")), nil},
		{"operator: no CSR", boss, server([]byte("junk")), identity.ErrCSR},
		{"itself: revoke", app, revoke("A-WATER"), nil},
		{"itself: revoked", app, again(app), cahttp.ErrUnauthenticated},
		{"operator: revoke", boss, revoke("R-LINE"), nil},
		{"registrar: revoked", line, issue("D-3"), cahttp.ErrUnauthenticated},
	} {
		err := c.ask(w.client(c.who))
		if c.want == nil {
			require.NoError(t, err, c.what)
		} else {
			require.ErrorIs(t, err, c.want, c.what)
		}
	}
}

// A connection that was opened before the revocation serves its owner no longer.
func TestRevokedOnAnOpenConnection(t *testing.T) {
	w := newWorld(t)
	line, boss := w.client(w.party("R-LINE")), w.client(w.party("O-BOSS"))
	_, err := line.Issue(t.Context(), csr(t, "D-1"), ca.IssueOptions{})
	require.NoError(t, err)
	_, err = boss.Revoke(t.Context(), id(t, "R-LINE"))
	require.NoError(t, err)
	_, err = line.Issue(t.Context(), csr(t, "D-2"), ca.IssueOptions{})
	require.ErrorIs(t, err, cahttp.ErrUnauthenticated)
	require.ErrorContains(t, err, "certificate is revoked", "he may know why")
}

func TestOperatorsOptions(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.party("O-BOSS"))
	chain, err := c.Issue(t.Context(), csr(t, "P-LONG"), ca.IssueOptions{Validity: 10 * 365 * 24 * time.Hour})
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(chain[0])
	require.NoError(t, err)
	require.Greater(t, time.Until(leaf.NotAfter), 9*365*24*time.Hour)
	_, err = c.Issue(t.Context(), csr(t, "P-LONG"), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrOtherKey)
	_, err = c.Issue(t.Context(), csr(t, "P-LONG"), ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
}

// Whoever stands in the network in the authority's place is refused: with no certificate of it, and with that of a peer.
func TestClientRefusesImpostors(t *testing.T) {
	w, evil := newWorld(t), newWorld(t)
	p := w.party("R-LINE")
	cert, err := p.TLS()
	require.NoError(t, err)
	c, err := cahttp.NewClient(cahttp.ClientConfig{URL: evil.url, Roots: w.roots, Certificate: &cert, Patience: time.Hour})
	require.NoError(t, err)
	_, err = c.CRL(t.Context())
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown, "at once, however patient")

	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	require.NoError(t, err)
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go srv.Serve(ln)
	defer srv.Close()
	c, err = cahttp.NewClient(cahttp.ClientConfig{URL: "https://" + ln.Addr().String(), Roots: w.roots})
	require.NoError(t, err)
	_, err = c.CRL(t.Context())
	require.Error(t, err)
	require.NotContains(t, err.Error(), "HTTP status", "it was not even asked")

	// And a client with a certificate of another authority by the server.
	stranger, err := cahttp.NewClient(cahttp.ClientConfig{URL: w.url, Roots: w.roots, Certificate: ptr(must(evil.party("O-BOSS").TLS())), Patience: time.Hour})
	require.NoError(t, err)
	_, err = stranger.Issue(t.Context(), csr(t, "D-1"), ca.IssueOptions{})
	require.ErrorIs(t, err, cahttp.ErrUnauthenticated, "at once, however patient")
	require.ErrorContains(t, err, "not signed by a trusted CA", "it says why")
	_, err = stranger.CRL(t.Context())
	require.NoError(t, err, "the list is for everybody")
}

// Who has the key of an issuing CA that its root has revoked is the authority for nobody who knows, also on a connection that is open.
func TestClientOfARevokedAuthority(t *testing.T) {
	root, err := ca.New(ca.Config{Name: "Root", Signer: newKey(t), Store: new(ca.MemStore)})
	require.NoError(t, err)
	issuing := func(name string) *world {
		k := newKey(t)
		request, err := ca.NewCARequest(k, name)
		require.NoError(t, err)
		chain, err := root.CertifyCA(request, ca.CAOptions{})
		require.NoError(t, err)
		return serve(t, ca.Config{Name: name, Signer: k, Store: new(ca.MemStore), Root: root.Certificate(), Chain: chain}, time.Now())
	}
	gone, good := issuing("Gone"), issuing("Good")
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{root.Certificate()}})
	require.NoError(t, err)
	client := func(url string) *cahttp.Client {
		c, err := cahttp.NewClient(cahttp.ClientConfig{URL: url, Verifier: v})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	open, other := client(gone.url), client(good.url)
	for _, c := range []*cahttp.Client{open, other} {
		_, err = c.CRL(t.Context())
		require.NoError(t, err)
	}
	crl, err := root.RevokeCertificate(gone.authority.Certificate())
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))
	for _, c := range []*cahttp.Client{open, client(gone.url)} {
		for range 2 {
			_, err = c.CRL(t.Context())
			require.ErrorIs(t, err, identity.ErrRevoked)
			_, err = c.Revoke(t.Context(), id(t, "D-1"))
			require.ErrorIs(t, err, identity.ErrRevoked)
		}
	}
	_, err = other.CRL(t.Context())
	require.NoError(t, err)

	// Nor is a platform's server the authority.
	p := good.party("P-GOOD")
	request, err := p.ServerRequest([]string{"127.0.0.1"})
	require.NoError(t, err)
	req, err := ca.ParseServerRequest(request)
	require.NoError(t, err)
	chain, err := good.authority.IssueServer(req.PublicKey, req.ID.ID, req.Hosts)
	require.NoError(t, err)
	require.NoError(t, p.InstallServer(chain))
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{must(p.Server())}})
	require.NoError(t, err)
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go srv.Serve(ln)
	defer srv.Close()
	_, err = client("https://" + ln.Addr().String()).CRL(t.Context())
	require.ErrorIs(t, err, identity.ErrProfile)

	// Under another name than the one that was dialled, and by another root.
	service := must(good.authority.IssueService(&newKey(t).PublicKey, []string{"localhost"}))
	var certs []*x509.Certificate
	for _, der := range service {
		certs = append(certs, must(x509.ParseCertificate(der)))
	}
	require.NoError(t, v.VerifyService(certs, "localhost"))
	require.ErrorIs(t, v.VerifyService(certs, "127.0.0.1"), identity.ErrProfile)
	require.ErrorIs(t, v.VerifyService(nil, "localhost"), identity.ErrUntrusted)
	_, err = client(newWorld(t).url).CRL(t.Context())
	require.ErrorIs(t, err, identity.ErrUntrusted)
	for _, cfg := range []cahttp.ClientConfig{{URL: good.url}, {URL: good.url, Verifier: v, Roots: v.Roots()}} {
		_, err = cahttp.NewClient(cfg)
		require.ErrorContains(t, err, "either a verifier or roots")
	}
}

// The certificate of the authority's server passes for no platform's, and its server speaks nothing below TLS 1.3.
func TestServiceCertificate(t *testing.T) {
	w := newWorld(t)
	addr := w.url[len("https://"):]
	pool := x509.NewCertPool()
	pool.AddCert(w.roots[0])
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool})
	require.NoError(t, err)
	defer conn.Close()
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: w.roots})
	require.NoError(t, err)
	_, err = v.VerifyServer(conn.ConnectionState().PeerCertificates, "127.0.0.1")
	require.ErrorIs(t, err, identity.ErrProfile)
	_, err = tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12})
	require.Error(t, err)
}

func TestServerCap(t *testing.T) {
	w := newWorld(t)
	cert := must(w.party("R-LINE").TLS())
	pool := x509.NewCertPool()
	pool.AddCert(w.roots[0])
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}}
	defer h.CloseIdleConnections()
	for path, body := range map[string][]byte{"/v1/certificate": make([]byte, 1<<20), "/v1/server": []byte("junk"), "/v1/revoke": bytes.Repeat([]byte("D"), 200)} {
		resp, err := h.Post(w.url+path, "application/octet-stream", bytes.NewReader(body))
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%s: %s", path, text)
	}
	resp, err := h.Get(w.url + "/v1/certificate")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
}

func TestPatience(t *testing.T) {
	w := newWorld(t)
	w.stop()
	c := w.client(nil)
	_, err := c.CRL(t.Context())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = cahttp.NewClient(cahttp.ClientConfig{URL: "http://localhost", Roots: w.roots})
	require.ErrorContains(t, err, "want https://HOST:PORT")

	// The server that comes back in time is waited for.
	patient, err := cahttp.NewClient(cahttp.ClientConfig{URL: w.url, Roots: w.roots, Patience: time.Minute})
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		_, err := patient.CRL(t.Context())
		got <- err
	}()
	ln, err := net.Listen("tcp", w.url[len("https://"):])
	require.NoError(t, err)
	s, err := cahttp.New(cahttp.Config{Authority: w.authority, Hosts: []string{"127.0.0.1"}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	require.NoError(t, <-got)
	cancel()
	require.NoError(t, <-ended)
}

// What a server says of its error is text, not a way to write on the client's terminal.
func TestAnswersAreTamed(t *testing.T) {
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	chain, err := w.authority.IssueService(&key.PublicKey, []string{"127.0.0.1"})
	require.NoError(t, err)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}})
	require.NoError(t, err)
	body := ""
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if body == "" {
			http.Redirect(rw, r, "https://elsewhere.example/", http.StatusFound)
			return
		}
		if body == "long" {
			io.CopyN(rw, rand.Reader, identity.MaxCRLs+1)
			return
		}
		rw.WriteHeader(http.StatusTeapot)
		fmt.Fprint(rw, body)
	})}
	go srv.Serve(ln)
	defer srv.Close()
	c, err := cahttp.NewClient(cahttp.ClientConfig{URL: "https://" + ln.Addr().String(), Roots: w.roots})
	require.NoError(t, err)
	for _, text := range []string{"", "long", "<html>", "{\"code\":\"x\",\"error\":\"\x1b[2J\\u001b[31mred\"}"} {
		body = text
		_, err = c.CRL(t.Context())
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), "\x1b")
	}
	body = `{"code":"revoked","error":"gone"}`
	_, err = c.Revoke(t.Context(), id(t, "D-1"))
	require.ErrorIs(t, err, ca.ErrRevoked)
}

func TestParseServerRequest(t *testing.T) {
	w := newWorld(t)
	p := w.party("P-GOOD")
	der, err := p.ServerRequest([]string{"::1", "b.example", "127.0.0.1"})
	require.NoError(t, err)
	r, err := ca.ParseServerRequest(der)
	require.NoError(t, err)
	require.Equal(t, "P-GOOD", r.ID.String())
	require.Equal(t, []string{"b.example", "::1", "127.0.0.1"}, r.Hosts)
	changed := bytes.Clone(der)
	changed[len(changed)-1] ^= 1
	for _, bad := range [][]byte{nil, []byte("junk"), changed, make([]byte, 1<<20), w.party("A-WATER").Request(), p.Request()[:50]} {
		_, err := ca.ParseServerRequest(bad)
		require.ErrorIs(t, err, identity.ErrCSR)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func ptr[T any](v T) *T { return &v }
