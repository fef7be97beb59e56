package tpm_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault/tpm"
)

// records are those of a swtpm 0.7.1, without and with a policy of PCRs 0, 7 and 23.
func records(t testing.TB) map[string][]byte {
	out := map[string][]byte{}
	for _, name := range []string{"plain", "policy"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
		require.NoError(t, err)
		out[name], err = hex.DecodeString(strings.TrimSpace(string(b)))
		require.NoError(t, err)
	}
	return out
}

func TestParseRecord(t *testing.T) {
	for name, record := range records(t) {
		t.Run(name, func(t *testing.T) {
			again, err := tpm.ParseRecord(record)
			require.NoError(t, err)
			require.Equal(t, record, again)
		})
	}
}

func TestParseRecordRefuses(t *testing.T) {
	all := records(t)
	change := func(name string, f func(b []byte) []byte) []byte { return f(bytes.Clone(all[name])) }
	set := func(name string, at int, value ...byte) []byte {
		return change(name, func(b []byte) []byte { copy(b[at:], value); return b })
	}
	const private = 42 + 46 // offset of its size, without policy
	for name, b := range map[string][]byte{
		"nil":                      nil,
		"empty":                    {},
		"magic alone":              []byte("SEMT"),
		"magic of a locked blob":   set("plain", 0, []byte("SEML")...),
		"version 0":                set("plain", 4, 0),
		"version 2":                set("plain", 4, 2),
		"PCRs without policy":      set("plain", 5, 1),
		"policy without PCRs":      set("policy", 5, 0, 0, 0),
		"public area of no bytes":  set("plain", 40, 0, 0),
		"public area too long":     set("plain", 40, 0xff, 0xff),
		"an RSA key":               set("plain", 42, 0, 1),
		"SHA-384 name":             set("plain", 44, 0, 0x0c),
		"sensitive data elsewhere": set("plain", 46, 0, 0, 4, 0x72),
		"may be duplicated":        set("plain", 46, 0, 0, 4, 0x40),
		"a password beside policy": set("policy", 46, 0, 0, 4, 0x52),
		"policy of another length": set("policy", 50, 0, 31),
		"a scheme":                 set("plain", 52, 0, 5),
		"unique of another length": set("plain", 54, 0, 31),
		"private area of none":     change("plain", func(b []byte) []byte { return append(b[:private], 0, 0) }),
		"no private area":          change("plain", func(b []byte) []byte { return b[:private] }),
		"half a size":              change("plain", func(b []byte) []byte { return b[:private+1] }),
		"private area too long": change("plain", func(b []byte) []byte {
			return append(append(b[:private], 0x04, 0x01), make([]byte, 1025)...)
		}),
		"private area cut": change("plain", func(b []byte) []byte { return b[:len(b)-1] }),
		"a byte more":      change("policy", func(b []byte) []byte { return append(b, 0) }),
	} {
		t.Run(name, func(t *testing.T) {
			again, err := tpm.ParseRecord(b)
			require.ErrorIs(t, err, tpm.ErrMalformed)
			require.Nil(t, again)
		})
	}
	longest := change("plain", func(b []byte) []byte { return append(append(b[:private], 4, 0), make([]byte, 1024)...) })
	_, err := tpm.ParseRecord(longest)
	require.NoError(t, err)
}

// A record is refused, or has one encoding only.
func FuzzParseRecord(f *testing.F) {
	for _, record := range records(f) {
		f.Add(record)
	}
	f.Add([]byte("SEMT\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		again, err := tpm.ParseRecord(b)
		require.Equal(t, before, b)
		if err != nil {
			require.ErrorIs(t, err, tpm.ErrMalformed)
			return
		}
		require.Equal(t, b, again)
	})
}
