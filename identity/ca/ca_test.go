package ca_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func newCSR(t testing.TB, k *ecdsa.PrivateKey, name string, o identity.CSROptions) []byte {
	t.Helper()
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	csr, err := identity.NewCSR(k, id, o)
	require.NoError(t, err)
	return csr
}

func parseID(t testing.TB, name string) identity.ID {
	t.Helper()
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	return id
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func newCA(t testing.TB, cfg ca.Config) *ca.Authority {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "test root"
	}
	if cfg.Signer == nil {
		cfg.Signer = newKey(t)
	}
	if cfg.Store == nil {
		cfg.Store = &ca.MemStore{}
	}
	a, err := ca.New(cfg)
	require.NoError(t, err)
	return a
}

func verifier(t testing.TB, a *ca.Authority) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{a.Certificate()}})
	require.NoError(t, err)
	return v
}

// Whatever the CA issues for a role must verify as that role, with the endorsement of the certified key.
func TestIssuedCredentialsVerify(t *testing.T) {
	a := newCA(t, ca.Config{})
	v := verifier(t, a)
	for _, name := range []string{"D-1", "A-WATER", "P-1", "R-FACTORY-1", "O-ADMIN"} {
		t.Run(name, func(t *testing.T) {
			k := newKey(t)
			o := identity.CSROptions{}
			if name[0] == 'D' {
				o.HelperHash = [32]byte{1, 2, 3}
			}
			chain, err := a.Issue(newCSR(t, k, name, o), ca.IssueOptions{})
			require.NoError(t, err)
			dh, err := ecdh.P256().GenerateKey(rand.Reader)
			require.NoError(t, err)
			e, err := identity.Endorse(k, chain[0], dh.PublicKey(), identity.EndorseOptions{Generation: 7})
			require.NoError(t, err)
			p, err := v.Verify(identity.Credential{Chain: chain, Endorsement: e}, identity.Role(name[0]))
			require.NoError(t, err)
			require.Equal(t, name, p.ID().String())
			require.True(t, p.SigningKey().Equal(k.Public()))
			require.True(t, p.Agreement().Equal(dh.PublicKey()))
			require.EqualValues(t, 7, p.Generation())
			h, ok := p.HelperHash()
			require.Equal(t, o.HelperHash, h)
			require.Equal(t, name[0] == 'D', ok)
		})
	}
}

func TestProfiles(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := newCA(t, ca.Config{Now: func() time.Time { return now }})
	root := a.Certificate()
	require.True(t, root.IsCA)
	require.Equal(t, -1, root.MaxPathLen, "issuing CAs may be under it")
	require.Equal(t, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, root.KeyUsage)
	require.Equal(t, "99991231235959Z", root.NotAfter.UTC().Format("20060102150405Z"))
	serials := map[string]bool{}
	for _, name := range []string{"D-1", "A-1", "P-1", "R-1", "O-1", "A-1--2"} {
		id, instance, err := identity.ParseClientID(name)
		require.NoError(t, err)
		o := identity.CSROptions{Instance: instance}
		if name[0] == 'D' {
			o.HelperHash = [32]byte{9}
		}
		csr, err := identity.NewCSR(newKey(t), id, o)
		require.NoError(t, err)
		chain, err := a.Issue(csr, ca.IssueOptions{})
		require.NoError(t, err)
		require.Len(t, chain, 1)
		c := parse(t, chain[0])
		require.Equal(t, name, c.Subject.CommonName)
		require.Equal(t, []string{name}, c.DNSNames)
		require.Equal(t, x509.KeyUsageDigitalSignature, c.KeyUsage)
		require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, c.ExtKeyUsage)
		require.True(t, c.BasicConstraintsValid)
		require.False(t, c.IsCA)
		require.Equal(t, root.SubjectKeyId, c.AuthorityKeyId)
		require.Equal(t, now.Add(-5*time.Minute), c.NotBefore)
		if name[0] == 'D' {
			require.Equal(t, root.NotAfter, c.NotAfter)
		} else {
			require.Equal(t, now.Add(ca.DefaultValidity), c.NotAfter)
		}
		require.LessOrEqual(t, c.SerialNumber.BitLen(), 128)
		require.False(t, serials[c.SerialNumber.String()])
		serials[c.SerialNumber.String()] = true
	}
}

func TestIssueAgain(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := newCA(t, ca.Config{Now: func() time.Time { return now }})
	for _, name := range []string{"D-1", "A-1"} {
		k := newKey(t)
		csr := newCSR(t, k, name, identity.CSROptions{})
		first, err := a.Issue(csr, ca.IssueOptions{})
		require.NoError(t, err)
		again, err := a.Issue(newCSR(t, k, name, identity.CSROptions{}), ca.IssueOptions{})
		require.NoError(t, err)
		require.Equal(t, first, again, "the same request gets the same certificate")

		// Most of an application's year has passed: a fresh one, for the same key. A device's goes on.
		now = now.Add(300 * 24 * time.Hour)
		later, err := a.Issue(csr, ca.IssueOptions{})
		require.NoError(t, err)
		require.Equal(t, name[0] == 'D', string(first[0]) == string(later[0]))
		require.True(t, k.PublicKey.Equal(parse(t, later[0]).PublicKey))
	}
}

func TestOneKeyForADevice(t *testing.T) {
	a := newCA(t, ca.Config{})
	_, err := a.Issue(newCSR(t, newKey(t), "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	other := newCSR(t, newKey(t), "D-1", identity.CSROptions{})
	for _, o := range []ca.IssueOptions{{}, {NewKey: true}} {
		_, err = a.Issue(other, o)
		require.ErrorIs(t, err, ca.ErrOtherKey)
	}
	_, err = a.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	_, err = a.Issue(other, ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrRevoked, "revoking a name does not free it")
}

func TestOtherRolesMayChangeKeys(t *testing.T) {
	a := newCA(t, ca.Config{})
	old, key := newKey(t), newKey(t)
	_, err := a.Issue(newCSR(t, old, "A-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	csr := newCSR(t, key, "A-1", identity.CSROptions{})
	_, err = a.Issue(csr, ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrOtherKey)
	chain, err := a.Issue(csr, ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(parse(t, chain[0]).PublicKey))
	_, err = a.Issue(newCSR(t, old, "A-1", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrOtherKey, "no way back without saying so")

	_, err = a.Revoke(parseID(t, "A-1"))
	require.NoError(t, err)
	for _, k := range []*ecdsa.PrivateKey{old, key} {
		_, err = a.Issue(newCSR(t, k, "A-1", identity.CSROptions{}), ca.IssueOptions{NewKey: true})
		require.ErrorIs(t, err, ca.ErrRevoked, "a revoked key gets no certificate again")
	}
	_, err = a.Issue(newCSR(t, newKey(t), "A-1", identity.CSROptions{}), ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
}

func TestOneNameForAKey(t *testing.T) {
	signer, k := newKey(t), newKey(t)
	a := newCA(t, ca.Config{Signer: signer})
	_, err := a.Issue(newCSR(t, k, "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	for _, name := range []string{"D-2", "A-1", "P-1"} {
		_, err = a.Issue(newCSR(t, k, name, identity.CSROptions{}), ca.IssueOptions{})
		require.ErrorIs(t, err, ca.ErrKeyInUse, name)
	}
	_, err = a.IssueServer(k.Public(), parseID(t, "P-1"), []string{"localhost"})
	require.ErrorIs(t, err, ca.ErrKeyInUse)
	_, err = a.Issue(newCSR(t, signer, "D-3", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrKeyInUse, "the CA's own")
	_, err = a.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	_, err = a.Issue(newCSR(t, k, "D-2", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrKeyInUse, "a revoked peer does not come back under another name")
	// One holder, one key, several instances.
	app := newKey(t)
	for _, o := range []identity.CSROptions{{}, {Instance: "1"}, {Instance: "2"}} {
		_, err = a.Issue(newCSR(t, app, "A-1", o), ca.IssueOptions{})
		require.NoError(t, err)
	}
}

func TestIssueRefuses(t *testing.T) {
	denied := errors.New("not from this factory")
	a := newCA(t, ca.Config{Policy: func(c *identity.CSR) error {
		if c.ID.String() == "D-X" {
			return denied
		}
		return nil
	}})
	_, err := a.Issue(newCSR(t, newKey(t), "D-X", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrPolicy)
	require.ErrorIs(t, err, denied)
	_, err = a.Issue([]byte("no request"), ca.IssueOptions{})
	require.ErrorIs(t, err, identity.ErrCSR)
	_, err = a.Issue(newCSR(t, newKey(t), "A-1", identity.CSROptions{}), ca.IssueOptions{Validity: -1})
	require.Error(t, err)
	k := newKey(t)
	_, err = a.Issue(newCSR(t, k, "D-1", identity.CSROptions{HelperHash: [32]byte{1}}), ca.IssueOptions{})
	require.NoError(t, err)
	for _, h := range [][32]byte{{}, {2}} {
		_, err = a.Issue(newCSR(t, k, "D-1", identity.CSROptions{HelperHash: h}), ca.IssueOptions{})
		require.ErrorIs(t, err, ca.ErrOtherHelper)
	}
	_, err = a.Revoke(parseID(t, "D-X"))
	require.ErrorIs(t, err, ca.ErrUnknown, "nothing was issued")
}

func TestIssueServer(t *testing.T) {
	a := newCA(t, ca.Config{})
	v := verifier(t, a)
	k, id, hosts := newKey(t), parseID(t, "P-1"), []string{"broker.example.org", "127.0.0.1", "::1"}
	chain, err := a.IssueServer(k.Public(), id, hosts)
	require.NoError(t, err)
	for _, h := range hosts {
		got, err := v.VerifyServer([]*x509.Certificate{parse(t, chain[0])}, h)
		require.NoError(t, err)
		require.Equal(t, id, got.ID)
	}
	again, err := a.IssueServer(k.Public(), id, hosts)
	require.NoError(t, err)
	require.Equal(t, chain, again)
	more, err := a.IssueServer(k.Public(), id, append(hosts, "localhost"))
	require.NoError(t, err)
	require.NotEqual(t, chain, more)
	_, err = a.IssueServer(newKey(t).Public(), id, hosts)
	require.NoError(t, err, "servers change keys")

	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for name, f := range map[string]func() error{
		"device":   func() error { _, err := a.IssueServer(newKey(t).Public(), parseID(t, "D-1"), hosts); return err },
		"zero":     func() error { _, err := a.IssueServer(newKey(t).Public(), identity.ID{}, hosts); return err },
		"no host":  func() error { _, err := a.IssueServer(newKey(t).Public(), id, nil); return err },
		"33 hosts": func() error { _, err := a.IssueServer(newKey(t).Public(), id, make([]string, 33)); return err },
		"a peer": func() error {
			_, err := a.IssueServer(newKey(t).Public(), id, []string{"localhost", "D-1"})
			return err
		},
		"empty host":   func() error { _, err := a.IssueServer(newKey(t).Public(), id, []string{""}); return err },
		"P-384":        func() error { _, err := a.IssueServer(p384.Public(), id, hosts); return err },
		"no key":       func() error { _, err := a.IssueServer(nil, id, hosts); return err },
		"private key":  func() error { _, err := a.IssueServer(newKey(t), id, hosts); return err },
		"wildcard":     func() error { _, err := a.IssueServer(newKey(t).Public(), id, []string{"*.example.org"}); return err },
		"trailing dot": func() error { _, err := a.IssueServer(newKey(t).Public(), id, []string{"example.org."}); return err },
		"not a domain": func() error { _, err := a.IssueServer(newKey(t).Public(), id, []string{"ex ample"}); return err },
	} {
		require.Error(t, f(), name)
	}
	_, err = a.Revoke(id)
	require.NoError(t, err)
	crl, err := a.CRL()
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))
	_, err = v.VerifyServer([]*x509.Certificate{parse(t, chain[0])}, "::1")
	require.ErrorIs(t, err, identity.ErrRevoked)
	_, err = a.IssueServer(k.Public(), id, hosts)
	require.ErrorIs(t, err, ca.ErrRevoked)
}

func TestRevoke(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := newCA(t, ca.Config{Now: func() time.Time { return now }})
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{a.Certificate()}, Now: func() time.Time { return now }})
	require.NoError(t, err)
	number := func(crl []byte, err error) uint64 {
		t.Helper()
		require.NoError(t, err)
		require.NoError(t, v.AddCRL(crl))
		return v.CRLNumbers()[0].Number
	}
	certs := map[string]*x509.Certificate{}
	for _, name := range []string{"D-1", "D-2", "A-1"} {
		chain, err := a.Issue(newCSR(t, newKey(t), name, identity.CSROptions{}), ca.IssueOptions{})
		require.NoError(t, err)
		certs[name] = parse(t, chain[0])
	}
	require.EqualValues(t, 1, number(a.CRL()))
	require.EqualValues(t, 2, number(a.Revoke(parseID(t, "D-1"))))
	require.EqualValues(t, 2, number(a.Revoke(parseID(t, "D-1"))), "nothing new")
	require.EqualValues(t, 2, number(a.CRL()))
	require.EqualValues(t, 3, number(a.RevokeCertificate(certs["A-1"])))
	require.True(t, v.Revoked(certs["D-1"]))
	require.True(t, v.Revoked(certs["A-1"]))
	require.False(t, v.Revoked(certs["D-2"]))

	now = now.Add(16 * 24 * time.Hour)
	require.EqualValues(t, 4, number(a.CRL()), "more than half its validity gone")
	require.EqualValues(t, 4, number(a.CRL()))
	require.True(t, v.Revoked(certs["D-1"]) && v.Revoked(certs["A-1"]), "entries stay")

	stranger := newCA(t, ca.Config{})
	for _, c := range []*x509.Certificate{nil, stranger.Certificate(), a.Certificate()} {
		_, err := a.RevokeCertificate(c)
		require.ErrorIs(t, err, ca.ErrUnknown)
	}
	for _, id := range []identity.ID{{}, parseID(t, "D-9")} {
		_, err := a.Revoke(id)
		require.ErrorIs(t, err, ca.ErrUnknown)
	}
}
