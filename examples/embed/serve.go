package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/examples/internal/brokerflag"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
)

// service is the back-end.
type service struct {
	log     *slog.Logger
	db      *database
	mqtt    *mqttClient
	gateway *appgw.Gateway
	metrics *metrics
	token   [sha256.Size]byte // hash of what the portal's users present
}

func setupServe(f *cli.Flags) cli.Action {
	dir := partycmd.Flag(f)
	dsn := f.Required("database", "`URL` of the PostgreSQL database; by the environment if it holds a password, since others see command lines")
	broker := brokerflag.Declare(f, "")
	listen := f.String("listen", "127.0.0.1:8080", "`address` of the portal; it speaks HTTP, for a proxy with TLS in front of it")
	token := f.Required("token-file", "`file` with the token, of 16 characters or more, that the portal's users present")
	plain := f.String("plain", "", "MQTT topic `filter` of old sensors, whose readings come in the clear")
	f.JSON()
	return func(ctx context.Context, t *cli.Terminal, _ []string) (err error) {
		s := &service{log: t.Log, metrics: new(metrics)}
		if s.token, err = readToken(*token); err != nil {
			return err
		}
		p, err := partycmd.Open(*dir, identity.RoleApplication)
		if err != nil {
			return err
		}
		if s.db, err = openDatabase(ctx, *dsn); err != nil {
			return err
		}
		defer s.db.Close()
		if s.mqtt, err = newMQTTClient(p, broker, *plain, s.storePlain, t.Log); err != nil {
			return err
		}
		if s.gateway, err = openGateway(ctx, s, p); err != nil {
			return err
		}
		l, err := net.Listen("tcp", *listen)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		broker.Protection().Tell(t)
		url := "http://" + l.Addr().String()
		if err := t.Print(map[string]any{"ready": true, "url": url}, "The portal is at %s.", url); err != nil {
			l.Close()
			return err
		}
		return s.run(ctx, l)
	}
}

func readToken(file string) (hash [sha256.Size]byte, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return hash, fmt.Errorf("-token-file: %w", err)
	}
	defer clear(b)
	token := strings.TrimSpace(string(b))
	if len(token) < 16 {
		return hash, fmt.Errorf("-token-file %s: a token of %d characters, want 16 or more: make one with openssl rand -hex 16", file, len(token))
	}
	return sha256.Sum256([]byte(token)), nil
}

// run serves until ctx ends or one of the parts does. Then the others end in this order: portal, gateway, MQTT client.
func (s *service) run(ctx context.Context, l net.Listener) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err := s.mqtt.connect(); err != nil {
		l.Close()
		return err
	}
	defer s.mqtt.disconnect()

	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() {
		if err := s.gateway.Run(ctx); err != nil {
			stop(fmt.Errorf("gateway: %w", err))
		}
	})
	parts.Go(func() { s.mqtt.storePlainReadings(ctx) })

	// Requests under way get their answer: they end with the server's time limit, not with ctx.
	server := &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: requestTimeout + 10*time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	parts.Go(func() {
		<-ctx.Done()
		within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(within) != nil {
			server.Close()
		}
	})
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		stop(fmt.Errorf("portal: %w", err))
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
