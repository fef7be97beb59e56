package keyvault_test

import (
	"bytes"
	"context"
	"crypto/cipher"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/keyvault"
)

// module seals as an HSM with an AES key would.
type module struct {
	cipher.AEAD
	fail, forget bool
}

func (m *module) Seal(_ context.Context, secret []byte) ([]byte, error) {
	if m.fail {
		return nil, errBroken
	}
	return m.AEAD.Seal(nil, nil, secret, nil), nil
}

func (m *module) Unseal(_ context.Context, sealed []byte) ([]byte, error) {
	if m.forget {
		return make([]byte, 32), nil
	}
	return m.AEAD.Open(nil, nil, sealed, nil)
}

func passphrase(t *testing.T, words string) keyvault.Sealer {
	t.Helper()
	s, err := keyvault.NewPassphrase([]byte(words))
	require.NoError(t, err)
	return keyvault.WithLogN(s, 4)
}

func TestSealedIsARootOfTrust(t *testing.T) {
	s := passphrase(t, "correct horse battery")
	roottest.TestRoot(t, func(t *testing.T) roottest.Harness {
		stores := [2]*memory{newMemory(), newMemory()}
		for _, store := range stores {
			_, err := keyvault.EnrollSealed(t.Context(), s, store, "")
			require.NoError(t, err)
		}
		opened := func(n int) func(t *testing.T) devicegw.Root {
			return func(t *testing.T) devicegw.Root {
				v, err := keyvault.OpenSealed(t.Context(), s, stores[n], "")
				require.NoError(t, err)
				return v
			}
		}
		return roottest.Harness{Open: opened(0), Other: opened(1)}
	})
}

func TestSealedVault(t *testing.T) {
	store := newMemory()
	_, err := keyvault.OpenSealed(t.Context(), passphrase(t, "correct horse battery"), store, "")
	require.ErrorIs(t, err, keyvault.ErrNotEnrolled)
	v, err := keyvault.EnrollSealed(t.Context(), passphrase(t, "correct horse battery"), store, "")
	require.NoError(t, err)
	_, err = keyvault.EnrollSealed(t.Context(), passphrase(t, "correct horse battery"), store, "")
	require.ErrorIs(t, err, keyvault.ErrEnrolled)
	again, err := keyvault.OpenSealed(t.Context(), passphrase(t, "correct horse battery"), store, "")
	require.NoError(t, err)
	require.Equal(t, v.Signer().Public(), again.Signer().Public())
	_, err = keyvault.OpenSealed(t.Context(), passphrase(t, "correct horse batterz"), store, "")
	require.ErrorIs(t, err, keyvault.ErrUnlock)
	require.ErrorContains(t, err, "wrong passphrase")

	sealed := bytes.Clone(store.values[keyvault.SealedName])
	for i := range sealed {
		if i == 5 {
			continue // the work factor: see below
		}
		store.values[keyvault.SealedName] = bytes.Clone(sealed)
		store.values[keyvault.SealedName][i] ^= 1
		_, err := keyvault.OpenSealed(t.Context(), passphrase(t, "correct horse battery"), store, "")
		require.ErrorIs(t, err, keyvault.ErrUnlock, "byte %d", i)
	}
	for _, logN := range []byte{0, 3, 5, 21, 255} {
		store.values[keyvault.SealedName] = bytes.Clone(sealed)
		store.values[keyvault.SealedName][5] = logN
		_, err := keyvault.OpenSealed(t.Context(), passphrase(t, "correct horse battery"), store, "")
		require.ErrorIs(t, err, keyvault.ErrUnlock, "2^%d", logN)
	}
	for n := range len(sealed) {
		store.values[keyvault.SealedName] = sealed[:n]
		_, err := keyvault.OpenSealed(t.Context(), passphrase(t, "correct horse battery"), store, "")
		require.ErrorIs(t, err, keyvault.ErrUnlock)
	}
	_, err = keyvault.NewPassphrase([]byte("too short"))
	require.ErrorIs(t, err, keyvault.ErrArgument)

	require.NoError(t, again.Destroy(t.Context()))
	require.NotContains(t, store.values, keyvault.SealedName)
}

func TestEnrollSealedRefuses(t *testing.T) {
	good := passphrase(t, "correct horse battery")
	for name, c := range map[string]struct {
		sealer keyvault.Sealer
		store  keyvault.Store
		want   error
	}{
		"no sealer":       {nil, newMemory(), keyvault.ErrArgument},
		"no store":        {good, nil, keyvault.ErrArgument},
		"sealer fails":    {&module{fail: true}, newMemory(), errBroken},
		"store forgets":   {good, &memory{forget: true}, keyvault.ErrStore},
		"store is broken": {good, &memory{fail: func(string, string) error { return errBroken }}, errBroken},
	} {
		_, err := keyvault.EnrollSealed(t.Context(), c.sealer, c.store, "")
		require.ErrorIs(t, err, c.want, name)
		if c.store == nil || c.sealer == nil {
			_, err := keyvault.OpenSealed(t.Context(), c.sealer, c.store, "")
			require.ErrorIs(t, err, c.want, name)
		}
	}
	store := newMemory()
	_, err := keyvault.EnrollSealed(t.Context(), forgetful{good}, store, "")
	require.ErrorIs(t, err, keyvault.ErrUnproved)
	require.Empty(t, store.values, "nothing is stored that does not open")
}

// forgetful unseals to something else.
type forgetful struct{ keyvault.Sealer }

func (forgetful) Unseal(context.Context, []byte) ([]byte, error) {
	return bytes.Repeat([]byte{1, 2}, 16), nil
}
