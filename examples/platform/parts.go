package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/semio-iot/semio/examples/internal/brokerflag"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/broker"
	"github.com/semio-iot/semio/platform/publicbroker"
)

// authorizer lets the broker ask the platform, which is opened after it.
type authorizer struct {
	service *atomic.Pointer[platform.Service]
}

var errStarting = errors.New("the platform is starting")

func (a authorizer) Authenticate(id identity.ID, clientID string) error {
	s := a.service.Load()
	if s == nil {
		return errStarting
	}
	return s.Authenticate(id, clientID)
}

func (a authorizer) Allow(id identity.ID, clientID string, action platform.Action, topic string) bool {
	s := a.service.Load()
	return s != nil && s.Allow(id, clientID, action, topic)
}

func (a authorizer) AuthenticateLapsed(id identity.ID, clientID string, certificate [32]byte) error {
	s := a.service.Load()
	if s == nil {
		return errStarting
	}
	return s.AuthenticateLapsed(id, clientID, certificate)
}

func (a authorizer) AllowLapsed(id identity.ID, clientID string, action platform.Action, topic string) bool {
	s := a.service.Load()
	return s != nil && s.AllowLapsed(id, clientID, action, topic)
}

// askAuthority makes the client of the certificate authority.
func (s *server) askAuthority() error {
	if *s.ca == "" {
		return nil
	}
	c, err := s.party.TLS()
	if err != nil {
		return err
	}
	s.authority, err = cahttp.NewClient(cahttp.ClientConfig{URL: *s.ca, Verifier: s.verifier, Certificate: &c})
	if err != nil {
		return cli.Usage("-ca: %v", err)
	}
	return nil
}

// takeLists has lists taken by who checks connections and by the platform.
func (s *server) takeLists(ctx context.Context, der []byte) error {
	refused := s.verifier.AddCRL(der)
	if refused != nil && !errors.Is(refused, identity.ErrSomeCRLs) {
		return refused
	}
	if err := s.service.Load().AddCRL(ctx, der); err != nil {
		return err
	}
	return refused
}

// watchList brings what the authority revokes, until ctx ends. An authority that cannot be reached is no reason to stop: the lists that are
// known stay in force.
func (s *server) watchList(ctx context.Context) error {
	if s.authority == nil {
		<-ctx.Done()
		return nil
	}
	var last []byte
	told := ""
	for {
		der, err := s.authority.CRL(ctx)
		if err == nil && !bytes.Equal(der, last) {
			if err = s.takeLists(ctx, der); err == nil || errors.Is(err, identity.ErrSomeCRLs) {
				last = der
			}
		}
		switch {
		case err == nil:
			told = ""
		case errors.Is(err, identity.ErrSomeCRLs):
			told = ""
			s.t.Log.Error("the certificate authority has revocation lists that are not in force here", "err", err)
		case ctx.Err() == nil && told != err.Error():
			told = err.Error()
			s.t.Log.Warn("no news from the certificate authority; the revocation list that is known stays in force", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(*s.every):
		}
	}
}

// tell says what is protected, and that the platform is ready.
func (s *server) tell(own *broker.Broker, admin net.Listener, prefix string) error {
	hosts := cli.Split(*s.hosts)
	_, port, _ := net.SplitHostPort(admin.Addr().String())
	adminURL := "https://" + net.JoinHostPort(hosts[0], port)
	at := "over the broker of its own"
	brokerURL := ""
	protection := brokerflag.MutualTLS()
	if own != nil {
		brokerURL = own.URL()
	} else {
		if u, err := url.Parse(*s.broker.URL); err == nil {
			brokerURL = u.Redacted()
		}
		if protection = brokerflag.Elsewhere(); *s.broker.Public {
			protection = s.broker.Protection()
		}
		at = "over the broker"
	}
	protection.Tell(s.t)
	return s.t.Print(map[string]any{
		"ready": true, "id": s.party.ID(), "broker": brokerURL, "admin": adminURL, "prefix": prefix, "protection": protection,
	}, "%s works %s %s, topic prefix %s, administration at %s", s.party.ID(), at, brokerURL, prefix, adminURL)
}

// defaultPrefix is the platform package's.
const defaultPrefix = "semio/1"

// keepPrefix returns the topic prefix that the platform has for life. The first start decides it, and keeps it in the party's folder.
func keepPrefix(dir, want string, public bool) (string, error) {
	path := filepath.Join(dir, "prefix")
	b, err := os.ReadFile(path)
	if err == nil {
		have := strings.TrimSpace(string(b))
		if want != "" && want != have {
			return "", fmt.Errorf("-prefix %s: this platform has the topic prefix %s, which its devices and applications have for life. "+
				"Leave -prefix out, or make another platform in a new folder", want, have)
		}
		return have, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	switch {
	case want != "":
	case public:
		want = publicbroker.RandomPrefix()
	default:
		want = defaultPrefix
	}
	return want, files.Write(path, []byte(want+"\n"), false)
}

// together runs the tasks until ctx ends or the first one does, and returns the first error once all have ended.
func together(ctx context.Context, tasks ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first error
	var once sync.Once
	var all sync.WaitGroup
	for _, task := range tasks {
		all.Go(func() {
			defer cancel()
			if err := task(ctx); err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	all.Wait()
	return first
}
