package ca_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

func caRequest(t testing.TB, signer *ecdsa.PrivateKey, name string) []byte {
	t.Helper()
	der, err := ca.NewCARequest(signer, name)
	require.NoError(t, err)
	return der
}

// newIssuing makes an issuing CA under a root.
func newIssuing(t testing.TB, root *ca.Authority, cfg ca.Config) *ca.Authority {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "test issuing"
	}
	if cfg.Signer == nil {
		cfg.Signer = newKey(t)
	}
	if cfg.Store == nil {
		cfg.Store = &ca.MemStore{}
	}
	chain, err := root.CertifyCA(caRequest(t, cfg.Signer.(*ecdsa.PrivateKey), cfg.Name), ca.CAOptions{})
	require.NoError(t, err)
	cfg.Root, cfg.Chain = root.Certificate(), chain
	a, err := ca.New(cfg)
	require.NoError(t, err)
	return a
}

// peer returns a credential that a has issued.
func peer(t testing.TB, a *ca.Authority, k *ecdsa.PrivateKey, name string) identity.Credential {
	t.Helper()
	chain, err := a.Issue(newCSR(t, k, name, identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	dh, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	e, err := identity.Endorse(k, chain[0], dh.PublicKey(), identity.EndorseOptions{})
	require.NoError(t, err)
	return identity.Credential{Chain: chain, Endorsement: e}
}

func trusting(t testing.TB, roots ...*x509.Certificate) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: roots})
	require.NoError(t, err)
	return v
}

func accepts(t testing.TB, v *identity.Verifier, c identity.Credential) {
	t.Helper()
	_, err := v.Verify(c, 0)
	require.NoError(t, err)
	require.NoError(t, v.CheckRevocation(c))
	var certs []*x509.Certificate
	for _, der := range c.Chain {
		certs = append(certs, parse(t, der))
	}
	_, err = v.VerifyChain(certs)
	require.NoError(t, err)
}

func refuses(t testing.TB, v *identity.Verifier, c identity.Credential, want error) {
	t.Helper()
	_, err := v.Verify(c, 0)
	require.ErrorIs(t, err, want)
	if want == identity.ErrRevoked {
		require.ErrorIs(t, v.CheckRevocation(c), want)
	}
	var certs []*x509.Certificate
	for _, der := range c.Chain {
		certs = append(certs, parse(t, der))
	}
	_, err = v.VerifyChain(certs)
	require.ErrorIs(t, err, want)
}

func TestIssuingCA(t *testing.T) {
	root := newCA(t, ca.Config{})
	sub := newIssuing(t, root, ca.Config{})
	cert := sub.Certificate()
	require.True(t, cert.IsCA && cert.MaxPathLenZero && cert.MaxPathLen == 0)
	require.Equal(t, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, cert.KeyUsage)
	require.Empty(t, cert.ExtKeyUsage)
	require.WithinDuration(t, time.Now().Add(ca.DefaultCAValidity), cert.NotAfter, time.Hour)
	for _, e := range cert.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 15}) || e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) {
			require.True(t, e.Critical, e.Id)
		}
	}
	require.Equal(t, []*x509.Certificate{root.Certificate()}, sub.Roots())

	v := trusting(t, root.Certificate())
	dev, app := peer(t, sub, newKey(t), "D-1"), peer(t, sub, newKey(t), "A-1")
	require.Len(t, dev.Chain, 2)
	require.Equal(t, cert.Raw, dev.Chain[1])
	require.Equal(t, cert.NotAfter, parse(t, dev.Chain[0]).NotAfter, "nothing outlives its CA")
	accepts(t, v, dev)
	accepts(t, v, app)
	server, err := sub.IssueServer(newKey(t).Public(), parseID(t, "P-1"), []string{"localhost"})
	require.NoError(t, err)
	_, err = v.VerifyServer([]*x509.Certificate{parse(t, server[0]), parse(t, server[1])}, "localhost")
	require.NoError(t, err)
	service, err := sub.IssueService(&newKey(t).PublicKey, []string{"localhost"})
	require.NoError(t, err)
	pool, inter := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(root.Certificate())
	inter.AddCert(parse(t, service[1]))
	_, err = parse(t, service[0]).Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, DNSName: "localhost"})
	require.NoError(t, err)

	// Lists of both, each with numbers of its own.
	empty, err := sub.CRL()
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(empty))
	bundles, err := identity.ParseCRLs(empty)
	require.NoError(t, err)
	require.Equal(t, [][]byte{cert.Raw}, bundles[0].Issuer)
	list, err := sub.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	require.NoError(t, v.VerifyRevoked(list, dev))
	require.ErrorIs(t, v.VerifyRevoked(list, app), identity.ErrNotRevoked)
	alone, err := identity.ParseCRLs(list)
	require.NoError(t, err)
	require.NoError(t, v.VerifyRevoked(alone[0].List, dev), "the credential knows the issuer")
	require.NoError(t, v.AddCRL(list))
	refuses(t, v, dev, identity.ErrRevoked)
	accepts(t, v, app)
	require.ErrorIs(t, v.AddCRL(empty), identity.ErrCRLOlder)

	crl, err := root.RevokeCertificate(cert)
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))
	require.Len(t, v.CRLNumbers(), 2)
	require.True(t, v.Revoked(cert))
	require.False(t, v.Revoked(parse(t, app.Chain[0])), "who issued it is another question")
	refuses(t, v, app, identity.ErrRevoked)
	// Whoever has the key now may say what he likes; what was said before stays in force, also for who hears of it only now.
	require.ErrorIs(t, v.VerifyRevoked(list, dev), identity.ErrRevoked)
	w := trusting(t, root.Certificate())
	require.NoError(t, w.AddCRL(crl))
	require.NoError(t, w.AddCRL(list))
	require.True(t, w.Revoked(parse(t, dev.Chain[0])))
	_, err = root.CertifyCA(caRequest(t, newKey(t), "test issuing"), ca.CAOptions{})
	require.NoError(t, err, "a new key of the same name")
}

// The store is the authority's, whatever the configuration says.
func TestIssuingCAReopens(t *testing.T) {
	root, other := newCA(t, ca.Config{}), newCA(t, ca.Config{})
	store, key := &ca.MemStore{}, newKey(t)
	sub := newIssuing(t, root, ca.Config{Store: store, Signer: key})
	dev := peer(t, sub, newKey(t), "D-1")
	again, err := ca.New(ca.Config{Name: "test issuing", Signer: key, Store: store})
	require.NoError(t, err)
	require.Equal(t, sub.Certificate().Raw, again.Certificate().Raw)
	_, err = again.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)

	// The root certifies the same key for longer: the chain is replaced, the lists go on.
	longer, err := root.CertifyCA(caRequest(t, key, "test issuing"), ca.CAOptions{Validity: 20 * 365 * 24 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, sub.Certificate().Raw, longer[0], "there is one that is fresh")
	foreign, err := other.CertifyCA(caRequest(t, key, "test issuing"), ca.CAOptions{NoExpiry: true})
	require.NoError(t, err)
	moved, err := ca.New(ca.Config{Name: "test issuing", Signer: key, Store: store, Root: other.Certificate(), Chain: foreign})
	require.NoError(t, err)
	require.Equal(t, foreign[0], moved.Certificate().Raw)
	v := trusting(t, other.Certificate())
	crl, err := moved.CRL()
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))
	require.EqualValues(t, 2, v.CRLNumbers()[0].Number)
	dev.Chain[1] = foreign[0]
	refuses(t, v, dev, identity.ErrRevoked)

	for name, cfg := range map[string]ca.Config{
		"no chain":          {Name: "x", Signer: key, Store: &ca.MemStore{}, Root: root.Certificate()},
		"of another root":   {Name: "test issuing", Signer: key, Store: &ca.MemStore{}, Root: root.Certificate(), Chain: foreign},
		"of another key":    {Name: "test issuing", Signer: newKey(t), Store: &ca.MemStore{}, Root: other.Certificate(), Chain: foreign},
		"of another name":   {Name: "test", Signer: key, Store: &ca.MemStore{}, Root: other.Certificate(), Chain: foreign},
		"name of a peer":    {Name: "D-1", Signer: key, Store: &ca.MemStore{}},
		"no certificate":    {Name: "test issuing", Signer: key, Store: &ca.MemStore{}, Root: root.Certificate(), Chain: [][]byte{{1}}},
		"root in the chain": {Name: "test issuing", Signer: key, Store: &ca.MemStore{}, Root: other.Certificate(), Chain: append(foreign, other.Certificate().Raw)},
		"too long":          {Name: "test issuing", Signer: key, Store: &ca.MemStore{}, Root: other.Certificate(), Chain: [][]byte{foreign[0], foreign[0], foreign[0], foreign[0]}},
		"a peer's":          {Name: "test issuing", Signer: key, Store: &ca.MemStore{}, Root: other.Certificate(), Chain: dev.Chain},
		"new root, no way":  {Name: "test issuing", Signer: key, Store: store, Root: root.Certificate()},
	} {
		_, err := ca.New(cfg)
		require.Error(t, err, name)
	}
	rootStore, rootKey := &ca.MemStore{}, newKey(t)
	newCA(t, ca.Config{Store: rootStore, Signer: rootKey})
	_, err = ca.New(ca.Config{Name: "test root", Signer: rootKey, Store: rootStore, Root: other.Certificate(), Chain: foreign})
	require.ErrorIs(t, err, ca.ErrStore)
}

func TestCertifyCA(t *testing.T) {
	now := time.Now()
	root := newCA(t, ca.Config{Now: func() time.Time { return now }})
	key := newKey(t)
	first, err := root.CertifyCA(caRequest(t, key, "issuing"), ca.CAOptions{})
	require.NoError(t, err)
	again, err := root.CertifyCA(caRequest(t, key, "issuing"), ca.CAOptions{})
	require.NoError(t, err)
	require.Equal(t, first, again)
	now = now.Add(7 * 365 * 24 * time.Hour)
	later, err := root.CertifyCA(caRequest(t, key, "issuing"), ca.CAOptions{})
	require.NoError(t, err)
	require.NotEqual(t, first, later, "less than a third is left")
	forEver, err := root.CertifyCA(caRequest(t, newKey(t), "no expiry"), ca.CAOptions{NoExpiry: true})
	require.NoError(t, err)
	require.Equal(t, root.Certificate().NotAfter, parse(t, forEver[0]).NotAfter)

	// A key has one holder: a CA is no peer, and no other CA.
	_, err = root.Issue(newCSR(t, key, "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrKeyInUse)
	_, err = root.CertifyCA(caRequest(t, key, "another"), ca.CAOptions{})
	require.ErrorIs(t, err, ca.ErrKeyInUse)
	device := newKey(t)
	_, err = root.Issue(newCSR(t, device, "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	_, err = root.CertifyCA(caRequest(t, device, "issuing"), ca.CAOptions{})
	require.ErrorIs(t, err, ca.ErrKeyInUse)

	_, err = root.RevokeCertificate(parse(t, later[0]))
	require.NoError(t, err)
	_, err = root.CertifyCA(caRequest(t, key, "issuing"), ca.CAOptions{})
	require.ErrorIs(t, err, ca.ErrRevoked)

	sub := newIssuing(t, root, ca.Config{Now: func() time.Time { return now }})
	_, err = sub.CertifyCA(caRequest(t, newKey(t), "below"), ca.CAOptions{})
	require.ErrorIs(t, err, ca.ErrNotRoot)

	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	request := func(k *ecdsa.PrivateKey, edit func(*x509.CertificateRequest)) []byte {
		r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}
		edit(r)
		der, err := x509.CreateCertificateRequest(rand.Reader, r, k)
		require.NoError(t, err)
		return der
	}
	good := request(newKey(t), func(*x509.CertificateRequest) {})
	broken := append([]byte(nil), good...)
	broken[len(broken)-1] ^= 1
	for name, der := range map[string][]byte{
		"nothing":        nil,
		"a device's":     newCSR(t, newKey(t), "D-7", identity.CSROptions{}),
		"broken":         broken,
		"trailing":       append(append([]byte(nil), good...), 0),
		"P-384":          request(p384, func(*x509.CertificateRequest) {}),
		"no name":        request(newKey(t), func(r *x509.CertificateRequest) { r.Subject.CommonName = "" }),
		"name of a peer": request(newKey(t), func(r *x509.CertificateRequest) { r.Subject.CommonName = "P-1" }),
		"organisation":   request(newKey(t), func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"x"} }),
		"host":           request(newKey(t), func(r *x509.CertificateRequest) { r.DNSNames = []string{"x.example"} }),
		"own name":       request(newKey(t), func(r *x509.CertificateRequest) { r.Subject.CommonName = "test root" }),
		"SHA-512":        request(newKey(t), func(r *x509.CertificateRequest) { r.SignatureAlgorithm = x509.ECDSAWithSHA512 }),
		"too long":       make([]byte, 5000),
	} {
		_, err := root.CertifyCA(der, ca.CAOptions{})
		require.ErrorIs(t, err, identity.ErrCSR, name)
	}
	for _, o := range []ca.CAOptions{{Validity: -1}, {Validity: time.Hour, NoExpiry: true}} {
		_, err := root.CertifyCA(good, o)
		require.Error(t, err)
	}
}

// An issuing CA has several certificates for its key, renewed and under other terms. To end it is to end all of them, whichever is named.
func TestRevokeCAWithSeveralCertificates(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	root := newCA(t, ca.Config{Now: clock})
	key := newKey(t)
	sub := newIssuing(t, root, ca.Config{Signer: key, Now: clock})
	dev := peer(t, sub, newKey(t), "D-1")
	now = now.Add(7 * 365 * 24 * time.Hour)
	renewed, err := root.CertifyCA(caRequest(t, key, "test issuing"), ca.CAOptions{})
	require.NoError(t, err)
	cross, err := root.CertifyCA(caRequest(t, key, "test issuing"), ca.CAOptions{Root: true})
	require.NoError(t, err)
	other, err := root.CertifyCA(caRequest(t, newKey(t), "test issuing"), ca.CAOptions{})
	require.NoError(t, err)
	crl, err := root.RevokeCertificate(parse(t, renewed[0]))
	require.NoError(t, err)
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: sub.Roots(), Now: clock})
	require.NoError(t, err)
	accepts(t, v, dev)
	require.NoError(t, v.AddCRL(crl))
	for _, der := range [][]byte{sub.Certificate().Raw, renewed[0], cross[0]} {
		require.True(t, v.Revoked(parse(t, der)))
		dev.Chain[1] = der
		refuses(t, v, dev, identity.ErrRevoked)
	}
	require.False(t, v.Revoked(parse(t, other[0])), "another key of the same name")
	again, err := root.RevokeCertificate(sub.Certificate())
	require.NoError(t, err)
	require.Equal(t, crl, again, "nothing is left to revoke")
}

// What an issuing CA that goes beyond its certificate makes, nobody takes.
func TestIssuingCAStaysWithinItsLimits(t *testing.T) {
	root := newCA(t, ca.Config{})
	key := newKey(t)
	sub := newIssuing(t, root, ca.Config{Signer: key})
	below := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: sub.Certificate().SerialNumber, Subject: pkix.Name{CommonName: "below"},
		NotBefore: sub.Certificate().NotBefore, NotAfter: sub.Certificate().NotAfter,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, SubjectKeyId: []byte{1},
	}, sub.Certificate(), below.Public(), key)
	require.NoError(t, err)
	_, err = ca.New(ca.Config{Name: "below", Signer: below, Store: &ca.MemStore{}, Root: root.Certificate(), Chain: [][]byte{der, sub.Certificate().Raw}})
	require.ErrorIs(t, err, identity.ErrCRL)
	require.ErrorIs(t, err, identity.ErrUntrusted)
}

func TestExpiredIssuingCA(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	root := newCA(t, ca.Config{Now: clock})
	sub := newIssuing(t, root, ca.Config{Now: clock})
	dev := peer(t, sub, newKey(t), "D-1")
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: sub.Roots(), Now: clock})
	require.NoError(t, err)
	accepts(t, v, dev)
	list, err := sub.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	now = now.Add(11 * 365 * 24 * time.Hour)
	refuses(t, v, dev, identity.ErrExpired)
	require.NoError(t, v.AddCRL(list), "what an expired CA revoked stays revoked")
	require.NoError(t, v.VerifyRevoked(list, dev))
	require.ErrorIs(t, v.CheckRevocation(dev), identity.ErrRevoked)
	_, err = sub.Issue(newCSR(t, newKey(t), "D-2", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, identity.ErrExpired)
}
