package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestVerify(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	for _, name := range []string{"D-1", "A-WATER", "P-1", "R-1", "O-1"} {
		c, k, dh := p.peer(t, name)
		for _, want := range []identity.Role{0, identity.Role(name[0])} {
			got, err := v.Verify(c, want)
			require.NoError(t, err, name)
			require.Equal(t, parseID(t, name), got.ID())
			require.Equal(t, identity.Role(name[0]), got.Role())
			require.True(t, got.SigningKey().Equal(k.Public()))
			require.True(t, got.Agreement().Equal(dh.PublicKey()))
			require.Equal(t, sha256.Sum256(c.Chain[0]), got.CertificateHash())
			require.Equal(t, c.Chain[0], got.Certificate().Raw)
			require.Equal(t, c, got.Credential())
			_, has := got.HelperHash()
			require.False(t, has)
		}
	}
}

// A Verified must not change when the bytes that it came from do.
func TestVerifiedIsImmutable(t *testing.T) {
	p := newPKI(t)
	c, _, _ := p.peer(t, "D-1")
	got, err := p.verifier(t).Verify(c, 0)
	require.NoError(t, err)
	want := got.Credential()
	clear(c.Chain[0])
	clear(c.Endorsement)
	clear(got.Credential().Chain[0])
	require.Equal(t, want, got.Credential())
}

func TestVerifyOnlySignersNeedNoAgreementKey(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	for _, name := range []string{"D-1", "A-1", "P-1", "R-1", "O-1"} {
		c := identity.Credential{Chain: [][]byte{p.leaf(t, name, newKey(t))}}
		got, err := v.Verify(c, 0)
		if name[0] == 'R' || name[0] == 'O' {
			require.NoError(t, err, name)
			require.Nil(t, got.Agreement())
			continue
		}
		require.ErrorIs(t, err, identity.ErrEndorsement, name)
		require.Nil(t, got)
	}
}

func TestVerifyRole(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	for _, name := range []string{"D-1", "A-1", "P-1", "R-1", "O-1"} {
		c, _, _ := p.peer(t, name)
		for _, want := range []identity.Role{'D', 'A', 'P', 'R', 'O', 'X'} {
			if want == identity.Role(name[0]) {
				continue
			}
			got, err := v.Verify(c, want)
			require.ErrorIs(t, err, identity.ErrRole, "%s as %s", name, want)
			require.Nil(t, got)
		}
	}
}

// leafDefects are certificates that a CA signed although it should not have. Every one of them is refused, by Verify and by
// VerifyChain.
var leafDefects = map[string]struct {
	edit func(*x509.Certificate)
	want error
}{
	"CN is another name":     {func(c *x509.Certificate) { c.Subject.CommonName = "D-2" }, identity.ErrProfile},
	"CN is no name":          {func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "device", []string{"device"} }, identity.ErrProfile},
	"CN in lower case":       {func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "d-1", []string{"d-1"} }, identity.ErrProfile},
	"DNS name in lower case": {func(c *x509.Certificate) { c.DNSNames = []string{"d-1"} }, identity.ErrProfile},
	"no CN":                  {func(c *x509.Certificate) { c.Subject.CommonName = "" }, identity.ErrProfile},
	"no DNS name":            {func(c *x509.Certificate) { c.DNSNames = nil }, identity.ErrProfile},
	"instance of a device":   {func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "D-1--2", []string{"D-1--2"} }, identity.ErrProfile},
	"two CNs":                {func(c *x509.Certificate) { c.Subject.ExtraNames = twoCommonNames() }, identity.ErrProfile},
	"two DNS names":          {func(c *x509.Certificate) { c.DNSNames = []string{"D-1", "D-2"} }, identity.ErrProfile},
	"the DNS name twice":     {func(c *x509.Certificate) { c.DNSNames = []string{"D-1", "D-1"} }, identity.ErrProfile},
	"IP address too":         {func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, identity.ErrProfile},
	"mail address too":       {func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.org"} }, identity.ErrProfile},
	"URI too":                {func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "urn", Opaque: "x"}} }, identity.ErrProfile},
	"otherName too":          {func(c *x509.Certificate) { c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{sanWithOtherName()} }, identity.ErrProfile},
	"CA:TRUE":                {func(c *x509.Certificate) { c.IsCA = true }, identity.ErrProfile},
	"CA:TRUE and CA's usage": {func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	}, identity.ErrProfile},
	"no key usage":               {func(c *x509.Certificate) { c.KeyUsage = 0 }, identity.ErrProfile},
	"may sign certificates":      {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, identity.ErrProfile},
	"may agree on keys":          {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement }, identity.ErrProfile},
	"no extended usage":          {func(c *x509.Certificate) { c.ExtKeyUsage = nil }, identity.ErrProfile},
	"serverAuth":                 {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, identity.ErrProfile},
	"any extended usage":         {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, identity.ErrProfile},
	"clientAuth and serverAuth":  {func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }, identity.ErrProfile},
	"unknown extended usage too": {func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, identity.ErrProfile},
	"unknown critical extension": {func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	}, identity.ErrProfile},
	"helper hash of 31 bytes": {func(c *x509.Certificate) {
		c.ExtraExtensions = helperExtension(append([]byte{4, 31}, make([]byte, 31)...))
	}, identity.ErrProfile},
	"helper hash of zeros": {func(c *x509.Certificate) {
		c.ExtraExtensions = helperExtension(append([]byte{4, 32}, make([]byte, 32)...))
	}, identity.ErrProfile},
	"helper hash without a type": {func(c *x509.Certificate) { c.ExtraExtensions = helperExtension(make([]byte, 32)) }, identity.ErrProfile},
	"helper hash with more": {func(c *x509.Certificate) {
		c.ExtraExtensions = helperExtension(append([]byte{4, 32}, make([]byte, 33)...))
	}, identity.ErrProfile},
	"over since a second": {func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) }, identity.ErrExpired},
	"begins in a second":  {func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Second) }, identity.ErrNotYetValid},
}

func twoCommonNames() []pkix.AttributeTypeAndValue {
	cn := asn1.ObjectIdentifier{2, 5, 4, 3}
	return []pkix.AttributeTypeAndValue{{Type: cn, Value: "D-1"}, {Type: cn, Value: "D-1"}}
}

// sanWithOtherName has the DNS name D-1 and a name of a kind that crypto/x509 passes over.
func sanWithOtherName() pkix.Extension {
	other := []byte{0xa0, 9, 6, 3, 0x2a, 3, 4, 0xa0, 2, 5, 0}
	b := append([]byte{0x82, 3, 'D', '-', '1'}, other...)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: append([]byte{0x30, byte(len(b))}, b...)}
}

func helperExtension(value []byte) []pkix.Extension {
	return []pkix.Extension{{Id: identity.OIDHelperHash(), Value: value}}
}

func TestVerifyRefusesCertificates(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	for name, d := range leafDefects {
		t.Run(name, func(t *testing.T) {
			k := newKey(t)
			c := leafTemplate("D-1")
			d.edit(c)
			der := p.sign(t, c, k.Public())
			// Endorse refuses most of these, so the endorsement is taken from elsewhere; it is not what is found wrong.
			good := p.credential(t, p.leaf(t, "D-1", k), k, newAgreement(t))
			_, err := v.Verify(identity.Credential{Chain: [][]byte{der}, Endorsement: good.Endorsement}, 0)
			require.ErrorIs(t, err, d.want)
			_, err = v.VerifyChain([]*x509.Certificate{parseCert(t, der)})
			require.ErrorIs(t, err, d.want)
		})
	}
}

func TestVerifyRefusesHelperHashOfOtherRoles(t *testing.T) {
	p := newPKI(t)
	for _, name := range []string{"A-1", "P-1", "R-1", "O-1"} {
		c := leafTemplate(name)
		c.ExtraExtensions = helperExtension(identity.MarshalHelperHash([32]byte{1}))
		_, err := p.verifier(t).VerifyChain([]*x509.Certificate{parseCert(t, p.sign(t, c, newKey(t).Public()))})
		require.ErrorIs(t, err, identity.ErrProfile, name)
	}
}

func TestVerifyRefusesKeys(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	good, _, _ := p.peer(t, "D-1")
	for name, pub := range map[string]any{"P-384": p384.Public(), "RSA": rsaKey.Public()} {
		_, err := v.Verify(identity.Credential{Chain: [][]byte{p.sign(t, leafTemplate("D-1"), pub)}, Endorsement: good.Endorsement}, 0)
		require.ErrorIs(t, err, identity.ErrKey, name)
		require.ErrorIs(t, err, identity.ErrProfile, name)
	}
	_, err = identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{newPKIWith(t, p384, func(*x509.Certificate) {}).root}})
	require.ErrorIs(t, err, identity.ErrKey)
	c := leafTemplate("D-1")
	c.SignatureAlgorithm = x509.ECDSAWithSHA512
	_, err = v.VerifyChain([]*x509.Certificate{parseCert(t, p.sign(t, c, newKey(t).Public()))})
	require.ErrorIs(t, err, identity.ErrProfile)
}

func TestVerifyRefusesUnknownCA(t *testing.T) {
	p, stranger := newPKI(t), newPKI(t) // of the same name
	v := p.verifier(t)
	c, k, dh := stranger.peer(t, "D-1")
	_, err := v.Verify(c, 0)
	require.ErrorIs(t, err, identity.ErrUntrusted)
	_, err = v.Verify(identity.Credential{Chain: append(c.Chain, stranger.root.Raw), Endorsement: c.Endorsement}, 0)
	require.ErrorIs(t, err, identity.ErrUntrusted)
	self := leafTemplate("D-1") // signed by itself
	self.SerialNumber = big.NewInt(5)
	der, err := x509.CreateCertificate(rand.Reader, self, self, k.Public(), k)
	require.NoError(t, err)
	_, err = v.Verify(p.credential(t, der, k, dh), 0)
	require.ErrorIs(t, err, identity.ErrUntrusted)
	// A peer that acts as a CA for another.
	own := p.leaf(t, "A-1", k)
	under := leafTemplate("D-1")
	under.SerialNumber = big.NewInt(6)
	der, err = x509.CreateCertificate(rand.Reader, under, parseCert(t, own), k.Public(), k)
	require.NoError(t, err)
	c = p.credential(t, der, k, dh)
	c.Chain = append(c.Chain, own)
	_, err = v.Verify(c, 0)
	require.ErrorIs(t, err, identity.ErrUntrusted)
}

func TestVerifyChainOfIssuingCA(t *testing.T) {
	p := newPKI(t)
	sub := &pki{key: newKey(t)}
	sub.root = parseCert(t, p.sign(t, caTemplate("issuing"), sub.key.Public()))
	v := p.verifier(t)
	c, _, _ := sub.peer(t, "A-1")
	_, err := v.Verify(c, 0)
	require.ErrorIs(t, err, identity.ErrUntrusted, "without the issuing CA")
	alone := c.Chain
	c.Chain = append(alone[:1:1], sub.root.Raw)
	_, err = v.Verify(c, 0)
	require.NoError(t, err)
	for name, chain := range map[string][][]byte{
		"with the root": {alone[0], sub.root.Raw, p.root.Raw},
		"out of order":  {sub.root.Raw, alone[0]},
		"with more":     {alone[0], sub.root.Raw, newPKI(t).root.Raw},
		"twice":         {alone[0], sub.root.Raw, sub.root.Raw},
	} {
		_, err := v.Verify(identity.Credential{Chain: chain, Endorsement: c.Endorsement}, 0)
		require.Error(t, err, name)
	}
	// TLS stacks send what they like; the path counts.
	_, err = v.VerifyChain([]*x509.Certificate{parseCert(t, alone[0]), sub.root, p.root})
	require.NoError(t, err)

	t.Run("revoked by the issuing CA", func(t *testing.T) {
		require.NoError(t, v.AddCRL(p.crl(t, 7)))
		list := sub.crl(t, 3, parseCert(t, alone[0]))
		require.ErrorIs(t, v.AddCRL(list), identity.ErrCRL, "whose is it?")
		require.NoError(t, v.AddCRL(slices.Concat(list, sub.root.Raw)))
		require.Len(t, v.CRLs(), 2)
		_, err := v.Verify(c, 0)
		require.ErrorIs(t, err, identity.ErrRevoked)
		require.True(t, v.Revoked(parseCert(t, alone[0])))
	})
	t.Run("issuing CA revoked", func(t *testing.T) {
		other, _, _ := sub.peer(t, "A-2")
		other.Chain = append(other.Chain, sub.root.Raw)
		_, err := v.Verify(other, 0)
		require.NoError(t, err)
		require.NoError(t, v.AddCRL(p.crl(t, 8, sub.root)))
		_, err = v.Verify(other, 0)
		require.ErrorIs(t, err, identity.ErrRevoked)
	})
}

// pathlen 0 keeps an issuing CA from making another.
func TestPathLength(t *testing.T) {
	p := newPKIWith(t, newKey(t), func(c *x509.Certificate) { c.MaxPathLenZero = true })
	sub := &pki{key: newKey(t)}
	sub.root = parseCert(t, p.sign(t, caTemplate("issuing"), sub.key.Public()))
	c, _, _ := sub.peer(t, "A-1")
	c.Chain = append(c.Chain, sub.root.Raw)
	_, err := p.verifier(t).Verify(c, 0)
	require.ErrorIs(t, err, identity.ErrUntrusted)
}

func TestVerifyTimeOfCA(t *testing.T) {
	for name, d := range map[string]struct {
		edit func(*x509.Certificate)
		want error
	}{
		"over":   {func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) }, identity.ErrExpired},
		"future": {func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Second) }, identity.ErrNotYetValid},
	} {
		p := newPKIWith(t, newKey(t), d.edit)
		c, _, _ := p.peer(t, "D-1")
		_, err := p.verifier(t).Verify(c, 0)
		require.ErrorIs(t, err, d.want, name)
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	p := newPKI(t)
	leaf := parseCert(t, p.leaf(t, "D-1", newKey(t)))
	noSign := newPKIWith(t, newKey(t), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	for name, cfg := range map[string]identity.VerifierConfig{
		"nothing":         {},
		"nil":             {Roots: []*x509.Certificate{nil}},
		"a leaf":          {Roots: []*x509.Certificate{leaf}},
		"no keyCertSign":  {Roots: []*x509.Certificate{noSign.root}},
		"clock and floor": {Roots: []*x509.Certificate{p.root}, Now: clock, Floor: identity.NewTimeFloor(testNow)},
	} {
		v, err := identity.NewVerifier(cfg)
		require.Error(t, err, name)
		require.Nil(t, v, name)
	}
}
