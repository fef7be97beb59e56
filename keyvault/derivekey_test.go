package keyvault_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/secret/secrettest"
	"github.com/semio-iot/semio/keyvault"
)

func macKey() keyvault.KeyInfo {
	return keyvault.KeyInfo{Type: keyvault.TypeMAC, Usage: keyvault.UsageSign, Index: 1, Version: 2, Label: "meter log"}
}

// The same key after a power-up, another for every other argument, chip and use.
func TestDeriveKey(t *testing.T) {
	v, c, store := enroll(t, 1)
	other, _, _ := enroll(t, 2)
	mac := func(v *keyvault.Vault, edit func(*keyvault.KeyInfo), context string) string {
		i := macKey()
		if edit != nil {
			edit(&i)
		}
		k, err := v.DeriveKey(i, []byte(context))
		require.NoError(t, err)
		require.Equal(t, i, k.Info())
		tag, err := k.MAC([]byte("message"))
		require.NoError(t, err)
		require.NoError(t, k.VerifyMAC([]byte("message"), tag))
		return string(tag)
	}
	want := mac(v, nil, "a")
	require.Equal(t, want, mac(open(t, c, store), nil, "a"))
	seen := map[string]bool{want: true}
	for _, tag := range []string{
		mac(other, nil, "a"), mac(v, nil, "b"), mac(v, nil, ""),
		mac(v, func(i *keyvault.KeyInfo) { i.Index++ }, "a"), mac(v, func(i *keyvault.KeyInfo) { i.Version++ }, "a"),
		mac(v, func(i *keyvault.KeyInfo) { i.Label += "a" }, ""), mac(v, func(i *keyvault.KeyInfo) { i.Usage |= keyvault.UsageDerive }, "a"),
	} {
		require.False(t, seen[tag])
		seen[tag] = true
	}

	// It is none that Derive gives, and comes out only if it may.
	i := macKey()
	i.Usage |= keyvault.UsageExport
	k, err := v.DeriveKey(i, []byte("a"))
	require.NoError(t, err)
	var raw []byte
	require.NoError(t, k.Export(func(key []byte) error {
		raw = append(raw, key...)
		return nil
	}))
	require.Len(t, raw, 32)
	h := hmac.New(sha256.New, raw)
	h.Write([]byte("message"))
	tag, err := k.MAC([]byte("message"))
	require.NoError(t, err)
	require.Equal(t, h.Sum(nil), tag)
	bytes, err := v.Derive(i.Label, []byte("a"), 32)
	require.NoError(t, err)
	require.NotEqual(t, raw, bytes)
	secrettest.Hides(t, k, raw)
}

func TestDeriveKeyWorksAsLockedOnesDo(t *testing.T) {
	v, _, _ := enroll(t, 1)
	aes := keyvault.KeyInfo{Type: keyvault.TypeAES, Usage: keyvault.UsageEncrypt, Label: "records"}
	k, err := v.DeriveKey(aes, nil)
	require.NoError(t, err)
	sealed, err := k.Seal(nil, []byte("21.5"), nil)
	require.NoError(t, err)
	again, err := v.DeriveKey(aes, nil)
	require.NoError(t, err)
	plain, err := again.Open(nil, sealed, nil)
	require.NoError(t, err)
	require.Equal(t, "21.5", string(plain))
	_, err = k.MAC(nil)
	require.ErrorIs(t, err, keyvault.ErrUsage)
	require.ErrorIs(t, k.Export(func([]byte) error { return nil }), keyvault.ErrUsage)

	// It wraps a locked key for another system.
	wrapping, err := v.DeriveKey(keyvault.KeyInfo{Type: keyvault.TypeAES, Usage: keyvault.UsageWrap, Label: "to the back-end"}, nil)
	require.NoError(t, err)
	locked := imported(t, v, keyvault.TypeMAC, keyvault.UsageSign|keyvault.UsageExport, testSecret(3))
	wrapped, err := wrapping.Wrap(locked)
	require.NoError(t, err)
	code, err := wrapping.Unwrap(macKey(), wrapped)
	require.NoError(t, err)
	_, err = v.OpenKey(t.Context(), code, nil)
	require.NoError(t, err)

	for name, bad := range map[string]keyvault.KeyInfo{
		"a signing key": {Type: keyvault.TypeSign, Usage: keyvault.UsageSign, Label: "x"}, "no use": {Type: keyvault.TypeAES, Label: "x"},
		"no label": {Type: keyvault.TypeAES, Usage: keyvault.UsageEncrypt},
	} {
		_, err := v.DeriveKey(bad, nil)
		require.ErrorIs(t, err, keyvault.ErrArgument, name)
	}
	_, err = v.DeriveKey(aes, make([]byte, 65260))
	require.ErrorIs(t, err, keyvault.ErrArgument)
	aes.Label = string(make([]byte, 255))
	_, err = v.DeriveKey(aes, make([]byte, 65259))
	require.NoError(t, err)

	require.NoError(t, v.Close())
	_, err = k.Seal(nil, nil, nil)
	require.ErrorIs(t, err, keyvault.ErrClosed)
	_, err = v.DeriveKey(macKey(), nil)
	require.ErrorIs(t, err, keyvault.ErrClosed)
}
