package fuzzy_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/internal/secret/secrettest"
)

func testKey(t *testing.T) *fuzzy.RootKey {
	key, _ := enroll(t, fuzzy.SRAM1K(), 1, fuzzy.NewChip(50, fuzzy.Balanced(0.5, 0.05)).Enrolled())
	return key
}

func TestDeriveSeparates(t *testing.T) {
	key := testKey(t)
	seen := map[string]string{}
	for _, c := range []struct {
		label, context string
		n              int
	}{
		{"a", "", 32}, {"a", "b", 32}, {"ab", "", 32}, {"a", "bc", 32}, {"ab", "c", 32}, {"abc", "", 32},
		{"a", "\x00", 32}, {"a\x00", "", 32}, {"a\x00\x01", "", 32}, {"a", "", 33}, {"a", "", 64}, {"A", "", 32},
	} {
		out, err := key.Derive(c.label, []byte(c.context), c.n)
		require.NoError(t, err)
		require.Len(t, out, c.n)
		head := string(out[:32])
		require.NotContains(t, seen, head, "%+v and %s", c, seen[head])
		seen[head] = fmt.Sprintf("%+v", c)
	}
	one, err := key.Derive("a", nil, 32)
	require.NoError(t, err)
	two, err := key.Derive("a", []byte{}, 32)
	require.NoError(t, err)
	require.Equal(t, one, two)
	one[0] ^= 1
	again, err := key.Derive("a", nil, 32)
	require.NoError(t, err)
	require.Equal(t, two, again, "the result is the caller's own")
}

func TestDeriveRefuses(t *testing.T) {
	key := testKey(t)
	for name, c := range map[string]struct {
		label   string
		context []byte
		n       int
	}{
		"no label":         {"", nil, 32},
		"long label":       {strings.Repeat("x", 256), nil, 32},
		"long context":     {"x", make([]byte, 1<<16), 32},
		"nothing":          {"x", nil, 0},
		"negative":         {"x", nil, -1},
		"more than expand": {"x", nil, 255*32 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := key.Derive(c.label, c.context, c.n)
			require.ErrorIs(t, err, fuzzy.ErrDerive)
			require.Nil(t, out)
		})
	}
	out, err := key.Derive(strings.Repeat("x", 255), make([]byte, 1<<16-1), 255*32)
	require.NoError(t, err)
	require.Len(t, out, 8160)
}

func TestWipe(t *testing.T) {
	key := testKey(t)
	for range 3 {
		key.Wipe()
		out, err := key.Derive("x", nil, 32)
		require.ErrorIs(t, err, fuzzy.ErrWiped)
		require.Nil(t, out)
	}
	var zero fuzzy.RootKey
	_, err := zero.Derive("x", nil, 32)
	require.ErrorIs(t, err, fuzzy.ErrWiped)
	zero.Wipe()
}

// Under the race detector: a key or an error, nothing between.
func TestWipeDuringDerive(t *testing.T) {
	key := testKey(t)
	want := derive(t, key)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				out, err := key.Derive("test", nil, 32)
				if err == nil && !bytes.Equal(out, want) {
					t.Error("a key from half-wiped bytes")
				}
			}
		})
	}
	key.Wipe()
	wg.Wait()
}

// TestRootKeyNeverShows prints and encodes a key in every way the standard library
// knows, and looks for its bytes.
func TestRootKeyNeverShows(t *testing.T) {
	key := testKey(t)
	hidden := fuzzy.KeyBytes(key)
	require.Len(t, hidden, 32)
	type holder struct {
		Name string
		Key  *fuzzy.RootKey
		key  *fuzzy.RootKey
	}
	h := holder{"x", key, key}

	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%p"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", key, h, &h)
	}
	fmt.Fprintln(&out, key, h, []any{key}, map[string]any{"k": key}, fmt.Errorf("%v", key))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("m", "key", key, "holder", h, slog.Group("g", "key", key))
	}
	if b, err := json.Marshal(h); err == nil {
		out.Write(b)
	}
	if b, err := xml.Marshal(struct{ K *fuzzy.RootKey }{key}); err == nil {
		out.Write(b)
	}
	var encoded bytes.Buffer
	require.Error(t, gob.NewEncoder(&encoded).Encode(key))
	out.Write(encoded.Bytes())

	secrettest.Hides(t, key, hidden)

	shown := out.String()
	require.Contains(t, shown, "redacted")
	for i := 0; i+4 <= len(hidden); i++ {
		part := hidden[i : i+4]
		for _, form := range []string{
			string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)),
			fmt.Sprintf("% x", part), strings.Trim(fmt.Sprint(part), "[]"), strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"),
		} {
			require.NotContains(t, shown, form)
		}
	}
	_ = h.key
}
