package identity_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestCSR(t *testing.T) {
	k := newKey(t)
	for _, d := range []struct {
		name, clientID string
		o              identity.CSROptions
	}{
		{"D-1", "D-1", identity.CSROptions{HelperHash: [32]byte{1, 2}}},
		{"D-1", "D-1", identity.CSROptions{}},
		{"A-WATER", "A-WATER", identity.CSROptions{}},
		{"A-WATER", "A-WATER--2", identity.CSROptions{Instance: "2"}},
		{"R-1", "R-1", identity.CSROptions{}},
	} {
		der, err := identity.NewCSR(k, parseID(t, d.name), d.o)
		require.NoError(t, err)
		again, err := identity.NewCSR(k, parseID(t, d.name), d.o)
		require.NoError(t, err)
		require.Equal(t, der, again, "not deterministic")
		c, err := identity.ParseCSR(der)
		require.NoError(t, err)
		require.Equal(t, d.name, c.ID.String())
		require.Equal(t, d.clientID, c.ClientID())
		require.Equal(t, d.o.Instance, c.Instance)
		require.Equal(t, d.o.HelperHash, c.HelperHash)
		require.True(t, c.PublicKey.Equal(k.Public()))
		require.Equal(t, der, c.DER)
	}
}

func TestNewCSRRefuses(t *testing.T) {
	k := newKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for name, d := range map[string]struct {
		k    crypto.Signer
		id   identity.ID
		o    identity.CSROptions
		want error
	}{
		"no name":              {k, identity.ID{}, identity.CSROptions{}, identity.ErrName},
		"no signer":            {nil, parseID(t, "D-1"), identity.CSROptions{}, identity.ErrKey},
		"P-384":                {p384, parseID(t, "D-1"), identity.CSROptions{}, identity.ErrKey},
		"helper data of an A":  {k, parseID(t, "A-1"), identity.CSROptions{HelperHash: [32]byte{1}}, identity.ErrCSR},
		"instance of a device": {k, parseID(t, "D-1"), identity.CSROptions{Instance: "2"}, identity.ErrName},
		"bad instance":         {k, parseID(t, "A-1"), identity.CSROptions{Instance: "a"}, identity.ErrName},
		"faulty signer":        {badSigner{k, true}, parseID(t, "D-1"), identity.CSROptions{}, nil},
	} {
		_, err := identity.NewCSR(d.k, d.id, d.o)
		require.Error(t, err, name)
		if d.want != nil {
			require.ErrorIs(t, err, d.want, name)
		}
	}
}

func TestParseCSRRefuses(t *testing.T) {
	k := newKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	request := func(k crypto.Signer, edit func(*x509.CertificateRequest)) []byte {
		r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "D-1"}, DNSNames: []string{"D-1"}}
		edit(r)
		der, err := x509.CreateCertificateRequest(rand.Reader, r, k)
		require.NoError(t, err)
		return der
	}
	good := request(k, func(*x509.CertificateRequest) {})
	_, err = identity.ParseCSR(good)
	require.NoError(t, err)
	// Another's key under one's own name: the signature cannot fit.
	stolen := bytes.Replace(bytes.Clone(good), []byte("D-1"), []byte("D-2"), 2)
	extension := func(id asn1.ObjectIdentifier, value []byte) func(*x509.CertificateRequest) {
		return func(r *x509.CertificateRequest) {
			r.ExtraExtensions = []pkix.Extension{{Id: id, Value: value}}
		}
	}
	for name, der := range map[string][]byte{
		"nothing":        nil,
		"cut":            good[:len(good)-1],
		"trailing":       append(bytes.Clone(good), 0),
		"too long":       make([]byte, 4097),
		"key of another": stolen,
		"RSA":            request(rsaKey, func(*x509.CertificateRequest) {}),
		"P-384":          request(p384, func(*x509.CertificateRequest) {}),
		"SHA-512":        request(k, func(r *x509.CertificateRequest) { r.SignatureAlgorithm = x509.ECDSAWithSHA512 }),
		"no name":        request(k, func(r *x509.CertificateRequest) { r.Subject, r.DNSNames = pkix.Name{}, nil }),
		"no DNS name":    request(k, func(r *x509.CertificateRequest) { r.DNSNames = nil }),
		"other DNS name": request(k, func(r *x509.CertificateRequest) { r.DNSNames = []string{"D-2"} }),
		"two DNS names":  request(k, func(r *x509.CertificateRequest) { r.DNSNames = []string{"D-1", "D-2"} }),
		"IP address":     request(k, func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4zero} }),
		"otherName": request(k, func(r *x509.CertificateRequest) {
			r.DNSNames, r.ExtraExtensions = nil, []pkix.Extension{sanWithOtherName()}
		}),
		"two CNs":              request(k, func(r *x509.CertificateRequest) { r.Subject.ExtraNames = twoCommonNames() }),
		"organisation":         request(k, func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"X"} }),
		"lower case":           request(k, func(r *x509.CertificateRequest) { r.Subject.CommonName, r.DNSNames = "d-1", []string{"d-1"} }),
		"asks to be a CA":      request(k, extension(asn1.ObjectIdentifier{2, 5, 29, 19}, []byte{0x30, 3, 1, 1, 0xff})),
		"asks for usages":      request(k, extension(asn1.ObjectIdentifier{2, 5, 29, 37}, []byte{0x30, 0})),
		"helper data of zeros": request(k, extension(identity.OIDHelperHash(), append([]byte{4, 32}, make([]byte, 32)...))),
		"helper data, short":   request(k, extension(identity.OIDHelperHash(), []byte{4, 1, 1})),
		"helper data of an A": request(k, func(r *x509.CertificateRequest) {
			r.Subject.CommonName, r.DNSNames = "A-1", []string{"A-1"}
			r.ExtraExtensions = helperExtension(identity.MarshalHelperHash([32]byte{1}))
		}),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := identity.ParseCSR(der)
			require.ErrorIs(t, err, identity.ErrCSR)
			require.Nil(t, c)
		})
	}
}

func FuzzParseCSR(f *testing.F) {
	k := newKey(f)
	for _, name := range []string{"D-1", "A-WATER"} {
		der, err := identity.NewCSR(k, parseID(f, name), identity.CSROptions{})
		require.NoError(f, err)
		f.Add(der)
	}
	der, err := identity.NewCSR(k, parseID(f, "D-1"), identity.CSROptions{HelperHash: [32]byte{1}})
	require.NoError(f, err)
	f.Add(der)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := identity.ParseCSR(b)
		if err != nil {
			require.ErrorIs(t, err, identity.ErrCSR)
			return
		}
		require.Equal(t, b, c.DER)
		_, _, err = identity.ParseClientID(c.ClientID())
		require.NoError(t, err)
	})
}
