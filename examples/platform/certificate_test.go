package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

// A server certificate that comes to its end is renewed, at the start and while the platform runs; where that fails the old one serves
// on, and the operator is told.
func TestServerCertificateIsRenewed(t *testing.T) {
	a := clitest.NewAuthority(t, -80*24*time.Hour)
	p := a.Party("P-SEMIO")
	hosts := []string{"127.0.0.1"}
	at := func(url string) *cahttp.Client {
		c, err := p.TLS()
		require.NoError(t, err)
		client, err := cahttp.NewClient(cahttp.ClientConfig{URL: url, Roots: a.Roots, Certificate: &c})
		require.NoError(t, err)
		t.Cleanup(client.Close)
		return client
	}
	// The authority's own server has a certificate of a week, so its clock is right while it is asked.
	req, err := p.ServerRequest(hosts)
	require.NoError(t, err)
	parsed, err := ca.ParseServerRequest(req)
	require.NoError(t, err)
	chain, err := a.IssueServer(parsed.PublicKey, parsed.ID.ID, hosts)
	require.NoError(t, err)
	require.NoError(t, p.InstallServer(chain))
	until := func(p *party.Party) time.Duration {
		c, err := p.Server()
		require.NoError(t, err)
		return time.Until(c.Leaf.NotAfter)
	}
	require.Less(t, until(p), 11*24*time.Hour)

	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	c, err := openCertificate(t.Context(), p, hosts, at("https://127.0.0.1:1"), logger)
	require.NoError(t, err)
	require.Contains(t, log.String(), "server certificate must be renewed; the present one still serves")
	old, err := c.get(nil)
	require.NoError(t, err)
	require.Equal(t, chain, old.Certificate)
	_, err = openCertificate(t.Context(), p, hosts, nil, logger)
	require.NoError(t, err)
	require.Contains(t, log.String(), "without -ca it is renewed by hand: server-request, and install")

	a.SetSkew(0)
	c.authority = at(a.Serve())
	c.check(t.Context())
	fresh, err := c.get(nil)
	require.NoError(t, err)
	require.NotEqual(t, chain, fresh.Certificate)
	require.Greater(t, until(p), 80*24*time.Hour, "and the folder has it")
	c.check(t.Context())
	again, err := c.get(nil)
	require.NoError(t, err)
	require.Equal(t, fresh, again, "not before it is due")
}
