package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/identity"
)

// The process that runs obeys HTTP requests over a Unix socket in the party's folder, which has mode 0700: who may read the application's
// keys may command it, and nobody else. A request and an answer are a JSON object each.

const (
	socketName = "control.sock"
	maxRequest = 128 << 10 // bytes; an event's body has 64 KiB at most
)

// request is what the commands ask. Not every one uses every field.
type request struct {
	Sticker string `json:"sticker,omitempty"`
	Device  string `json:"device,omitempty"`
	Text    string `json:"text,omitempty"`
	Seconds int    `json:"seconds"` // to wait for the outcome; 0: 30
}

// answer is what they get.
type answer struct {
	Error   string   `json:"error,omitempty"`
	Device  string   `json:"device,omitempty"`
	Seq     uint64   `json:"seq,omitempty"`
	Text    string   `json:"text,omitempty"`
	Devices []listed `json:"devices,omitempty"`
}

type listed struct {
	Device  string `json:"device"`
	Binding string `json:"binding"`
	State   string `json:"state"`
	Queued  int    `json:"queued"`
}

// listen takes the place of a socket that a killed process left: that there is no other process now is known from the store.
func listen(dir string) (net.Listener, error) {
	name := filepath.Join(dir, socketName)
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("take over the socket: %w", err)
	}
	l, err := net.Listen("unix", name)
	if err != nil && len(name) > 100 {
		return nil, fmt.Errorf("listen: %w\nThe name of a socket has about 100 bytes at most: name the folder by a shorter path with -party", err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	// The folder keeps others out; this is for a folder that somebody has opened.
	if err := os.Chmod(name, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// serve obeys until ctx ends.
func serve(ctx context.Context, l net.Listener, gw *appgw.Gateway, log *slog.Logger) {
	mux := http.NewServeMux()
	for path, f := range map[string]func(context.Context, *appgw.Gateway, request) (answer, error){
		"connect": connect, "disconnect": disconnect, "call": call, "send": send, "list": list,
	} {
		mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, r *http.Request) {
			var req request
			a, err := answer{}, json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&req)
			if err == nil {
				ctx, cancel := context.WithTimeout(r.Context(), time.Duration(min(cmp.Or(max(req.Seconds, 0), 30), 3600))*time.Second)
				defer cancel()
				a, err = f(ctx, gw, req)
			}
			if err != nil {
				a = answer{Error: cli.Explain(explain(err)).Error()}
			}
			if err := json.NewEncoder(w).Encode(a); err != nil {
				log.Debug("answer a command", "err", err)
			}
		})
	}
	s := &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.Error("commands are not obeyed any more", "err", err)
	}
}

func connect(ctx context.Context, gw *appgw.Gateway, r request) (answer, error) {
	s, err := identity.ParseSticker(r.Sticker)
	if err != nil {
		return answer{}, err
	}
	return answer{Device: s.Device.String()}, gw.Connect(ctx, s)
}

func disconnect(ctx context.Context, gw *appgw.Gateway, r request) (answer, error) {
	d, err := identity.ParseDeviceID(r.Device)
	if err != nil {
		return answer{}, err
	}
	return answer{Device: d.String()}, gw.Disconnect(ctx, d)
}

func call(ctx context.Context, gw *appgw.Gateway, r request) (answer, error) {
	d, err := identity.ParseDeviceID(r.Device)
	if err != nil {
		return answer{}, err
	}
	reply, err := gw.Call(ctx, d, "text/plain", []byte(r.Text))
	return answer{Device: d.String(), Text: string(reply.Body)}, err
}

func send(ctx context.Context, gw *appgw.Gateway, r request) (answer, error) {
	d, err := identity.ParseDeviceID(r.Device)
	if err != nil {
		return answer{}, err
	}
	seq, err := gw.Send(ctx, d, appgw.Event{Type: "text/plain", Body: []byte(r.Text)})
	return answer{Device: d.String(), Seq: seq}, err
}

func list(ctx context.Context, gw *appgw.Gateway, _ request) (answer, error) {
	devices, err := gw.Devices(ctx)
	var a answer
	for _, d := range devices {
		state := "no session"
		switch {
		case d.Suspended:
			state = "suspended: its certificate is revoked or expired"
		case d.NoClaim:
			state = "claim code missing: connect it with the whole sticker"
		case d.Session:
			state = "session"
		}
		if d.Outdated {
			state += "; it has not heard of the newest certificate"
		}
		a.Devices = append(a.Devices, listed{d.Device.String(), d.Binding.String(), state, d.Queued})
	}
	return a, err
}

// explain says what somebody with a sticker in his hand can do.
func explain(err error) error {
	hint := ""
	switch {
	case errors.Is(err, appgw.ErrClaimRefused):
		hint = "The claim code is not the one on this device's sticker: compare each character, or photograph the sticker."
	case errors.Is(err, appgw.ErrNotRegistered):
		hint = "The platform knows no device of this name: compare it with the sticker, or ask the factory whether it has registered the device there."
	case errors.Is(err, appgw.ErrConnectedElsewhere):
		hint = "Another application has it: its owner must disconnect it first."
	case errors.Is(err, appgw.ErrOutcomeUnknown) || errors.Is(err, context.DeadlineExceeded):
		hint = "No answer in time. Is the platform running, and this application online? Run the command again: it does no harm to what was done already."
	default:
		return err
	}
	return fmt.Errorf("%w\n%s", err, hint)
}
