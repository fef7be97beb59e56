package e2e_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/secret/secrettest"
)

// No verb, log or encoder shows a key: neither the master key nor those of a session, in no usual form.
func TestNothingPrintsAKey(t *testing.T) {
	x := newPair(t).establish(t)
	_, err := x.dev.Initiate(x.now, []byte("early data"))
	require.NoError(t, err)
	p, plat, _ := platformPair(t, newSide('D', "D-METER-2"))
	ex, init := ask(t, p, "body of a request")
	req, err := plat.OpenRequest(init)
	require.NoError(t, err)

	var forms []string
	for _, k := range append(e2e.Secrets(x.dev), e2e.Secrets(p)...) {
		require.NotEmpty(t, k)
		forms = append(forms, string(k), hex.EncodeToString(k), strings.ToUpper(hex.EncodeToString(k)),
			strings.Trim(fmt.Sprint(k), "[]"), strings.ReplaceAll(strings.Trim(fmt.Sprint(k), "[]"), " ", ", "))
	}
	var logged bytes.Buffer
	text, js := slog.New(slog.NewTextHandler(&logged, nil)), slog.New(slog.NewJSONHandler(&logged, nil))
	type holder struct {
		P *e2e.Peer
		p *e2e.Peer
	}
	for _, v := range []any{x.dev, p, ex, req, holder{x.dev, x.dev}, &holder{p, p}, []any{x.dev, ex}, map[string]any{"k": req}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			_, _ = fmt.Fprintf(&logged, verb+"\n", v)
		}
		text.Info("m", "v", v)
		js.Info("m", "v", v)
		b, err := json.Marshal(v)
		require.NoError(t, err)
		logged.Write(b)
	}
	require.Contains(t, logged.String(), "D-METER-1")
	for _, v := range []any{x.dev, p, ex, req} {
		secrettest.Hides(t, v, append(e2e.Secrets(x.dev), e2e.Secrets(p)...)...)
	}
	for _, f := range append(forms, "body of a request", "early data") {
		require.NotContains(t, logged.String(), f)
	}
}
