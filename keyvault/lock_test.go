package keyvault_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
)

func TestLock(t *testing.T) {
	v, c, store := enroll(t, 1)
	again := open(t, c, store)
	for _, size := range []int{0, 1, 15, 16, 17, 1000, 100_000} {
		for _, label := range []string{"l", strings.Repeat("l", 255), "\x00\xff"} {
			plain := bytes.Repeat([]byte{0x5c}, size)
			blob, err := v.Lock(label, plain)
			require.NoError(t, err)
			require.Len(t, blob, size+keyvault.Overhead)
			require.Equal(t, []byte("SEML\x01\x01"), blob[:6])
			got, err := again.Unlock(label, blob)
			require.NoError(t, err)
			require.NotNil(t, got)
			require.True(t, bytes.Equal(plain, got))
			require.Equal(t, bytes.Repeat([]byte{0x5c}, size), plain, "the plaintext was written to")
		}
	}
	for _, label := range []string{"", strings.Repeat("l", 256)} {
		blob, err := v.Lock(label, nil)
		require.ErrorIs(t, err, keyvault.ErrArgument)
		require.Nil(t, blob)
	}
}

func TestUnlockRefuses(t *testing.T) {
	v, _, _ := enroll(t, 1)
	other, _, _ := enroll(t, 2)
	blob, err := v.Lock("label", []byte("secret"))
	require.NoError(t, err)
	foreign, err := other.Lock("label", []byte("secret"))
	require.NoError(t, err)
	empty, err := v.Lock("label", nil)
	require.NoError(t, err)

	refused := func(label string, b []byte, why string, args ...any) {
		t.Helper()
		before := bytes.Clone(b)
		plain, err := v.Unlock(label, b)
		require.ErrorIs(t, err, keyvault.ErrUnlock, why, args)
		require.Equal(t, "unlock: "+keyvault.ErrUnlock.Error(), err.Error(), "the error must not tell why")
		require.Nil(t, plain)
		require.Equal(t, before, b)
	}
	for i := range 8 * len(blob) {
		b := bytes.Clone(blob)
		b[i/8] ^= 1 << (i % 8)
		refused("label", b, "bit %d", i)
	}
	for n := range len(blob) {
		refused("label", blob[:n], "cut to %d", n)
		refused("label", blob[n+1:], "from %d", n+1)
	}
	for n := range len(empty) {
		refused("label", empty[:n], "empty cut to %d", n)
	}
	refused("label", append(bytes.Clone(blob), 0), "lengthened")
	refused("label", append([]byte{0}, blob...), "shifted")
	refused("label", foreign, "another chip")
	for _, label := range []string{"", "Label", "labe", "labell", "label\x00", strings.Repeat("l", 256), "l"} {
		refused(label, blob, "label %q", label)
	}
	plain, err := v.Unlock("label", blob)
	require.NoError(t, err, "and the blob itself opens")
	require.Equal(t, "secret", string(plain))
}

// What TLS libraries and certificates ask of a validated module holds: the vault works with nothing else allowed.
func TestUnderFIPSOnly(t *testing.T) {
	const variable = "SEMIO_KEYVAULT_FIPS_CHILD"
	if os.Getenv(variable) != "" {
		v, c, store := enroll(t, 1)
		blob, err := v.Lock("label", []byte("secret"))
		require.NoError(t, err)
		again := open(t, c, store)
		got, err := again.Unlock("label", blob)
		require.NoError(t, err)
		require.Equal(t, "secret", string(got))
		TestSigner(t)
		TestKeyExchanger(t)
		fmt.Println("fips child done")
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestUnderFIPSOnly$")
	cmd.Env = append(os.Environ(), variable+"=1", "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "fips140: ") && strings.Contains(string(out), "not supported") {
		t.Skipf("this platform has no FIPS mode: %s", out)
	}
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "fips child done")
}

func FuzzUnlock(f *testing.F) {
	v, _, _ := enroll(f, 1)
	blob, err := v.Lock("label", []byte("secret"))
	require.NoError(f, err)
	f.Add("label", []byte{}, uint16(0), byte(0))
	f.Add("label", blob, uint16(0), byte(1))
	f.Add("other", blob, uint16(7), byte(0))
	f.Add("", blob[:20], uint16(1), byte(0x80))
	f.Add("label", []byte("SEML\x01\x01"), uint16(3), byte(0))
	f.Fuzz(func(t *testing.T, label string, junk []byte, at uint16, flip byte) {
		// Junk never opens: finding a blob takes breaking GCM.
		if plain, err := v.Unlock(label, junk); !bytes.Equal(junk, blob) || label != "label" {
			require.ErrorIs(t, err, keyvault.ErrUnlock)
			require.Nil(t, plain)
		}
		// And whatever is locked opens unless it was changed.
		locked, err := v.Lock(label, junk)
		if label == "" || len(label) > 255 {
			require.ErrorIs(t, err, keyvault.ErrArgument)
			return
		}
		require.NoError(t, err)
		locked[int(at)%len(locked)] ^= flip
		plain, err := v.Unlock(label, locked)
		if flip != 0 {
			require.ErrorIs(t, err, keyvault.ErrUnlock)
			return
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(junk, plain))
	})
}
