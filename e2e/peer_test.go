package e2e_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/stretchr/testify/require"
)

// member has what a gateway has: keys, and a credential that a CA and its own signing key made.
type member struct {
	signer   *ecdsa.PrivateKey
	key      *ecdh.PrivateKey
	verified *identity.Verified
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// enlist makes members and has them verified.
func enlist(names ...string) []member {
	root := must(ca.New(ca.Config{
		Name: "Test CA", Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), Store: &ca.MemStore{},
	}))
	verifier := must(identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{root.Certificate()}}))
	var out []member
	for _, name := range names {
		m := member{signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), key: must(ecdh.P256().GenerateKey(rand.Reader))}
		id := must(identity.ParseID(name))
		chain := must(root.Issue(must(identity.NewCSR(m.signer, id, identity.CSROptions{HelperHash: helperOf(id)})), ca.IssueOptions{}))
		endorsement := must(identity.Endorse(m.signer, chain[0], m.key.PublicKey(), identity.EndorseOptions{Generation: 1}))
		m.verified = must(verifier.Verify(identity.Credential{Chain: chain, Endorsement: endorsement}, id.Role()))
		out = append(out, m)
	}
	return out
}

func helperOf(id identity.ID) (h [32]byte) {
	if id.Role() == identity.RoleDevice {
		h[0] = 1
	}
	return h
}

func TestNewPeerFromCredentials(t *testing.T) {
	all := enlist("D-METER-1", "A-WATER", "P-CITY")
	dev, app, plat := all[0], all[1], all[2]
	psk := must(identity.NewPSK(testPSK[:]))
	open := func(self, remote member) *e2e.Peer {
		return must(e2e.NewPeer(e2e.Config{
			Self: self.verified, Key: self.key, Remote: remote.verified, Binding: testBinding, PSK: psk, RequirePSK: true, Epochs: &memEpochs{},
		}))
	}
	d, a := open(dev, app), open(app, dev)
	handshake(t, start, d, a)
	deliver(t, start, d, a, "21.5 degrees")
	handshake(t, start, a, d)
	deliver(t, start, a, d, "close the valve")
	require.Equal(t, d.Hint(), a.Hint())
	require.NotEqual(t, d.Hint(), open(dev, plat).Hint())

	cfg := e2e.Config{Self: dev.verified, Key: dev.key, Remote: app.verified, Binding: testBinding, Epochs: &memEpochs{}, RequirePSK: true}
	_, err := e2e.NewPeer(cfg)
	require.ErrorContains(t, err, "pre-shared key is required")
	cfg.RequirePSK, cfg.Remote = false, dev.verified
	_, err = e2e.NewPeer(cfg)
	require.ErrorContains(t, err, "own signing key")
	cfg.Remote, cfg.Key = app.verified, app.key
	_, err = e2e.NewPeer(cfg)
	require.ErrorContains(t, err, "not the agreement key")
}

func TestBindingID(t *testing.T) {
	a, b := e2e.NewBindingID(), e2e.NewBindingID()
	require.NotEqual(t, a, b)
	require.False(t, a.IsZero())
	require.True(t, e2e.BindingID{}.IsZero())
	require.Equal(t, "b1000000000000000000000000000001", testBinding.String())
}
