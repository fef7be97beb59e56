// Package controltest has a certificate authority with parties, and a platform that answers, for the tests of the gateways.
package controltest

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// World is an authority and those who trust it.
type World struct {
	Authority *ca.Authority
	Roots     []*x509.Certificate
}

// NewWorld makes an authority of its own.
func NewWorld(t testing.TB) *World { return NewWorldWith(t, ca.Config{}) }

// NewWorldWith is NewWorld with validities or a clock.
func NewWorldWith(t testing.TB, cfg ca.Config) *World {
	cfg.Name, cfg.Signer, cfg.Store = "Test CA", signingKey(t), new(ca.MemStore)
	authority, err := ca.New(cfg)
	require.NoError(t, err)
	return &World{authority, []*x509.Certificate{authority.Certificate()}}
}

// Issuing is the world under an issuing CA of the authority, which certifies in its place.
func (w *World) Issuing(t testing.TB, name string) *World {
	key := signingKey(t)
	csr, err := ca.NewCARequest(key, name)
	require.NoError(t, err)
	chain, err := w.Authority.CertifyCA(csr, ca.CAOptions{})
	require.NoError(t, err)
	authority, err := ca.New(ca.Config{Name: name, Signer: key, Store: new(ca.MemStore), Root: w.Authority.Certificate(), Chain: chain})
	require.NoError(t, err)
	return &World{authority, w.Roots}
}

// Party is somebody whom the authority has certified.
type Party struct {
	Signer     *ecdsa.PrivateKey
	Key        *ecdh.PrivateKey
	Credential identity.Credential
	Verified   *identity.Verified
}

// Party certifies a new party under a name.
func (w *World) Party(t testing.TB, name string) Party {
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return w.certify(t, Party{Signer: signingKey(t), Key: key}, id, 0)
}

// Renewed certifies the keys of a party anew, with the next generation. The authority must find that it is time.
func (w *World) Renewed(t testing.TB, p Party) Party {
	next := w.certify(t, p, p.Verified.ID(), p.Verified.Generation()+1)
	require.NotEqual(t, p.Verified.CertificateHash(), next.Verified.CertificateHash(), "the certificate is too young")
	return next
}

// Rekeyed certifies a party with other keys, of a generation.
func (w *World) Rekeyed(t testing.TB, p Party, generation uint32) Party {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	next := Party{Signer: signingKey(t), Key: key}
	csr, err := identity.NewCSR(next.Signer, p.Verified.ID(), identity.CSROptions{})
	require.NoError(t, err)
	request, err := identity.NewRekey(p.Signer, csr)
	require.NoError(t, err)
	_, err = w.Authority.Rekey(request)
	require.NoError(t, err)
	return w.certify(t, next, p.Verified.ID(), generation)
}

// Holder is the party as it configures a gateway or platform as what it was before.
func (p Party) Holder() identity.Holder {
	return identity.Holder{Credential: p.Credential, Signer: p.Signer, Key: p.Key}
}

func (w *World) certify(t testing.TB, p Party, id identity.ID, generation uint32) Party {
	csr, err := identity.NewCSR(p.Signer, id, identity.CSROptions{})
	require.NoError(t, err)
	chain, err := w.Authority.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	endorsement, err := identity.Endorse(p.Signer, chain[0], p.Key.PublicKey(), identity.EndorseOptions{Generation: generation})
	require.NoError(t, err)
	p.Credential = identity.Credential{Chain: chain, Endorsement: endorsement}
	p.Verified, err = w.Verifier(t).Verify(p.Credential, id.Role())
	require.NoError(t, err)
	return p
}

// Verifier returns a verifier without revocation lists.
func (w *World) Verifier(t testing.TB) *identity.Verifier {
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: w.Roots})
	require.NoError(t, err)
	return v
}

func signingKey(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}
