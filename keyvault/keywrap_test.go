package keyvault_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// RFC 5649, section 6.
func TestKeyWrapVectors(t *testing.T) {
	kek := unhex(t, "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for key, want := range map[string]string{
		"c37b7e6492584340bed12207808941155068f738": "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
		"466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
	} {
		got, err := keyvault.WrapKey(kek, unhex(t, key))
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(got))
		back, err := keyvault.UnwrapKey(kek, got)
		require.NoError(t, err)
		require.Equal(t, key, hex.EncodeToString(back))
	}
}

func TestKeyWrapRefusesEveryChange(t *testing.T) {
	kek := bytes.Repeat([]byte{0x42}, 32)
	for n := 1; n <= 40; n++ {
		key := bytes.Repeat([]byte{byte(n)}, n)
		wrapped, err := keyvault.WrapKey(kek, key)
		require.NoError(t, err)
		require.Len(t, wrapped, 8+(n+7)/8*8)
		back, err := keyvault.UnwrapKey(kek, wrapped)
		require.NoError(t, err)
		require.Equal(t, key, back)
		for i := range 8 * len(wrapped) {
			bad := bytes.Clone(wrapped)
			bad[i/8] ^= 1 << (i % 8)
			_, err := keyvault.UnwrapKey(kek, bad)
			require.ErrorIs(t, err, keyvault.ErrUnlock, "%d bytes, bit %d", n, i)
		}
		for _, bad := range [][]byte{nil, wrapped[:8], wrapped[:len(wrapped)-1], append(bytes.Clone(wrapped), 0), append(bytes.Clone(wrapped), wrapped[:8]...)} {
			_, err := keyvault.UnwrapKey(kek, bad)
			require.ErrorIs(t, err, keyvault.ErrUnlock)
		}
	}
	for _, key := range [][]byte{nil, make([]byte, 1<<16)} {
		_, err := keyvault.WrapKey(kek, key)
		require.ErrorIs(t, err, keyvault.ErrArgument)
	}
}

// What only a wrong prefix, a length that does not fit and padding that is not zero would give, made with the same cipher.
func TestKeyWrapPadding(t *testing.T) {
	kek := bytes.Repeat([]byte{0x42}, 32)
	single := func(block string) []byte { // one block: the wrapping is the bare cipher
		out, err := exec.Command("openssl", "enc", "-aes-256-ecb", "-nopad", "-e", "-K", hex.EncodeToString(kek), "-in", file(t, unhex(t, block))).Output()
		require.NoError(t, err)
		return out
	}
	needs(t, "openssl")
	good, err := keyvault.UnwrapKey(kek, single("a65959a6000000050102030405000000"))
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3, 4, 5}, good)
	for name, block := range map[string]string{
		"other prefix":         "a65959a7000000050102030405000000",
		"prefix of RFC 3394":   "a6a6a6a6a6a6a6a60102030405000000",
		"no length":            "a65959a6000000000000000000000000",
		"too long":             "a65959a6000000090102030405060708",
		"much too long":        "a65959a6ffffffff0102030405060708",
		"length wraps to 5":    "a65959a6800000050102030405000000",
		"padding not zero":     "a65959a6000000050102030405000001",
		"first of the padding": "a65959a6000000050102030405010000",
	} {
		_, err := keyvault.UnwrapKey(kek, single(block))
		require.ErrorIs(t, err, keyvault.ErrUnlock, name)
	}
}

// OpenSSL wraps the same and reads ours.
func TestKeyWrapAgainstOpenSSL(t *testing.T) {
	needs(t, "openssl")
	run := func(kek, in []byte, dir string) []byte {
		cipher := fmt.Sprintf("-id-aes%d-wrap-pad", 8*len(kek))
		out, err := exec.Command("openssl", "enc", cipher, dir, "-K", hex.EncodeToString(kek), "-iv", "A65959A6", "-in", file(t, in)).Output()
		require.NoError(t, err)
		return out
	}
	for _, size := range []int{16, 24, 32} {
		kek := bytes.Repeat([]byte{byte(size)}, size)
		for _, n := range []int{1, 7, 8, 9, 16, 20, 31, 32, 64, 300} {
			key := bytes.Repeat([]byte{byte(n)}, n)
			ours, err := keyvault.WrapKey(kek, key)
			require.NoError(t, err)
			require.Equal(t, run(kek, key, "-e"), ours, "%d bytes under %d", n, size)
			require.Equal(t, key, run(kek, ours, "-d"))
		}
	}
}
