package broker_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/secret/secrettest"
	"github.com/semio-iot/semio/platform/broker"
)

// Neither a broker nor its configuration shows the server's key.
func TestNothingShows(t *testing.T) {
	a, verifier := newCA(t)
	key := newKey(t)
	raw, err := key.Bytes()
	require.NoError(t, err)
	id, err := identity.ParseID("P-1")
	require.NoError(t, err)
	chain, err := a.IssueServer(key.Public(), id, []string{"localhost"})
	require.NoError(t, err)
	cfg := broker.Config{
		Cert: tls.Certificate{Certificate: chain, PrivateKey: key}, Verifier: verifier, Authorizer: newRules(), Listen: "127.0.0.1:0",
	}
	b, err := broker.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	secrettest.HidesItself(t, cfg, raw)
	secrettest.Hides(t, b, raw)
}
