package clitest

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/platform"
)

// Authority is a certificate authority in the test's process, which serves until the test ends. It grants every platform all.
type Authority struct {
	*ca.Authority
	URL   string
	Roots []*x509.Certificate

	t    testing.TB
	skew atomic.Int64
}

// SetSkew sets by how much its clock is off.
func (a *Authority) SetSkew(d time.Duration) { a.skew.Store(int64(d)) }

// NewAuthority starts one. Its clock is off by skew.
func NewAuthority(t testing.TB, skew time.Duration) *Authority {
	t.Helper()
	return NewAuthorityWith(t, skew, ca.Config{})
}

// NewAuthorityWith is NewAuthority with validities.
func NewAuthorityWith(t testing.TB, skew time.Duration, cfg ca.Config) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &Authority{t: t}
	a.SetSkew(skew)
	now := func() time.Time { return time.Now().Add(time.Duration(a.skew.Load())) }
	cfg.Name, cfg.Signer, cfg.Store, cfg.Now = "Test CA", key, new(ca.MemStore), now
	a.Authority, err = ca.New(cfg)
	require.NoError(t, err)
	a.Roots = []*x509.Certificate{a.Certificate()}
	a.URL = a.Serve()
	return a
}

// Serve starts a server of the authority, one more, which ends with the test.
func (a *Authority) Serve() (url string) {
	t := a.t
	t.Helper()
	s, err := cahttp.New(cahttp.Config{Authority: a.Authority, Hosts: []string{"127.0.0.1"}, Grants: func(identity.ID) (cahttp.Grant, error) {
		return cahttp.Grant{Hosts: []string{"127.0.0.1", "localhost"}, Revoke: true}, nil
	}})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return "https://" + ln.Addr().String()
}

// Party makes a party in a folder of its own.
func (a *Authority) Party(name string) *party.Party {
	a.t.Helper()
	id, err := identity.ParseID(name)
	require.NoError(a.t, err)
	p, err := party.Create(filepath.Join(a.t.TempDir(), name), id)
	require.NoError(a.t, err)
	chain, err := a.Issue(p.Request(), ca.IssueOptions{NewKey: true})
	require.NoError(a.t, err)
	require.NoError(a.t, p.Install(chain, a.Roots))
	return p
}

// Unchecked makes a party in a folder of its own without looking at the certificate, whose time need not have come.
func (a *Authority) Unchecked(name string) *party.Party {
	a.t.Helper()
	id, err := identity.ParseID(name)
	require.NoError(a.t, err)
	p, err := party.Create(filepath.Join(a.t.TempDir(), name), id)
	require.NoError(a.t, err)
	chain, err := a.Issue(p.Request(), ca.IssueOptions{})
	require.NoError(a.t, err)
	pemFile := party.EncodeCertificates(chain...)
	if p.Key() != nil {
		endorsement, err := identity.Endorse(p.Signer(), chain[0], p.Key().PublicKey(), identity.EndorseOptions{})
		require.NoError(a.t, err)
		pemFile = append(pemFile, pem.EncodeToMemory(&pem.Block{Type: "SEMIO ENDORSEMENT", Bytes: endorsement})...)
	}
	require.NoError(a.t, os.WriteFile(filepath.Join(p.Dir(), "roots.pem"), party.EncodeCertificates(a.Roots[0].Raw), 0o600))
	require.NoError(a.t, os.WriteFile(filepath.Join(p.Dir(), "credential.pem"), pemFile, 0o600))
	return p
}

// Registration is what a factory makes of a device, signed by the registrar; nobody has the device's keys.
func (a *Authority) Registration(name string, registrar *party.Party) []byte {
	a.t.Helper()
	id, err := identity.ParseDeviceID(name)
	require.NoError(a.t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	agreement, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(a.t, err)
	csr, err := identity.NewCSR(key, id.ID, identity.CSROptions{})
	require.NoError(a.t, err)
	chain, err := a.Issue(csr, ca.IssueOptions{})
	require.NoError(a.t, err)
	endorsement, err := identity.Endorse(key, chain[0], agreement.PublicKey(), identity.EndorseOptions{Generation: 1})
	require.NoError(a.t, err)
	cred, err := registrar.Credential()
	require.NoError(a.t, err)
	signed, err := platform.Registration{
		Device: id, Credential: identity.Credential{Chain: chain, Endorsement: endorsement}, Binding: e2e.NewBindingID(),
	}.Sign(registrar.Signer(), cred)
	require.NoError(a.t, err)
	return signed
}
