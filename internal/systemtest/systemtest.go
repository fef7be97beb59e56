// Package systemtest has the parties of the system for tests across all of them: a certificate authority, a platform, applications
// and devices, over whatever broker the test has. Start with [New]:
//
//	s := systemtest.New(t)
//	s.StartPlatform(func(c *platform.Config) { c.Link = … })
//	d := s.NewDevice("D-1")
//	d.PowerUp(func(c *devicegw.Config) { c.Link = … })
//
// Everything that runs ends with the test.
package systemtest

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/platform"
)

// System is a certificate authority, with a platform once that is started.
type System struct {
	Authority *ca.Authority
	Roots     []*x509.Certificate
	Platform  *platform.Service

	t         testing.TB
	registrar Party
	self      platform.Config // of the platform, but for its broker
	halt      func()          // the platform

	mu      sync.Mutex // guards secrets
	secrets map[string][]byte
}

// Party is somebody with an identity that is not rooted in a chip.
type Party struct {
	ID         identity.ID
	Signer     *ecdsa.PrivateKey
	Key        *ecdh.PrivateKey
	Credential identity.Credential
}

// New makes the authority and a registrar.
func New(t testing.TB) *System {
	t.Helper()
	return NewWith(t, ca.Config{})
}

// NewWith is New with validities or a clock of the authority.
func NewWith(t testing.TB, cfg ca.Config) *System {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s := &System{t: t, secrets: map[string][]byte{}}
	cfg.Name, cfg.Signer, cfg.Store = "Test CA", key, new(ca.MemStore)
	s.Authority, err = ca.New(cfg)
	require.NoError(t, err)
	s.Roots = []*x509.Certificate{s.Authority.Certificate()}
	s.registrar = s.Party("R-FACTORY")
	return s
}

// Party makes keys for a name and has the authority certify them.
func (s *System) Party(name string) Party {
	s.t.Helper()
	id, err := identity.ParseID(name)
	require.NoError(s.t, err)
	p := Party{ID: id}
	p.Signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	p.Key, err = ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(s.t, err)
	csr, err := identity.NewCSR(p.Signer, id, identity.CSROptions{})
	require.NoError(s.t, err)
	p.Credential.Chain, err = s.Authority.Issue(csr, ca.IssueOptions{})
	require.NoError(s.t, err)
	p.Credential.Endorsement, err = identity.Endorse(p.Signer, p.Credential.Chain[0], p.Key.PublicKey(), identity.EndorseOptions{})
	require.NoError(s.t, err)
	raw, err := p.Signer.Bytes()
	require.NoError(s.t, err)
	s.AddSecret("signing key of "+name, raw)
	s.AddSecret("agreement key of "+name, p.Key.Bytes())
	return p
}

// ServerCert is a certificate of the platform's server on loopback.
func (s *System) ServerCert() tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	id, err := identity.ParseID(PlatformName)
	require.NoError(s.t, err)
	chain, err := s.Authority.IssueServer(key.Public(), id, []string{"localhost", "127.0.0.1"})
	require.NoError(s.t, err)
	return tls.Certificate{Certificate: chain, PrivateKey: key}
}

// PlatformName is the platform's name.
const PlatformName = "P-SEMIO"

// StartPlatform opens the platform, with a store in memory, and runs it. configure says over which broker.
func (s *System) StartPlatform(configure func(*platform.Config)) {
	s.t.Helper()
	me := s.Party(PlatformName)
	s.self = platform.Config{
		Credential: me.Credential, Signer: me.Signer, Key: me.Key, Roots: s.Roots, Store: platform.NewMemStore(),
		Revoker: authority{s.Authority}, Renewer: authority{s.Authority},
	}
	s.openPlatform(configure)
}

// RestartPlatform ends the platform and starts it again, the same with the same store, unless configure says otherwise.
func (s *System) RestartPlatform(configure func(*platform.Config)) {
	s.t.Helper()
	s.halt()
	s.openPlatform(configure)
}

func (s *System) openPlatform(configure func(*platform.Config)) {
	s.t.Helper()
	cfg := s.self
	configure(&cfg)
	var err error
	s.Platform, err = platform.Open(s.t.Context(), cfg)
	require.NoError(s.t, err)
	s.halt, _ = s.Live(s.Platform.Run)
}

// authority is whom the platform asks.
type authority struct{ *ca.Authority }

func (a authority) Revoke(_ context.Context, id identity.ID) ([]byte, error) {
	return a.Authority.Revoke(id)
}
func (a authority) Renew(_ context.Context, csr []byte) ([][]byte, error) {
	return a.Authority.Renew(csr)
}

// Live runs a party until stop is called or the test ends. outcome is what run returned, once it has.
func (s *System) Live(run func(context.Context) error) (stop func(), outcome <-chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if err != nil && !errors.Is(err, devicegw.ErrRetired) {
			s.t.Error(err)
		}
		result <- err
	}()
	stop = func() { cancel(); <-done }
	s.t.Cleanup(stop)
	return stop, result
}

// AddSecret notes what must be seen nowhere.
func (s *System) AddSecret(what string, secret []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[what] = secret
}

// Secrets are the keys of all parties, and what a sticker adds to them, by what they are.
func (s *System) Secrets() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]byte{}
	for what, secret := range s.secrets {
		out[what] = secret
	}
	return out
}
