package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/mqttlink"
	"github.com/semio-iot/semio/internal/secret"
	"github.com/semio-iot/semio/platform/registry"
)

// ErrIdentity reports a store of another platform, of this one under another topic prefix, or of this one before a renewal that Config.Previous does not
// tell of. The devices would not understand a word: their bindings are made with what the platform was when they heard of it last.
var ErrIdentity = errors.New("platform: store belongs to another name, topic prefix or certificate; give those back (a certificate as Config.Previous), or use an empty store")

// ErrShared reports that something else has changed the store: two platforms on one store would give orders against each other.
var ErrShared = errors.New("platform: another process has written to the store; stop it and restart this one")

// Service is a platform. It is safe for concurrent use. Make it with [Open].
type Service struct {
	secret.Opaque // keys are within

	cfg      Config
	log      *slog.Logger
	self     *identity.Verified // the present one of faces
	faces    []face
	id       identity.PlatformID
	topics   control.Topics
	routing  registry.Routing
	verifier *identity.Verifier // with revocation lists: who may act
	known    *identity.Verifier // without: whom we can still talk to, to tell him that he is revoked
	link     Link

	peers   *peerCache
	inbox   *inbox
	nudges  *nudger
	enforce *enforcer
	revoke  chan struct{} // capacity 1: there is something to ask the authority
	lists   atomic.Uint64 // from 1, grows with each revocation list

	renewals *renewals

	// Authenticate and Allow read these alone.
	snapshot atomic.Pointer[registry.State]
	leaving  leaving

	writing sync.Mutex // one change at a time; guards what follows
	head    AuditHead
	unsure  *AuditHead               // head after the change of which the store did not say whether it was made; nil: none
	serials map[string][]identity.ID // certificates by serial number
	over    map[[32]byte]bool        // true: a chain of CAs, by its SHA-256, whose peers were cut off because it is revoked
}

// Open checks the configuration, reads the store and makes an empty one its own. It starts nothing and connects nowhere; see [Service.Run].
func Open(ctx context.Context, cfg Config) (*Service, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open platform: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Service, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: cfg.Logger, link: cfg.Link, revoke: make(chan struct{}, 1), over: map[[32]byte]bool{}}
	trust := identity.VerifierConfig{Roots: cfg.Roots, Now: cfg.Now}
	if s.verifier, err = identity.NewVerifier(trust); err != nil {
		return nil, err
	}
	if s.known, err = identity.NewVerifier(trust); err != nil {
		return nil, err
	}
	if err := s.setFaces(); err != nil {
		return nil, err
	}
	if cfg.Prefix != "" {
		if s.topics, err = control.ParsePrefix(cfg.Prefix); err != nil {
			return nil, err
		}
	}
	if s.routing, err = registry.NewRouting(cfg.Prefix, s.id); err != nil {
		return nil, err
	}
	if s.link == nil && cfg.Broker != "" {
		s.link, err = mqttlink.NewMutual(mqttlink.Mutual{
			Broker: cfg.Broker, ClientID: s.id.String(), Chain: cfg.Credential.Chain, Signer: cfg.Signer, Verifier: s.verifier, Logger: s.log,
		})
		if err != nil {
			return nil, err
		}
	}
	if err := s.claimStore(ctx); err != nil {
		return nil, err
	}
	if err := s.load(ctx, nil); err != nil {
		return nil, err
	}
	s.peers = newPeerCache(cfg.Limits.Peers)
	s.inbox = newInbox()
	s.nudges = newNudger()
	s.enforce = newEnforcer(s)
	s.renewals = newRenewals()
	s.lists.Add(1)
	// The registry goes on with the peers of a revoked CA, so that nothing else shows whether the process before this one came to cutting them off.
	evict, over := s.cutOff(s.state())
	s.enforce.changed(s.state(), s.state(), s.head.Seq, registry.Effects{Evict: evict})
	s.noteOver(over)
	if cfg.Enforcer != nil && !cfg.Enforcer.Caps().Evict {
		s.log.Warn("the broker cannot cut live connections: a retired device keeps its own until it ends")
	}
	return s, nil
}

// load reads the records, revocation lists and the head of the audit log. accept, if it is not nil, looks at the head first.
func (s *Service) load(ctx context.Context, accept func(AuditHead) error) error {
	var devices []registry.Device
	var apps []registry.Application
	var head AuditHead
	err := s.cfg.Store.View(ctx, func(tx Tx) (err error) {
		if head, err = loadHead(tx); err != nil {
			return err
		}
		if accept != nil {
			if err := accept(head); err != nil {
				return err
			}
		}
		for key, raw := range tx.List(prefixDevice) {
			d, err := registry.ParseDevice(raw)
			if err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
			devices = append(devices, d)
		}
		for key, raw := range tx.List(prefixApp) {
			a, err := registry.ParseApplication(raw)
			if err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
			apps = append(apps, a)
		}
		for key, crl := range tx.List(prefixCRL) {
			if _, err := identity.ParseCRLs(crl); err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
			// The verifier may have a newer one already, which could not be stored. And a list of an authority that is no longer among the
			// roots is no reason to stand still: nothing that it issued is accepted.
			if err := s.verifier.AddCRL(crl); err != nil && !errors.Is(err, identity.ErrCRLOlder) {
				s.log.Warn("kept revocation list", "key", key, "err", err)
			}
		}
		if head.Seq == 0 {
			return nil
		}
		last, err := tx.Get(numbered(prefixAudit, head.Seq))
		if err != nil || auditHash(last) != head.Hash {
			return fmt.Errorf("%w: its head is not its newest entry", ErrAudit)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.head = head
	state := registry.NewState(devices, apps)
	s.serials = map[string][]identity.ID{}
	for _, d := range devices {
		s.index(d.ID.ID, d.Credential)
	}
	for _, a := range apps {
		s.index(a.ID.ID, a.Credential)
	}
	s.snapshot.Store(&state)
	return nil
}

// state returns the current snapshot.
func (s *Service) state() registry.State { return *s.snapshot.Load() }

// ID returns the platform's name.
func (s *Service) ID() identity.PlatformID { return s.id }

// Authenticate returns nil when the holder of id's certificate may be connected to the broker under clientID. It does not
// block.
func (s *Service) Authenticate(id identity.ID, clientID string) error {
	return s.routing.Authenticate(s.state(), id, clientID)
}

// Allow reports whether id, connected under clientID, may publish on or receive from a topic, or subscribe to a filter. It does
// not block.
func (s *Service) Allow(id identity.ID, clientID string, a Action, topic string) bool {
	return s.routing.Allow(s.state(), id, clientID, a, topic) || s.lastWords(id, clientID, a, topic)
}

// lastWords allows a device that has just acknowledged its wipe order, and has no rights any more, to learn that the platform knows.
func (s *Service) lastWords(id identity.ID, clientID string, a Action, topic string) bool {
	if clientID != id.String() || !s.leaving.has(id, time.Now()) {
		return false
	}
	return a == ActionPublish && topic == s.topics.ToPlatform(id) || a == ActionReceive && topic == s.topics.ToPeer(id)
}

// AuthenticateLapsed is [Service.Authenticate] for a peer whose certificate is over, or whose CA is revoked, and that comes to renew it: the
// certificate must be the one that the registry holds, so that nobody gets in with another of the same name. certificate is the
// SHA-256 of its DER. [Service.AllowLapsed] then goes in the place of Allow.
func (s *Service) AuthenticateLapsed(id identity.ID, clientID string, certificate [32]byte) error {
	state := s.state()
	if err := s.routing.Authenticate(state, id, clientID); err != nil {
		return err
	}
	if !state.Holds(id, certificate) {
		return fmt.Errorf("%w: the certificate of %s is over, and is not the one in the registry", registry.ErrNotAllowed, id)
	}
	return nil
}

// AllowLapsed reports whether a peer that [Service.AuthenticateLapsed] has let in may: on its control topics, and no others.
func (s *Service) AllowLapsed(id identity.ID, clientID string, a Action, topic string) bool {
	own := topic == s.topics.ToPlatform(id) || topic == s.topics.ToPeer(id)
	return own && s.Allow(id, clientID, a, topic)
}

// Grants returns everything that Allow allows, for an integrator's own enforcement.
func (s *Service) Grants() []Grant { return s.routing.Grants(s.state()) }
