package keyvault_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/keyvault"
)

func testSecret(seed byte) []byte {
	sum := sha256.Sum256([]byte{seed})
	return sum[:]
}

// fromSecret gives a vault whose secret lies sealed in store, so to say.
func fromSecret(t testing.TB, secret []byte, store *memory) *keyvault.Vault {
	t.Helper()
	require.NoError(t, store.Put(t.Context(), "sealed", []byte("a blob")))
	v, err := keyvault.FromSecret(secret, store, "sealed")
	require.NoError(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func TestSecretIsARootOfTrust(t *testing.T) {
	roottest.TestRoot(t, func(t *testing.T) roottest.Harness {
		return roottest.Harness{
			Open:  func(t *testing.T) devicegw.Root { return fromSecret(t, testSecret(1), newMemory()) },
			Other: func(t *testing.T) devicegw.Root { return fromSecret(t, testSecret(2), newMemory()) },
		}
	})
}

// The expected values were made with another implementation, Python's hmac, from the labels and encodings as documented.
func TestFromSecretVector(t *testing.T) {
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(i)
	}
	v := fromSecret(t, secret, newMemory())
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		return b
	}
	got, err := v.Derive("label", []byte("context"), 40)
	require.NoError(t, err)
	require.Equal(t, unhex("a95330cbd4d567699c5b335fead17cfd6be47673d2abfbe56dc3a4f38aede47baf364c77fddf8b47"), got)
	signing, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), unhex("50e33e1aff26ed5ad46c51a9c037914335466f57b51654a85e44bcfa527cef54"))
	require.NoError(t, err)
	require.True(t, signing.PublicKey.Equal(v.Signer().Public()))
	agreement, err := ecdh.P256().NewPrivateKey(unhex("8b59944de3ef4290c4ac5803772bd7aeebc67793de139b5762e8a10df9e88073"))
	require.NoError(t, err)
	require.True(t, agreement.PublicKey().Equal(v.KeyExchanger().PublicKey()))
	require.Equal(t, [32]byte{}, v.HelperHash())
	require.Equal(t, fuzzy.Report{}, v.Report())
}

func TestFromSecretKeepsNothingOfTheCallers(t *testing.T) {
	secret := testSecret(1)
	v := fromSecret(t, secret, newMemory())
	require.Equal(t, testSecret(1), secret, "the secret was written to")
	before, err := v.Derive("label", nil, 32)
	require.NoError(t, err)
	clear(secret)
	after, err := v.Derive("label", nil, 32)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// Every bit and the length of the secret count.
func TestFromSecretSeparates(t *testing.T) {
	seen := map[string]bool{}
	add := func(secret []byte) {
		b, err := fromSecret(t, secret, newMemory()).Derive("label", nil, 32)
		require.NoError(t, err)
		require.False(t, seen[string(b)], "%d bytes give keys that another secret has", len(secret))
		seen[string(b)] = true
	}
	secret := testSecret(1)
	for n := range 2 {
		add(append(bytes.Clone(secret), make([]byte, 32*n)...))
		add(append(bytes.Clone(secret), bytes.Repeat([]byte{0}, 32*n+1)...))
	}
	for i := range 8 * len(secret) {
		flipped := bytes.Clone(secret)
		flipped[i/8] ^= 1 << (i % 8)
		add(flipped)
	}
}

func TestFromSecretRefuses(t *testing.T) {
	good := testSecret(1)
	for name, c := range map[string]struct {
		secret []byte
		store  keyvault.Store
		name   string
	}{
		"nil":            {nil, newMemory(), "sealed"},
		"empty":          {[]byte{}, newMemory(), "sealed"},
		"short":          {good[:31], newMemory(), "sealed"},
		"zeros":          {make([]byte, 32), newMemory(), "sealed"},
		"erased flash":   {bytes.Repeat([]byte{0xff}, 64), newMemory(), "sealed"},
		"without store":  {good, nil, "sealed"},
		"without a name": {good, newMemory(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := keyvault.FromSecret(c.secret, c.store, c.name)
			require.ErrorIs(t, err, keyvault.ErrArgument)
			require.Nil(t, v)
		})
	}
}

func TestFromSecretDestroy(t *testing.T) {
	store := newMemory()
	require.NoError(t, store.Put(t.Context(), "other", []byte("stays")))
	v := fromSecret(t, testSecret(1), store)
	root := keyvault.RootKey(v)

	store.keep = true
	require.ErrorIs(t, v.Destroy(context.Background()), keyvault.ErrStore)
	_, err := v.Derive("label", nil, 32)
	require.NoError(t, err, "what brings the secret back is still there")
	store.keep = false

	require.NoError(t, v.Destroy(context.Background()))
	require.Equal(t, map[string][]byte{"other": []byte("stays")}, store.values)
	_, err = root.Derive("label", nil, 32)
	require.ErrorIs(t, err, keyvault.ErrClosed, "the root key is cleared")
	_, err = v.Derive("label", nil, 32)
	require.ErrorIs(t, err, keyvault.ErrClosed)
}

func TestFromSecretCloseWipes(t *testing.T) {
	store := newMemory()
	v := fromSecret(t, testSecret(1), store)
	root := keyvault.RootKey(v)
	require.NoError(t, v.Close())
	_, err := root.Derive("label", nil, 32)
	require.ErrorIs(t, err, keyvault.ErrClosed)
	require.NotEmpty(t, store.values, "Close is not Destroy")
}
