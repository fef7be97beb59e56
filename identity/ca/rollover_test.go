package ca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
)

// A root with a new key: devices that have only the old root go on under the new one, and who has only the new root takes what was issued before.
func TestRootRollOver(t *testing.T) {
	store, key1, key2, key3 := &ca.MemStore{}, newKey(t), newKey(t), newKey(t)
	first := newCA(t, ca.Config{Store: store, Signer: key1})
	appKey := newKey(t)
	before, gone := peer(t, first, newKey(t), "D-OLD"), peer(t, first, newKey(t), "D-GONE")
	appBefore := peer(t, first, appKey, "A-1")
	require.Empty(t, first.CrossCertificates())

	cfg := ca.Config{Name: "test root", Signer: key2, Store: store}
	_, err := ca.New(cfg)
	require.ErrorIs(t, err, ca.ErrStore, "a new key is said, not found")
	_, err = ca.RollOver(cfg)
	require.ErrorContains(t, err, "its last key")
	cfg.Earlier = []crypto.Signer{key1}
	second, err := ca.RollOver(cfg)
	require.NoError(t, err)
	again, err := ca.RollOver(cfg)
	require.NoError(t, err)
	require.Equal(t, second.Certificate().Raw, again.Certificate().Raw, "it is done once")
	second, err = ca.New(cfg)
	require.NoError(t, err)
	require.Equal(t, []*x509.Certificate{second.Certificate(), first.Certificate()}, second.Roots())
	_, err = ca.New(ca.Config{Name: "test root", Signer: key1, Store: store})
	require.ErrorIs(t, err, ca.ErrStore, "no way back")
	_, err = ca.New(ca.Config{Name: "test root", Signer: key2, Store: store, Earlier: []crypto.Signer{newKey(t)}})
	require.ErrorContains(t, err, "never had")

	pinned, fresh := trusting(t, first.Certificate()), trusting(t, second.Certificate())
	both := trusting(t, second.Certificate(), first.Certificate())
	after := peer(t, second, newKey(t), "D-NEW")
	require.Len(t, after.Chain, 2)
	accepts(t, pinned, after)
	accepts(t, fresh, after)
	accepts(t, both, after)
	accepts(t, pinned, before)
	accepts(t, both, before)
	refuses(t, fresh, before, identity.ErrUntrusted)
	crossed := before
	crossed.Chain = append(crossed.Chain[:1:1], second.CrossCertificates()[0].Raw)
	accepts(t, fresh, crossed)
	accepts(t, pinned, crossed)
	accepts(t, both, crossed)

	// Names and keys are those of before; the same key gets a certificate of the new root.
	_, err = second.Issue(newCSR(t, newKey(t), "D-OLD", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrOtherKey)
	_, err = second.Issue(newCSR(t, appKey, "D-X", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrKeyInUse)
	for _, k := range []*ecdsa.PrivateKey{key1, key2} {
		_, err = second.Issue(newCSR(t, k, "D-X", identity.CSROptions{}), ca.IssueOptions{})
		require.ErrorIs(t, err, ca.ErrKeyInUse)
	}
	appAfter := peer(t, second, appKey, "A-1")
	require.NotEqual(t, appBefore.Chain[0], appAfter.Chain[0])
	accepts(t, fresh, appAfter)

	// What the old key signed is on its list, the rest on the new one's.
	lists, err := second.Revoke(parseID(t, "A-1"))
	require.NoError(t, err)
	parsed, err := identity.ParseCRLs(lists)
	require.NoError(t, err)
	require.Len(t, parsed, 2)
	gone1, err := second.Revoke(parseID(t, "D-GONE"))
	require.NoError(t, err)
	require.NoError(t, pinned.VerifyRevoked(gone1, gone))
	all, err := second.CRL()
	require.NoError(t, err)
	goneCrossed := gone
	goneCrossed.Chain = append(gone.Chain[:1:1], second.CrossCertificates()[0].Raw)
	for name, v := range map[string]*identity.Verifier{"old root": pinned, "new root": fresh, "both": both} {
		require.NoError(t, v.AddCRL(all), name)
		require.Len(t, v.CRLNumbers(), 2, name)
		refuses(t, v, goneCrossed, identity.ErrRevoked)
		refuses(t, v, appAfter, identity.ErrRevoked)
		accepts(t, v, after)
		accepts(t, v, crossed)
	}
	require.NoError(t, both.VerifyRevoked(mustMarshal(t, parsed[0]), appBefore))
	require.NoError(t, both.VerifyRevoked(mustMarshal(t, parsed[1]), appAfter))

	// Without the old key what it signed cannot be revoked one by one. The rest can.
	lone, err := ca.New(ca.Config{Name: "test root", Signer: key2, Store: store})
	require.NoError(t, err)
	_, err = lone.Revoke(parseID(t, "D-OLD"))
	require.ErrorIs(t, err, ca.ErrEarlierKey)
	_, err = lone.Revoke(parseID(t, "D-GONE"))
	require.NoError(t, err, "it is revoked already")
	kept, err := lone.CRL()
	require.NoError(t, err)
	require.Equal(t, all, kept)

	third, err := ca.RollOver(ca.Config{Name: "test root", Signer: key3, Store: store, Earlier: []crypto.Signer{key2, key1}})
	require.NoError(t, err)
	late := peer(t, third, newKey(t), "D-LATE")
	require.Len(t, late.Chain, 3)
	for _, v := range []*identity.Verifier{pinned, fresh, trusting(t, third.Certificate())} {
		accepts(t, v, late)
	}
	require.Len(t, third.CrossCertificates(), 2)
	crossed.Chain = append(before.Chain[:1:1], third.CrossCertificates()[0].Raw)
	accepts(t, trusting(t, third.Certificate()), crossed)
	all, err = third.CRL()
	require.NoError(t, err)
	for _, v := range []*identity.Verifier{pinned, fresh, both, trusting(t, third.Certificate())} {
		require.NoError(t, v.AddCRL(all))
		require.Len(t, v.CRLNumbers(), 3)
	}
}

func mustMarshal(t *testing.T, b identity.CRLBundle) []byte {
	t.Helper()
	out, err := b.Marshal()
	require.NoError(t, err)
	return out
}

// A key that was the authority's does not come back: its lists would begin again.
func TestRollOverToAnEarlierKey(t *testing.T) {
	root := newCA(t, ca.Config{Name: "above"})
	key1, key2 := newKey(t), newKey(t)
	for kind, first := range map[string]ca.Config{
		"root":    {Name: "test ca"},
		"issuing": {Name: "test ca", Root: root.Certificate()},
	} {
		t.Run(kind, func(t *testing.T) {
			store := &ca.MemStore{}
			config := func(k *ecdsa.PrivateKey, earlier ...crypto.Signer) ca.Config {
				cfg := first
				cfg.Store, cfg.Signer, cfg.Earlier = store, k, earlier
				if cfg.Root != nil {
					var err error
					cfg.Chain, err = root.CertifyCA(caRequest(t, k, cfg.Name), ca.CAOptions{})
					require.NoError(t, err)
				}
				return cfg
			}
			a, err := ca.New(config(key1))
			require.NoError(t, err)
			gone := peer(t, a, newKey(t), "D-1")
			_, err = a.Revoke(parseID(t, "D-1"))
			require.NoError(t, err)
			b, err := ca.RollOver(config(key2, key1))
			require.NoError(t, err)
			before, err := b.CRL()
			require.NoError(t, err)
			for _, earlier := range [][]crypto.Signer{{key2}, {key2, key1}} {
				_, err = ca.RollOver(config(key1, earlier...))
				require.ErrorIs(t, err, ca.ErrKeyInUse)
			}
			b, err = ca.New(config(key2, key1))
			require.NoError(t, err)
			after, err := b.CRL()
			require.NoError(t, err)
			require.Equal(t, before, after)
			v := trusting(t, b.Roots()...)
			require.NoError(t, v.AddCRL(after))
			refuses(t, v, gone, identity.ErrRevoked)
		})
	}
}

// A root that rolls over does not forget which issuing CA it has revoked.
func TestRevokedCAAfterRollOver(t *testing.T) {
	store, key1, key2, subKey := &ca.MemStore{}, newKey(t), newKey(t), newKey(t)
	first := newCA(t, ca.Config{Store: store, Signer: key1})
	one, err := first.CertifyCA(caRequest(t, subKey, "sub"), ca.CAOptions{})
	require.NoError(t, err)
	second, err := ca.RollOver(ca.Config{Name: "test root", Signer: key2, Store: store, Earlier: []crypto.Signer{key1}})
	require.NoError(t, err)
	two, err := second.CertifyCA(caRequest(t, subKey, "sub"), ca.CAOptions{})
	require.NoError(t, err)
	require.NotEqual(t, one[0], two[0])
	crl, err := second.RevokeCertificate(parse(t, one[0]))
	require.NoError(t, err)
	v := trusting(t, first.Certificate(), second.Certificate())
	require.NoError(t, v.AddCRL(crl))
	require.True(t, v.Revoked(parse(t, one[0])))
	require.True(t, v.Revoked(parse(t, two[0])), "the same key under the new root")
	_, err = second.CertifyCA(caRequest(t, subKey, "sub"), ca.CAOptions{})
	require.ErrorIs(t, err, ca.ErrRevoked)
}

// Whoever is revoked gets no certificate again, also where the key is gone that would put it on a list.
func TestRevokeWithoutTheEarlierKey(t *testing.T) {
	store, key1, key2 := &ca.MemStore{}, newKey(t), newKey(t)
	first := newCA(t, ca.Config{Store: store, Signer: key1})
	devKey, appKey, subKey, serverKey := newKey(t), newKey(t), newKey(t), newKey(t)
	dev, _ := peer(t, first, devKey, "D-1"), peer(t, first, appKey, "A-1")
	instance, err := first.Issue(newCSR(t, newKey(t), "A-1", identity.CSROptions{Instance: "2"}), ca.IssueOptions{})
	require.NoError(t, err)
	sub, err := first.CertifyCA(caRequest(t, subKey, "sub"), ca.CAOptions{})
	require.NoError(t, err)
	_, err = first.IssueServer(serverKey.Public(), parseID(t, "P-1"), []string{"localhost"})
	require.NoError(t, err)
	_, err = ca.RollOver(ca.Config{Name: "test root", Signer: key2, Store: store, Earlier: []crypto.Signer{key1}})
	require.NoError(t, err)
	lone, err := ca.New(ca.Config{Name: "test root", Signer: key2, Store: store})
	require.NoError(t, err)
	peer(t, lone, appKey, "A-1") // under the new key too

	crl, err := lone.Revoke(parseID(t, "D-1"))
	require.ErrorIs(t, err, ca.ErrEarlierKey)
	require.Empty(t, crl)
	for range 2 {
		_, err = lone.Renew(newCSR(t, devKey, "D-1", identity.CSROptions{}))
		require.ErrorIs(t, err, ca.ErrRevoked)
		_, err = lone.Issue(newCSR(t, devKey, "D-1", identity.CSROptions{}), ca.IssueOptions{})
		require.ErrorIs(t, err, ca.ErrRevoked)
		// Nor after a restart.
		lone, err = ca.New(ca.Config{Name: "test root", Signer: key2, Store: store})
		require.NoError(t, err)
	}
	crl, err = lone.Revoke(parseID(t, "A-1"))
	require.ErrorIs(t, err, ca.ErrEarlierKey)
	v := trusting(t, lone.Roots()...)
	require.NoError(t, v.AddCRL(crl), "what can be on a list is")
	require.Len(t, v.CRLNumbers(), 1)
	_, err = lone.Renew(newCSR(t, appKey, "A-1", identity.CSROptions{}))
	require.ErrorIs(t, err, ca.ErrRevoked)
	peerAgain, err := lone.Issue(newCSR(t, newKey(t), "A-1", identity.CSROptions{}), ca.IssueOptions{NewKey: true})
	require.NoError(t, err, "a new key is no device's only")
	require.NotEmpty(t, peerAgain)
	_, err = lone.Revoke(parseID(t, "P-1"))
	require.ErrorIs(t, err, ca.ErrEarlierKey)
	_, err = lone.IssueServer(serverKey.Public(), parseID(t, "P-1"), []string{"localhost"})
	require.ErrorIs(t, err, ca.ErrRevoked)
	_, err = lone.RevokeCertificate(parse(t, sub[0]))
	require.ErrorIs(t, err, ca.ErrEarlierKey)
	_, err = lone.CertifyCA(caRequest(t, subKey, "sub"), ca.CAOptions{})
	require.ErrorIs(t, err, ca.ErrRevoked)
	_, err = lone.RevokeCertificate(parse(t, instance[0]))
	require.ErrorIs(t, err, ca.ErrEarlierKey)

	// The key is found again: now the list names it.
	both, err := ca.New(ca.Config{Name: "test root", Signer: key2, Store: store, Earlier: []crypto.Signer{key1}})
	require.NoError(t, err)
	_, err = both.Renew(newCSR(t, devKey, "D-1", identity.CSROptions{}))
	require.ErrorIs(t, err, ca.ErrRevoked)
	crl, err = both.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	require.NoError(t, v.VerifyRevoked(crl, dev))
}

// The reason for an issuing CA: a new one takes its place at any time, and nobody has to learn of a new root.
func TestIssuingRollOver(t *testing.T) {
	root := newCA(t, ca.Config{})
	store, key1, key2 := &ca.MemStore{}, newKey(t), newKey(t)
	first := newIssuing(t, root, ca.Config{Store: store, Signer: key1})
	devKey := newKey(t)
	before := peer(t, first, devKey, "D-1")
	old, err := first.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	require.NotEmpty(t, old)
	kept := peer(t, first, newKey(t), "D-2")

	chain, err := root.CertifyCA(caRequest(t, key2, "test issuing"), ca.CAOptions{})
	require.NoError(t, err)
	cfg := ca.Config{Name: "test issuing", Signer: key2, Store: store, Root: root.Certificate(), Chain: chain}
	_, err = ca.RollOver(ca.Config{Name: "test issuing", Signer: newKey(t), Store: store, Root: root.Certificate(), Chain: chain})
	require.Error(t, err, "the certificate is for another key")
	_, err = ca.RollOver(ca.Config{Name: "test issuing", Signer: newKey(t), Store: store})
	require.ErrorIs(t, err, ca.ErrStore, "not a root of a sudden")
	second, err := ca.RollOver(cfg)
	require.NoError(t, err)

	v := trusting(t, root.Certificate())
	accepts(t, v, kept)
	after := peer(t, second, newKey(t), "D-3")
	accepts(t, v, after)
	_, err = second.Issue(newCSR(t, devKey, "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrRevoked, "revoked for good, whatever the key of the CA")
	_, err = second.Revoke(parseID(t, "D-2"))
	require.ErrorIs(t, err, ca.ErrEarlierKey)

	crl, err := second.CRL()
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))
	numbers := map[identity.AuthorityID]uint64{}
	for _, n := range v.CRLNumbers() {
		numbers[n.Authority] = n.Number
	}
	require.Equal(t, map[identity.AuthorityID]uint64{identity.AuthorityOf(first.Certificate()): 2, identity.AuthorityOf(second.Certificate()): 1}, numbers)
	refuses(t, v, before, identity.ErrRevoked)

	// The old key was stolen: the root ends it, the devices are certified anew under the name and key that they have.
	crl, err = root.RevokeCertificate(first.Certificate())
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))
	refuses(t, v, kept, identity.ErrRevoked)
	accepts(t, v, after)
}

// Shortly before the end of a CA certificates are short. Under the next one they are not.
func TestRenewalAfterRollOver(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	root := newCA(t, ca.Config{Now: clock})
	store, k := &ca.MemStore{}, newKey(t)
	first := newIssuing(t, root, ca.Config{Store: store, Now: clock})
	now = first.Certificate().NotAfter.Add(-30 * 24 * time.Hour)
	issued, err := first.Issue(newCSR(t, k, "A-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	short := parse(t, issued[0])
	require.Equal(t, first.Certificate().NotAfter, short.NotAfter)
	key2 := newKey(t)
	chain, err := root.CertifyCA(caRequest(t, key2, "test issuing"), ca.CAOptions{})
	require.NoError(t, err)
	second, err := ca.RollOver(ca.Config{Name: "test issuing", Signer: key2, Store: store, Root: root.Certificate(), Chain: chain, Now: clock})
	require.NoError(t, err)
	renewed, err := second.Renew(newCSR(t, k, "A-1", identity.CSROptions{}))
	require.NoError(t, err)
	require.Equal(t, now.Add(ca.DefaultValidity).Unix(), parse(t, renewed[0]).NotAfter.Unix())
}

// A root that has rolled over does not lose those who trust only what it was, because another root vouches for it too.
func TestCrossCertificateAfterRollOver(t *testing.T) {
	store, key1, key2, key3 := &ca.MemStore{}, newKey(t), newKey(t), newKey(t)
	other := newCA(t, ca.Config{Name: "other"})
	first := newCA(t, ca.Config{Store: store, Signer: key1})
	cfg := ca.Config{Name: "test root", Signer: key2, Store: store, Earlier: []crypto.Signer{key1}}
	_, err := ca.RollOver(cfg)
	require.NoError(t, err)
	chain, err := other.CertifyCA(caRequest(t, key2, "test root"), ca.CAOptions{Root: true, NoExpiry: true})
	require.NoError(t, err)
	joined := cfg
	joined.Chain = chain
	_, err = ca.New(joined)
	require.ErrorIs(t, err, ca.ErrEarlierRoot)
	second, err := ca.New(cfg)
	require.NoError(t, err)
	accepts(t, trusting(t, first.Certificate()), peer(t, second, newKey(t), "D-1"))

	// The way of before may go on to the other root.
	byOther, err := other.CertifyCA(caRequest(t, key1, "test root"), ca.CAOptions{Root: true, NoExpiry: true})
	require.NoError(t, err)
	longer := cfg
	longer.Chain = append(second.Chain(), byOther...)
	second, err = ca.New(longer)
	require.NoError(t, err)
	dev := peer(t, second, newKey(t), "D-2")
	for _, v := range []*identity.Verifier{trusting(t, first.Certificate()), trusting(t, second.Certificate()), trusting(t, other.Certificate())} {
		accepts(t, v, dev)
	}

	joined.DropEarlier = true
	second, err = ca.New(joined)
	require.NoError(t, err)
	dev = peer(t, second, newKey(t), "D-3")
	accepts(t, trusting(t, other.Certificate()), dev)
	refuses(t, trusting(t, first.Certificate()), dev, identity.ErrUntrusted)
	joined.DropEarlier = false
	_, err = ca.New(joined)
	require.NoError(t, err, "it is done")
	third, err := ca.RollOver(ca.Config{Name: "test root", Signer: key3, Store: store, Earlier: []crypto.Signer{key1, key2}})
	require.NoError(t, err)
	accepts(t, trusting(t, other.Certificate()), peer(t, third, newKey(t), "D-4"))
}

// Two roots of different owners, one of which vouches for the other: for those who trust either, both, or others besides.
func TestCrossCertifiedRoots(t *testing.T) {
	key := newKey(t)
	a, c := newCA(t, ca.Config{Name: "A"}), newCA(t, ca.Config{Name: "C"})
	request := caRequest(t, key, "B")
	chain, err := a.CertifyCA(request, ca.CAOptions{Root: true, NoExpiry: true})
	require.NoError(t, err)
	require.Equal(t, -1, parse(t, chain[0]).MaxPathLen)
	b := newCA(t, ca.Config{Name: "B", Signer: key, Chain: chain})
	sub := newIssuing(t, b, ca.Config{})
	direct, below := peer(t, b, newKey(t), "D-1"), peer(t, sub, newKey(t), "D-2")
	require.Len(t, direct.Chain, 2)
	require.Len(t, below.Chain, 3)
	for name, v := range map[string]*identity.Verifier{
		"A": trusting(t, a.Certificate()), "B": trusting(t, b.Certificate()),
		"A, B, C": trusting(t, a.Certificate(), b.Certificate(), c.Certificate()),
	} {
		accepts(t, v, direct)
		accepts(t, v, below)
		other := peer(t, c, newKey(t), fmt.Sprintf("D-%d", len(name)*2+int(name[0])))
		if name == "A, B, C" {
			accepts(t, v, other)
		} else {
			refuses(t, v, other, identity.ErrUntrusted)
		}
	}
	refuses(t, trusting(t, c.Certificate()), below, identity.ErrUntrusted)

	// A takes its word back: that is all for those who had only that.
	crl, err := a.RevokeCertificate(parse(t, chain[0]))
	require.NoError(t, err)
	va, vb, vab := trusting(t, a.Certificate()), trusting(t, b.Certificate()), trusting(t, a.Certificate(), b.Certificate())
	for _, v := range []*identity.Verifier{va, vab} {
		require.NoError(t, v.AddCRL(crl))
	}
	require.ErrorIs(t, vb.AddCRL(crl), identity.ErrCRL, "B's friends do not know A")
	refuses(t, va, below, identity.ErrRevoked)
	accepts(t, vb, below)
	accepts(t, vab, below)
	require.True(t, vab.Revoked(parse(t, chain[0])))
}

// Power cuts through a roll-over: the authority is the old one or the new one, whole.
func TestPowerCutInRollOver(t *testing.T) {
	for _, kind := range []string{"root", "issuing"} {
		t.Run(kind, func(t *testing.T) {
			const dir = "/ca"
			fsys := crashfs.New()
			key1, key2, devKey := newKey(t), newKey(t), newKey(t)
			above := newCA(t, ca.Config{Name: "above"})
			config := func(f *crashfs.FS, k *ecdsa.PrivateKey) ca.Config {
				s, err := ca.OpenStoreOn(f, dir)
				require.NoError(t, err)
				cfg := ca.Config{Name: "ca", Signer: k, Store: s}
				if kind == "issuing" {
					cfg.Root = above.Certificate()
					cfg.Chain, err = above.CertifyCA(caRequest(t, k, "ca"), ca.CAOptions{})
					require.NoError(t, err)
				}
				if k == key2 {
					cfg.Earlier = []crypto.Signer{key1}
				}
				return cfg
			}
			a, err := ca.New(config(fsys, key1))
			require.NoError(t, err)
			before := peer(t, a, devKey, "D-1")
			_, err = a.Revoke(parseID(t, "D-1"))
			require.NoError(t, err)
			start := fsys.Ops()
			b, err := ca.RollOver(config(fsys, key2))
			require.NoError(t, err)
			done := fsys.Ops()
			var certified []byte
			if kind == "root" {
				chain, err := b.CertifyCA(caRequest(t, newKey(t), "below"), ca.CAOptions{})
				require.NoError(t, err)
				certified = chain[0]
			}
			certifiedAt, rolled := fsys.Ops(), 0
			for c := range fsys.Crashes() {
				if c.After < start {
					continue
				}
				if c.After < done {
					a, err := ca.New(config(c.FS, key1))
					if err == nil {
						// Not rolled over: it goes on as it was, and rolls over now.
						crl, err := a.CRL()
						require.NoError(t, err)
						require.NoError(t, trusting(t, a.Roots()...).VerifyRevoked(crl, before))
					} else {
						require.ErrorIs(t, err, ca.ErrStore)
						rolled++
					}
				}
				b, err := ca.RollOver(config(c.FS, key2))
				require.NoError(t, err, c)
				v := trusting(t, b.Roots()...)
				crl, err := b.CRL()
				require.NoError(t, err)
				require.NoError(t, v.AddCRL(crl))
				require.Len(t, v.CRLNumbers(), 2, c)
				refuses(t, v, before, identity.ErrRevoked)
				_, err = b.Issue(newCSR(t, devKey, "D-1", identity.CSROptions{}), ca.IssueOptions{})
				require.ErrorIs(t, err, ca.ErrRevoked)
				_, err = ca.New(config(c.FS, key1))
				require.ErrorIs(t, err, ca.ErrStore)
				if certified != nil && c.After >= certifiedAt {
					crl, err := b.RevokeCertificate(parse(t, certified))
					require.NoError(t, err)
					require.NoError(t, v.AddCRL(crl))
					require.True(t, v.Revoked(parse(t, certified)))
				}
			}
			require.Positive(t, rolled, "cuts on both sides of the step were tried")
		})
	}
}
