package identity_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func asIs(*x509.Certificate) {}

func TestParseCRLs(t *testing.T) {
	p := newPKI(t)
	sub := p.issuing(t, "issuing", asIs)
	root, issuing := p.crl(t, 1), sub.crl(t, 2)
	c := sub.root.Raw
	for name, d := range map[string]struct {
		in   []byte
		want []identity.CRLBundle
	}{
		"one of a root":        {root, []identity.CRLBundle{{List: root}}},
		"one with its issuer":  {slices.Concat(issuing, c), []identity.CRLBundle{{List: issuing, Issuer: [][]byte{c}}}},
		"two":                  {slices.Concat(root, issuing, c), []identity.CRLBundle{{List: root}, {List: issuing, Issuer: [][]byte{c}}}},
		"two, the other way":   {slices.Concat(issuing, c, root), []identity.CRLBundle{{List: issuing, Issuer: [][]byte{c}}, {List: root}}},
		"six of the issuer":    {slices.Concat(issuing, bytes.Repeat(c, 6)), []identity.CRLBundle{{List: issuing, Issuer: [][]byte{c, c, c, c, c, c}}}},
		"nothing":              {nil, nil},
		"a certificate":        {c, nil},
		"a certificate first":  {slices.Concat(c, root), nil},
		"cut":                  {root[:len(root)-1], nil},
		"cut behind":           {slices.Concat(root, c[:9]), nil},
		"trailing":             {append(bytes.Clone(root), 0), nil},
		"seven of the issuer":  {slices.Concat(issuing, bytes.Repeat(c, 7)), nil},
		"seventeen lists":      {bytes.Repeat(root, 17), nil},
		"too long":             {make([]byte, identity.MaxCRLs+1), nil},
		"a huge certificate":   {slices.Concat(root, p.sign(t, huge(), newKey(t).Public())), nil},
		"indefinite length":    {[]byte{0x30, 0x80, 0, 0}, nil},
		"length in two forms":  {append([]byte{0x30, 0x81, 0x01}, 0), nil},
		"an empty sequence":    {[]byte{0x30, 0}, nil},
		"an INTEGER, no SEQ":   {[]byte{2, 1, 1}, nil},
		"length beyond 32 bit": {[]byte{0x30, 0x85, 1, 0, 0, 0, 0}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := identity.ParseCRLs(d.in)
			if d.want == nil {
				require.ErrorIs(t, err, identity.ErrCRL)
				return
			}
			require.NoError(t, err)
			require.Equal(t, d.want, got)
			var again []byte
			for _, b := range got {
				one, err := b.Marshal()
				require.NoError(t, err)
				again = append(again, one...)
			}
			require.Equal(t, d.in, again)
		})
	}
	for name, b := range map[string]identity.CRLBundle{
		"nothing": {}, "no list": {List: c}, "two lists": {List: slices.Concat(root, root)}, "a list as issuer": {List: root, Issuer: [][]byte{root}},
		"two in one": {List: root, Issuer: [][]byte{slices.Concat(c, c)}}, "empty issuer": {List: root, Issuer: [][]byte{{}}}, "junk": {List: root, Issuer: [][]byte{{1, 2}}},
	} {
		_, err := b.Marshal()
		require.ErrorIs(t, err, identity.ErrCRL, name)
	}
}

func huge() *x509.Certificate {
	c := leafTemplate("D-1")
	for i := range 200 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("%064d.example", i))
	}
	return c
}

// What a list comes with must be its issuer's, and lead to a root as a CA that signs lists.
func TestListsOfIssuingCAs(t *testing.T) {
	p, stranger := newPKI(t), newPKI(t)
	sub := p.issuing(t, "issuing", asIs)
	noLists := p.issuing(t, "no lists", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	noCerts := p.issuing(t, "no certificates", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	limited := p.issuing(t, "limited", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	below := limited.issuing(t, "below", asIs)
	expired := p.issuing(t, "expired", func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Hour) })
	foreign := stranger.issuing(t, "foreign", asIs)
	k := newKey(t)
	leaf := parseCert(t, p.leaf(t, "D-1", k))
	asLeaf := &pki{root: leaf, key: k}
	for name, d := range map[string]struct {
		crl  []byte
		want bool
	}{
		"good":                      {slices.Concat(sub.crl(t, 1), sub.root.Raw), true},
		"expired":                   {slices.Concat(expired.crl(t, 1), expired.root.Raw), true},
		"with the root besides":     {slices.Concat(sub.crl(t, 1), sub.root.Raw, p.root.Raw), true},
		"without issuer":            {sub.crl(t, 1), false},
		"may not sign lists":        {slices.Concat(withLists(noLists).crl(t, 1), noLists.root.Raw), false},
		"may not sign certificates": {slices.Concat(noCerts.crl(t, 1), noCerts.root.Raw), false},
		"below an issuing CA":       {slices.Concat(below.crl(t, 1), below.root.Raw, limited.root.Raw), false},
		"of another root":           {slices.Concat(foreign.crl(t, 1), foreign.root.Raw), false},
		"of a peer":                 {slices.Concat(withLists(asLeaf).crl(t, 1), leaf.Raw), false},
		"another's certificate":     {slices.Concat(sub.crl(t, 1), limited.root.Raw), false},
		"more than its own":         {slices.Concat(sub.crl(t, 1), sub.root.Raw, limited.root.Raw), false},
		"a root's, with another's":  {slices.Concat(p.crl(t, 1), sub.root.Raw), false},
		"a root's, with its own":    {slices.Concat(p.crl(t, 1), p.root.Raw), true},
	} {
		t.Run(name, func(t *testing.T) {
			v := p.verifier(t)
			err := v.AddCRL(d.crl)
			if !d.want {
				require.ErrorIs(t, err, identity.ErrCRL)
				require.Empty(t, v.CRLs())
				return
			}
			require.NoError(t, err)
			require.Len(t, v.CRLs(), 1)
			// It is passed on so that the next one takes it too.
			w := p.verifier(t)
			require.NoError(t, w.AddCRL(v.CRLs()[0]))
			require.Equal(t, v.CRLNumbers(), w.CRLNumbers())
		})
	}
}

// withLists is the CA as its certificate should not let it be.
func withLists(p *pki) *pki {
	c := *p.root
	c.KeyUsage |= x509.KeyUsageCRLSign
	c.SubjectKeyId = []byte{1}
	return &pki{root: &c, key: p.key}
}

func TestSeveralLists(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	sub := p.issuing(t, "issuing", asIs)
	old, young := p.crl(t, 1), p.crl(t, 2)
	with := func(crl []byte) []byte { return slices.Concat(crl, sub.root.Raw) }
	require.NoError(t, v.AddCRL(slices.Concat(young, with(sub.crl(t, 7)))))
	require.Len(t, v.CRLNumbers(), 2)
	require.ErrorIs(t, v.AddCRL(slices.Concat(old, with(sub.crl(t, 6)))), identity.ErrCRLOlder)
	require.NoError(t, v.AddCRL(slices.Concat(old, with(sub.crl(t, 8)))), "one of them is news")
	require.ErrorIs(t, v.AddCRL(slices.Concat(old, with(sub.crl(t, 8, p.root)))), identity.ErrCRL, "a second number 8 is worse than an old one")
	require.True(t, slices.IsSortedFunc(v.CRLNumbers(), func(a, b identity.CRLNumber) int { return bytes.Compare(a.Authority[:], b.Authority[:]) }))
	require.Equal(t, young, v.CRLs()[0], "each in its place")
}

// What is refused is told, whatever else was taken.
func TestSomeListsAreRefused(t *testing.T) {
	p, stranger := newPKI(t), newPKI(t)
	a, b, foreign := p.issuing(t, "a", asIs), p.issuing(t, "b", asIs), stranger.issuing(t, "foreign", asIs)
	with := func(ca *pki, n int64, revoked ...*x509.Certificate) []byte {
		return slices.Concat(ca.crl(t, n, revoked...), ca.root.Raw)
	}
	kept := p.crl(t, 1)
	older, second, unknown := with(a, 1), with(a, 2, p.root), with(foreign, 1)
	for name, d := range map[string]struct {
		crls []byte
		some bool // was taken
		want []error
		says []string
	}{
		"older and taken":           {slices.Concat(older, with(b, 1)), true, nil, nil},
		"older and kept already":    {slices.Concat(older, kept), true, nil, nil},
		"older alone":               {older, false, []error{identity.ErrCRLOlder}, nil},
		"second and taken":          {slices.Concat(second, with(b, 1)), true, []error{identity.ErrSomeCRLs, identity.ErrCRL}, []string{"1 of 2", "a second list with number 2"}},
		"taken and unknown":         {slices.Concat(with(b, 1), unknown), true, []error{identity.ErrSomeCRLs, identity.ErrCRL, identity.ErrUntrusted}, []string{"1 of 2"}},
		"several":                   {slices.Concat(second, unknown, older, with(b, 1)), true, []error{identity.ErrSomeCRLs, identity.ErrCRL}, []string{"2 of 4", "a second list", "foreign"}},
		"unknown, second and older": {slices.Concat(unknown, second, older), false, []error{identity.ErrCRL}, []string{"a second list", "foreign"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := p.verifier(t)
			require.NoError(t, v.AddCRL(slices.Concat(kept, with(a, 2))))
			err := v.AddCRL(d.crls)
			if d.want == nil {
				require.NoError(t, err)
			}
			for _, want := range d.want {
				require.ErrorIs(t, err, want)
			}
			if !slices.Contains(d.want, identity.ErrCRLOlder) {
				require.NotErrorIs(t, err, identity.ErrCRLOlder, "for that callers go on without a word")
			}
			if !d.some {
				require.NotErrorIs(t, err, identity.ErrSomeCRLs)
			}
			for _, says := range d.says {
				require.ErrorContains(t, err, says)
			}
			require.Equal(t, bytes.Contains(d.crls, b.root.Raw), len(v.CRLs()) == 3)
		})
	}
}

// An attacker who has issuing CAs certified cannot fill the memory, and CAs that are over make room.
func TestListsAreBounded(t *testing.T) {
	p := newPKI(t)
	now := testNow
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{p.root}, Now: func() time.Time { return now }})
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(p.crl(t, 1)))
	add := func(ca *pki) error { return v.AddCRL(slices.Concat(ca.crl(t, 1), ca.root.Raw)) }
	var subs []*pki
	for i := range 18 {
		subs = append(subs, p.issuing(t, fmt.Sprint("issuing ", i), func(c *x509.Certificate) { c.NotAfter = testNow.AddDate(i+1, 0, 0) }))
	}
	for _, s := range subs[:15] {
		require.NoError(t, add(s))
	}
	require.ErrorIs(t, add(subs[15]), identity.ErrCRL)
	require.NoError(t, v.AddCRL(slices.Concat(subs[3].crl(t, 2), subs[3].root.Raw)), "a newer one of those that are kept")
	require.Len(t, v.CRLs(), 16)

	require.NoError(t, v.AddCRL(p.crl(t, 2, subs[7].root)))
	require.NoError(t, add(subs[15]), "in the place of a revoked one")
	require.ErrorIs(t, add(subs[7]), identity.ErrCRL, "which does not come back")
	now = testNow.AddDate(1, 0, 1)
	require.NoError(t, add(subs[16]), "in the place of one that is over")
	require.ErrorIs(t, add(subs[0]), identity.ErrCRL)
	require.Len(t, v.CRLs(), 16)
	require.True(t, v.Revoked(subs[7].root))
}

// Below a cross certificate there may be any number of CAs. Once it is revoked they make room, and what it was the only way to stays out.
func TestListsBelowARevokedCA(t *testing.T) {
	o := newPKI(t)
	v := o.verifier(t)
	cross := o.issuing(t, "cross", asIs)
	with := func(ca *pki, up ...*pki) []byte {
		out := slices.Concat(ca.crl(t, 1), ca.root.Raw)
		for _, u := range up {
			out = append(out, u.root.Raw...)
		}
		return out
	}
	require.NoError(t, v.AddCRL(o.crl(t, 1)))
	for i := range 15 {
		require.NoError(t, v.AddCRL(with(cross.issuing(t, fmt.Sprint("below ", i), asIs), cross)))
	}
	honest := o.issuing(t, "honest", asIs)
	c, _, _ := honest.peer(t, "A-1")
	c.Chain = append(c.Chain, honest.root.Raw)
	list := slices.Concat(honest.crl(t, 1, parseCert(t, c.Chain[0])), honest.root.Raw)
	require.ErrorIs(t, v.AddCRL(list), identity.ErrCRL)
	all := slices.Concat(o.crl(t, 2, cross.root), list)
	require.NoError(t, v.AddCRL(all))
	_, err := v.Verify(c, 0)
	require.ErrorIs(t, err, identity.ErrRevoked)
	require.ErrorIs(t, v.AddCRL(with(cross.issuing(t, "one more", asIs), cross)), identity.ErrCRL)
}

// The list of a CA that was certified anew, or by two roots, is needed as long as one of its certificates is good.
func TestListIsKeptWhileOneWayIsGood(t *testing.T) {
	named := func(name string, serial int64) *pki {
		return newPKIWith(t, newKey(t), func(c *x509.Certificate) { c.Subject.CommonName, c.SerialNumber = name, big.NewInt(serial) })
	}
	a, b := named("a", 1), named("b", 2)
	for name, d := range map[string]struct{ revoke, together bool }{
		"revoked by one root": {true, true}, "over": {false, true}, "revoked, the other way came later": {true, false}, "over, the other way came later": {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := testNow
			v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{a.root, b.root}, Now: func() time.Time { return now }})
			require.NoError(t, err)
			end := testNow.AddDate(0, 1, 0)
			sub := a.issuing(t, "issuing", func(c *x509.Certificate) { c.NotAfter = end })
			byB := parseCert(t, b.sign(t, caTemplate("issuing"), sub.key.Public()))
			c, _, _ := sub.peer(t, "A-1")
			c.Chain = append(c.Chain, byB.Raw)
			list := sub.crl(t, 1, parseCert(t, c.Chain[0]))
			if d.together {
				require.NoError(t, v.AddCRL(slices.Concat(list, sub.root.Raw, byB.Raw)))
			} else {
				require.NoError(t, v.AddCRL(slices.Concat(list, sub.root.Raw)))
				require.NoError(t, v.AddCRL(slices.Concat(list, byB.Raw)))
			}
			require.NoError(t, v.AddCRL(slices.Concat(a.crl(t, 1), b.crl(t, 1))))
			for i := range 13 {
				other := b.issuing(t, fmt.Sprint("other ", i), asIs)
				require.NoError(t, v.AddCRL(slices.Concat(other.crl(t, 1), other.root.Raw)))
			}
			if d.revoke {
				require.NoError(t, v.AddCRL(a.crl(t, 2, sub.root)))
			} else {
				now = end.AddDate(0, 0, 1)
			}
			further := b.issuing(t, "further", asIs)
			require.ErrorIs(t, v.AddCRL(slices.Concat(further.crl(t, 1), further.root.Raw)), identity.ErrCRL, "there is no room")
			_, _, err = v.VerifyClient([]*x509.Certificate{parseCert(t, c.Chain[0]), byB})
			require.ErrorIs(t, err, identity.ErrRevoked)
		})
	}
}

// The same CA under another certificate of its key has the same list, and the one that leads further is passed on.
func TestListsReachMoreRoots(t *testing.T) {
	a, b := newPKI(t), newPKIWith(t, newKey(t), func(c *x509.Certificate) { c.Subject.CommonName, c.SerialNumber = "b", big.NewInt(2) })
	sub := a.issuing(t, "issuing", asIs)
	byB := parseCert(t, b.sign(t, caTemplate("issuing"), sub.key.Public()))
	list := sub.crl(t, 1)
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{a.root, b.root}, Now: clock})
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(slices.Concat(list, sub.root.Raw)))
	require.ErrorIs(t, b.verifier(t).AddCRL(v.CRLs()[0]), identity.ErrCRL)
	require.NoError(t, v.AddCRL(slices.Concat(list, sub.root.Raw, byB.Raw)))
	require.NoError(t, v.AddCRL(slices.Concat(list, byB.Raw)), "the longer one is kept")
	require.Len(t, v.CRLs(), 1)
	require.NoError(t, b.verifier(t).AddCRL(v.CRLs()[0]))
	require.NoError(t, a.verifier(t).AddCRL(v.CRLs()[0]))

	// Ways that lead nowhere here do not take the place of those that do.
	forged := func() []byte {
		x := newPKIWith(t, newKey(t), func(c *x509.Certificate) { c.Subject.CommonName = "a" })
		return x.sign(t, caTemplate("issuing"), sub.key.Public())
	}
	require.NoError(t, v.AddCRL(slices.Concat(list, sub.root.Raw, forged(), forged(), forged(), forged(), forged())))
	require.NoError(t, v.AddCRL(slices.Concat(list, forged(), forged(), forged(), forged(), forged(), byB.Raw)))
	require.NoError(t, b.verifier(t).AddCRL(v.CRLs()[0]))
	require.NoError(t, a.verifier(t).AddCRL(v.CRLs()[0]))
	w := a.verifier(t)
	require.NoError(t, w.AddCRL(slices.Concat(list, forged(), forged(), forged(), forged(), forged(), sub.root.Raw)))
	third := parseCert(t, a.sign(t, caTemplate("issuing"), sub.key.Public()))
	require.NoError(t, w.AddCRL(slices.Concat(list, third.Raw)))
	bundles, err := identity.ParseCRLs(w.CRLs()[0])
	require.NoError(t, err)
	require.Equal(t, [][]byte{sub.root.Raw, third.Raw}, bundles[0].Issuer[:2])
}

// Behind a way there may be more, for those with other roots. Whoever passes the list on can make that up, so it has to be small and a CA's.
func TestUnknownCertificatesBehindAList(t *testing.T) {
	p := newPKI(t)
	sub := p.issuing(t, "issuing", asIs)
	list := slices.Concat(sub.crl(t, 1), sub.root.Raw)
	// The key of p, under whatever certificate.
	above := func(edit func(*x509.Certificate)) []byte {
		c := caTemplate("root")
		edit(c)
		return newPKIWith(t, newKey(t), func(c *x509.Certificate) { c.Subject.CommonName = "other" }).sign(t, c, p.key.Public())
	}
	large := above(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 4<<10)}}
	})
	good := above(asIs)
	for name, d := range map[string]struct{ in, want []byte }{
		"good":              {slices.Concat(list, good), slices.Concat(list, good)},
		"large":             {slices.Concat(list, large), list},
		"large, then good":  {slices.Concat(list, large, sub.root.Raw, good), slices.Concat(list, sub.root.Raw, good)},
		"a root's, large":   {slices.Concat(p.crl(t, 1), large), nil},
		"no CA's":           {slices.Concat(list, above(func(c *x509.Certificate) { c.IsCA = false; c.BasicConstraintsValid = false })), nil},
		"large, but signed": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := p.verifier(t)
			switch name {
			case "a root's, large":
				d.want = bytes.TrimSuffix(d.in, large)
			case "large, but signed":
				signed := p.issuing(t, "large", func(c *x509.Certificate) {
					c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 4<<10)}}
				})
				d.in = slices.Concat(signed.crl(t, 1), signed.root.Raw)
				d.want = d.in
			}
			err := v.AddCRL(d.in)
			if d.want == nil {
				require.ErrorIs(t, err, identity.ErrCRL)
				return
			}
			require.NoError(t, err)
			require.Equal(t, [][]byte{d.want}, v.CRLs())
		})
	}
}

// What stands in a chain behind a way to a root is another way, and nothing else.
func TestChainGoesOn(t *testing.T) {
	a, b := newPKI(t), newPKIWith(t, newKey(t), func(c *x509.Certificate) { c.Subject.CommonName = "b" })
	byA := parseCert(t, a.sign(t, caTemplate("b"), b.key.Public()))
	c, _, _ := b.peer(t, "A-1")
	chain := func(more ...*x509.Certificate) identity.Credential {
		d := identity.Credential{Chain: slices.Clone(c.Chain), Endorsement: c.Endorsement}
		for _, m := range more {
			d.Chain = append(d.Chain, m.Raw)
		}
		return d
	}
	for name, v := range map[string]*identity.Verifier{"a": a.verifier(t), "b": b.verifier(t)} {
		_, err := v.Verify(chain(byA), 0)
		require.NoError(t, err, name)
		require.NoError(t, v.CheckRevocation(chain(byA)))
		for what, bad := range map[string]identity.Credential{
			"a root": chain(b.root), "its root behind": chain(byA, a.root), "twice": chain(byA, byA), "a stranger": chain(newPKI(t).root),
			"a stranger behind": chain(byA, newPKI(t).root),
		} {
			_, err := v.Verify(bad, 0)
			require.Error(t, err, "%s: %s", name, what)
		}
	}
}

func FuzzParseCRLs(f *testing.F) {
	p := newPKI(f)
	sub := p.issuing(f, "issuing", asIs)
	leaf := parseCert(f, sub.leaf(f, "D-1", newKey(f)))
	f.Add(p.crl(f, 1))
	f.Add(slices.Concat(sub.crl(f, 1<<40, leaf), sub.root.Raw))
	f.Add(slices.Concat(p.crl(f, 2), sub.crl(f, 2), sub.root.Raw, sub.root.Raw))
	f.Add(leaf.Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := identity.ParseCRLs(b)
		v := p.verifier(t)
		if err != nil {
			require.ErrorIs(t, err, identity.ErrCRL)
			require.ErrorIs(t, v.AddCRL(b), identity.ErrCRL)
			return
		}
		var again []byte
		for _, one := range got {
			out, err := one.Marshal()
			require.NoError(t, err)
			again = append(again, out...)
		}
		require.Equal(t, b, again, "one encoding")
		if err := v.AddCRL(b); err != nil {
			require.True(t, len(v.CRLs()) == 0)
			return
		}
		for _, kept := range v.CRLs() {
			require.NoError(t, p.verifier(t).AddCRL(kept))
		}
	})
}
