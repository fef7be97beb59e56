package devicegw

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/secret"
)

// What integrators need of other packages, under one roof.
type (
	// Link is a client of the broker; see Config.Link.
	Link = link.Link
	// Receiver is what a Link calls.
	Receiver = link.Receiver
	// Message is what a Link receives.
	Message = link.Message
	// Event is a message without answer, to or from the application.
	Event = delivery.Event
	// Call is a question of the application, or to it.
	Call = delivery.Call
	// Reply is the answer to a Call.
	Reply = delivery.Reply
)

var (
	// ErrNotProduced reports a memory without an identity: run [Produce] and finish with Complete.
	ErrNotProduced = errors.New("devicegw: device is not produced yet")

	// ErrNotConnected reports that no application has commissioned the device, or that it has been decommissioned since.
	// Wait with [Gateway.WaitConnected].
	ErrNotConnected = errors.New("devicegw: device is not connected with an application")

	// ErrSuspended reports a connection whose application cannot be trusted now; the error that it wraps says why, for example
	// that its certificate is revoked. What is queued stays queued until the connection is ended or trusted again.
	ErrSuspended = errors.New("devicegw: connection with the application is suspended")

	// ErrRetired reports the end of the device's life: its keys and memory are gone.
	ErrRetired = errors.New("devicegw: device is retired and has been wiped")
)

// Config says what a [Gateway] needs. Root, NVM and one of Link and Broker are required.
type Config struct {
	Root Root
	NVM  NVM

	// Link is a client of the broker that this gateway has for itself: Run runs it. Package platform/link has the contract, and
	// platform/publicbroker a client for a broker that belongs to a stranger.
	Link Link

	// Broker is the broker's URL instead of a Link, for example "mqtts://broker.example:8883". It is dialled with the device's
	// certificate over TLS 1.3, and must present a platform's server certificate under the pinned roots.
	Broker string

	// OnEvent handles events of the application, one after the other, in their order. An event whose handler returns an
	// error comes again. nil: events are acknowledged and forgotten.
	OnEvent func(ctx context.Context, e Event) error

	// OnCall answers calls of the application, each at most once, several at a time. The error's text reaches the caller.
	// nil: calls are refused.
	OnCall func(ctx context.Context, c Call) (Reply, error)

	// OnConnected and OnDisconnected tell with which application the device is connected, also at the start of Run, and that it no longer
	// is. They are called one after the other, from one goroutine of Run. OnRetired tells that the device is about to be wiped.
	// Optional.
	OnConnected    func(app identity.AppID)
	OnDisconnected func(app identity.AppID)
	OnRetired      func()

	// MaxQueue bounds the events that wait for the application; default 256, at most 1,000. DropOldest makes room by
	// dropping the oldest, where Send otherwise returns an error that Is ErrFull.
	MaxQueue   int
	DropOldest bool

	// EarlyData puts a waiting event into the first message of a new session, which saves a round trip to a device that wakes
	// for one message. It is done under the application's prekey alone (package e2e), which comes with the platform's answers: until the
	// device has one, and in ProfileStatic, the event waits for the session. Only the epoch protects early data from replay.
	EarlyData bool

	// Suites of the end-to-end protocol with the application in the order of preference; default e2e.SuiteCTRHMAC alone. The
	// application needs one of them.
	Suites []e2e.Suite

	// Poll is the time between regular questions to the platform; default 10 minutes. Nudges and connects ask at once.
	Poll time.Duration

	// Now is a clock that the device trusts, for the validity of certificates. nil: the device goes by the latest time that
	// was authenticated to it (identity.TimeFloor), whatever the system clock says.
	Now func() time.Time

	Logger *slog.Logger // default: none
}

const (
	defaultQueue = 256
	maxQueue     = 1000 // below outboxSlots, which leaves room for a message that is being replaced
)

// Gateway is a produced device in operation. Safe for concurrent use.
type Gateway struct {
	secret.Opaque // keys are within

	cfg  Config
	log  *slog.Logger
	nvm  locked
	id   identity.DeviceID
	link Link

	verifier        *identity.Verifier
	floor           *identity.TimeFloor // nil with Config.Now
	topics          control.Topics
	platformBinding e2e.BindingID
	platformEpochs  *epochs
	client          *control.Client
	psk             identity.PSK // zero where production switched it off

	// These change under both mutexes, and are read under either.
	rec            identityRecord
	self, platform *identity.Verified
	next           *identity.Verified // the device's next credential, nil: none; see renewal.go

	changes sync.Mutex             // one change of the state at a time; held over writes to NVM, never over user code
	revoked [revokedSlots][32]byte // SHA-256 of the lists in NVM, to spare writes; guarded by changes

	mu        sync.Mutex // guards what follows
	state     stateRecord
	conn      *connection // nil: none, or suspended
	suspended error
	up        uint64 // number of the present connection to the broker; 0: none
	ups       uint64 // connections so far
	changed   chan struct{}
	lastErr   error
	retiring  bool
	started   bool // Run was called
}

// Open reads the memory, verifies everything in it against the pinned roots and this root of trust, and starts nothing; [Gateway.Run]
// does. Errors: [ErrNotProduced], [ErrWrongRoot], [ErrDamaged], [ErrRetired] (an interrupted wipe is finished first),
// [*StorageError], and those of package identity for a certificate that no longer holds.
func Open(ctx context.Context, cfg Config) (*Gateway, error) {
	g, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open device gateway: %w", err)
	}
	return g, nil
}

func open(ctx context.Context, cfg Config) (*Gateway, error) {
	if cfg.Root == nil || cfg.NVM == nil || (cfg.Link == nil) == (cfg.Broker == "") {
		return nil, errors.New("devicegw: Config wants Root, NVM, and either Link or Broker")
	}
	if cfg.MaxQueue == 0 {
		cfg.MaxQueue = defaultQueue
	}
	if cfg.MaxQueue < 1 || cfg.MaxQueue > maxQueue {
		return nil, fmt.Errorf("devicegw: Config.MaxQueue is %d, want 1 to %d", cfg.MaxQueue, maxQueue)
	}
	g := &Gateway{cfg: cfg, log: cfg.Logger, nvm: locked{cfg.Root, cfg.NVM}, link: cfg.Link, changed: make(chan struct{})}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	var found bool
	var err error
	if g.rec, found, err = load(ctx, g.nvm, nameIdentity, noBinding, parseIdentityRecord); err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNotProduced
	}
	g.id = g.rec.Device
	g.log = g.log.With("device", g.id.String())
	if g.state, found, err = load(ctx, g.nvm, nameState, noBinding, parseStateRecord); err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("read %s: it is missing: %w", nameState, ErrDamaged)
	}
	if g.state.Retired {
		// The wipe was ordered with evidence and the power went before it was done.
		return nil, errors.Join(ErrRetired, erase(ctx, cfg.Root, cfg.NVM))
	}
	if err := g.verify(ctx); err != nil {
		return nil, err
	}
	if err := g.openPlatform(ctx); err != nil {
		return nil, err
	}
	if err := g.openLink(); err != nil {
		return nil, err
	}
	if g.state.Peer == nil {
		// What a removal could not finish deleting.
		if err := clearBinding(ctx, cfg.NVM); err != nil {
			g.log.Warn("delete what is left of a removed connection", "err", err)
		}
		return g, nil
	}
	if app, err := g.recall(g.state.Peer.Credential); err == nil {
		g.state.Peer.generation = app.Generation()
	}
	conn, err := g.newConnection(ctx, *g.state.Peer)
	switch {
	case errors.Is(err, ErrSuspended):
		g.log.Error("connection with the application", "err", err)
		g.suspended = err
	case err != nil:
		return nil, err
	}
	g.conn = conn
	return g, nil
}

// verify establishes who the device, its platform and its authority are. The device's own certificate is looked at before the
// revocation lists: a device that is named there must still be able to hear that it shall wipe itself. That it is over, or the
// platform's, does not keep a device from starting: both come to be renewed.
func (g *Gateway) verify(ctx context.Context) error {
	roots, err := parseRoots(g.rec.Roots)
	if err != nil {
		return err
	}
	vc := identity.VerifierConfig{Roots: roots, Now: g.cfg.Now}
	if g.cfg.Now == nil {
		g.floor = identity.NewTimeFloor(g.state.Floor)
		vc.Floor = g.floor
	}
	if g.verifier, err = identity.NewVerifier(vc); err != nil {
		return err
	}
	if g.self, err = g.verifier.VerifyLapsed(g.rec.Credential, identity.RoleDevice); err == nil {
		err = ours(g.cfg.Root, g.id, g.self)
	}
	if err != nil {
		return fmt.Errorf("verify own certificate: %w", err)
	}
	for slot := range revokedSlots {
		list, found, err := load(ctx, g.nvm, revokedName(slot), noBinding, parseListRecord)
		if errors.Is(err, ErrDamaged) {
			g.log.Error("revocation list: it will be asked for again", "err", err)
			continue
		}
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		// A slot may hold an older one of a list that has found another place.
		if err := g.verifier.AddCRL(list); err != nil && !errors.Is(err, identity.ErrCRLOlder) {
			g.log.Error("revocation list: it will be asked for again", "err", err)
		}
		g.revoked[slot] = sha256.Sum256(list)
	}
	a, platform, err := control.ReopenAdmission(g.rec.Admission, g.verifier, g.self)
	if err != nil {
		return err
	}
	g.platform, g.topics, g.platformBinding = platform, a.Topics, a.Binding
	if g.floor != nil {
		// As if they had been verified now, which they may not be any more.
		g.floor.Advance(g.self.Certificate().NotBefore)
		g.floor.Advance(platform.Certificate().NotBefore)
	}
	if err := g.loadNext(ctx); err != nil {
		return err
	}
	if !g.rec.RequirePSK {
		return nil
	}
	code, err := claimCode(g.cfg.Root, g.id)
	if err != nil {
		return err
	}
	defer code.Wipe()
	g.psk, err = code.PSK(g.id)
	return err
}

func (g *Gateway) openPlatform(ctx context.Context) error {
	ep, found, err := openEpochs(ctx, g.nvm, namePlatform, g.platformBinding)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("read %s: it is missing: %w", namePlatform, ErrDamaged)
	}
	g.platformEpochs = ep
	peer, err := g.platformPeer(g.self, g.platform)
	if err != nil {
		return err
	}
	g.client, err = control.NewClient(control.ClientConfig{
		Self: g.self, Signer: g.cfg.Root.Signer(), Platform: g.platform, Peer: peer, Binding: g.platformBinding,
		Verifier: g.verifier,
		Publish: func(ctx context.Context, record []byte) error {
			return g.link.Publish(ctx, g.topics.ToPlatform(g.id.ID), record)
		},
		Apply:   g.apply,
		KeepCRL: g.keepCRL,
		Time:    g.keepTime,
		Poll:    g.cfg.Poll,
		Logger:  g.log,

		HeldPrekey: g.heldPrekey,
		TakePrekey: g.takePrekey,

		CSR:            g.request,
		TakeChain:      g.takeChain,
		Credential:     g.offer,
		TakeAdmission:  g.takeAdmission,
		PeerGeneration: g.peerGeneration,
		TakePeer:       g.takePeer,
	})
	return err
}

func (g *Gateway) platformPeer(self, platform *identity.Verified) (*e2e.Peer, error) {
	return e2e.NewPeer(e2e.Config{
		Self: self, Key: g.cfg.Root.KeyExchanger(), Remote: platform, Binding: g.platformBinding, Epochs: g.platformEpochs,
	})
}

// ID is the device's name.
func (g *Gateway) ID() identity.DeviceID { return g.id }

// Prefix is that of the platform's topics, as the admission says.
func (g *Gateway) Prefix() string { return g.topics.Prefix() }

// Send queues an event for the application and returns its number. It is durable when Send returns, unless e is volatile, and
// reaches the application's gateway however often either side restarts. Errors: [ErrNotConnected], [ErrSuspended], one that Is
// delivery's full queue, [*StorageError] (then it is unknown whether the event was taken).
func (g *Gateway) Send(ctx context.Context, e Event) (uint64, error) {
	c, err := g.connected()
	if err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	return c.channel.Send(ctx, e)
}

// Call asks the application and waits for its reply, until ctx ends. An error that Is [ErrUnknownOutcome] leaves open
// whether the call ran.
func (g *Gateway) Call(ctx context.Context, typ string, body []byte) (Reply, error) {
	c, err := g.connected()
	if err != nil {
		return Reply{}, fmt.Errorf("call: %w", err)
	}
	return c.channel.Call(ctx, typ, body)
}

// Flush waits until the application's gateway has acknowledged every event that Send took.
func (g *Gateway) Flush(ctx context.Context) error {
	c, err := g.connected()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return c.channel.Flush(ctx)
}

// Errors of Send and Call that an integrator may want to tell apart.
var (
	ErrFull           = delivery.ErrFull
	ErrTooLarge       = delivery.ErrTooLarge
	ErrOffline        = delivery.ErrOffline
	ErrUnknownOutcome = delivery.ErrUnknownOutcome
	ErrNotRun         = delivery.ErrNotRun
	ErrClosed         = delivery.ErrClosed
)

// WaitConnected waits until an application has commissioned the device, and returns at once if one has. Send works from then
// on, with or without a connection to the broker.
func (g *Gateway) WaitConnected(ctx context.Context) error {
	return g.wait(ctx, "wait for an application", func(s Status) bool { return !s.Application.IsZero() })
}

// WaitDisconnected waits until the device is connected with no application.
func (g *Gateway) WaitDisconnected(ctx context.Context) error {
	return g.wait(ctx, "wait for the end of the connection", func(s Status) bool { return s.Application.IsZero() })
}

// Sync asks the platform now and waits until every order that it held has been carried out.
func (g *Gateway) Sync(ctx context.Context) error { return g.client.Sync(ctx) }

func (g *Gateway) connected() (*connection, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.retiring:
		return nil, ErrRetired
	case g.conn != nil:
		return g.conn, nil
	case g.suspended != nil:
		return nil, g.suspended
	}
	return nil, ErrNotConnected
}

func (g *Gateway) wait(ctx context.Context, what string, until func(Status) bool) error {
	for {
		g.mu.Lock()
		changed, retiring := g.changed, g.retiring
		g.mu.Unlock()
		if retiring {
			return fmt.Errorf("%s: %w", what, ErrRetired)
		}
		if until(g.Status()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-changed:
		}
	}
}

// update changes what mu guards and wakes those who wait for a change.
func (g *Gateway) update(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
	close(g.changed)
	g.changed = make(chan struct{})
}
