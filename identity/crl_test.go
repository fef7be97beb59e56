package identity_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestCRL(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	require.Empty(t, v.CRLs())
	require.Empty(t, v.CRLNumbers())
	require.Empty(t, v.Newer(nil))

	c, _, _ := p.peer(t, "D-1")
	d, _, _ := p.peer(t, "D-2")
	leaf := parseCert(t, c.Chain[0])
	first, second := p.crl(t, 1), p.crl(t, 5, leaf)
	require.NoError(t, v.AddCRL(first))
	_, err := v.Verify(c, 0)
	require.NoError(t, err)
	require.False(t, v.Revoked(leaf))

	require.NoError(t, v.AddCRL(second))
	require.Equal(t, []identity.CRLNumber{{Authority: identity.AuthorityOf(p.root), Number: 5}}, v.CRLNumbers())
	require.Empty(t, v.Newer(v.CRLNumbers()))
	require.Len(t, v.Newer([]identity.CRLNumber{{Authority: identity.AuthorityOf(p.root), Number: 4}}), 1)
	require.Equal(t, [][]byte{second}, v.CRLs())
	_, err = v.Verify(c, 0)
	require.ErrorIs(t, err, identity.ErrRevoked)
	_, err = v.VerifyChain([]*x509.Certificate{leaf})
	require.ErrorIs(t, err, identity.ErrRevoked)
	require.True(t, v.Revoked(leaf))
	_, err = v.Verify(d, 0)
	require.NoError(t, err, "another peer is untouched")

	require.NoError(t, v.AddCRL(second), "the same list again")
	require.ErrorIs(t, v.AddCRL(first), identity.ErrCRLOlder)
	require.ErrorIs(t, v.AddCRL(p.crl(t, 4)), identity.ErrCRLOlder)
	require.ErrorIs(t, v.AddCRL(p.crl(t, 5)), identity.ErrCRL, "two lists of one number")
	require.True(t, v.Revoked(leaf))
	require.Equal(t, [][]byte{second}, v.CRLs())

	got := v.CRLs()
	clear(got[0])
	require.Equal(t, [][]byte{second}, v.CRLs(), "what CRLs returns is a copy")
}

func TestAddCRLRefuses(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	leaf := parseCert(t, p.leaf(t, "D-1", newKey(t)))
	good := p.crl(t, 3, leaf)
	stranger := newPKI(t) // same name, other key
	noCRLSign := newPKIWith(t, p.key, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign })
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	huge := new(big.Int).Lsh(big.NewInt(1), 63)
	for name, der := range map[string][]byte{
		"nothing":        nil,
		"no list":        leaf.Raw,
		"flipped":        flipped,
		"cut":            good[:len(good)-1],
		"trailing":       append(bytes.Clone(good), 0),
		"of a stranger":  stranger.crl(t, 9),
		"too long":       make([]byte, identity.MaxCRL+1),
		"number 0":       p.crl(t, 0),
		"number 2^63":    p.crlWith(t, 1, func(l *x509.RevocationList) { l.Number = huge }),
		"number 2^64":    p.crlWith(t, 1, func(l *x509.RevocationList) { l.Number = new(big.Int).Lsh(huge, 1) }),
		"SHA-512":        p.crlWith(t, 9, func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.ECDSAWithSHA512 }),
		"delta":          p.crlWith(t, 9, critical(asn1.ObjectIdentifier{2, 5, 29, 27}, []byte{2, 1, 1})),
		"partial":        p.crlWith(t, 9, critical(asn1.ObjectIdentifier{2, 5, 29, 28}, []byte{0x30, 0})),
		"indirect entry": p.crlWith(t, 9, criticalEntry, leaf),
		"serial 0": p.crlWith(t, 9, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: new(big.Int), RevocationTime: testNow}}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, v.AddCRL(der), identity.ErrCRL)
			require.Empty(t, v.CRLs())
			require.ErrorIs(t, v.VerifyRevoked(der, identity.Credential{Chain: [][]byte{leaf.Raw}}), identity.ErrCRL)
		})
	}
	// The root as this verifier knows it may not sign lists.
	bare := newPKIWith(t, p.key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	require.ErrorIs(t, bare.verifier(t).AddCRL(noCRLSign.crl(t, 1)), identity.ErrCRL)
}

func critical(id asn1.ObjectIdentifier, value []byte) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: true, Value: value}}
	}
}

func criticalEntry(l *x509.RevocationList) {
	l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}},
	}
}

func TestVerifyRevoked(t *testing.T) {
	p, stranger := newPKI(t), newPKI(t)
	v := p.verifier(t)
	c, _, _ := p.peer(t, "D-1")
	other, _, _ := p.peer(t, "D-2")
	leaf := parseCert(t, c.Chain[0])
	list := p.crl(t, 2, leaf)
	require.NoError(t, v.VerifyRevoked(list, c))
	require.Empty(t, v.CRLs(), "evidence is not kept")
	require.ErrorIs(t, v.VerifyRevoked(list, other), identity.ErrNotRevoked)
	require.ErrorIs(t, v.VerifyRevoked(p.crl(t, 1), c), identity.ErrNotRevoked)
	require.ErrorIs(t, v.VerifyRevoked(stranger.crl(t, 9, leaf), c), identity.ErrCRL)
	require.ErrorIs(t, v.VerifyRevoked(list, identity.Credential{}), identity.ErrCredential)
	require.ErrorIs(t, v.VerifyRevoked(list, identity.Credential{Chain: [][]byte{{1}}}), identity.ErrCredential)
	require.ErrorIs(t, v.VerifyRevoked(list, identity.Credential{Chain: [][]byte{p.root.Raw}}), identity.ErrProfile)

	// A stranger's certificate with the revoked serial number, for a name that shall be wiped.
	k := newKey(t)
	forged := leafTemplate("D-2")
	forged.SerialNumber = leaf.SerialNumber
	require.ErrorIs(t, v.VerifyRevoked(list, identity.Credential{Chain: [][]byte{stranger.sign(t, forged, k.Public())}}), identity.ErrUntrusted)
	require.NoError(t, v.AddCRL(list))
	require.False(t, v.Revoked(parseCert(t, stranger.sign(t, forged, k.Public()))))

	// An expired certificate is revoked all the same.
	old := leafTemplate("D-3")
	old.NotAfter = testNow.AddDate(0, 0, -1)
	der := p.sign(t, old, k.Public())
	require.NoError(t, v.VerifyRevoked(p.crl(t, 3, parseCert(t, der)), identity.Credential{Chain: [][]byte{der}}))
}

// A list that has passed its next update stays in force: what it revoked is not to come back because a gateway was offline.
func TestOldListStaysInForce(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	c, _, _ := p.peer(t, "D-1")
	leaf := parseCert(t, c.Chain[0])
	require.NoError(t, v.AddCRL(p.crlWith(t, 1, func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = testNow.AddDate(-1, 0, 0), testNow.AddDate(0, -6, 0)
	}, leaf)))
	_, err := v.Verify(c, 0)
	require.ErrorIs(t, err, identity.ErrRevoked)
}

// A root that was renewed under its key: its list counts for what it signed before.
func TestListOfRenewedRoot(t *testing.T) {
	p := newPKI(t)
	c, _, _ := p.peer(t, "D-1")
	renewed := newPKIWith(t, p.key, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(2) })
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{renewed.root, p.root}, Now: clock})
	require.NoError(t, err)
	_, err = v.Verify(c, 0)
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(renewed.crl(t, 1, parseCert(t, c.Chain[0]))))
	_, err = v.Verify(c, 0)
	require.ErrorIs(t, err, identity.ErrRevoked)
	require.Len(t, v.CRLs(), 1)
}

func TestVerifierConcurrent(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	c, _, _ := p.peer(t, "D-1")
	leaf := parseCert(t, c.Chain[0])
	lists := make([][]byte, 8)
	for i := range lists {
		lists[i] = p.crl(t, int64(i+1))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, l := range lists {
				if err := v.AddCRL(l); err != nil {
					require.ErrorIs(t, err, identity.ErrCRLOlder)
				}
				_, _ = v.Verify(c, 0)
				_, _, _ = v.Revoked(leaf), v.CRLNumbers(), v.CRLs()
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, len(lists), v.CRLNumbers()[0].Number)
}

func FuzzAddCRL(f *testing.F) {
	p := newPKI(f)
	leaf := parseCert(f, p.leaf(f, "D-1", newKey(f)))
	f.Add(p.crl(f, 1))
	f.Add(p.crl(f, 1<<40, leaf))
	f.Add(p.crlWith(f, 2, critical(asn1.ObjectIdentifier{2, 5, 29, 27}, []byte{2, 1, 1})))
	f.Add(leaf.Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		v := p.verifier(t)
		if err := v.AddCRL(b); err != nil {
			require.ErrorIs(t, err, identity.ErrCRL)
			require.Empty(t, v.CRLs())
			return
		}
		require.Equal(t, [][]byte{b}, v.CRLs())
		l, err := x509.ParseRevocationList(b)
		require.NoError(t, err)
		require.NoError(t, l.CheckSignatureFrom(p.root))
	})
}
