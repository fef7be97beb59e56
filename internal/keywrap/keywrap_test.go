package keywrap_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/keywrap"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// file gives the path of a file with that content.
func file(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

func needOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
}

// RFC 5649, section 6.
func TestKeyWrapVectors(t *testing.T) {
	kek := unhex(t, "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for key, want := range map[string]string{
		"c37b7e6492584340bed12207808941155068f738": "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
		"466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
	} {
		got, err := keywrap.Wrap(kek, unhex(t, key))
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(got))
		back, err := keywrap.Unwrap(kek, got)
		require.NoError(t, err)
		require.Equal(t, key, hex.EncodeToString(back))
	}
}

// NIST's CAVP vectors of SP 800-38F's KWP with a 256-bit key (kwtestvectors, KWP_AE_256): the first of each of the four short lengths.
func TestKeyWrapNIST(t *testing.T) {
	for _, v := range []struct{ kek, key, wrapped string }{
		{"2800f18237cf8d2ba1dfe361784fd7519b0fdb0ec73e2ab1c0b966b9173fc5b5", "ad", "c1eccf2d077a385e67aaeb35552c893c"},
		{"1c997c2bb5a15a4593e337b3249675d557467417917f6bc5165c9af6a3e29504", "3e3eafc50cd4e939", "163eb9e7dbc8ed0086dffbc6ab00e329"},
		{"8df1533f99be6fe60f951057fed1daccd14bd4e34118f24af677bbf46bf11fe7", "fb36b1f3907fb5edce",
			"6974d7bae0221b4ed91336c26af77e32761f6024d8bbf292"},
		{"dea4667d911b5c9ec996cdb35da0e29bc996cbfb0e0a56bac12fccc334d732eb", "25d58d437a56a7332a18541333201f9929fccde11b06844c19ba1ca224cfd6",
			"86d4e258391f15d7d4f0ab3e15d6f45e65dd2f8caf4c6720963bb8970fc2f3a4a58dc74674347ec9"},
	} {
		got, err := keywrap.Wrap(unhex(t, v.kek), unhex(t, v.key))
		require.NoError(t, err)
		require.Equal(t, v.wrapped, hex.EncodeToString(got))
		back, err := keywrap.Unwrap(unhex(t, v.kek), got)
		require.NoError(t, err)
		require.Equal(t, v.key, hex.EncodeToString(back))
	}
}

func TestKeyWrapRefusesEveryChange(t *testing.T) {
	kek := bytes.Repeat([]byte{0x42}, 32)
	for n := 1; n <= 40; n++ {
		key := bytes.Repeat([]byte{byte(n)}, n)
		wrapped, err := keywrap.Wrap(kek, key)
		require.NoError(t, err)
		require.Len(t, wrapped, 8+(n+7)/8*8)
		back, err := keywrap.Unwrap(kek, wrapped)
		require.NoError(t, err)
		require.Equal(t, key, back)
		for i := range 8 * len(wrapped) {
			bad := bytes.Clone(wrapped)
			bad[i/8] ^= 1 << (i % 8)
			_, err := keywrap.Unwrap(kek, bad)
			require.ErrorIs(t, err, keywrap.ErrUnwrap, "%d bytes, bit %d", n, i)
		}
		for _, bad := range [][]byte{nil, wrapped[:8], wrapped[:len(wrapped)-1], append(bytes.Clone(wrapped), 0), append(bytes.Clone(wrapped), wrapped[:8]...)} {
			_, err := keywrap.Unwrap(kek, bad)
			require.ErrorIs(t, err, keywrap.ErrUnwrap)
		}
	}
	for _, key := range [][]byte{nil, make([]byte, 1<<16)} {
		_, err := keywrap.Wrap(kek, key)
		require.ErrorIs(t, err, keywrap.ErrSize)
	}
}

// What only a wrong prefix, a length that does not fit and padding that is not zero would give, made with the same cipher.
func TestKeyWrapPadding(t *testing.T) {
	needOpenSSL(t)
	kek := bytes.Repeat([]byte{0x42}, 32)
	single := func(block string) []byte { // one block: the wrapping is the bare cipher
		out, err := exec.Command("openssl", "enc", "-aes-256-ecb", "-nopad", "-e", "-K", hex.EncodeToString(kek), "-in", file(t, unhex(t, block))).Output()
		require.NoError(t, err)
		return out
	}
	good, err := keywrap.Unwrap(kek, single("a65959a6000000050102030405000000"))
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
		_, err := keywrap.Unwrap(kek, single(block))
		require.ErrorIs(t, err, keywrap.ErrUnwrap, name)
	}
}

// OpenSSL wraps the same and reads ours.
func TestKeyWrapAgainstOpenSSL(t *testing.T) {
	needOpenSSL(t)
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
			ours, err := keywrap.Wrap(kek, key)
			require.NoError(t, err)
			require.Equal(t, run(kek, key, "-e"), ours, "%d bytes under %d", n, size)
			require.Equal(t, key, run(kek, ours, "-d"))
		}
	}
}
