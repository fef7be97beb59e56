package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Client asks one server.
type Client struct {
	// Patience is how long a server that cannot be reached, or says that it has too much to do, is tried again; zero: not at all. What
	// else it refuses is final.
	Patience time.Duration

	base   string
	codes  Codes
	http   *http.Client
	verify func(tls.ConnectionState) error // nil: crypto/tls is enough
}

// NewClient returns a client of the server at base, https://HOST[:PORT]. verify makes of the host the tls.Config that checks it. Its VerifyConnection
// is asked for each answer again: the connection may be older than the list that names who is at its other end.
func NewClient(base string, codes Codes, verify func(host string) *tls.Config) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("URL %q: want https://HOST:PORT", base)
	}
	var only http.Protocols
	only.SetHTTP1(true)
	config := verify(u.Hostname())
	config.MinVersion = tls.VersionTLS13
	return &Client{base: "https://" + u.Host, codes: codes, verify: config.VerifyConnection, http: &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: config, Protocols: &only, TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: time.Minute,
			DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext, IdleConnTimeout: time.Minute,
		},
		// A redirect would lead the request somewhere else than asked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do sends body and returns the answer of at most limit bytes.
func (c *Client) Do(ctx context.Context, method, path string, body []byte, limit int64) ([]byte, error) {
	var out []byte
	err := c.patiently(ctx, func() error {
		r, err := c.once(ctx, method, path, body)
		if err != nil {
			return err
		}
		defer r.Close()
		if out, err = io.ReadAll(io.LimitReader(r, limit+1)); err != nil {
			return err
		}
		if int64(len(out)) > limit {
			return fmt.Errorf("answer of more than %d bytes", limit)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s%s: %w", c.base, path, err)
	}
	return out, nil
}

// Stream sends body and returns the answer to read; the caller closes it.
func (c *Client) Stream(ctx context.Context, method, path string) (io.ReadCloser, error) {
	var out io.ReadCloser
	err := c.patiently(ctx, func() (err error) {
		out, err = c.once(ctx, method, path, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s%s: %w", c.base, path, err)
	}
	return out, nil
}

func (c *Client) patiently(ctx context.Context, try func() error) error {
	began := time.Now()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := try()
		if !away(err) || ctx.Err() != nil || time.Since(began) >= c.Patience {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// away reports an error of the network, which waiting may heal; certificates that are not accepted stay so.
func away(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var late net.Error
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return refused.Status == http.StatusTooManyRequests
	case errors.Is(err, ErrUnauthenticated):
		return false
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.As(err, &late) && late.Timeout():
		return true
	case errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return false
}

func (c *Client) once(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header["Idempotency-Key"] = nil // net/http may repeat it on a new connection; nothing is sent
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // it repeats what Do says
		}
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "remote error" { // crypto/tls has no type for it
			err = fmt.Errorf("%w: %w", ErrUnauthenticated, err)
		}
		return nil, err
	}
	if c.verify != nil {
		if err := c.verify(*resp.TLS); err != nil {
			resp.Body.Close()
			c.http.CloseIdleConnections() // the next one is dialled
			return nil, err
		}
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

// Error is what the server refused. It wraps the error that the server had, if that one has a code.
type Error struct {
	Status int
	Text   string
	err    error
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the server's error, or nil.
func (e *Error) Unwrap() error { return e.err }

func (c *Client) refusal(resp *http.Response) error {
	var p problem
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	if json.Unmarshal(b, &p) != nil || p.Code == "" {
		return &Error{Status: resp.StatusCode, Text: fmt.Sprintf("HTTP status %d: is it the right server?", resp.StatusCode)}
	}
	e := &Error{Status: resp.StatusCode, Text: printable(p.Text)}
	for _, code := range slices.Concat(common, c.codes) {
		if code.Name == p.Code {
			e.err = code.Err
		}
	}
	return e
}

// printable keeps a server from writing to the terminal what it likes.
func printable(s string) string {
	if len(s) > 1000 {
		s = s[:1000] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
