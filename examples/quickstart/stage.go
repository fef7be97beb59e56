package main

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/broker"
)

// party is somebody with an identity that is not rooted in a chip: keys from the operating system, a certificate, an endorsement.
type party struct {
	id        identity.ID
	signer    *ecdsa.PrivateKey
	agreement *ecdh.PrivateKey
	cred      identity.Credential
}

// stage holds the parties that are there from the beginning.
type stage struct {
	*teller
	dir string
	log *slog.Logger

	authority   *ca.Authority
	roots       []*x509.Certificate
	registrar   party // the factory's station
	me          party // the platform
	registry    platform.Store
	platform    *platform.Service
	endPlatform func()
	broker      *broker.Broker
	asked       atomic.Pointer[platform.Service] // by the broker
	wire        wire
	devices     []*device
	apps        []*application

	stop context.CancelFunc
	work sync.WaitGroup
}

func newStage(dir string, log *slog.Logger, t *teller) *stage {
	return &stage{teller: t, dir: dir, log: log, stop: func() {}, endPlatform: func() {}}
}

// close ends everything that still runs.
func (s *stage) close() {
	for _, d := range s.devices {
		d.powerCut()
	}
	for _, a := range s.apps {
		a.close()
	}
	s.endPlatform()
	s.stop()
	s.work.Wait()
	if s.registry != nil {
		s.registry.Close()
	}
}

// live runs a party's Run until the stage closes.
func (s *stage) live(ctx context.Context, name string, f func(context.Context) error) {
	s.work.Go(func() {
		if err := f(ctx); err != nil {
			s.log.Error("party ended", "name", name, "err", err)
		}
	})
}

// certify makes keys for a name, has the authority certify the signing key, and lets that one vouch for the agreement key.
func (s *stage) certify(id identity.ID, o identity.CSROptions, opts ca.IssueOptions) (party, error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return party{}, err
	}
	agreement, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return party{}, err
	}
	csr, err := identity.NewCSR(signer, id, o)
	if err != nil {
		return party{}, err
	}
	chain, err := s.authority.Issue(csr, opts)
	if err != nil {
		return party{}, err
	}
	p := party{id: id, signer: signer, agreement: agreement, cred: identity.Credential{Chain: chain}}
	if o.Instance != "" {
		return p, nil
	}
	p.cred.Endorsement, err = identity.Endorse(signer, chain[0], agreement.PublicKey(), identity.EndorseOptions{})
	return p, err
}

func mustID(name string) identity.ID {
	id, err := identity.ParseID(name)
	if err != nil {
		panic(err) // the names of this program
	}
	return id
}

// setUp starts the certificate authority, the broker and the platform.
func (s *stage) setUp(ctx context.Context) error {
	ctx, s.stop = context.WithCancel(ctx)
	err := s.step("certificate authority", func() (string, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return "", err
		}
		store, err := ca.OpenFileStore(filepath.Join(s.dir, "ca"))
		if err != nil {
			return "", err
		}
		s.authority, err = ca.New(ca.Config{Name: "Quickstart CA", Signer: key, Store: store})
		if err != nil {
			return "", err
		}
		s.roots = []*x509.Certificate{s.authority.Certificate()}
		s.registrar, err = s.certify(mustID("R-FACTORY"), identity.CSROptions{}, ca.IssueOptions{})
		return "root certificate; it belongs to neither platform nor provider", err
	})
	if err != nil {
		return err
	}
	return s.step("platform with embedded broker", func() (string, error) {
		if err := s.startBroker(ctx); err != nil {
			return "", err
		}
		return "MQTT 5 over mutual TLS 1.3 at " + s.broker.URL(), s.startPlatform(ctx, platform.ClaimRequired)
	})
}

// startBroker starts the embedded broker. It asks the platform who may do what; the platform tells it whom to cut off.
func (s *stage) startBroker(ctx context.Context) (err error) {
	if s.me, err = s.certify(mustID("P-SEMIO"), identity.CSROptions{}, ca.IssueOptions{}); err != nil {
		return err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	chain, err := s.authority.IssueServer(serverKey.Public(), s.me.id, []string{"localhost", "127.0.0.1"})
	if err != nil {
		return err
	}
	verifier, err := identity.NewVerifier(identity.VerifierConfig{Roots: s.roots})
	if err != nil {
		return err
	}
	s.broker, err = broker.New(broker.Config{
		Cert:       tls.Certificate{Certificate: chain, PrivateKey: serverKey},
		Verifier:   verifier,
		Authorizer: authorizer{s},
		Observer:   s.wire.see,
		Logger:     s.log.With("party", "broker"),
	})
	if err != nil {
		return err
	}
	s.live(ctx, "broker", s.broker.Run)
	registry, err := platform.OpenBoltStore(filepath.Join(s.dir, "registry.db"))
	if err != nil {
		return err
	}
	s.registry = registry // only now, since close closes it
	return nil
}

// startPlatform starts the platform, or starts it anew under another rule.
func (s *stage) startPlatform(ctx context.Context, rule platform.ClaimRule) (err error) {
	s.endPlatform()
	s.platform, err = platform.Open(ctx, platform.Config{
		Credential: s.me.cred, Signer: s.me.signer, Key: s.me.agreement, Roots: s.roots, Store: s.registry,
		Broker: s.broker.URL(), Enforcer: platform.EvictFunc(s.broker.Evict), Revoker: revoker{s.authority}, Claim: rule,
		Logger: s.log.With("party", "platform"),
	})
	if err != nil {
		return err
	}
	s.asked.Store(s.platform)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	s.live(ctx, "platform", func(ctx context.Context) error {
		defer close(ended)
		return s.platform.Run(ctx)
	})
	s.endPlatform = func() { cancel(); <-ended }
	return nil
}

// wire is what the platform can see: every publication that its broker carries.
type wire struct {
	mu   sync.Mutex
	seen []publication
	tap  func(publication) // for the test
}

type publication struct {
	topic   string
	payload []byte
}

func (w *wire) see(_ identity.ID, topic string, payload []byte) {
	p := publication{topic, append([]byte(nil), payload...)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, p)
	if w.tap != nil {
		w.tap(p)
	}
}

// since returns the publications whose topic ends so, after the first n of all.
func (w *wire) since(n int, suffix string) (out []publication) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.seen[min(n, len(w.seen)):] {
		if strings.HasSuffix(p.topic, suffix) {
			out = append(out, p)
		}
	}
	return out
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// ciphertext shows the beginning of a record.
func ciphertext(record []byte) string {
	const n = 20
	if len(record) <= n {
		return hex.EncodeToString(record)
	}
	return fmt.Sprintf("%s… %d bytes", hex.EncodeToString(record[:n]), len(record))
}
