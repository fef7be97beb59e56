package adminhttp_test

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/adminhttp"
)

// world is a platform whose administration serves; no broker is needed for that.
type world struct {
	t         *testing.T
	authority *ca.Authority
	roots     []*x509.Certificate
	service   *platform.Service
	store     platform.Store
	url       string
}

func newAuthority(t *testing.T) *ca.Authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a, err := ca.New(ca.Config{Name: "Test CA", Signer: key, Store: new(ca.MemStore)})
	require.NoError(t, err)
	return a
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, authority: newAuthority(t), store: platform.NewMemStore()}
	w.roots = []*x509.Certificate{w.authority.Certificate()}
	me := w.party("P-SEMIO")
	der, err := me.ServerRequest([]string{"127.0.0.1"})
	require.NoError(t, err)
	req, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	chain, err := w.authority.IssueServer(req.PublicKey, me.ID(), []string{"127.0.0.1"})
	require.NoError(t, err)
	require.NoError(t, me.InstallServer(chain))
	cred, err := me.Credential()
	require.NoError(t, err)
	w.service, err = platform.Open(t.Context(), platform.Config{
		Credential: cred, Signer: me.Signer(), Key: me.Key(), Roots: w.roots, Store: w.store, Broker: "mqtts://broker.invalid",
	})
	require.NoError(t, err)
	v, err := me.Verifier()
	require.NoError(t, err)
	boss, err := identity.ParseOperatorID("O-BOSS")
	require.NoError(t, err)
	s, err := adminhttp.New(adminhttp.Config{
		Service: w.service, Verifier: v, Operators: []identity.OperatorID{boss},
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := me.Server()
			return &c, err
		},
	})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.url = "https://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, w.store.Close())
	})
	return w
}

func (w *world) party(name string) *party.Party { return certified(w.t, w.authority, name) }

func certified(t *testing.T, a *ca.Authority, name string) *party.Party {
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	p, err := party.Create(filepath.Join(t.TempDir(), "p"), id)
	require.NoError(t, err)
	chain, err := a.Issue(p.Request(), ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
	require.NoError(t, p.Install(chain, []*x509.Certificate{a.Certificate()}))
	return p
}

// client dials as p, whoever certified p, and believes the world's authority.
func (w *world) client(p *party.Party) *adminhttp.Client {
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: w.roots})
	require.NoError(w.t, err)
	c, err := p.TLS()
	require.NoError(w.t, err)
	client, err := adminhttp.NewClient(adminhttp.ClientConfig{URL: w.url, Verifier: v, Certificate: c})
	require.NoError(w.t, err)
	w.t.Cleanup(client.Close)
	return client
}

// registration is what a factory makes of a device.
func (w *world) registration(name string, a *ca.Authority, registrar *party.Party) []byte {
	t := w.t
	id, err := identity.ParseDeviceID(name)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	agreement, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	csr, err := identity.NewCSR(key, id.ID, identity.CSROptions{HelperHash: [32]byte{1}})
	require.NoError(t, err)
	chain, err := a.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	endorsement, err := identity.Endorse(key, chain[0], agreement.PublicKey(), identity.EndorseOptions{Generation: 1})
	require.NoError(t, err)
	cred, err := registrar.Credential()
	require.NoError(t, err)
	signed, err := platform.Registration{
		Device: id, Credential: identity.Credential{Chain: chain, Endorsement: endorsement}, Binding: e2e.NewBindingID(),
	}.Sign(registrar.Signer(), cred)
	require.NoError(t, err)
	return signed
}

func TestAdministration(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	boss, line, app := w.client(w.party("O-BOSS")), w.client(w.party("R-LINE")), w.party("A-WATER")
	registration := w.registration("D-1", w.authority, w.party("R-OTHER"))
	admission, err := line.Register(ctx, registration)
	require.NoError(t, err)
	again, err := line.Register(ctx, registration)
	require.NoError(t, err)
	require.Equal(t, admission, again)

	_, err = w.client(app).Admission(ctx)
	require.ErrorIs(t, err, adminhttp.ErrNotAdmitted)
	cred, err := app.Credential()
	require.NoError(t, err)
	admitted, err := boss.Admit(ctx, cred)
	require.NoError(t, err)
	fetched, err := w.client(app).Admission(ctx)
	require.NoError(t, err)
	require.Equal(t, admitted, fetched)

	id, err := identity.ParseDeviceID("D-1")
	require.NoError(t, err)
	require.NoError(t, boss.Retire(ctx, id))
	require.NoError(t, boss.Retire(ctx, id))
	_, err = line.Register(ctx, registration)
	require.ErrorIs(t, err, platform.ErrRetired)
	none, err := identity.ParseDeviceID("D-NONE")
	require.NoError(t, err)
	require.ErrorIs(t, boss.Retire(ctx, none), platform.ErrUnknownDevice)
	crl, err := w.authority.Revoke(id.ID)
	require.NoError(t, err)
	require.NoError(t, boss.AddCRL(ctx, crl))
	require.ErrorIs(t, boss.AddCRL(ctx, []byte("junk")), identity.ErrCRL)
	require.NotEmpty(t, w.service.CRLs())

	var devices []adminhttp.Device
	for d, err := range boss.Devices(ctx) {
		require.NoError(t, err)
		devices = append(devices, d)
	}
	require.Len(t, devices, 1)
	require.Equal(t, "retired", devices[0].Status)
	require.True(t, devices[0].Listed)
	for a, err := range boss.Applications(ctx) {
		require.NoError(t, err)
		require.Equal(t, "A-WATER", a.ID.String())
	}
	var what []string
	for e, err := range boss.Audit(ctx) {
		require.NoError(t, err)
		require.Equal(t, uint64(len(what)+1), e.Seq)
		what = append(what, e.What)
	}
	require.Equal(t, []string{"registered", "admitted", "retired", "device revoked"}, what)
}

// Everybody gets what his role is for, and nothing else.
func TestWhoMayAskWhat(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	other := newAuthority(t)
	cred, err := w.party("A-WATER").Credential()
	require.NoError(t, err)
	id, err := identity.ParseDeviceID("D-1")
	require.NoError(t, err)
	first := func(c *adminhttp.Client) error {
		for _, err := range c.Devices(ctx) {
			return err
		}
		return nil
	}
	asks := map[string]func(*adminhttp.Client) error{
		"register": func(c *adminhttp.Client) error {
			_, err := c.Register(ctx, w.registration("D-1", newAuthority(t), w.party("R-LINE")))
			return err
		},
		"admit":     func(c *adminhttp.Client) error { _, err := c.Admit(ctx, cred); return err },
		"admission": func(c *adminhttp.Client) error { _, err := c.Admission(ctx); return err },
		"retire":    func(c *adminhttp.Client) error { return c.Retire(ctx, id) },
		"crl":       func(c *adminhttp.Client) error { return c.AddCRL(ctx, nil) },
		"devices":   first,
	}
	may := map[string][]string{"O-BOSS": {"admit", "retire", "crl", "devices"}, "R-LINE": {"register"}, "A-HEAT": {"admission"}}
	for _, name := range []string{"O-BOSS", "O-OTHER", "R-LINE", "A-HEAT", "P-OTHER"} {
		for ask, f := range asks {
			err := f(w.client(w.party(name)))
			granted := false
			for _, m := range may[name] {
				granted = granted || m == ask
			}
			if granted {
				require.NotErrorIs(t, err, adminhttp.ErrForbidden, "%s: %s", name, ask)
			} else {
				require.ErrorIs(t, err, adminhttp.ErrForbidden, "%s: %s", name, ask)
			}
		}
	}
	for ask, f := range asks {
		require.ErrorIs(t, f(w.client(certified(t, other, "O-BOSS"))), adminhttp.ErrUnauthenticated, ask)
	}
	require.ErrorIs(t, asks["register"](w.client(w.party("R-LINE"))), identity.ErrUntrusted, "the device is of another authority")
	_, err = w.client(w.party("R-LINE")).Register(ctx, []byte("junk"))
	require.ErrorContains(t, err, "malformed")

	// A revoked operator is one no longer.
	boss := w.client(w.party("O-BOSS"))
	crl, err := w.authority.Revoke(w.party("O-GONE").ID())
	require.NoError(t, err)
	require.NoError(t, boss.AddCRL(ctx, crl))
	bossID, err := identity.ParseID("O-BOSS")
	require.NoError(t, err)
	crl, err = w.authority.Revoke(bossID)
	require.NoError(t, err)
	require.NoError(t, boss.AddCRL(ctx, crl))
	require.ErrorIs(t, boss.AddCRL(ctx, crl), adminhttp.ErrUnauthenticated)
}

// A client takes for the platform only whom the authority has certified as a platform's server.
func TestClientRefusesImpostors(t *testing.T) {
	w := newWorld(t)
	evil := newWorld(t)
	w.url = evil.url
	for _, err := range w.client(w.party("O-BOSS")).Devices(t.Context()) {
		require.ErrorIs(t, err, identity.ErrUntrusted)
	}
}

// Of several lists those that are good are in force, for the platform and for who asks it, and the answer tells of the others.
func TestSomeListsAreRefused(t *testing.T) {
	w := newWorld(t)
	boss, gone := w.client(w.party("O-BOSS")), w.party("R-GONE")
	foreign, err := newAuthority(t).CRL()
	require.NoError(t, err)
	crl, err := w.authority.Revoke(gone.ID())
	require.NoError(t, err)
	err = boss.AddCRL(t.Context(), foreign)
	require.ErrorIs(t, err, identity.ErrCRL)
	require.NotErrorIs(t, err, identity.ErrSomeCRLs)
	require.ErrorIs(t, boss.AddCRL(t.Context(), slices.Concat(foreign, crl)), identity.ErrSomeCRLs)
	require.Equal(t, [][]byte{crl}, w.service.CRLs())
	_, err = w.client(gone).Register(t.Context(), nil)
	require.ErrorIs(t, err, adminhttp.ErrUnauthenticated)
}
