// Package fieldtest sets the scene for tests of the programs in the field: an authority, a platform with its broker, all in the test's
// process, and folders of devices and applications as factory and authority leave them. [Start] runs a program.
package fieldtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"hash/fnv"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/broker"
)

// World is an authority and a platform, which run until the test ends.
type World struct {
	Authority *ca.Authority // certifies whoever is made next: the root, unless a test puts an issuing CA in its place
	Roots     []*x509.Certificate
	Platform  *platform.Service
	Verifier  *identity.Verifier // of the broker's clients
	Registrar *party.Party       // registers devices; certified by the root
	Dir       string             // for folders
	URL       string             // of the broker

	t        *testing.T
	caConfig ca.Config
	expired  bool
	asked    atomic.Pointer[platform.Service]
}

// Option changes a World.
type Option func(*World)

// ExpiredServer gives the broker a certificate whose time is over.
func ExpiredServer() Option { return func(w *World) { w.expired = true } }

// New starts one with the embedded broker and mutual TLS.
func New(t *testing.T, options ...Option) *World {
	w := newWorld(t, options)
	p := w.Party("P-SEMIO")
	issuer := w.Authority
	if w.expired {
		issuer = w.YearAgo()
	}
	var err error
	w.Verifier, err = p.Verifier()
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b, err := broker.New(broker.Config{
		Cert: w.Server(issuer), Verifier: w.Verifier, Authorizer: authorizer{w}, Listener: l,
	})
	require.NoError(t, err)
	w.URL = b.URL()
	w.run(b.Run)
	// Without an Enforcer: a retired device has more than half a second for its last words, however busy the machine.
	w.startPlatform(p, platform.Config{Broker: w.URL})
	return w
}

// NewPublic starts one over a broker that knows nobody, under a topic prefix of its own.
func NewPublic(t *testing.T, url string, link platform.Link, prefix string) *World {
	w := newWorld(t, nil)
	w.URL = url
	w.startPlatform(w.Party("P-SEMIO"), platform.Config{Link: link, Prefix: prefix})
	return w
}

func newWorld(t *testing.T, options []Option) *World {
	w := &World{t: t, Dir: t.TempDir()}
	for _, o := range options {
		o(w)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	store, err := ca.OpenFileStore(filepath.Join(w.Dir, "ca"))
	require.NoError(t, err)
	w.caConfig = ca.Config{Name: "Test CA", Signer: key, Store: store}
	if w.expired {
		w.YearAgo() // the root is as old
	}
	w.Authority, err = ca.New(w.caConfig)
	require.NoError(t, err)
	w.Roots = []*x509.Certificate{w.Authority.Certificate()}
	w.Registrar = w.Party("R-LINE1")
	return w
}

func (w *World) startPlatform(p *party.Party, cfg platform.Config) {
	credential, err := p.Credential()
	require.NoError(w.t, err)
	cfg.Credential, cfg.Signer, cfg.Key, cfg.Roots = credential, p.Signer(), p.Key(), p.Roots()
	cfg.Store, cfg.Revoker, cfg.Logger = platform.NewMemStore(), revoker{w.Authority}, slog.New(slog.DiscardHandler)
	w.Platform, err = platform.Open(w.t.Context(), cfg)
	require.NoError(w.t, err)
	w.asked.Store(w.Platform)
	w.run(w.Platform.Run)
}

// Server is a certificate of the authority for a server on loopback.
func (w *World) Server(issuer *ca.Authority) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(w.t, err)
	id, err := identity.ParseID("P-SEMIO")
	require.NoError(w.t, err)
	chain, err := issuer.IssueServer(key.Public(), id, []string{"localhost", "127.0.0.1"})
	require.NoError(w.t, err)
	return tls.Certificate{Certificate: chain, PrivateKey: key}
}

// Expired is a certificate chain for the request whose time is over. The world is one with ExpiredServer, whose root is as old.
func (w *World) Expired(request []byte) [][]byte {
	chain, err := w.YearAgo().Issue(request, ca.IssueOptions{})
	require.NoError(w.t, err)
	return chain
}

// YearAgo is the authority with a clock that is more than a year late. The world is one with ExpiredServer, whose root is as old.
func (w *World) YearAgo() *ca.Authority {
	cfg := w.caConfig
	cfg.Now = func() time.Time { return time.Now().AddDate(-1, -1, 0) }
	a, err := ca.New(cfg)
	require.NoError(w.t, err)
	return a
}

// run runs f until the test ends.
func (w *World) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() { cancel(); wg.Wait() })
}

// Party makes the folder of a certified party, DIR/NAME.
func (w *World) Party(name string) *party.Party {
	id, err := identity.ParseID(name)
	require.NoError(w.t, err)
	p, err := party.Create(filepath.Join(w.Dir, name), id)
	require.NoError(w.t, err)
	chain, err := w.Authority.Issue(p.Request(), ca.IssueOptions{})
	require.NoError(w.t, err)
	require.NoError(w.t, p.Install(chain, w.Roots))
	return p
}

// Application makes the folder of an application that the platform has admitted.
func (w *World) Application(name string) *party.Party {
	p := w.Party(name)
	credential, err := p.Credential()
	require.NoError(w.t, err)
	admission, err := w.Platform.Admit(w.t.Context(), credential)
	require.NoError(w.t, err)
	require.NoError(w.t, p.InstallAdmission(admission))
	return p
}

// Device makes the folder of a produced device with a simulated chip.
func (w *World) Device(name string) (dir string, s identity.Sticker) {
	t, ctx := w.t, w.t.Context()
	id, err := identity.ParseDeviceID(name)
	require.NoError(t, err)
	seed := fnv.New64()
	_, _ = seed.Write([]byte(name))
	u, err := unit.Create(filepath.Join(w.Dir, name), unit.Chip{Kind: "sim", Seed: seed.Sum64() / 2}, w.Roots)
	require.NoError(t, err)
	defer u.Close()
	source, err := u.Chip.Open()
	require.NoError(t, err)
	vault, err := keyvault.Enroll(ctx, source, u.NVM, nil)
	require.NoError(t, err)
	defer vault.Close()
	p, err := devicegw.Produce(ctx, vault, u.NVM, id)
	require.NoError(t, err)
	chain, err := w.Authority.Issue(p.CSR(), ca.IssueOptions{})
	require.NoError(t, err)
	reg, err := p.Endorse(chain, w.Roots)
	require.NoError(t, err)
	credential, err := w.Registrar.Credential()
	require.NoError(t, err)
	signed, err := platform.Registration{
		Device: reg.Device, Credential: reg.Credential, Binding: e2e.NewBindingID(), ClaimKey: reg.ClaimKey,
	}.Sign(w.Registrar.Signer(), credential)
	require.NoError(t, err)
	admission, err := w.Platform.Register(ctx, signed)
	require.NoError(t, err)
	require.NoError(t, p.Complete(ctx, admission, devicegw.ProduceOptions{}))
	return u.Dir, p.Sticker()
}

// authorizer lets the broker ask the platform, which is made after it.
type authorizer struct{ w *World }

func (a authorizer) Authenticate(id identity.ID, clientID string) error {
	return a.w.asked.Load().Authenticate(id, clientID)
}

func (a authorizer) Allow(id identity.ID, clientID string, action platform.Action, topic string) bool {
	return a.w.asked.Load().Allow(id, clientID, action, topic)
}

func (a authorizer) AuthenticateLapsed(id identity.ID, clientID string, certificate [32]byte) error {
	return a.w.asked.Load().AuthenticateLapsed(id, clientID, certificate)
}

func (a authorizer) AllowLapsed(id identity.ID, clientID string, action platform.Action, topic string) bool {
	return a.w.asked.Load().AllowLapsed(id, clientID, action, topic)
}

type revoker struct{ authority *ca.Authority }

func (r revoker) Revoke(_ context.Context, id identity.ID) ([]byte, error) {
	return r.authority.Revoke(id)
}
