package identity_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestRekeyRequest(t *testing.T) {
	old, next := newKey(t), newKey(t)
	water, err := identity.ParseID("A-WATER")
	require.NoError(t, err)
	csr, err := identity.NewCSR(next, water, identity.CSROptions{Instance: "2"})
	require.NoError(t, err)
	b, err := identity.NewRekey(old, csr)
	require.NoError(t, err)
	r, err := identity.ParseRekey(b)
	require.NoError(t, err)
	require.Equal(t, "A-WATER--2", r.ClientID())
	require.True(t, r.PublicKey.Equal(next.Public()))
	require.NoError(t, r.Verify(&old.PublicKey))
	require.ErrorIs(t, r.Verify(&next.PublicKey), identity.ErrSignature, "the new key does not vouch for itself")
	require.ErrorIs(t, r.Verify(nil), identity.ErrKey)

	// The request that the signature covers cannot be exchanged.
	other, err := identity.NewCSR(newKey(t), water, identity.CSROptions{})
	require.NoError(t, err)
	c, err := identity.ParseCSR(other)
	require.NoError(t, err)
	require.ErrorIs(t, (&identity.RekeyRequest{CSR: c, Signature: r.Signature}).Verify(&old.PublicKey), identity.ErrSignature)

	for name, bad := range map[string][]byte{
		"empty":     nil,
		"version":   append([]byte{2}, b[1:]...),
		"truncated": b[:len(b)-1],
		"trailing":  append(slices.Clone(b), 0),
		"too long":  make([]byte, identity.MaxRekey+1),
		"bare CSR":  csr,
		"a bit":     flip(b, 40),
	} {
		_, err := identity.ParseRekey(bad)
		require.ErrorIs(t, err, identity.ErrCSR, name)
	}
	_, err = identity.NewRekey(next, csr)
	require.ErrorIs(t, err, identity.ErrCSR, "the same key")
	dev, err := identity.ParseID("D-1")
	require.NoError(t, err)
	csr, err = identity.NewCSR(next, dev, identity.CSROptions{})
	require.NoError(t, err)
	_, err = identity.NewRekey(old, csr)
	require.ErrorIs(t, err, identity.ErrRole)
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 1
	return b
}

// What is accepted has one encoding, and no input panics.
func FuzzParseRekey(f *testing.F) {
	id, _ := identity.ParseID("A-WATER")
	csr, err := identity.NewCSR(newKey(f), id, identity.CSROptions{})
	require.NoError(f, err)
	b, err := identity.NewRekey(newKey(f), csr)
	require.NoError(f, err)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := identity.ParseRekey(b)
		if err != nil {
			require.Nil(t, r)
			return
		}
		want := append([]byte{1, byte(len(r.DER) >> 8), byte(len(r.DER))}, r.DER...)
		want = append(append(want, byte(len(r.Signature))), r.Signature...)
		require.Equal(t, want, b)
	})
}
