package cahttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/httpapi"
	"github.com/semio-iot/semio/internal/secret"
)

// ClientConfig says how to reach an authority. URL is required, and one of Verifier and Roots.
type ClientConfig struct {
	secret.Opaque // a key may be within

	URL string // https://HOST:PORT
	// Verifier knows the authority's root, and by its lists those CAs whose key somebody else may have by now. It is asked for each answer.
	Verifier *identity.Verifier
	// Roots, in the place of a Verifier, are the authority's, for who has no lists: a CA that was revoked passes for the authority.
	Roots []*x509.Certificate
	// Certificate is the caller's, with its key. nil: the revocation list, renewal and rekeying can be had and nothing else.
	// One that is over counts as none.
	Certificate *tls.Certificate
	// Patience is how long an authority that cannot be reached is tried again. Zero: not at all.
	Patience time.Duration
}

// Client asks an authority. It is safe for concurrent use. What an authority refuses wraps the errors of package ca,
// [ErrUnauthenticated] or [ErrForbidden].
type Client struct{ http *httpapi.Client }

var _ ca.Client = (*Client)(nil)

// NewClient returns a client. It dials nothing.
func NewClient(cfg ClientConfig) (*Client, error) {
	if (cfg.Verifier == nil) == (len(cfg.Roots) == 0) {
		return nil, errors.New("authority: want either a verifier or roots")
	}
	c, err := httpapi.NewClient(cfg.URL, codes, func(host string) *tls.Config {
		t := &tls.Config{ServerName: host}
		if cfg.Verifier != nil {
			// VerifyConnection makes all checks of crypto/tls, by the verifier's clock and lists.
			t.InsecureSkipVerify, t.VerifyConnection = true, cfg.Verifier.VerifyTLSService(host)
		} else {
			t.RootCAs = x509.NewCertPool()
			for _, r := range cfg.Roots {
				t.RootCAs.AddCert(r)
			}
		}
		if cfg.Certificate != nil {
			t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cfg.Certificate, nil }
		}
		return t
	})
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	c.Patience = cfg.Patience
	return &Client{c}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.Close() }

// Issue returns the chain for a request of identity.NewCSR. Options other than zero are an operator's.
func (c *Client) Issue(ctx context.Context, csr []byte, o ca.IssueOptions) ([][]byte, error) {
	q := url.Values{}
	if o.Validity != 0 {
		q.Set("valid", o.Validity.String())
	}
	if o.NewKey {
		q.Set("newkey", "true")
	}
	path := "/v1/certificate"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return c.chain(ctx, path, csr)
}

// Renew returns the chain for a request of identity.NewCSR by the key that the name is certified with, whose certificate may have ended. Any
// Client may ask, also one without certificate. It makes a Client a platform's Renewer.
func (c *Client) Renew(ctx context.Context, csr []byte) ([][]byte, error) {
	return c.chain(ctx, "/v1/renew", csr)
}

// Rekey returns the chain for a request of identity.NewRekey or party.Party.Rekey. Any Client may ask.
func (c *Client) Rekey(ctx context.Context, request []byte) ([][]byte, error) {
	return c.chain(ctx, "/v1/rekey", request)
}

// IssueServer returns the chain for a request of party.Party.ServerRequest.
func (c *Client) IssueServer(ctx context.Context, request []byte) ([][]byte, error) {
	return c.chain(ctx, "/v1/server", request)
}

func (c *Client) chain(ctx context.Context, path string, request []byte) ([][]byte, error) {
	b, err := c.http.Do(ctx, http.MethodPost, path, request, identity.MaxCredential)
	if err != nil {
		return nil, err
	}
	cred, err := identity.ParseCredential(b)
	if err != nil {
		return nil, fmt.Errorf("authority's answer: %w", err)
	}
	return cred.Chain, nil
}

// Revoke has a name revoked, and returns the revocation lists that name it. It makes a Client a platform's Revoker.
func (c *Client) Revoke(ctx context.Context, id identity.ID) ([]byte, error) {
	return c.http.Do(ctx, http.MethodPost, "/v1/revoke", []byte(id.String()), identity.MaxCRLs)
}

// CRL returns the newest revocation lists, of the authority and of those above it that it knows. Whoever uses them has
// identity.Verifier.AddCRL check them.
func (c *Client) CRL(ctx context.Context) ([]byte, error) {
	return c.http.Do(ctx, http.MethodGet, "/v1/crl", nil, identity.MaxCRLs)
}
