package adminhttp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/httpapi"
	"github.com/semio-iot/semio/internal/secret"
)

// ClientConfig says how to reach a platform. All but Patience is required.
type ClientConfig struct {
	secret.Opaque // a key may be within

	URL         string             // https://HOST:PORT
	Verifier    *identity.Verifier // of the server
	Certificate tls.Certificate    // the caller's, with its key
	// Patience is how long a platform that cannot be reached is tried again. Zero: not at all.
	Patience time.Duration
}

// Client asks a platform. It is safe for concurrent use. What a platform refuses wraps the errors of packages platform and identity,
// [ErrUnauthenticated], [ErrForbidden] or [ErrNotAdmitted].
type Client struct{ http *httpapi.Client }

const maxAdmission = 64 << 10

// NewClient returns a client. It dials nothing.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Verifier == nil {
		return nil, errors.New("platform: no verifier")
	}
	c, err := httpapi.NewClient(cfg.URL, codes, func(host string) *tls.Config {
		return &tls.Config{
			// crypto/tls does not know the profile of a platform's server; VerifyConnection makes all of its checks, and that one.
			InsecureSkipVerify: true, VerifyConnection: cfg.Verifier.VerifyTLSServer(host),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cfg.Certificate, nil },
		}
	})
	if err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	c.Patience = cfg.Patience
	return &Client{c}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.Close() }

// Register hands in what platform.Registration.Sign made, and returns the admission for the device.
func (c *Client) Register(ctx context.Context, registration []byte) ([]byte, error) {
	return c.http.Do(ctx, http.MethodPost, "/v1/devices", registration, maxAdmission)
}

// Admit has an application admitted, and returns the admission for its gateway.
func (c *Client) Admit(ctx context.Context, cred identity.Credential) ([]byte, error) {
	b, err := cred.Marshal()
	if err != nil {
		return nil, err
	}
	return c.http.Do(ctx, http.MethodPost, "/v1/applications", b, maxAdmission)
}

// Admission returns the caller's admission, [ErrNotAdmitted] if no operator has admitted it.
func (c *Client) Admission(ctx context.Context) ([]byte, error) {
	return c.http.Do(ctx, http.MethodGet, "/v1/admission", nil, maxAdmission)
}

// Retire ends a device's life, as platform.Service.Retire says.
func (c *Client) Retire(ctx context.Context, id identity.DeviceID) error {
	_, err := c.http.Do(ctx, http.MethodPost, "/v1/retire", []byte(id.String()), 0)
	return err
}

// AddCRL brings revocation lists, as platform.Service.AddCRL says.
func (c *Client) AddCRL(ctx context.Context, der []byte) error {
	_, err := c.http.Do(ctx, http.MethodPost, "/v1/crl", der, 0)
	return err
}

// Devices yields all devices in the order of their names.
func (c *Client) Devices(ctx context.Context) iter.Seq2[Device, error] {
	return stream[Device](ctx, c, "/v1/devices")
}

// Applications yields all applications in the order of their names.
func (c *Client) Applications(ctx context.Context) iter.Seq2[Application, error] {
	return stream[Application](ctx, c, "/v1/applications")
}

// Audit yields the audit log, oldest entry first, after the platform has verified it.
func (c *Client) Audit(ctx context.Context) iter.Seq2[Entry, error] {
	return stream[Entry](ctx, c, "/v1/audit")
}

func stream[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		body, err := c.http.Stream(ctx, http.MethodGet, path)
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		dec := json.NewDecoder(body)
		for {
			var v T
			switch err := dec.Decode(&v); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(none, fmt.Errorf("platform's answer ended early: %w", err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}
