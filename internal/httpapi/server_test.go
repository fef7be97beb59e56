package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var errTaken = errors.New("taken")

// What the caller may know he is told; the rest is in the log and not in the answer.
func TestFail(t *testing.T) {
	codes := Codes{{"taken", http.StatusConflict, errTaken}}
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
		text   string
	}{
		"coded":           {fmt.Errorf("put: %w", errTaken), http.StatusConflict, "taken", "put: taken"},
		"who before what": {fmt.Errorf("%w: %w", ErrUnauthenticated, errTaken), http.StatusUnauthorized, "unauthenticated", "client certificate"},
		"internal":        {errors.New("open /var/lib/secret: disk on fire"), http.StatusInternalServerError, "internal", "see its log"},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			w := httptest.NewRecorder()
			codes.Fail(w, httptest.NewRequest("POST", "/v1/x", nil), slog.New(slog.NewTextHandler(&log, nil)), c.err)
			require.Equal(t, c.status, w.Code)
			var p problem
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
			require.Equal(t, c.code, p.Code)
			require.Contains(t, p.Text, c.text)
			require.NotContains(t, p.Text, "/var/lib/secret")
			require.Contains(t, log.String(), "/v1/x")
		})
	}
}

// A listener that is full accepts again as soon as a connection is closed, however often that is done.
func TestLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	l := &limited{Listener: inner, slots: make(chan struct{}, 1), done: done}
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		require.NoError(t, err)
		defer c.Close()
	}
	for range 3 {
		c := <-accepted
		select {
		case <-accepted:
			require.Fail(t, "one connection too many")
		default:
		}
		require.NoError(t, c.Close())
		_ = c.Close() // a second time frees nothing
	}
	// The fourth slot is awaited; the end is not.
	c, err := net.Dial("tcp", inner.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	<-accepted
	close(done)
	require.NoError(t, inner.Close())
	_, open := <-accepted
	require.False(t, open)
}
