package identity_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

// testNow is the clock of all tests here.
var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return testNow }

// pki signs whatever a test asks for, also what a sound CA would not; package ca is tested in its own directory.
type pki struct {
	root   *x509.Certificate
	key    crypto.Signer
	serial atomic.Int64
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func newAgreement(t testing.TB) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return k
}

func newPKI(t testing.TB) *pki { return newPKIWith(t, newKey(t), func(*x509.Certificate) {}) }

func newPKIWith(t testing.TB, key crypto.Signer, edit func(*x509.Certificate)) *pki {
	t.Helper()
	c := caTemplate("root")
	edit(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	require.NoError(t, err)
	return &pki{root: parseCert(t, der), key: key}
}

func caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: testNow.AddDate(30, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
}

func leafTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: testNow.AddDate(0, -1, 0), NotAfter: testNow.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
}

func (p *pki) sign(t testing.TB, c *x509.Certificate, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := p.signed(c, pub)
	require.NoError(t, err)
	return der
}

func (p *pki) signed(c *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	if c.SerialNumber == nil {
		c.SerialNumber = big.NewInt(1000 + p.serial.Add(1))
	}
	return x509.CreateCertificate(rand.Reader, c, p.root, pub, p.key)
}

func (p *pki) leaf(t testing.TB, name string, k *ecdsa.PrivateKey) []byte {
	t.Helper()
	return p.sign(t, leafTemplate(name), k.Public())
}

func (p *pki) crl(t testing.TB, number int64, revoked ...*x509.Certificate) []byte {
	t.Helper()
	return p.crlWith(t, number, func(*x509.RevocationList) {}, revoked...)
}

func (p *pki) crlWith(t testing.TB, number int64, edit func(*x509.RevocationList), revoked ...*x509.Certificate) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: testNow, NextUpdate: testNow.AddDate(0, 1, 0)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: testNow})
	}
	edit(l)
	der, err := x509.CreateRevocationList(rand.Reader, l, p.root, p.key)
	require.NoError(t, err)
	return der
}

// issuing returns an issuing CA under p, and its chain.
func (p *pki) issuing(t testing.TB, name string, edit func(*x509.Certificate)) *pki {
	t.Helper()
	c := caTemplate(name)
	c.SerialNumber = big.NewInt(5000 + p.serial.Add(1))
	edit(c)
	sub := &pki{key: newKey(t)}
	sub.root = parseCert(t, p.sign(t, c, sub.key.Public()))
	return sub
}

func (p *pki) verifier(t testing.TB) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{p.root}, Now: clock})
	require.NoError(t, err)
	return v
}

// peer returns a good credential of name, and its keys.
func (p *pki) peer(t testing.TB, name string) (identity.Credential, *ecdsa.PrivateKey, *ecdh.PrivateKey) {
	t.Helper()
	k, dh := newKey(t), newAgreement(t)
	return p.credential(t, p.leaf(t, name, k), k, dh), k, dh
}

func (p *pki) credential(t testing.TB, leaf []byte, k *ecdsa.PrivateKey, dh *ecdh.PrivateKey) identity.Credential {
	t.Helper()
	e, err := identity.Endorse(k, leaf, dh.PublicKey(), identity.EndorseOptions{})
	require.NoError(t, err)
	return identity.Credential{Chain: [][]byte{leaf}, Endorsement: e}
}

func parseCert(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func parseID(t testing.TB, name string) identity.ID {
	t.Helper()
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	return id
}

func parseDevice(t testing.TB, name string) identity.DeviceID {
	t.Helper()
	id, err := identity.ParseDeviceID(name)
	require.NoError(t, err)
	return id
}
