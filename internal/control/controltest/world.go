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
func NewWorld(t testing.TB) *World {
	authority, err := ca.New(ca.Config{Name: "Test CA", Signer: signingKey(t), Store: new(ca.MemStore)})
	require.NoError(t, err)
	return &World{authority, []*x509.Certificate{authority.Certificate()}}
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
	p := Party{Signer: signingKey(t), Key: key}
	csr, err := identity.NewCSR(p.Signer, id, identity.CSROptions{})
	require.NoError(t, err)
	chain, err := w.Authority.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	endorsement, err := identity.Endorse(p.Signer, chain[0], key.PublicKey(), identity.EndorseOptions{})
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
