package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/appgw/pgstore"
	"github.com/semio-iot/semio/identity"
)

// requestTimeout is how long a request may wait for the platform, a device or the database.
const requestTimeout = 30 * time.Second

// maxBody bounds what a request may say, in bytes.
const maxBody = 16 << 10

// routes are the portal's.
//
//	POST   /devices                      {"sticker": "SEMIO1:D-…"}            commission
//	GET    /devices                                                           what is connected
//	DELETE /devices/{device}                                                  decommission
//	POST   /devices/{device}/commands    {"type": "text/plain", "text": "…"}  call the device, and wait for its reply
//	GET    /readings?source=…&after=ID                                        what is stored
//	GET    /healthz, /metrics                                                 without a token
func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.handleHealth)
	mux.HandleFunc("GET /metrics", s.handleMetrics)
	for pattern, h := range map[string]func(*http.Request) (int, any, error){
		"POST /devices":                   s.commission,
		"GET /devices":                    s.devices,
		"DELETE /devices/{device}":        s.decommission,
		"POST /devices/{device}/commands": s.command,
		"GET /readings":                   s.readings,
	} {
		mux.HandleFunc(pattern, s.guarded(h))
	}
	return mux
}

// guarded lets in who knows the token, and answers in JSON.
func (s *service) guarded(h func(*http.Request) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		hash := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(hash[:], s.token[:]) != 1 || !bearer {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.answer(w, http.StatusUnauthorized, failure{"present the portal's token: Authorization: Bearer …"})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		status, v, err := h(r)
		if err != nil {
			if status, v = explain(err); status == http.StatusInternalServerError {
				s.log.Error("request", "method", r.Method, "path", r.URL.Path, "err", err)
			}
		}
		s.answer(w, status, v)
	}
}

func (s *service) answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if v == nil {
		return
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("answer", "err", err)
	}
}

// commission is where the caretaker's sticker meets the gateway.
func (s *service) commission(r *http.Request) (int, any, error) {
	var in struct {
		Sticker string `json:"sticker"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	sticker, err := identity.ParseSticker(in.Sticker)
	if err != nil {
		return 0, nil, badRequest{err}
	}
	if err := s.gateway.Connect(r.Context(), sticker); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, map[string]any{"device": sticker.Device}, nil
}

func (s *service) decommission(r *http.Request) (int, any, error) {
	device, err := deviceOf(r)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, s.gateway.Disconnect(r.Context(), device)
}

type deviceAnswer struct {
	Device      identity.DeviceID `json:"device"`
	Online      bool              `json:"session"`
	Queued      int               `json:"queued"`
	Suspended   bool              `json:"suspended,omitempty"`    // its certificate is revoked or expired
	WantSticker bool              `json:"want_sticker,omitempty"` // commission it again: the claim code is missing
}

func (s *service) devices(r *http.Request) (int, any, error) {
	list, err := s.gateway.Devices(r.Context())
	out := []deviceAnswer{}
	for _, d := range list {
		out = append(out, deviceAnswer{d.Device, d.Session, d.Queued, d.Suspended, d.NoClaim})
	}
	return http.StatusOK, out, err
}

// command calls a device. 504 says that nobody knows whether it ran: look before you say it again.
func (s *service) command(r *http.Request) (int, any, error) {
	device, err := deviceOf(r)
	if err != nil {
		return 0, nil, err
	}
	var in message
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	reply, err := s.gateway.Call(r.Context(), device, in.Type, []byte(in.Text))
	return http.StatusOK, newMessage(reply.Type, reply.Body), err
}

// message is a body with its type: as text if it is one, else in base64.
type message struct {
	Type  string `json:"type"`
	Text  string `json:"text,omitempty"`
	Bytes []byte `json:"bytes,omitempty"`
}

func newMessage(kind string, body []byte) message {
	if utf8.Valid(body) {
		return message{Type: kind, Text: string(body)}
	}
	return message{Type: kind, Bytes: body}
}

type readingAnswer struct {
	ID       int64     `json:"id"`
	Source   string    `json:"source"`
	Seq      *uint64   `json:"seq,omitempty"`
	Received time.Time `json:"received"`
	message
}

func (s *service) readings(r *http.Request) (int, any, error) {
	after := int64(0)
	if text := r.FormValue("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, nil, badRequest{errors.New("after: want the id of a reading")}
		}
	}
	list, err := s.db.readings(r.Context(), r.FormValue("source"), after)
	out := []readingAnswer{}
	for _, r := range list {
		out = append(out, readingAnswer{r.ID, r.Source, r.Seq, r.Received, newMessage(r.Type, r.Body)})
	}
	return http.StatusOK, out, err
}

func deviceOf(r *http.Request) (identity.DeviceID, error) {
	d, err := identity.ParseDeviceID(r.PathValue("device"))
	if err != nil {
		return d, badRequest{err}
	}
	return d, nil
}

func decode(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return err
		}
		return badRequest{errors.New("the request is not the JSON that is wanted here: " + err.Error())}
	}
	return nil
}

// badRequest is an error of the portal's user, in words for him.
type badRequest struct{ error }

func (b badRequest) Unwrap() error { return b.error }

type failure struct {
	Error string `json:"error"`
}

// explain turns an error into what the user sees. What he cannot know about, the log gets instead.
func explain(err error) (int, failure) {
	var bad badRequest
	var remote *appgw.RemoteError
	var large *http.MaxBytesError
	for _, c := range []struct {
		is     bool
		status int
	}{
		{errors.As(err, &bad), http.StatusBadRequest},
		{errors.As(err, &remote), http.StatusBadGateway},
		{errors.As(err, &large), http.StatusRequestEntityTooLarge},
		{errors.Is(err, appgw.ErrTooLarge), http.StatusRequestEntityTooLarge},
		{errors.Is(err, appgw.ErrUnknownDevice), http.StatusNotFound},
		{errors.Is(err, appgw.ErrNotRegistered), http.StatusNotFound},
		{errors.Is(err, appgw.ErrConnectedElsewhere), http.StatusConflict},
		{errors.Is(err, appgw.ErrClaimRefused), http.StatusForbidden},
		{errors.Is(err, appgw.ErrPolicy), http.StatusForbidden},
		{errors.Is(err, appgw.ErrTooManyGuesses), http.StatusTooManyRequests},
		{errors.Is(err, appgw.ErrRetired), http.StatusGone},
		{errors.Is(err, appgw.ErrClaimCode), http.StatusUnprocessableEntity},
		{errors.Is(err, appgw.ErrOutcomeUnknown), http.StatusGatewayTimeout},
		{errors.Is(err, appgw.ErrUnknownOutcome), http.StatusGatewayTimeout},
		{errors.Is(err, appgw.ErrNotRun), http.StatusServiceUnavailable},
		{errors.Is(err, appgw.ErrFull), http.StatusServiceUnavailable},
		{errors.Is(err, appgw.ErrNotRunning), http.StatusServiceUnavailable},
	} {
		if c.is {
			return c.status, failure{err.Error()}
		}
	}
	switch {
	case errors.Is(err, errDatabase), errors.Is(err, pgstore.ErrUnavailable), errors.Is(err, pgstore.ErrUnknown), errors.Is(err, pgstore.ErrConflict):
		return http.StatusServiceUnavailable, failure{"the database is not reachable now: try again"}
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, failure{"no answer in time: look at the devices before you try again"}
	}
	return http.StatusInternalServerError, failure{"something went wrong here: the service's log says what"}
}
