package ca_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

func serverRequest(t testing.TB, name string, hosts ...string) []byte {
	t.Helper()
	r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			r.IPAddresses = append(r.IPAddresses, ip)
		} else {
			r.DNSNames = append(r.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, newKey(t))
	require.NoError(t, err)
	return der
}

// A request from the network: it is one of a platform with hosts, by who has the key, or ErrCSR. What is accepted may be signed, or is refused
// by the authority with an error.
func FuzzParseServerRequest(f *testing.F) {
	a := newCA(f, ca.Config{})
	f.Add(serverRequest(f, "P-1", "broker.example.org", "127.0.0.1"))
	f.Add(serverRequest(f, "P-1"))
	f.Add(serverRequest(f, "D-1", "localhost"))
	f.Add(serverRequest(f, "P-1", "*.example.org", "D-1"))
	f.Add(newCSR(f, newKey(f), "P-1", identity.CSROptions{}))
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ca.ParseServerRequest(der)
		if err != nil {
			if !errors.Is(err, identity.ErrCSR) {
				t.Fatalf("%x: %v is no ErrCSR", der, err)
			}
			return
		}
		if r.ID.Role() != identity.RolePlatform || len(r.Hosts) == 0 || r.PublicKey == nil {
			t.Fatalf("%x is read as %+v", der, r)
		}
		chain, err := a.IssueServer(r.PublicKey, r.ID.ID, r.Hosts)
		if err != nil {
			return
		}
		if _, err := verifier(t, a).VerifyServer([]*x509.Certificate{parse(t, chain[0])}, r.Hosts[0]); err != nil {
			t.Fatalf("%x got a certificate that is refused: %v", der, err)
		}
	})
}

func TestLocal(t *testing.T) {
	a := newCA(t, ca.Config{})
	c := ca.Local(a)
	k := newKey(t)
	chain, err := c.Issue(t.Context(), newCSR(t, k, "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	server, err := c.IssueServer(t.Context(), serverRequest(t, "P-1", "localhost"))
	require.NoError(t, err)
	_, err = verifier(t, a).VerifyServer([]*x509.Certificate{parse(t, server[0])}, "localhost")
	require.NoError(t, err)
	_, err = c.IssueServer(t.Context(), serverRequest(t, "D-1", "localhost"))
	require.ErrorIs(t, err, identity.ErrCSR)
	crl, err := c.Revoke(t.Context(), parseID(t, "D-1"))
	require.NoError(t, err)
	newest, err := c.CRL(t.Context())
	require.NoError(t, err)
	require.Equal(t, crl, newest)
	v := verifier(t, a)
	require.NoError(t, v.AddCRL(crl))
	require.True(t, v.Revoked(parse(t, chain[0])))
}
