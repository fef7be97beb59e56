package platform

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/secret"
	"github.com/semio-iot/semio/platform/registry"
)

// Link is the platform's MQTT client; package platform/link has the contract.
type Link = link.Link

// Registration is what a factory station says about a new device. Sign makes the bytes that [Service.Register] takes.
type Registration = control.Registration

// Action is what a client of the broker wants to do with a topic.
type Action = registry.Action

// The actions that [Service.Allow] is asked about.
const (
	ActionPublish   = registry.ActionPublish
	ActionSubscribe = registry.ActionSubscribe
	ActionReceive   = registry.ActionReceive
)

// Config of a [Service]. Credential, Signer, Key, Roots, Store and one of Link and Broker are required. Open copies it.
type Config struct {
	secret.Opaque // a key may be within

	Credential identity.Credential // of the platform, with endorsement
	Signer     crypto.Signer       // of the credential's certificate
	Key        ecdh.KeyExchanger   // the endorsed agreement key
	// Previous is what the platform was before, the newest first, with the keys of each; optional. Credential then has a higher generation than
	// all of them. Gateways that know one of them are understood, and get to know Credential; until all do, it must stay here.
	// party.Party.Previous returns it.
	Previous []identity.Holder

	Roots []*x509.Certificate // the authorities that certify peers
	Store Store

	// Link is the connection to the broker; package publicbroker has one for a broker that belongs to a stranger. Without one, Broker is dialled (mqtts or wss) with the platform's certificate.
	Link   Link
	Broker string

	// Prefix of all topics, default "semio/1". Every peer learns it once, at its admission: it cannot be changed later.
	Prefix string

	Policy   Policy   // default: any admitted application may connect any device whose claim it proves
	Enforcer Enforcer // default: none; then nobody cuts live connections
	Renewer  Renewer  // default: none; then peers get no new certificate through the platform
	Revoker  Revoker  // default: none; then retired devices stay pending until AddCRL brings a list that names them

	Claim  ClaimRule
	Limits Limits

	Observer Observer
	Logger   *slog.Logger     // default: nothing is logged
	Now      func() time.Time // default time.Now
}

// ClaimRule says when a connection request must prove that its sender knows the sticker's claim code.
type ClaimRule byte

// The rules.
const (
	// ClaimRequired refuses requests without proof. A device that was registered without a claim key cannot be connected.
	ClaimRequired ClaimRule = iota
	// ClaimWhereRegistered wants the proof for devices with a claim key and none for the others.
	ClaimWhereRegistered
	// ClaimNever wants no proof of anybody: whoever knows the name of a free device may connect it. This is the paper's sticker.
	ClaimNever
)

// Limits bound what peers can cost. Zero values mean the defaults.
type Limits struct {
	// Guesses of claim codes: each wrong proof takes one from the application's and from the device's account, an empty account
	// refuses further proofs unseen. An application's account holds 10 and regains one in 5 minutes; a device's 30, one a minute, so that
	// no single application can keep others from a device.
	AppGuesses, DeviceGuesses Allowance

	Workers  int // requests handled at the same time, 8
	Peers    int // peers whose keys are held in memory, 4096
	MaxReply int // bytes of orders and revocation list in one reply, 100 KiB; keep it below the broker's packet size
}

// Allowance is an account that regains one unit each Every, up to Burst.
type Allowance struct {
	Burst int
	Every time.Duration
}

// Policy decides who may connect what, after signature, certificates and claim proof were verified, and before the platform's
// own rules: not connected elsewhere, not retired.
type Policy interface {
	// Connect returns nil to allow. A [*PolicyError] is a refusal with a text for the applicant; any other error refuses too and is
	// logged here only. It has 30 seconds, and is called concurrently, once for each of the
	// Limits.Workers.
	Connect(ctx context.Context, r ConnectRequest) error
}

// ConnectRequest is what a [Policy] decides about.
type ConnectRequest struct {
	App    identity.AppID
	Device registry.Device // as it is now; the decision may find it changed
	Proven bool            // with claim proof
}

// PolicyError refuses a connection with a text of at most 200 bytes for the applicant.
type PolicyError struct{ Text string }

func (e *PolicyError) Error() string { return "platform: policy refuses: " + e.Text }

// Grant is one permission of a client at the broker.
type Grant = registry.Grant

// Enforcer is what a broker must be told. The embedded broker asks [Service.Allow] at each packet and needs Evict alone: see
// [EvictFunc]. All methods are idempotent; what fails is tried again.
type Enforcer interface {
	// Apply changes the permissions of a broker that keeps a list. rev grows; after a failure Reconcile comes instead.
	Apply(ctx context.Context, rev uint64, add, del []Grant) error

	// Evict cuts the live connections of a peer, those of its instances included, and empties its queue at the broker. A peer that
	// is not connected is no error.
	Evict(ctx context.Context, id identity.ID) error

	// Reconcile makes the broker's permissions exactly these. It comes at start and after a failed Apply.
	Reconcile(ctx context.Context, all []Grant) error

	Caps() Caps
}

// Caps says what an Enforcer can do.
type Caps struct {
	Grants bool // Apply and Reconcile have an effect; otherwise they are not called
	Evict  bool // Evict has one; otherwise a retired device keeps its connection until it ends by itself, and Open warns
}

// EvictFunc is an [Enforcer] for a broker that asks for itself.
type EvictFunc func(ctx context.Context, id identity.ID) error

// Apply does nothing.
func (EvictFunc) Apply(context.Context, uint64, []Grant, []Grant) error { return nil }

// Evict calls the function.
func (f EvictFunc) Evict(ctx context.Context, id identity.ID) error { return f(ctx, id) }

// Reconcile does nothing.
func (EvictFunc) Reconcile(context.Context, []Grant) error { return nil }

// Caps reports eviction only.
func (EvictFunc) Caps() Caps { return Caps{Evict: true} }

// Revoker asks the certificate authority to revoke.
type Revoker interface {
	// Revoke asks that the certificates of id be revoked and returns the authority's newest revocation list. A list that does
	// not name id yet is no error: the platform asks again, with back-off, until one does. Revoking again is no error either.
	Revoke(ctx context.Context, id identity.ID) (crl []byte, err error)
}

// Observer is told what happens, for metrics. Every field may be nil. The functions are called from many goroutines and must
// return at once.
type Observer struct {
	Answered func(peer identity.ID, repeated bool)                    // a reply was published
	Decided  func(k registry.Kind, peer identity.ID, code uint8)      // a request was decided; the code is control.Code
	Dropped  func(peer identity.ID, why string)                       // a message was not answered
	Acked    func(peer identity.ID, k registry.Kind, outstanding int) // an order was acknowledged; how many of that device wait
	Enforced func(id identity.ID, err error)                          // an eviction was carried out, or failed
	Revoked  func(id identity.ID, pending time.Duration)              // a list names the device that long after Retire
}

var errConfig = errors.New("platform: incomplete configuration")

func (cfg Config) withDefaults() (Config, error) {
	need := func(ok bool, what string) error {
		if ok {
			return nil
		}
		return fmt.Errorf("%w: %s", errConfig, what)
	}
	err := errors.Join(
		need(len(cfg.Credential.Chain) > 0 && cfg.Signer != nil && cfg.Key != nil, "Credential, Signer and Key are required"),
		need(!slices.ContainsFunc(cfg.Previous, func(h identity.Holder) bool { return h.Signer == nil || h.Key == nil }), "Previous lacks a Signer or Key"),
		need(len(cfg.Roots) > 0, "Roots are required: nobody could be verified"),
		need(cfg.Store != nil, "Store is required, see OpenBoltStore"),
		need(cfg.Claim <= ClaimNever, "Claim is none of the rules"),
	)
	if err != nil {
		return Config{}, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &cfg.Limits
	l.AppGuesses = cmp.Or(l.AppGuesses, Allowance{10, 5 * time.Minute})
	l.DeviceGuesses = cmp.Or(l.DeviceGuesses, Allowance{30, time.Minute})
	l.Workers = cmp.Or(l.Workers, 8)
	l.Peers = cmp.Or(l.Peers, 4096)
	l.MaxReply = cmp.Or(l.MaxReply, 100<<10)
	if l.Workers < 1 || l.Peers < 1 || l.MaxReply < 4<<10 || l.AppGuesses.Burst < 1 || l.DeviceGuesses.Burst < 1 || l.AppGuesses.Every <= 0 || l.DeviceGuesses.Every <= 0 {
		return Config{}, fmt.Errorf("%w: a limit is out of range (MaxReply at least 4096, allowances at least 1)", errConfig)
	}
	l.MaxReply = min(l.MaxReply, control.MaxMessage-4<<10)
	return cfg, nil
}
