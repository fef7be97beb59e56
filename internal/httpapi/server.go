package httpapi

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
)

// ErrUnauthenticated reports a request without an acceptable client certificate.
var ErrUnauthenticated = errors.New("a client certificate is needed that the authority has issued and not revoked")

// ErrForbidden reports a caller who may not ask this.
var ErrForbidden = errors.New("not allowed")

// Limits of a server.
const (
	maxConnections = 512
	headerTimeout  = 10 * time.Second
	bodyTimeout    = 30 * time.Second
	// replyTimeout is long enough for a long list to a slow client.
	replyTimeout = 5 * time.Minute
	idleTimeout  = 2 * time.Minute
	shutdownTime = 5 * time.Second
)

// Serve answers requests on ln until ctx ends, then returns nil once those under way are answered, or 5 seconds later. Clients without
// a certificate, and with any whose key they have, are let in; the handler asks [Caller]. To refuse one in the handshake would leave the
// client with a broken connection: in TLS 1.3 it has sent its request before it hears of the refusal.
func Serve(ctx context.Context, ln net.Listener, cert func(*tls.ClientHelloInfo) (*tls.Certificate, error), h http.Handler, log *slog.Logger) error {
	var only http.Protocols
	only.SetHTTP1(true)
	srv := &http.Server{
		Handler: h, Protocols: &only, MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: replyTimeout, IdleTimeout: idleTimeout,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert, GetCertificate: cert},
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if srv.Shutdown(deadline) != nil {
			srv.Close()
		}
	})
	err := srv.ServeTLS(&limited{Listener: ln, slots: make(chan struct{}, maxConnections), done: ctx.Done()}, "", "")
	if !stop() {
		<-ended
		return nil
	}
	return fmt.Errorf("serve HTTPS: %w", err)
}

// limited bounds the open connections.
type limited struct {
	net.Listener
	slots chan struct{}
	done  <-chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slotted{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

type slotted struct {
	net.Conn
	free func()
}

func (c *slotted) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// Caller returns the name in the certificate of the caller. It is verified for every request: a connection may be older than a
// revocation.
func Caller(r *http.Request, v *identity.Verifier) (identity.ID, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return identity.ID{}, ErrUnauthenticated
	}
	id, err := v.VerifyChain(r.TLS.PeerCertificates)
	if err != nil {
		return identity.ID{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	return id, nil
}

// Body reads a request's body of at most limit bytes.
func Body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, fmt.Errorf("%w: read the request: %w", ErrRequest, err)
	}
	return b, nil
}

// ErrRequest reports a request that cannot be read or decoded.
var ErrRequest = errors.New("malformed request")

// Code ties an error to its name on the wire.
type Code struct {
	Name   string
	Status int
	Err    error
}

// Codes are the errors that a client may want to tell apart, the more particular ones first.
type Codes []Code

var common = Codes{
	{"unauthenticated", http.StatusUnauthorized, ErrUnauthenticated},
	{"forbidden", http.StatusForbidden, ErrForbidden},
	{"request", http.StatusBadRequest, ErrRequest},
}

// problem is the body of every answer that is an error.
type problem struct {
	Code string `json:"code"`
	Text string `json:"error"`
}

// Fail answers with err. One that has no code is of no concern to the caller: it is logged, and he learns that there was one.
func (c Codes) Fail(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	for _, code := range slices.Concat(common, c) {
		if errors.Is(err, code.Err) {
			log.Info("request refused", "method", r.Method, "path", r.URL.Path, "err", err)
			answer(w, code.Status, problem{code.Name, err.Error()})
			return
		}
	}
	log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	answer(w, http.StatusInternalServerError, problem{"internal", "the server cannot answer now: see its log"})
}

// JSON answers with v.
func JSON(w http.ResponseWriter, v any) { answer(w, http.StatusOK, v) }

// Bytes answers with b.
func Bytes(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(b)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
