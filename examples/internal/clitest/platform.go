package clitest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/adminhttp"
)

// Platform is a platform in the test's process whose administration serves until the test ends. It has no broker.
type Platform struct {
	*platform.Service
	URL string
}

// NewPlatform starts one; its operator is O-ALICE.
func NewPlatform(t testing.TB, a *Authority) *Platform {
	t.Helper()
	me := a.Party("P-SEMIO")
	der, err := me.ServerRequest([]string{"127.0.0.1"})
	require.NoError(t, err)
	req, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	chain, err := a.IssueServer(req.PublicKey, me.ID(), []string{"127.0.0.1"})
	require.NoError(t, err)
	require.NoError(t, me.InstallServer(chain))
	cert, err := me.Server()
	require.NoError(t, err)
	cred, err := me.Credential()
	require.NoError(t, err)
	store := platform.NewMemStore()
	p := &Platform{}
	p.Service, err = platform.Open(t.Context(), platform.Config{
		Credential: cred, Signer: me.Signer(), Key: me.Key(), Roots: a.Roots, Store: store, Broker: "mqtts://broker.invalid",
	})
	require.NoError(t, err)
	v, err := me.Verifier()
	require.NoError(t, err)
	alice, err := identity.ParseOperatorID("O-ALICE")
	require.NoError(t, err)
	s, err := adminhttp.New(adminhttp.Config{
		Service: p.Service, Verifier: v, Operators: []identity.OperatorID{alice},
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
	})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.URL = "https://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, store.Close())
	})
	return p
}
