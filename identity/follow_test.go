package identity_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestFollows(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	k, dh := newKey(t), newAgreement(t)
	made := func(name string, generation uint32, age time.Duration) *identity.Verified {
		c := leafTemplate(name)
		c.NotBefore = testNow.Add(-age)
		c.NotAfter = testNow.AddDate(10, 0, 0)
		leaf := p.sign(t, c, k.Public())
		e, err := identity.Endorse(k, leaf, dh.PublicKey(), identity.EndorseOptions{Generation: generation})
		require.NoError(t, err)
		got, err := v.Verify(identity.Credential{Chain: [][]byte{leaf}, Endorsement: e}, 0)
		require.NoError(t, err)
		return got
	}
	const day = 24 * time.Hour
	known := made("A-1", 7, 10*day)
	for _, k := range []struct {
		name string
		next *identity.Verified
		err  error
	}{
		{"the next", made("A-1", 8, day), nil},
		{"of the same moment", made("A-1", 8, 10*day), nil},
		{"the highest", made("A-1", 7+256, 10*day), nil},
		{"the highest after ten days", made("A-1", 7+256+240, 0), nil},
		{"the same", known, identity.ErrGeneration},
		{"the same generation", made("A-1", 7, day), identity.ErrGeneration},
		{"an earlier generation", made("A-1", 6, day), identity.ErrGeneration},
		{"an earlier certificate", made("A-1", 8, 10*day+time.Second), identity.ErrGeneration},
		{"too high", made("A-1", 7+257, 10*day), identity.ErrGeneration},
		{"too high after ten days", made("A-1", 7+257+240, 0), identity.ErrGeneration},
		{"the end of all generations", made("A-1", math.MaxUint32, 0), identity.ErrGeneration},
		{"of another name", made("A-2", 8, day), identity.ErrName},
	} {
		t.Run(k.name, func(t *testing.T) {
			if k.err == nil {
				require.NoError(t, k.next.Follows(known))
				return
			}
			require.ErrorIs(t, k.next.Follows(known), k.err)
		})
	}
	require.NoError(t, made("A-1", math.MaxUint32, 0).Follows(made("A-1", math.MaxUint32-1, day)))
}
