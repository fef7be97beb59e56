package identity_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestVerifyLapsed(t *testing.T) {
	p := newPKI(t)
	issuing := &pki{key: newKey(t)}
	middle := caTemplate("issuing")
	middle.NotAfter = testNow.AddDate(3, 0, 0)
	issuing.root = parseCert(t, p.sign(t, middle, issuing.key.Public()))
	k, dh := newKey(t), newAgreement(t)
	leaf := parseCert(t, issuing.leaf(t, "D-1", k)) // one year
	c := p.credential(t, leaf.Raw, k, dh)
	c.Chain = append(c.Chain, issuing.root.Raw)
	short, err := identity.Endorse(k, leaf.Raw, dh.PublicKey(), identity.EndorseOptions{NotAfter: testNow.AddDate(0, 0, 7)})
	require.NoError(t, err)

	at := func(years int) *identity.Verifier {
		v, err := identity.NewVerifier(identity.VerifierConfig{
			Roots: []*x509.Certificate{p.root}, Now: func() time.Time { return testNow.AddDate(years, 0, 0) },
		})
		require.NoError(t, err)
		return v
	}
	chain := []*x509.Certificate{leaf, issuing.root}
	now := at(0)
	v, err := now.Verify(c, identity.RoleDevice)
	require.NoError(t, err)
	require.Equal(t, leaf.NotAfter, v.NotAfter())
	brief := c
	brief.Endorsement = short
	v, err = now.Verify(brief, identity.RoleDevice)
	require.NoError(t, err)
	require.Equal(t, testNow.AddDate(0, 0, 7), v.NotAfter())

	check := func(t *testing.T, v *identity.Verifier) {
		t.Helper()
		for _, c := range []identity.Credential{c, brief} {
			got, err := v.VerifyLapsed(c, identity.RoleDevice)
			require.NoError(t, err)
			require.Equal(t, "D-1", got.ID().String())
		}
		id, err := v.VerifyClientLapsed(chain)
		require.NoError(t, err)
		require.Equal(t, "D-1", id.String())
	}
	t.Run("valid", func(t *testing.T) { check(t, now) })
	t.Run("over", func(t *testing.T) {
		_, err := at(2).Verify(c, 0)
		require.ErrorIs(t, err, identity.ErrExpired)
		check(t, at(2))
	})
	t.Run("CA over too", func(t *testing.T) { check(t, roots(t, p, 20)) })
	t.Run("CA revoked", func(t *testing.T) {
		v := at(0)
		require.NoError(t, v.AddCRL(p.crl(t, 1, issuing.root)))
		_, err := v.Verify(c, 0)
		require.ErrorIs(t, err, identity.ErrRevoked)
		check(t, v)
	})
	t.Run("itself revoked", func(t *testing.T) {
		v := at(0)
		require.NoError(t, v.AddCRL(append(issuing.crl(t, 1, leaf), issuing.root.Raw...)))
		_, err := v.VerifyLapsed(c, 0)
		require.ErrorIs(t, err, identity.ErrRevoked)
		_, err = v.VerifyClientLapsed(chain)
		require.ErrorIs(t, err, identity.ErrRevoked)
	})
	t.Run("a floor that is behind, and one that is ahead", func(t *testing.T) {
		for _, years := range []int{-10, 0, 10} {
			v, err := identity.NewVerifier(identity.VerifierConfig{
				Roots: []*x509.Certificate{p.root}, Floor: identity.NewTimeFloor(testNow.AddDate(years, 0, 0)),
			})
			require.NoError(t, err)
			check(t, v)
		}
	})
	t.Run("everything else counts", func(t *testing.T) {
		v := at(2)
		_, err := v.VerifyLapsed(c, identity.RoleApplication)
		require.ErrorIs(t, err, identity.ErrRole)
		_, err = newPKI(t).verifier(t).VerifyLapsed(c, 0)
		require.ErrorIs(t, err, identity.ErrUntrusted)
		_, err = newPKI(t).verifier(t).VerifyClientLapsed(chain)
		require.ErrorIs(t, err, identity.ErrUntrusted)
		_, err = at(-1).VerifyLapsed(c, 0)
		require.ErrorIs(t, err, identity.ErrNotYetValid)
		other := c
		other.Endorsement = p.credential(t, p.leaf(t, "D-2", k), k, dh).Endorsement
		_, err = v.VerifyLapsed(other, 0)
		require.ErrorIs(t, err, identity.ErrEndorsement)
		_, err = v.VerifyLapsed(identity.Credential{}, 0)
		require.ErrorIs(t, err, identity.ErrCredential)
		_, err = v.VerifyClientLapsed(nil)
		require.ErrorIs(t, err, identity.ErrUntrusted)
		instance := parseCert(t, p.leaf(t, "A-1--2", k))
		_, err = now.VerifyClientLapsed([]*x509.Certificate{instance})
		require.ErrorIs(t, err, identity.ErrProfile)
		_, err = now.VerifyClientLapsed([]*x509.Certificate{parseCert(t, p.sign(t, serverTemplate(), k.Public()))})
		require.ErrorIs(t, err, identity.ErrProfile)
	})
}

// roots trusts the root alone, years later.
func roots(t *testing.T, p *pki, years int) *identity.Verifier {
	v, err := identity.NewVerifier(identity.VerifierConfig{
		Roots: []*x509.Certificate{p.root}, Now: func() time.Time { return testNow.AddDate(years, 0, 0) },
	})
	require.NoError(t, err)
	return v
}
