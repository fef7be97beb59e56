package e2e

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/secret"
)

// BindingID names one commissioning of a pair: 16 random bytes, not secret. The same pair commissioned again has another
// one, and so other keys.
type BindingID [16]byte

// NewBindingID returns a random one.
func NewBindingID() BindingID {
	var b BindingID
	rand.Read(b[:])
	return b
}

// IsZero reports that b is no binding's.
func (b BindingID) IsZero() bool { return b == BindingID{} }

// String returns b in hexadecimal.
func (b BindingID) String() string { return hex.EncodeToString(b[:]) }

// String returns s in hexadecimal.
func (s SessionID) String() string { return hex.EncodeToString(s[:]) }

// String returns h in hexadecimal.
func (h Hint) String() string { return hex.EncodeToString(h[:]) }

// Config of a peer. Both sides must agree on the two credentials, Binding, PSK, RequirePSK and Profile, or they have no key in
// common and every record of the other gets [ErrUnauthentic]. Of Suites they need one in common; the rest is each side's own.
type Config struct {
	secret.Opaque // a key may be within

	Self   *identity.Verified // required: one's own credential
	Key    ecdh.KeyExchanger  // required: the agreement key of Self, which may be opaque
	Remote *identity.Verified // required: the peer's credential

	// Binding is required.
	Binding BindingID

	// PSK, when set, is mixed into the master key: a CA that certifies a false peer gains nothing without it.
	PSK identity.PSK

	// RequirePSK refuses a Config without PSK. It is part of the transcript, so no message of anybody can weaken it; take it
	// from local configuration, never from what the platform sends.
	RequirePSK bool

	// Profile is pinned at commissioning: it is part of the transcript, and no message can change it. The zero value is
	// ProfileEphemeral.
	Profile Profile

	// Suites in the order of preference; none means SuiteCTRHMAC. The initiator offers all of them, the responder chooses the first
	// of its own that is offered, and both the offer and the choice are part of the transcript.
	Suites []Suite

	// Capabilities are told to the other side in every handshake, see [Peer.RemoteCapabilities]. The low 16 bits belong to the
	// protocol, which has no use for them yet, and must be 0; the others are the caller's.
	Capabilities uint32

	// Prekeys of an application gateway are the ones that it hands out to its devices. Without them, an INIT under a prekey is
	// refused.
	Prekeys Prekeys

	// RequirePrekey has early data under a prekey only: Initiate refuses any other, and early data that arrives without one is not
	// delivered; its sender is challenged and starts a session without early data.
	RequirePrekey bool

	// Windowed takes a record that up to 63 later ones of its session and direction have overtaken, once, instead of refusing
	// everything older than the newest. It is for transports that reorder, and concerns what this side receives; the other side
	// need not know. The order within a session, which the paper asks for, is then the caller's to restore.
	Windowed bool

	// Epochs is required: the two durable numbers of this binding.
	Epochs Epochs

	Limits Limits
}

// Peer is one side of one binding: all sessions with one peer, or the one-shot exchanges with a platform. Make it with
// [NewPeer]. It is safe for concurrent use. It starts nothing, reads no clock and sends nothing: bytes and times come in, bytes go
// out. Calls to Config.Epochs and Config.Key are made while handshakes wait for one another, never while sealing waits.
type Peer struct {
	self, remote party
	selfB        bool // self is B in the transcript
	oneShot      bool // a platform is on either side
	profile      Profile
	suites       []Suite
	limits       Limits
	windowed     bool
	caps         uint32
	key          ecdh.KeyExchanger
	epochs       Epochs

	prekeys       Prekeys                // of ours
	requirePrekey bool                   // for early data either way
	prekey        atomic.Pointer[Prekey] // of the remote, for early data of ours, nil: none. Stored under hs

	th0   [hashSize]byte
	hint  Hint
	mk    secret.Bytes
	count counters

	random random // tests replace it

	// hs lets one handshake run at a time, across calls of Epochs and Key. It guards the block below; pending and wiped
	// change under both mutexes and are read under either. Lock hs before mu.
	hs        sync.Mutex
	mac1      hash.Hash
	mac1Sum   [sha256.Size]byte
	ownEpoch  uint64    // last of ours
	seenEpoch uint64    // highest of the other side since NewPeer, 0: unknown
	trying    time.Time // first INIT since the last success

	challenges challenges // that we sent
	echo       []byte     // for the next one-shot INIT, nil: none

	// mu guards what follows.
	mu       sync.Mutex
	pending  *initiation // our outstanding INIT
	answer   *answer     // RESP of next, to be repeated
	current  *session    // Seal uses it
	previous *session    // receive only, until it lingered
	next     *session    // made by our RESP, not confirmed by a DATA yet
	orders   uint64
	lingers  time.Time // until then previous is received on, whatever comes under current
	due      time.Time // until then expire has nothing to do
	wiped    bool
}

// answer is a RESP and the INIT that it answers.
type answer struct {
	digest  [hashSize]byte
	resp    []byte
	session SessionID
}

// NewPeer derives the binding's master key (one call of cfg.Key) and keeps a copy of cfg.
func NewPeer(cfg Config) (*Peer, error) {
	switch {
	case cfg.Self == nil || cfg.Remote == nil:
		return nil, errors.New("e2e: Config needs Self and Remote, as an identity.Verifier gave them")
	case cfg.RequirePSK && cfg.PSK.IsZero():
		return nil, errors.New("e2e: a pre-shared key is required and none is set: take it from the claim code")
	case cfg.Self.SigningKey().Equal(cfg.Remote.SigningKey()):
		return nil, errors.New("e2e: the peer has our own signing key: refuse its credential")
	}
	var psk []byte
	if !cfg.PSK.IsZero() {
		psk = cfg.PSK.Bytes()
		defer clear(psk)
	}
	return newPeer(cfg, partyOf(cfg.Self), partyOf(cfg.Remote), psk)
}

func partyOf(v *identity.Verified) party {
	return party{role: byte(v.Role()), name: v.ID().String(), cert: v.CertificateHash(), agreement: v.Agreement()}
}

// rank orders the roles of a transcript: A is the lower one, whoever starts. 0 is no role of this protocol.
func rank(role byte) int {
	switch identity.Role(role) {
	case identity.RoleDevice:
		return 1
	case identity.RoleApplication:
		return 2
	case identity.RolePlatform:
		return 3
	}
	return 0
}

// newPeer is NewPeer behind the types of package identity.
func newPeer(cfg Config, self, remote party, psk []byte) (*Peer, error) {
	limits, err := cfg.Limits.withDefaults()
	if err != nil {
		return nil, err
	}
	suites, err := checkSuites(cfg.Suites)
	if err != nil {
		return nil, err
	}
	switch {
	case !cfg.Profile.implemented():
		return nil, fmt.Errorf("e2e: profile %d is not supported", cfg.Profile)
	case cfg.Key == nil || cfg.Epochs == nil:
		return nil, errors.New("e2e: Config needs Key and Epochs")
	case cfg.Capabilities&(1<<16-1) != 0:
		return nil, fmt.Errorf("e2e: Config.Capabilities is %#x: the low 16 bits belong to the protocol", cfg.Capabilities)
	case cfg.Binding.IsZero():
		return nil, errors.New("e2e: Config needs a binding ID")
	case rank(self.role) == 0 || rank(remote.role) == 0 || rank(self.role) == rank(remote.role):
		return nil, fmt.Errorf("e2e: %s and %s cannot be peers: two of device, application and platform can", self.name, remote.name)
	case self.name == remote.name:
		return nil, fmt.Errorf("e2e: the peer has our own name %s: refuse its credential", self.name)
	case self.agreement.Curve() != ecdh.P256() || remote.agreement.Curve() != ecdh.P256():
		return nil, errors.New("e2e: agreement keys must be on P-256")
	case self.agreement.Equal(remote.agreement):
		return nil, errors.New("e2e: the peer has our own agreement key: refuse its credential")
	case !self.agreement.Equal(cfg.Key.PublicKey()):
		return nil, errors.New("e2e: Key is not the agreement key of Self's credential")
	}

	shared, err := cfg.Key.ECDH(remote.agreement)
	if err != nil {
		return nil, fmt.Errorf("e2e: agree on master key: %w", err)
	}
	defer clear(shared)
	p := &Peer{
		self: self, remote: remote,
		selfB:   rank(self.role) > rank(remote.role),
		oneShot: rank(self.role) == 3 || rank(remote.role) == 3,
		profile: cfg.Profile, suites: suites, limits: limits, windowed: cfg.Windowed, caps: cfg.Capabilities, prekeys: cfg.Prekeys, requirePrekey: cfg.RequirePrekey, key: cfg.Key, epochs: cfg.Epochs,
		random: system,
	}
	a, b := self, remote
	if p.selfB {
		a, b = b, a
	}
	p.th0 = bindingHash(p.profile, cfg.RequirePSK, cfg.Binding, a, b)
	p.hint = hintFor(p.th0)
	p.mk = masterKey(p.th0, shared, psk)
	k := expand(p.mk, labelMAC1, nil, keySize)
	defer clear(k)
	p.mac1 = hmac.New(sha256.New, k)
	p.mac1.Reset() // precomputes the padded key's state
	return p, nil
}

// Hint returns the name under which handshake records of this binding travel. After the binding is gone it still tells old
// traffic from unknown traffic: keep it in the tombstone, beside binding ID and epoch.
func (p *Peer) Hint() Hint { return p.hint }

// Pending returns our outstanding INIT, nil when there is none. Send it again as it is, with back-off, until Receive reports
// KindEstablished; when that does not come within a minute, call Initiate again.
func (p *Peer) Pending() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		return nil
	}
	return slices.Clone(p.pending.record)
}

// Ready says whether there is a session to seal with.
func (p *Peer) Ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current != nil
}

// Session returns the ID of the session that Seal uses, false when there is none.
func (p *Peer) Session() (SessionID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return SessionID{}, false
	}
	return p.current.id, true
}

// RemoteCapabilities returns the Config.Capabilities that the other side told when the session began that Seal uses, false without a
// session. Bits that the caller does not know are to be ignored.
func (p *Peer) RemoteCapabilities() (uint32, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return 0, false
	}
	return p.current.caps, true
}

// RenewDue says that the session has used 90 % of its age or messages, or that the peer asked for a new one: call Initiate. It
// says no without a session and while a new one is under way.
func (p *Peer) RenewDue(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.current
	if s == nil || p.pending != nil {
		return false
	}
	if n := p.next; n != nil && n.order > s.order {
		if age := now.Sub(n.created); age >= 0 && age < contendFor {
			return false
		}
	}
	// Where the clock was set back before the session's start, its age is unknown.
	return s.renew || s.due(now, &p.limits) || now.Before(s.created)
}

// Wipe forgets all keys. Every later call returns [ErrWiped]. What Go's crypto packages hold of a key cannot be
// overwritten, only dropped.
func (p *Peer) Wipe() {
	p.hs.Lock()
	defer p.hs.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropSessions()
	p.wiped = true
	p.mk.Wipe()
	p.mac1 = nil
	p.key = nil
}

// dropSessions wants both mutexes.
func (p *Peer) dropSessions() {
	p.pending.wipe()
	p.current.wipe()
	p.previous.wipe()
	p.next.wipe()
	p.pending, p.answer, p.current, p.previous, p.next = nil, nil, nil, nil, nil
	p.trying = time.Time{}
}

// Format prints the two names, whatever the verb, and no key.
func (p *Peer) Format(f fmt.State, _ rune) {
	if p == nil {
		fmt.Fprint(f, "e2e.Peer(nil)")
		return
	}
	fmt.Fprintf(f, "e2e.Peer(%s to %s)", p.self.name, p.remote.name)
}
