package cahttp

import (
	"errors"
	"net/http"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/httpapi"
)

// ErrBusy reports a server that has answered so much to this address lately, or has so much under way, that it does not look at a
// request of somebody without certificate now. Ask again in some seconds; [ClientConfig].Patience does.
var ErrBusy = errors.New("too many requests without a client certificate: wait some seconds")

// anonymousAtOnce is how many requests of callers without certificate are worked at, so that they cannot keep the others waiting.
const anonymousAtOnce = 4

// renewal answers requests that prove by themselves what they ask for: the caller may have a certificate, one that is over, or none. Those
// that nobody vouches for are bounded: for each address, and in all. Platforms, which ask for all of their devices, are not.
func (s *Server) renewal(limit int64, what string, answer func(request []byte) ([][]byte, error), name func(request []byte) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		log := s.cfg.Logger
		caller, err := httpapi.Caller(r, s.verifier)
		if err == nil {
			log = log.With("caller", caller)
		} else if !s.anonymous.take(r.RemoteAddr) {
			codes.Fail(w, r, log, ErrBusy)
			return
		}
		request, err := httpapi.Body(w, r, limit)
		if err != nil {
			codes.Fail(w, r, log, err)
			return
		}
		if caller.IsZero() {
			select {
			case s.slots <- struct{}{}:
				defer func() { <-s.slots }()
			case <-r.Context().Done():
				return
			}
		}
		chain, err := answer(request)
		var b []byte
		if err == nil {
			b, err = identity.Credential{Chain: chain}.Marshal()
		}
		if err != nil {
			codes.Fail(w, r, log, err)
			return
		}
		log.Info(what, "name", name(request))
		httpapi.Bytes(w, b)
	}
}

func csrName(request []byte) string {
	c, err := identity.ParseCSR(request)
	if err != nil {
		return ""
	}
	return c.ClientID()
}

func rekeyName(request []byte) string {
	r, err := identity.ParseRekey(request)
	if err != nil {
		return ""
	}
	return r.ClientID()
}
