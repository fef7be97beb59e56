package ca_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
)

// clock is one that tests set.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) verifier(t *testing.T, a *ca.Authority) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: verifier(t, a).Roots(), Now: c.Now})
	require.NoError(t, err)
	return v
}

func newClock() *clock { return &clock{time.Now()} }

const year = 365 * 24 * time.Hour

// A certificate is renewed when a third of it is left, and as well when it ended long ago; the lifetime stays what an operator chose once.
func TestRenewBeforeAndAfterExpiry(t *testing.T) {
	for _, name := range []string{"D-1", "A-WATER", "P-1", "R-LINE", "O-ALICE"} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			a := newCA(t, ca.Config{Now: c.Now, DeviceValidity: 3 * year})
			o := identity.CSROptions{}
			if name[0] == 'D' {
				o.HelperHash = [32]byte{7}
			}
			csr := newCSR(t, newKey(t), name, o)
			first, err := a.Issue(csr, ca.IssueOptions{Validity: 3 * year})
			require.NoError(t, err)
			again, err := a.Renew(csr)
			require.NoError(t, err)
			require.Equal(t, first, again, "fresh: the same")

			c.now = c.now.Add(2*year + 24*time.Hour)
			second, err := a.Renew(csr)
			require.NoError(t, err)
			require.NotEqual(t, first, second)

			c.now = c.now.Add(30 * year)
			v := c.verifier(t, a)
			_, err = v.Verify(identity.Credential{Chain: second}, 0)
			require.Error(t, err, "over for decades")
			third, err := a.Renew(csr)
			require.NoError(t, err)
			leaf := parse(t, third[0])
			require.WithinDuration(t, c.now.Add(3*year), leaf.NotAfter, time.Second)
			require.Equal(t, parse(t, first[0]).RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo)
			h, ok, err := identity.HelperHash(leaf)
			require.NoError(t, err)
			require.Equal(t, o.HelperHash, h)
			require.Equal(t, name[0] == 'D', ok)
		})
	}
}

func TestRenewRefuses(t *testing.T) {
	refuse := errors.New("not today")
	policy := func(*identity.CSR) error { return nil }
	a := newCA(t, ca.Config{Policy: func(c *identity.CSR) error { return policy(c) }})
	k := newKey(t)
	csr := newCSR(t, k, "D-1", identity.CSROptions{})
	_, err := a.Renew(csr)
	require.ErrorIs(t, err, ca.ErrUnknown, "a first certificate does not come from a network")
	_, err = a.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		csr []byte
		err error
	}{
		"another key":         {newCSR(t, newKey(t), "D-1", identity.CSROptions{}), ca.ErrOtherKey},
		"another name":        {newCSR(t, k, "D-2", identity.CSROptions{}), ca.ErrUnknown},
		"another helper hash": {newCSR(t, k, "D-1", identity.CSROptions{HelperHash: [32]byte{1}}), ca.ErrOtherHelper},
		"no request":          {[]byte("no request"), identity.ErrCSR},
	} {
		_, err := a.Renew(c.csr)
		require.ErrorIs(t, err, c.err, name)
	}
	_, err = a.Issue(newCSR(t, newKey(t), "D-2", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	_, err = a.Renew(newCSR(t, k, "D-2", identity.CSROptions{}))
	require.ErrorIs(t, err, ca.ErrOtherKey, "a known name with the key of another")

	policy = func(*identity.CSR) error { return refuse }
	_, err = a.Renew(csr)
	require.ErrorIs(t, err, ca.ErrPolicy)
	require.ErrorIs(t, err, refuse)
	policy = func(*identity.CSR) error { return nil }

	_, err = a.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	_, err = a.Renew(csr)
	require.ErrorIs(t, err, ca.ErrRevoked)
}

func TestRekey(t *testing.T) {
	c := newClock()
	a := newCA(t, ca.Config{Now: c.Now})
	k1, k2, k3 := newKey(t), newKey(t), newKey(t)
	csr1, csr2, csr3 := newCSR(t, k1, "A-WATER", identity.CSROptions{}), newCSR(t, k2, "A-WATER", identity.CSROptions{}), newCSR(t, k3, "A-WATER", identity.CSROptions{})
	to2, err := identity.NewRekey(k1, csr2)
	require.NoError(t, err)
	_, err = a.Rekey(to2)
	require.ErrorIs(t, err, ca.ErrUnknown)
	_, err = a.Issue(csr1, ca.IssueOptions{Validity: 2 * year})
	require.NoError(t, err)

	c.now = c.now.Add(5 * year) // the old certificate is over: its key still says who comes next
	second, err := a.Rekey(to2)
	require.NoError(t, err)
	leaf := parse(t, second[0])
	require.True(t, k2.PublicKey.Equal(leaf.PublicKey))
	require.WithinDuration(t, c.now.Add(2*year), leaf.NotAfter, time.Second)
	again, err := a.Rekey(to2)
	require.NoError(t, err)
	require.Equal(t, second, again, "the answer may have been lost")
	_, err = a.Renew(csr1)
	require.ErrorIs(t, err, ca.ErrOtherKey, "the old key is renewed no more")

	stranger, err := identity.NewRekey(newKey(t), csr3)
	require.NoError(t, err)
	_, err = a.Rekey(stranger)
	require.ErrorIs(t, err, identity.ErrSignature)
	byFirst, err := identity.NewRekey(k1, csr3)
	require.NoError(t, err)
	_, err = a.Rekey(byFirst)
	require.ErrorIs(t, err, identity.ErrSignature, "a key that was replaced vouches for nobody")

	to3, err := identity.NewRekey(k2, csr3)
	require.NoError(t, err)
	_, err = a.Rekey(to3)
	require.NoError(t, err)
	_, err = a.Rekey(to2)
	require.ErrorIs(t, err, identity.ErrSignature, "a recorded request from before")
	back, err := identity.NewRekey(k3, csr1)
	require.NoError(t, err)
	_, err = a.Rekey(back)
	require.ErrorIs(t, err, ca.ErrOtherKey, "a key that was replaced does not come back")

	// Another peer's key, and one's own under another name.
	_, err = a.Issue(newCSR(t, newKey(t), "A-GAS", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	gas, err := identity.NewRekey(k3, newCSR(t, newKey(t), "A-GAS", identity.CSROptions{}))
	require.NoError(t, err)
	_, err = a.Rekey(gas)
	require.ErrorIs(t, err, identity.ErrSignature, "one name takes over another")
	_, err = a.Rekey(csr3)
	require.ErrorIs(t, err, identity.ErrCSR)
}

// A thief of the key may change it again and again: the name does not get lost to its owner by that.
func TestRekeyIsBounded(t *testing.T) {
	a := newCA(t, ca.Config{})
	k := newKey(t)
	_, err := a.Issue(newCSR(t, k, "A-WATER", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	for n := 0; ; n++ {
		require.Less(t, n, 1000)
		next := newKey(t)
		r, err := identity.NewRekey(k, newCSR(t, next, "A-WATER", identity.CSROptions{}))
		require.NoError(t, err)
		if _, err = a.Rekey(r); err != nil {
			require.ErrorIs(t, err, ca.ErrOften)
			require.Greater(t, n, 50)
			break
		}
		k = next
	}
	_, err = a.Renew(newCSR(t, k, "A-WATER", identity.CSROptions{}))
	require.NoError(t, err)
	_, err = a.Issue(newCSR(t, newKey(t), "A-WATER", identity.CSROptions{}), ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
}

func TestRekeyRefusesWhatIsRevoked(t *testing.T) {
	a := newCA(t, ca.Config{})
	k1, k2 := newKey(t), newKey(t)
	first, err := a.Issue(newCSR(t, k1, "A-WATER", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	to2, err := identity.NewRekey(k1, newCSR(t, k2, "A-WATER", identity.CSROptions{}))
	require.NoError(t, err)
	_, err = a.RevokeCertificate(parse(t, first[0]))
	require.NoError(t, err)
	_, err = a.Rekey(to2)
	require.ErrorIs(t, err, ca.ErrRevoked, "who stole a key would give himself the next one")
}

// A power cut during Rekey: either the old key is still the name's or the new one is, and the request is answered in both cases.
func TestRekeyPowerCut(t *testing.T) {
	const dir = "/ca"
	fsys, signer := crashfs.New(), newKey(t)
	open := func(f *crashfs.FS) *ca.Authority {
		t.Helper()
		s, err := ca.OpenStoreOn(f, dir)
		require.NoError(t, err)
		a, err := ca.New(ca.Config{Name: "root", Signer: signer, Store: s})
		require.NoError(t, err)
		return a
	}
	a := open(fsys)
	k1, k2 := newKey(t), newKey(t)
	csr1 := newCSR(t, k1, "A-WATER", identity.CSROptions{})
	_, err := a.Issue(csr1, ca.IssueOptions{})
	require.NoError(t, err)
	begin := fsys.Ops()
	request, err := identity.NewRekey(k1, newCSR(t, k2, "A-WATER", identity.CSROptions{}))
	require.NoError(t, err)
	chain, err := a.Rekey(request)
	require.NoError(t, err)
	end := fsys.Ops()
	n, old := 0, 0
	for c := range fsys.Crashes() {
		if c.After < begin {
			continue
		}
		n++
		b := open(c.FS)
		_, err := b.Renew(csr1)
		if c.After >= end {
			require.ErrorIs(t, err, ca.ErrOtherKey, c)
		}
		if err == nil {
			old++
		} else {
			require.ErrorIs(t, err, ca.ErrOtherKey, c)
		}
		again, err := b.Rekey(request)
		require.NoError(t, err, c)
		if c.After >= end {
			require.Equal(t, chain, again, c)
		}
	}
	require.Greater(t, n, 5)
	require.Positive(t, old)
}
