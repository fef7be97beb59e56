package adminhttp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/httpapi"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

// Config says what a server works with. All but Logger is required.
type Config struct {
	Service *platform.Service
	// Verifier checks clients. Give it the revocation lists of Service.CRLs, and those that come later.
	Verifier *identity.Verifier
	// Certificate is the server's, as for a broker: of the platform, for the hosts that clients dial.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Operators are those who may administer. The role alone is no permission: an authority has operators too.
	Operators []identity.OperatorID
	Logger    *slog.Logger // nil: nothing is logged
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	cfg Config
	mux *http.ServeMux
}

const (
	maxRegistration = 64 << 10
	maxName         = 64
)

var codes = httpapi.Codes{
	{Name: "unknown-device", Status: http.StatusNotFound, Err: platform.ErrUnknownDevice},
	{Name: "retired", Status: http.StatusGone, Err: platform.ErrRetired},
	{Name: "conflict", Status: http.StatusConflict, Err: platform.ErrConflict},
	{Name: "not-admitted", Status: http.StatusNotFound, Err: ErrNotAdmitted},
	{Name: "audit", Status: http.StatusInternalServerError, Err: platform.ErrAudit},
	{Name: "some-lists", Status: http.StatusBadRequest, Err: identity.ErrSomeCRLs}, // it wraps others
	{Name: "untrusted", Status: http.StatusForbidden, Err: identity.ErrUntrusted},
	{Name: "revoked", Status: http.StatusForbidden, Err: identity.ErrRevoked},
	{Name: "expired", Status: http.StatusForbidden, Err: identity.ErrExpired},
	{Name: "not-yet-valid", Status: http.StatusForbidden, Err: identity.ErrNotYetValid},
	{Name: "role", Status: http.StatusForbidden, Err: identity.ErrRole},
	{Name: "signature", Status: http.StatusForbidden, Err: identity.ErrSignature},
	{Name: "profile", Status: http.StatusForbidden, Err: identity.ErrProfile},
	{Name: "endorsement", Status: http.StatusForbidden, Err: identity.ErrEndorsement},
	{Name: "credential", Status: http.StatusBadRequest, Err: identity.ErrCredential},
	{Name: "name", Status: http.StatusBadRequest, Err: identity.ErrName},
	{Name: "older-list", Status: http.StatusConflict, Err: identity.ErrCRLOlder},
	{Name: "list", Status: http.StatusBadRequest, Err: identity.ErrCRL},
	{Name: "request", Status: http.StatusBadRequest, Err: control.ErrMalformed},
	{Name: "request", Status: http.StatusBadRequest, Err: control.ErrForeign},
}

// What a server refuses, besides the errors of packages platform and identity.
var (
	ErrUnauthenticated = httpapi.ErrUnauthenticated
	ErrForbidden       = httpapi.ErrForbidden
	// ErrNotAdmitted: the platform does not know the application under this certificate. Have an operator admit it.
	ErrNotAdmitted = errors.New("the application is not admitted under this certificate; have the platform's operator admit it")
)

// New returns a server. It does not listen yet.
func New(cfg Config) (*Server, error) {
	if cfg.Service == nil || cfg.Verifier == nil || cfg.Certificate == nil {
		return nil, errors.New("administration's server: service, verifier and certificate are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.mux.HandleFunc("POST /v1/devices", s.by(registrar, s.register))
	s.mux.HandleFunc("GET /v1/devices", s.by(operator, s.devices))
	s.mux.HandleFunc("POST /v1/applications", s.by(operator, s.admit))
	s.mux.HandleFunc("GET /v1/applications", s.by(operator, s.applications))
	s.mux.HandleFunc("GET /v1/admission", s.by(application, s.admission))
	s.mux.HandleFunc("POST /v1/retire", s.by(operator, s.retire))
	s.mux.HandleFunc("POST /v1/crl", s.by(operator, s.addCRL))
	s.mux.HandleFunc("GET /v1/audit", s.by(operator, s.audit))
	return s, nil
}

// Serve answers requests on ln until ctx ends, then returns nil.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return httpapi.Serve(ctx, ln, s.cfg.Certificate, s.mux, s.cfg.Logger)
}

// permission is what a request takes.
type permission string

const (
	registrar   permission = "a registrar"
	operator    permission = "an operator of this platform"
	application permission = "an application"
)

func (s *Server) has(id identity.ID, p permission) bool {
	switch p {
	case registrar:
		return id.Role() == identity.RoleRegistrar
	case application:
		return id.Role() == identity.RoleApplication
	case operator:
		o, ok := id.Operator()
		return ok && slices.Contains(s.cfg.Operators, o)
	}
	return false
}

// by lets those in who may ask.
func (s *Server) by(p permission, answer func(http.ResponseWriter, *http.Request, identity.ID) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, err := httpapi.Caller(r, s.cfg.Verifier)
		switch {
		case err != nil:
		case !s.has(caller, p):
			err = fmt.Errorf("%w: this is for %s, and %s is none", ErrForbidden, p, caller)
		default:
			err = answer(w, r, caller)
		}
		if err != nil {
			codes.Fail(w, r, s.cfg.Logger.With("caller", caller), err)
		}
	}
}

func (s *Server) register(w http.ResponseWriter, r *http.Request, _ identity.ID) error {
	b, err := httpapi.Body(w, r, maxRegistration)
	if err != nil {
		return err
	}
	admission, err := s.cfg.Service.Register(r.Context(), b)
	if err != nil {
		return err
	}
	httpapi.Bytes(w, admission)
	return nil
}

func (s *Server) admit(w http.ResponseWriter, r *http.Request, caller identity.ID) error {
	b, err := httpapi.Body(w, r, identity.MaxCredential)
	if err != nil {
		return err
	}
	c, err := identity.ParseCredential(b)
	if err != nil {
		return err
	}
	admission, err := s.cfg.Service.Admit(r.Context(), c)
	if err != nil {
		return err
	}
	s.cfg.Logger.Info("application admitted", "operator", caller)
	httpapi.Bytes(w, admission)
	return nil
}

func (s *Server) admission(w http.ResponseWriter, r *http.Request, caller identity.ID) error {
	apps, err := s.cfg.Service.Applications(r.Context())
	if err != nil {
		return err
	}
	leaf := r.TLS.PeerCertificates[0].Raw
	for _, a := range apps {
		// The certificate too: another key of the same name is another admission.
		if a.ID.ID == caller && slices.Equal(a.Credential.Chain[0], leaf) {
			admission, err := s.cfg.Service.Admit(r.Context(), a.Credential)
			if err != nil {
				return err
			}
			httpapi.Bytes(w, admission)
			return nil
		}
	}
	return fmt.Errorf("%s: %w", caller, ErrNotAdmitted)
}

func (s *Server) retire(w http.ResponseWriter, r *http.Request, caller identity.ID) error {
	b, err := httpapi.Body(w, r, maxName)
	if err != nil {
		return err
	}
	id, err := identity.ParseDeviceID(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	if err := s.cfg.Service.Retire(r.Context(), id); err != nil {
		return err
	}
	s.cfg.Logger.Info("device retired", "device", id, "operator", caller)
	httpapi.Bytes(w, nil)
	return nil
}

func (s *Server) addCRL(w http.ResponseWriter, r *http.Request, _ identity.ID) error {
	b, err := httpapi.Body(w, r, identity.MaxCRLs)
	if err != nil {
		return err
	}
	refused := s.cfg.Service.AddCRL(r.Context(), b)
	if refused != nil && !errors.Is(refused, identity.ErrSomeCRLs) {
		return refused
	}
	// The service has checked it against the same roots.
	if err := s.cfg.Verifier.AddCRL(b); err != nil && !errors.Is(err, identity.ErrCRLOlder) && !errors.Is(err, identity.ErrSomeCRLs) {
		return err
	}
	if refused != nil {
		return refused
	}
	httpapi.Bytes(w, nil)
	return nil
}

func (s *Server) devices(w http.ResponseWriter, r *http.Request, _ identity.ID) error {
	all, err := s.cfg.Service.Devices(r.Context())
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b registry.Device) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return lines(w, func(yield func(any) error) error {
		for _, d := range all {
			if err := yield(newDevice(d)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) applications(w http.ResponseWriter, r *http.Request, _ identity.ID) error {
	all, err := s.cfg.Service.Applications(r.Context())
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b registry.Application) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return lines(w, func(yield func(any) error) error {
		for _, a := range all {
			if err := yield(Application{ID: a.ID, Revoked: a.Revoked}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request, _ identity.ID) error {
	if err := s.cfg.Service.VerifyAudit(r.Context()); err != nil {
		return err
	}
	return lines(w, func(yield func(any) error) error {
		for e, err := range s.cfg.Service.Audit(r.Context()) {
			if err != nil {
				return err
			}
			if err := yield(newEntry(e)); err != nil {
				return err
			}
		}
		return nil
	})
}

// lines answers with JSON values. After the first one an error can only end the connection, so that the client sees that there is
// more.
func lines(w http.ResponseWriter, each func(yield func(any) error) error) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	if err := each(enc.Encode); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}
