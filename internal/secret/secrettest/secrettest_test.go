package secrettest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/secret"
	"github.com/semio-iot/semio/internal/secret/secrettest"
)

var key = []byte("THIS-IS-THE-KEY-OF-32-BYTES-LONG")

// What does not hide is found, in every way in which it may show.
func TestFinds(t *testing.T) {
	number, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), key)
	require.NoError(t, err)
	for name, v := range map[string]any{
		"bytes": key, "array": [32]byte(key), "text": string(key), "field": struct{ k []byte }{key},
		"only in JSON": onlyJSON{}, "signing key": struct{ S any }{number},
	} {
		require.NotEmpty(t, secrettest.Find(secrettest.All(v), key), name)
	}
}

type onlyJSON struct{}

func (onlyJSON) String() string               { return "hidden" }
func (onlyJSON) MarshalJSON() ([]byte, error) { return json.Marshal(key) }

func TestHides(t *testing.T) {
	secrettest.Hides(t, secret.New(key), key)
	secrettest.Hides(t, struct {
		S secret.Bytes
		s secret.Bytes
	}{secret.New(key), secret.New(key)}, key)
}
