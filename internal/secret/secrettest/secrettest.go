// Package secrettest looks for secrets in whatever the standard library can print, log or encode of a value.
package secrettest

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
)

// verbs has one of each kind of verb, and some that are none.
const verbs = "vsxXqdocUTtpew!z"

var flags = []string{"", "+", "#"}

// Hides fails the test if something shows one of the secrets of v: fmt with any verb and flag, an error made of v, a text or JSON
// handler of slog, encoding/json, gob or xml; of v alone and of what holds it in exported and unexported fields, slices and maps. A
// secret is looked for in all the forms in which Go prints bytes and numbers; it has at least 8 bytes.
//
// Nothing is asked of printers that read memory by reflection and ignore methods, as debuggers do.
func Hides(t testing.TB, v any, secrets ...[]byte) {
	t.Helper()
	type unexported struct{ v any }
	HidesItself(t, v, secrets...)
	hides(t, unexported{v}, secrets)
	hides(t, &unexported{v}, secrets)
}

// HidesItself is Hides without unexported fields around v. It is for a Config, which has its caller's key as it is: behind an unexported
// field fmt calls no method, and prints what a pointer points to if the verb is wrong for it.
func HidesItself(t testing.TB, v any, secrets ...[]byte) {
	t.Helper()
	type exported struct{ V any }
	for _, x := range []any{v, exported{v}, &exported{v}, []any{v}, map[string]any{"v": v}} {
		hides(t, x, secrets)
	}
}

func hides(t testing.TB, v any, secrets [][]byte) {
	t.Helper()
	if len(secrets) == 0 {
		t.Fatal("secrettest: no secret is given, so nothing could be found")
	}
	said := All(v)
	for _, s := range secrets {
		if form := Find(said, s); form != "" {
			t.Fatalf("a secret of %T shows as %s", v, form)
		}
	}
}

// All returns everything that the ways of printing say of v, in lower case.
func All(v any) string {
	var out strings.Builder
	for _, verb := range verbs {
		for _, flag := range flags {
			fmt.Fprintf(&out, "%"+flag+string(verb)+"\n", v)
		}
	}
	fmt.Fprintln(&out, v, fmt.Errorf("%v", v), fmt.Errorf("%w: %+v", errors.ErrUnsupported, v))
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		l := slog.New(h)
		l.Info("m", "v", v)
		l.With("v", v).WithGroup("g").Error("m", slog.Group("h", slog.Any("v", v)))
	}
	for _, encode := range []func(any) ([]byte, error){json.Marshal, xml.Marshal, encodeGob} {
		b, err := encode(v) // most refuse
		fmt.Fprintf(&out, "%s %q %x %v\n", b, b, b, err)
	}
	return strings.ToLower(out.String())
}

func encodeGob(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

// Find returns in which form a secret is in what [All] returned, "" for none. Its first bytes are enough of a leak.
func Find(said string, secret []byte) string {
	k := secret[:8]
	decimal := strings.Trim(fmt.Sprint(k), "[]")
	number := new(big.Int).SetBytes(secret)
	for form, s := range map[string]string{
		"text": string(k), "hex": hex.EncodeToString(k), "spaced hex": fmt.Sprintf("% x", k),
		"Go's syntax": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", k), "[]byte{"), "}"),
		"decimals":    decimal, "decimals with commas": strings.ReplaceAll(decimal, " ", ","), "decimals with commas and spaces": strings.ReplaceAll(decimal, " ", ", "),
		"octal": strings.Trim(fmt.Sprintf("%o", k), "[]"), "binary": strings.Trim(fmt.Sprintf("%b", k), "[]"),
		"runes": strings.Trim(fmt.Sprintf("%c", k), "[]"), "code points": strings.Trim(fmt.Sprintf("%U", k), "[]"),
		"base64": base64.StdEncoding.EncodeToString(k[:6]), "number": number.String()[:16],
	} {
		if strings.Contains(said, strings.ToLower(s)) {
			return form
		}
	}
	return ""
}
