package cahttp

import (
	"errors"
	"net/http"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/httpapi"
)

// ErrBusy reports a server that has answered so much to this address lately that it does not look at a request of anybody but a platform
// now. Ask again in some seconds; [ClientConfig].Patience does.
var ErrBusy = errors.New("too many requests from this address: wait some seconds")

// anonymousAtOnce is how many requests of others than platforms are worked at, so that they cannot keep those waiting.
const anonymousAtOnce = 4

// renewal answers requests that prove by themselves what they ask for: the caller may have a certificate, one that is over, or none. They
// are bounded, for each address and in all, but for platforms, which ask for all of their devices.
func (s *Server) renewal(limit int64, what string, answer func(request []byte) ([][]byte, error), name func(request []byte) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		log := s.cfg.Logger
		caller, err := httpapi.Caller(r, s.verifier)
		if err == nil {
			log = log.With("caller", caller)
		}
		bounded := caller.Role() != identity.RolePlatform
		if bounded && !s.anonymous.take(r.RemoteAddr) {
			codes.Fail(w, r, log, ErrBusy)
			return
		}
		request, err := httpapi.Body(w, r, limit)
		if err != nil {
			codes.Fail(w, r, log, err)
			return
		}
		if bounded {
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
