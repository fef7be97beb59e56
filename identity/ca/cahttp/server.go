package cahttp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/httpapi"
)

// Grant is what a platform or a registrar may ask of the authority.
type Grant struct {
	// Of a platform.
	Hosts  []string `json:"hosts,omitempty"`  // DNS names and IP addresses of its servers
	Revoke bool     `json:"revoke,omitempty"` // it may have devices revoked

	// Of a registrar.
	Names []string `json:"names,omitempty"` // beginnings of the names of its devices, "D-THERMO-"; none: any name
}

// Config says what an authority's server works with. Authority and Hosts are required.
type Config struct {
	Authority *ca.Authority
	// CRLs are the lists of other authorities that were kept, of the root above an issuing CA above all; see [Server.AddCRL].
	CRLs [][]byte
	// Hosts are the names and addresses under which clients dial this server.
	Hosts []string
	// Operators are those who may ask everything. The role alone is no permission: a platform has operators too.
	Operators []identity.OperatorID
	// Grants says what a platform or registrar may ask. It is called for every request of one. nil: nothing for platforms, devices of
	// any name for registrars.
	Grants func(identity.ID) (Grant, error)
	Logger *slog.Logger // nil: nothing is logged
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	cfg      Config
	verifier *identity.Verifier
	key      *ecdsa.PrivateKey
	mux      *http.ServeMux

	anonymous addresses
	slots     chan struct{} // of requests of others than platforms

	mu   sync.Mutex // guards cert
	cert *tls.Certificate
}

const (
	maxRequest = 4 << 10
	maxName    = 64
)

var codes = httpapi.Codes{
	{Name: "other-key", Status: http.StatusConflict, Err: ca.ErrOtherKey},
	{Name: "other-helper", Status: http.StatusConflict, Err: ca.ErrOtherHelper},
	{Name: "key-in-use", Status: http.StatusConflict, Err: ca.ErrKeyInUse},
	{Name: "revoked", Status: http.StatusGone, Err: ca.ErrRevoked},
	{Name: "busy", Status: http.StatusTooManyRequests, Err: ErrBusy},
	{Name: "signature", Status: http.StatusForbidden, Err: identity.ErrSignature},
	{Name: "role", Status: http.StatusBadRequest, Err: identity.ErrRole},
	{Name: "earlier-key", Status: http.StatusConflict, Err: ca.ErrEarlierKey},
	{Name: "often", Status: http.StatusConflict, Err: ca.ErrOften},
	{Name: "policy", Status: http.StatusForbidden, Err: ca.ErrPolicy},
	{Name: "unknown", Status: http.StatusNotFound, Err: ca.ErrUnknown},
	{Name: "name", Status: http.StatusBadRequest, Err: identity.ErrName},
	{Name: "csr", Status: http.StatusBadRequest, Err: identity.ErrCSR},
}

// What a server refuses, besides the errors of package ca.
var (
	ErrUnauthenticated = httpapi.ErrUnauthenticated
	ErrForbidden       = httpapi.ErrForbidden
)

// New returns a server. It does not listen yet.
func New(cfg Config) (*Server, error) {
	fail := func(err error) (*Server, error) { return nil, fmt.Errorf("authority's server: %w", err) }
	if cfg.Authority == nil {
		return fail(errors.New("no authority"))
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), slots: make(chan struct{}, anonymousAtOnce)}
	var err error
	if s.verifier, err = identity.NewVerifier(identity.VerifierConfig{Roots: cfg.Authority.Roots()}); err != nil {
		return fail(err)
	}
	if _, err := s.lists(); err != nil {
		return fail(err)
	}
	for _, crl := range cfg.CRLs {
		if err := s.AddCRL(crl); err != nil && !errors.Is(err, identity.ErrCRLOlder) {
			return fail(err)
		}
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return fail(err)
	}
	if _, err := s.certificate(nil); err != nil {
		return fail(err)
	}
	s.mux.HandleFunc("GET /v1/crl", s.crl)
	s.mux.HandleFunc("POST /v1/certificate", s.by(s.issue))
	s.mux.HandleFunc("POST /v1/renew", s.renewal(identity.MaxCSR, "certificate renewed", cfg.Authority.Renew, csrName))
	s.mux.HandleFunc("POST /v1/rekey", s.renewal(identity.MaxRekey, "key replaced", cfg.Authority.Rekey, rekeyName))
	s.mux.HandleFunc("POST /v1/server", s.by(s.issueServer))
	s.mux.HandleFunc("POST /v1/revoke", s.by(s.revoke))
	return s, nil
}

// Serve answers requests on ln until ctx ends, then returns nil.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return httpapi.Serve(ctx, ln, s.certificate, s.mux, s.cfg.Logger)
}

// certificate is renewed in time, however long the process runs.
func (s *Server) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert != nil && time.Until(s.cert.Leaf.NotAfter) > ca.ServiceValidity/2 {
		return s.cert, nil
	}
	chain, err := s.cfg.Authority.IssueService(&s.key.PublicKey, s.cfg.Hosts)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	s.cert = &tls.Certificate{Certificate: chain, PrivateKey: s.key, Leaf: leaf}
	return s.cert, nil
}

// by adds to a request's answer who asks.
func (s *Server) by(answer func(http.ResponseWriter, *http.Request, identity.ID) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, err := httpapi.Caller(r, s.verifier)
		var b []byte
		if err == nil {
			b, err = answer(w, r, caller)
		}
		if err != nil {
			codes.Fail(w, r, s.cfg.Logger.With("caller", caller), err)
			return
		}
		httpapi.Bytes(w, b)
	}
}

// AddCRL takes the list of another authority under the same roots: in force for the server's own clients, and handed out besides those of
// its authority. An issuing CA so tells its parties what its root has revoked. To keep it over a restart is the caller's part. The errors are those of
// identity.Verifier.AddCRL.
func (s *Server) AddCRL(crls []byte) error { return s.verifier.AddCRL(crls) }

// lists returns the newest list of every authority that is known here.
func (s *Server) lists() ([]byte, error) {
	own, err := s.cfg.Authority.CRL()
	if err != nil {
		return nil, err
	}
	if err := s.verifier.AddCRL(own); err != nil && !errors.Is(err, identity.ErrCRLOlder) {
		return nil, err
	}
	return bytes.Join(s.verifier.CRLs(), nil), nil
}

func (s *Server) crl(w http.ResponseWriter, r *http.Request) {
	b, err := s.lists()
	if err != nil {
		codes.Fail(w, r, s.cfg.Logger, err)
		return
	}
	httpapi.Bytes(w, b)
}

func (s *Server) operator(id identity.ID) bool {
	o, ok := id.Operator()
	return ok && slices.Contains(s.cfg.Operators, o)
}

func (s *Server) issue(w http.ResponseWriter, r *http.Request, caller identity.ID) ([]byte, error) {
	der, err := httpapi.Body(w, r, maxRequest)
	if err != nil {
		return nil, err
	}
	csr, err := identity.ParseCSR(der)
	if err != nil {
		return nil, err
	}
	var o ca.IssueOptions
	switch {
	case s.operator(caller):
		if o, err = options(r); err != nil {
			return nil, err
		}
	case caller == csr.ID:
	case caller.Role() == identity.RoleRegistrar && csr.ID.Role() == identity.RoleDevice:
		grant, err := s.grant(caller)
		if err != nil {
			return nil, err
		}
		if len(grant.Names) > 0 && !slices.ContainsFunc(grant.Names, func(n string) bool { return strings.HasPrefix(csr.ID.String(), n) }) {
			return nil, fmt.Errorf("%w: %s makes devices called %s…, not %s; have the authority grant it", ErrForbidden, caller,
				strings.Join(grant.Names, "…, "), csr.ID)
		}
	default:
		return nil, fmt.Errorf("%w: %s may not ask for a certificate of %s", ErrForbidden, caller, csr.ID)
	}
	chain, err := s.cfg.Authority.Issue(der, o)
	if err != nil {
		return nil, err
	}
	s.cfg.Logger.Info("certificate issued", "name", csr.ClientID(), "caller", caller)
	return identity.Credential{Chain: chain}.Marshal()
}

func options(r *http.Request) (o ca.IssueOptions, err error) {
	q := r.URL.Query()
	if v := q.Get("valid"); v != "" {
		if o.Validity, err = time.ParseDuration(v); err != nil {
			return o, fmt.Errorf("%w: valid: %w", httpapi.ErrRequest, err)
		}
	}
	if v := q.Get("newkey"); v != "" {
		if o.NewKey, err = strconv.ParseBool(v); err != nil {
			return o, fmt.Errorf("%w: newkey: %w", httpapi.ErrRequest, err)
		}
	}
	return o, nil
}

func (s *Server) grant(caller identity.ID) (Grant, error) {
	if s.cfg.Grants == nil || caller.Role() != identity.RolePlatform && caller.Role() != identity.RoleRegistrar {
		return Grant{}, nil
	}
	return s.cfg.Grants(caller)
}

func (s *Server) issueServer(w http.ResponseWriter, r *http.Request, caller identity.ID) ([]byte, error) {
	der, err := httpapi.Body(w, r, maxRequest)
	if err != nil {
		return nil, err
	}
	req, err := ca.ParseServerRequest(der)
	if err != nil {
		return nil, err
	}
	if !s.operator(caller) {
		if caller != req.ID.ID {
			return nil, fmt.Errorf("%w: %s may not ask for a server of %s", ErrForbidden, caller, req.ID)
		}
		grant, err := s.grant(caller)
		if err != nil {
			return nil, err
		}
		for _, h := range req.Hosts {
			if !slices.Contains(grant.Hosts, h) {
				return nil, fmt.Errorf("%w: %s is not granted the host %q; have the authority grant it", ErrForbidden, caller, h)
			}
		}
	}
	chain, err := s.cfg.Authority.IssueServer(req.PublicKey, req.ID.ID, req.Hosts)
	if err != nil {
		return nil, err
	}
	s.cfg.Logger.Info("server certificate issued", "name", req.ID, "hosts", req.Hosts, "caller", caller)
	return identity.Credential{Chain: chain}.Marshal()
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request, caller identity.ID) ([]byte, error) {
	b, err := httpapi.Body(w, r, maxName)
	if err != nil {
		return nil, err
	}
	id, err := identity.ParseID(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, err
	}
	if !s.operator(caller) && caller != id {
		grant, err := s.grant(caller)
		if err != nil {
			return nil, err
		}
		if !grant.Revoke || caller.Role() != identity.RolePlatform || id.Role() != identity.RoleDevice {
			return nil, fmt.Errorf("%w: %s is not granted to revoke %s; have the authority grant it", ErrForbidden, caller, id)
		}
	}
	crl, err := s.cfg.Authority.Revoke(id)
	if err != nil {
		return nil, err
	}
	// From now on here too.
	if err := s.verifier.AddCRL(crl); err != nil && !errors.Is(err, identity.ErrCRLOlder) {
		return nil, err
	}
	s.cfg.Logger.Info("revoked", "name", id, "caller", caller)
	return crl, nil
}
