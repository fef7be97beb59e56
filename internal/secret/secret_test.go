package secret_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/secret"
)

// A printable key, so that %s and %q would show it as it is.
var key = []byte("THIS-IS-THE-KEY-OF-32-BYTES-LONG")

// mustNotShow fails when out holds the key in one of the forms in which Go prints bytes.
func mustNotShow(t *testing.T, out string) {
	t.Helper()
	decimal := strings.Trim(fmt.Sprint(key), "[]")
	low := strings.ToLower(out)
	for form, s := range map[string]string{
		"text":    string(key),
		"hex":     hex.EncodeToString(key),
		"spaced":  fmt.Sprintf("% x", key),
		"go":      strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", key), "[]byte{"), "}"),
		"decimal": decimal,
		"commas":  strings.ReplaceAll(decimal, " ", ","),
		"octal":   strings.Trim(fmt.Sprintf("%o", key), "[]"),
		"binary":  strings.Trim(fmt.Sprintf("%b", key), "[]"),
		"runes":   strings.Trim(fmt.Sprintf("%c", key), "[]"),
		"unicode": strings.Trim(fmt.Sprintf("%U", key), "[]"),
		"base64":  base64.StdEncoding.EncodeToString(key),
		"dump":    strings.TrimSpace(hex.Dump(key)[8:58]),
	} {
		// The first bytes are enough of a leak.
		require.NotContains(t, low, strings.ToLower(s[:min(len(s), 16)]), "the secret shows as %s in %q", form, out)
	}
}

type exported struct{ Key secret.Bytes }
type unexported struct{ key secret.Bytes }
type pointer struct{ key *secret.Bytes }
type deep struct {
	a []unexported
	m map[string]unexported
	i any
	p *unexported
	h [1]secret.Bytes
}
type embedded struct{ secret.Bytes }
type opaqueUser struct {
	secret.Opaque
	key secret.Bytes
}

func shapes() map[string]any {
	s := secret.New(key)
	return map[string]any{
		"value":               s,
		"pointer":             &s,
		"exported":            exported{s},
		"pointer to exported": &exported{s},
		"unexported":          unexported{s},
		"pointer to struct":   &unexported{s},
		"pointer field":       pointer{&s},
		"slice":               []secret.Bytes{s},
		"map":                 map[string]secret.Bytes{"k": s},
		"deep": &deep{
			a: []unexported{{s}}, m: map[string]unexported{"k": {s}}, i: s, p: &unexported{s}, h: [1]secret.Bytes{s},
		},
		"embedded":      embedded{s},
		"interface":     []any{s, &s, unexported{s}},
		"reflect":       reflect.ValueOf(unexported{s}),
		"opaque struct": opaqueUser{key: s},
	}
}

func TestNoVerbShows(t *testing.T) {
	for name, v := range shapes() {
		t.Run(name, func(t *testing.T) {
			for _, verb := range "vsxXqdobOcUTtpeEfFgGw!z" {
				for _, flags := range []string{"", "+", "#", " ", "0", "-60.40", "# "} {
					mustNotShow(t, fmt.Sprintf("%"+flags+string(verb), v))
				}
			}
			mustNotShow(t, fmt.Sprint(v))
			mustNotShow(t, fmt.Sprintln(v))
			mustNotShow(t, fmt.Sprintf("%*d %d", v, v, v))
			for _, format := range []string{"no verb", "%", "%[2]v", "%v %v"} {
				mustNotShow(t, fmt.Sprintf(format, v))
				mustNotShow(t, fmt.Errorf(format, v).Error())
			}
		})
	}
}

func TestRedactedIsSaid(t *testing.T) {
	s := secret.New(key)
	require.Equal(t, secret.Redacted, fmt.Sprintf("%v", s))
	require.Equal(t, secret.Redacted, fmt.Sprintf("%#v", s))
	require.Equal(t, secret.Redacted, fmt.Sprintf("%x", &s))
	require.Equal(t, "{[redacted]}", fmt.Sprintf("%s", exported{s}))
	require.Equal(t, secret.Redacted, s.String())
	require.Equal(t, secret.Redacted, s.GoString())
}

// recorder takes what a failed assertion would print.
type recorder struct{ strings.Builder }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// The diff of a failed comparison comes from a dumper that follows pointers and reads unexported fields.
func TestFailedAssertionShowsNothing(t *testing.T) {
	for name, v := range shapes() {
		t.Run(name, func(t *testing.T) {
			var r recorder
			assert.Equal(&r, v, reflect.New(reflect.TypeOf(v)).Elem().Interface())
			assert.Equal(&r, v, "another")
			assert.Empty(&r, v)
			require.NotEmpty(t, r.String())
			mustNotShow(t, r.String())
		})
	}
}

// reach collects every byte that reflection can read from v.
func reach(v reflect.Value, out *[]byte) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			reach(v.Elem(), out)
		}
	case reflect.Struct:
		if v.CanInterface() {
			if r, ok := v.Interface().(reflect.Value); ok {
				reach(r, out)
				return
			}
		}
		for i := range v.NumField() {
			reach(v.Field(i), out)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			reach(v.Index(i), out)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			reach(it.Value(), out)
		}
	case reflect.Uint8:
		*out = append(*out, byte(v.Uint()))
	}
}

func TestReflectionReachesNothing(t *testing.T) {
	var control []byte
	reach(reflect.ValueOf(struct{ a *struct{ b [4]byte } }{&struct{ b [4]byte }{[4]byte(key[:4])}}), &control)
	require.Equal(t, key[:4], control, "the walker must find what is not protected")

	for name, v := range shapes() {
		t.Run(name, func(t *testing.T) {
			var found []byte
			reach(reflect.ValueOf(v), &found)
			require.NotContains(t, string(found), string(key[:4]))
		})
	}
}

func TestEncodersShowNothing(t *testing.T) {
	s := secret.New(key)

	t.Run("json", func(t *testing.T) {
		out, err := json.Marshal(map[string]any{"v": s, "p": &s, "e": exported{s}, "u": unexported{s}})
		require.NoError(t, err)
		mustNotShow(t, string(out))
		require.Contains(t, string(out), `"p":"[redacted]"`)
		require.Contains(t, string(out), `"v":"[redacted]"`)
	})
	t.Run("text", func(t *testing.T) {
		out, err := s.MarshalText()
		require.NoError(t, err)
		require.Equal(t, secret.Redacted, string(out))
	})
	t.Run("xml", func(t *testing.T) {
		out, err := xml.Marshal(exported{s})
		require.NoError(t, err)
		mustNotShow(t, string(out))
		require.Contains(t, string(out), secret.Redacted)
	})
	for name, v := range map[string]any{"gob": s, "gob nested": exported{s}, "gob pointer": &exported{s}, "gob unexported": unexported{s}} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.Error(t, gob.NewEncoder(&out).Encode(v))
			mustNotShow(t, out.String())
		})
	}
	t.Run("binary", func(t *testing.T) {
		_, err := s.MarshalBinary()
		require.ErrorIs(t, err, secret.ErrEncode)
		out, err := s.AppendBinary([]byte("x"))
		require.ErrorIs(t, err, secret.ErrEncode)
		require.Equal(t, "x", string(out))
	})
	t.Run("asn1", func(t *testing.T) {
		out, err := asn1.Marshal(exported{s})
		require.Error(t, err)
		require.Empty(t, out)
	})
}

func TestSlogShowsNothing(t *testing.T) {
	for name, v := range shapes() {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
				l := slog.New(h)
				l.Info("key", "k", v)
				l.With("k", v).WithGroup("g").Info("key", slog.Group("h", slog.Any("k", v)))
			}
			require.NotZero(t, out.Len())
			mustNotShow(t, out.String())
		})
	}
}

func TestNewCopies(t *testing.T) {
	b := bytes.Clone(key)
	s := secret.New(b)
	clear(b)
	require.Equal(t, key, s.Expose())
	require.Equal(t, len(key), s.Len())
}

func TestExposeIsLiveAndCannotGrow(t *testing.T) {
	s := secret.New(key)
	a := s.Expose()
	require.Equal(t, len(a), cap(a), "an append would write beyond the secret, where Wipe does not reach")
	require.Same(t, &a[0], &s.Expose()[0])
}

func TestEqual(t *testing.T) {
	other := bytes.Clone(key)
	other[31] ^= 1
	for name, c := range map[string]struct {
		a, b secret.Bytes
		want bool
	}{
		"same bytes":     {secret.New(key), secret.New(key), true},
		"last bit":       {secret.New(key), secret.New(other), false},
		"shorter":        {secret.New(key), secret.New(key[:31]), false},
		"against empty":  {secret.New(key), secret.Bytes{}, false},
		"empty, zero":    {secret.New(nil), secret.Bytes{}, true},
		"zeros to empty": {secret.New(make([]byte, 4)), secret.Bytes{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, c.a.Equal(c.b))
			require.Equal(t, c.want, c.b.Equal(c.a))
		})
	}
}

func TestWipe(t *testing.T) {
	s := secret.New(key)
	dup, live := s, s.Expose()
	s.Wipe()
	require.Equal(t, make([]byte, len(key)), live, "Wipe must overwrite the bytes, not only drop them")
	require.Zero(t, s.Len())
	require.Zero(t, dup.Len(), "a copy must not outlive the wipe")
	require.Empty(t, dup.Expose())
	s.Wipe()
	dup.Wipe()
	require.True(t, s.Equal(secret.Bytes{}))
}

func TestZeroValue(t *testing.T) {
	var s secret.Bytes
	require.Zero(t, s.Len())
	require.Nil(t, s.Expose())
	s.Wipe()
	require.Equal(t, secret.Redacted, fmt.Sprint(s))
}

func TestNotComparable(t *testing.T) {
	require.False(t, reflect.TypeFor[secret.Bytes]().Comparable())
}
