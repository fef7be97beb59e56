package control

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// What ClientConfig.Apply returns for an order that it did not apply and never will.
var (
	ErrOrderRefused    = errors.New("control: order refused")
	ErrOrderSuperseded = errors.New("control: order superseded by a later one")
)

// ErrOrderWaits is what ClientConfig.Apply returns for an order that it would refuse now, for a reason that can pass: a clock that is wrong, or a root that
// is not installed yet. The order stays with the platform and comes with the next poll; it does not hold up those behind it.
var ErrOrderWaits = errors.New("control: order waits")

// ErrOutcomeUnknown reports a request whose answer did not come in time. The platform may have carried it out, or still will:
// ask for the device's state, or repeat the request, which then succeeds at once if it was.
var ErrOutcomeUnknown = errors.New("control: no answer from the platform in time, outcome unknown")

// ClientConfig says what a [Client] needs. All fields without a default are required.
type ClientConfig struct {
	Self     *identity.Verified
	Signer   crypto.Signer // of Self
	Platform *identity.Verified
	Peer     *e2e.Peer     // the binding with the platform
	Binding  e2e.BindingID // its ID
	Verifier *identity.Verifier

	// Publish sends a record to the platform. An error means that nothing was sent.
	Publish func(ctx context.Context, record []byte) error

	// Apply carries out an order whose signature, sender and receiver have been verified. It is durable when Apply returns
	// nil, and applying an order again changes nothing and returns what it returned before. ErrOrderRefused and
	// ErrOrderSuperseded, wrapped or not, are final and told to the platform; after ErrOrderWaits the order comes with the next poll, and
	// after any other error soon.
	Apply func(ctx context.Context, o Order) error

	// KeepCRL, optional, acts on the lists that the Verifier has taken by now, and makes them durable. The platform does not send again what the
	// Verifier has, so KeepCRL is called after a new list and, when it has failed, with each reply until it succeeds.
	KeepCRL func() error
	Time    func(t time.Time) // optional: authenticated time of the platform

	// Prekeys of applications, all optional. Prekey is an application's newest bundle, which goes with every message: the platform keeps
	// it for the devices. HeldPrekey is the number of the one that a device has, and TakePrekey gets its application's
	// newest, which nobody has verified yet.
	Prekey     func() []byte
	HeldPrekey func() uint32
	TakePrekey func(bundle []byte)

	// Renewal, all optional. What they return goes with every message, what they get nobody has verified yet. CSR asks for a certificate
	// (nil: not now), TakeChain gets it; Credential is an own new one that the platform shall accept (zero: none). PeerGeneration is that of
	// the endorsement that a device holds of its application, TakePeer gets a newer credential.
	CSR            func() []byte
	TakeChain      func(chain [][]byte)
	Credential     func() identity.Credential
	PeerGeneration func() uint32
	TakePeer       func(c identity.Credential)

	// TakeAdmission gets an admission that is another than the last one. It returns what the client goes on with, once that is durable; nil:
	// nothing changes.
	TakeAdmission func(admission []byte) *Side

	Poll   time.Duration // between regular polls; default 10 minutes, with a quarter of jitter
	Logger *slog.Logger  // default: none
}

// Side is with what a gateway speaks to the platform. A renewal changes it; the binding and its ID stay.
type Side struct {
	Self     *identity.Verified
	Signer   crypto.Signer
	Platform *identity.Verified
	Peer     *e2e.Peer // the client wipes the one before
}

// Client is a gateway's side of the control service: it polls for orders at every connect, at every nudge and from time to time,
// applies and acknowledges them, and carries requests. One exchange is under way at a time. Safe for concurrent use.
type Client struct {
	cfg  ClientConfig
	log  *slog.Logger
	id   identity.ID
	side Side // Run's alone

	wake     chan struct{} // something of mu's changed
	incoming chan []byte   // replies; a full channel drops, the INIT is resent then
	stopped  chan struct{} // closed at the end of Run

	refused []identity.CRLNumber // lists that cannot be used; of Run's goroutine
	unkept  bool                 // KeepCRL has not succeeded since the last list; of Run's goroutine

	mu       sync.Mutex // guards what follows
	up       bool
	poll     bool      // a poll is wanted now
	asked    bool      // a nudge wants one; see mayPoll
	rested   time.Time // when nudges have their full allowance of polls again
	nudged   bool      // the platform lives: it has nudged since the last publication
	requests []*pendingRequest
	syncs    []chan struct{} // waiting for the next poll to begin and succeed
}

type pendingRequest struct {
	ctx    context.Context
	req    Request
	claim  crypto.Signer
	result chan Result // capacity 1
}

// NewClient checks the configuration and starts nothing.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Self == nil || cfg.Signer == nil || cfg.Platform == nil || cfg.Peer == nil || cfg.Verifier == nil || cfg.Publish == nil || cfg.Apply == nil {
		return nil, errors.New("control: incomplete client configuration")
	}
	if cfg.Poll == 0 {
		cfg.Poll = 10 * time.Minute
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		cfg:      cfg,
		log:      log,
		id:       cfg.Self.ID(),
		side:     Side{cfg.Self, cfg.Signer, cfg.Platform, cfg.Peer},
		wake:     make(chan struct{}, 1),
		incoming: make(chan []byte, 4),
		stopped:  make(chan struct{}),
	}, nil
}

// Ask wants a poll soon, as a nudge does.
func (c *Client) Ask() { c.update(func() { c.asked = true }) }

// LinkUp tells the client that it can publish and receive.
func (c *Client) LinkUp() { c.update(func() { c.up, c.poll = true, true }) }

// LinkDown tells the client that the connection is gone. What is under way continues after the next LinkUp.
func (c *Client) LinkDown() { c.update(func() { c.up = false }) }

// Receive takes a payload from the peer's topic: a nudge or a reply. It does not block and keeps the slice.
func (c *Client) Receive(payload []byte) {
	if IsNudge(payload) {
		c.update(func() { c.asked, c.nudged = true, true })
		return
	}
	select {
	case c.incoming <- payload:
	default:
	}
}

// Do asks the platform and waits for its decision. r.ID and r.App are filled in. The request survives reconnects, not the end of ctx or
// of Run: then the error is [ErrOutcomeUnknown]. A refusal is not an error of Do; see [Result.Err].
func (c *Client) Do(ctx context.Context, r Request, claim crypto.Signer) (Result, error) {
	app, ok := c.id.App()
	if !ok {
		return Result{}, fmt.Errorf("%w: only an application asks to connect or disconnect, this is %s", ErrForeign, c.id)
	}
	r.ID, r.App = NewRequestID(), app
	p := &pendingRequest{ctx: ctx, req: r, claim: claim, result: make(chan Result, 1)}
	c.update(func() { c.requests = append(c.requests, p) })
	select {
	case res := <-p.result:
		return res, nil
	case <-ctx.Done():
		c.update(func() { c.requests = slices.DeleteFunc(c.requests, func(q *pendingRequest) bool { return q == p }) })
		return Result{}, fmt.Errorf("%s %s: %w: %w", r.Op, r.Device, ErrOutcomeUnknown, ctx.Err())
	case <-c.stopped:
		return Result{}, fmt.Errorf("%s %s: %w: gateway stopped", r.Op, r.Device, ErrOutcomeUnknown)
	}
}

// Sync waits until a poll that began after the call has succeeded: all orders that the platform held then are applied.
func (c *Client) Sync(ctx context.Context) error {
	done := make(chan struct{})
	c.update(func() { c.poll, c.syncs = true, append(c.syncs, done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		c.update(func() { c.syncs = slices.DeleteFunc(c.syncs, func(s chan struct{}) bool { return s == done }) })
		return fmt.Errorf("synchronise with the platform: %w", ctx.Err())
	case <-c.stopped:
		return errors.New("control: synchronise with the platform: gateway stopped")
	}
}

func (c *Client) update(f func()) {
	c.mu.Lock()
	f()
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Immediate polls follow each other while orders come, or nudges. A platform that repeats itself for ever must not make us spin, nor
// whoever can publish on our topic: each poll takes an epoch, from which a device's memory wears.
const (
	eagerPolls = 8
	pollPause  = time.Second
)

// Run carries out polls and requests until ctx ends. It is called once.
func (c *Client) Run(ctx context.Context) error {
	defer close(c.stopped)
	var acks [][]byte // signed, not yet delivered
	timer := time.NewTimer(c.pollIn())
	defer timer.Stop()
	eager := 0
	for {
		req, syncs, wait, ok := c.next()
		if !ok {
			paced := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				paced.Stop()
				return nil
			case <-c.wake:
			case <-c.incoming: // an answer that nobody waits for any more
			case <-paced.C:
			case <-timer.C:
				c.update(func() { c.poll = true })
				timer.Reset(c.pollIn())
				eager = 0
			}
			paced.Stop()
			continue
		}
		sent := acks[:min(len(acks), maxAcks)]
		reply, err := c.exchange(ctx, sent, req)
		if err != nil {
			c.giveBack(req, syncs)
			if ctx.Err() != nil {
				return nil
			}
			c.log.Warn("exchange with the platform", "err", err)
			if !c.pause(ctx, pollPause) {
				return nil
			}
			continue
		}
		acks = acks[len(sent):]
		c.takeCRL(reply)
		if err := c.platformLapsed(); err != nil {
			c.log.Error("platform's certificate is not good any more: nothing is believed but its next one", "platform", c.side.Platform.ID(), "err", err)
			turned := c.readmit(reply, &acks)
			c.putBack(req, syncs, turned)
			if !turned && req != nil && !c.pause(ctx, distrustPause) {
				return nil
			}
			continue
		}
		if req != nil && reply.Result != nil && reply.Result.Request == req.req.ID {
			req.result <- *reply.Result
		}
		more, stuck := c.settle(ctx, reply, &acks)
		if stuck || len(acks) > 0 || more {
			// The acknowledgements, and what else waits, go at once; a failed order comes again after a pause.
			c.giveBack(nil, syncs)
			if eager++; eager > eagerPolls || stuck {
				if !c.pause(ctx, pollPause) {
					return nil
				}
			}
			continue
		}
		eager = 0
		for _, done := range syncs {
			close(done)
		}
	}
}

func (c *Client) pollIn() time.Duration {
	return c.cfg.Poll - rand.N(c.cfg.Poll/4+1)
}

func (c *Client) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// mayPoll returns 0 when a nudge may have its poll now, or how long it waits: eagerPolls of them go at once, then one each
// pollPause. The caller holds mu.
func (c *Client) mayPoll(now time.Time) time.Duration {
	if c.rested.Before(now) {
		c.rested = now
	}
	if wait := c.rested.Sub(now) - (eagerPolls-1)*pollPause; wait > 0 {
		return wait
	}
	c.rested = c.rested.Add(pollPause)
	return 0
}

// next takes the work for one exchange, if the link is up and there is any: a request whose asker still waits, or a poll. Every
// exchange is a poll. Without work it returns how long there will be none, unless something changes.
func (c *Client) next() (*pendingRequest, []chan struct{}, time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.up {
		return nil, nil, idle, false
	}
	var req *pendingRequest
	for req == nil && len(c.requests) > 0 {
		if c.requests[0].ctx.Err() == nil {
			req = c.requests[0]
		}
		c.requests = c.requests[1:]
	}
	if req == nil && !c.poll {
		if !c.asked {
			return nil, nil, idle, false
		}
		if wait := c.mayPoll(time.Now()); wait > 0 {
			return nil, nil, wait, false
		}
	}
	syncs := c.syncs
	c.poll, c.asked, c.syncs = false, false, nil
	return req, syncs, 0, true
}

const idle = time.Hour

// distrustPause is between requests to a platform whose answer cannot be believed.
const distrustPause = 30 * time.Second

// giveBack asks for another exchange with what the last one did not finish.
func (c *Client) giveBack(req *pendingRequest, syncs []chan struct{}) { c.putBack(req, syncs, true) }

// putBack leaves what an exchange did not finish to the next one, which is to come at once or in its time.
func (c *Client) putBack(req *pendingRequest, syncs []chan struct{}, now bool) {
	c.update(func() {
		c.poll = c.poll || now
		c.syncs = append(syncs, c.syncs...)
		if req != nil {
			c.requests = append([]*pendingRequest{req}, c.requests...)
		}
	})
}

// An INIT is resent unchanged, so that the platform answers it with the stored RESP. After the last of these waits the client
// begins anew: the request keeps its ID and is the same request to the platform.
var resendAfter = [...]time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second}

// exchange carries one message to the platform and waits for the reply, over reconnects.
func (c *Client) exchange(ctx context.Context, acks [][]byte, req *pendingRequest) (Reply, error) {
	x, err := c.side.Peer.Begin(time.Now())
	if err != nil {
		return Reply{}, fmt.Errorf("begin: %w", err)
	}
	m := Message{Acks: acks, Lists: c.heldLists()}
	if c.cfg.Prekey != nil {
		m.Prekey = c.cfg.Prekey()
	}
	if c.cfg.HeldPrekey != nil {
		m.PrekeyNumber = c.cfg.HeldPrekey()
	}
	if c.cfg.CSR != nil {
		m.CSR = c.cfg.CSR()
	}
	if c.cfg.Credential != nil {
		m.Credential = c.cfg.Credential()
	}
	if c.cfg.PeerGeneration != nil {
		m.PeerGeneration = c.cfg.PeerGeneration()
	}
	if req != nil {
		s, err := req.req.Sign(x.Transcript(), c.side.Signer, req.claim)
		if err != nil {
			return Reply{}, err
		}
		m.Request = &s
	}
	body, err := m.Marshal()
	if err != nil {
		return Reply{}, err
	}
	init, err := x.Init(body)
	if err != nil {
		return Reply{}, fmt.Errorf("seal: %w", err)
	}
	for _, wait := range resendAfter {
		if !c.awaitUp(ctx) {
			return Reply{}, ctx.Err()
		}
		c.takeNudge()
		if err := c.cfg.Publish(ctx, init); err != nil {
			c.log.Debug("publish to the platform", "err", err)
		}
		timeout := time.NewTimer(wait)
		reply, err := c.awaitReply(ctx, x, timeout)
		timeout.Stop()
		if err == nil || errors.Is(err, e2e.ErrChallenged) {
			return reply, err
		}
		if ctx.Err() != nil {
			return Reply{}, ctx.Err()
		}
	}
	return Reply{}, errors.New("no answer from the platform")
}

func (c *Client) isUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

// takeNudge tells whether a nudge came since the last call.
func (c *Client) takeNudge() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nudged
	c.nudged = false
	return n
}

// awaitUp waits for the link; while it is down there is nothing else to do.
func (c *Client) awaitUp(ctx context.Context) bool {
	for !c.isUp() {
		select {
		case <-ctx.Done():
			return false
		case <-c.wake:
		}
	}
	return ctx.Err() == nil
}

// afterNudge is how long an answer may still take when a nudge comes while it is awaited. A platform that nudges and does not answer
// was away when the INIT was sent, and has its say now.
const afterNudge = 200 * time.Millisecond

var errNoReply = errors.New("no reply yet")

func (c *Client) awaitReply(ctx context.Context, x *e2e.Exchange, timeout *time.Timer) (Reply, error) {
	shortened := false // once, or nudges without end would put the timeout off without end
	for {
		select {
		case <-ctx.Done():
			return Reply{}, errNoReply
		case <-timeout.C:
			return Reply{}, errNoReply
		case <-c.wake:
			if !c.isUp() {
				return Reply{}, errNoReply // resend after the reconnect
			}
			if c.takeNudge() && !shortened {
				shortened = true
				timeout.Reset(afterNudge)
			}
		case record := <-c.incoming:
			body, err := x.Open(record)
			if errors.Is(err, e2e.ErrChallenged) {
				return Reply{}, err
			}
			if err != nil {
				c.log.Debug("reply of the platform", "err", err)
				continue
			}
			reply, err := ParseReply(body)
			if err != nil {
				c.log.Warn("reply of the platform", "err", err)
				continue
			}
			return reply, nil
		}
	}
}

// settle takes what a reply brings besides a revocation list: time, orders, credentials. It adds the acknowledgements of the orders. stuck tells
// that an order could not be applied now.
func (c *Client) settle(ctx context.Context, r Reply, acks *[][]byte) (more, stuck bool) {
	if c.cfg.Time != nil {
		c.cfg.Time(r.Time)
	}
	if len(r.PeerCredential.Chain) > 0 && c.cfg.TakePeer != nil {
		c.cfg.TakePeer(r.PeerCredential) // before the orders, whose evidence may be signed with its key
	}
	more = r.More
	for _, b := range r.Orders {
		switch err := c.obey(ctx, b, acks); {
		case errors.Is(err, ErrOrderWaits):
			more = false // what comes next may be the same
		case err != nil:
			return r.More, true
		}
	}
	if len(r.Prekey) > 0 && c.cfg.TakePrekey != nil {
		c.cfg.TakePrekey(r.Prekey) // behind the orders, one of which may have installed its owner
	}
	if len(r.Chain) > 0 && c.cfg.TakeChain != nil {
		c.cfg.TakeChain(r.Chain)
	}
	c.readmit(r, acks)
	return more, false
}

// readmit takes a new admission, and reports whether another side is gone on with.
func (c *Client) readmit(r Reply, acks *[][]byte) bool {
	if len(r.Admission) == 0 || c.cfg.TakeAdmission == nil {
		return false
	}
	next := c.cfg.TakeAdmission(r.Admission)
	c.turn(next, acks)
	return next != nil
}

// turn goes on with another side. What the old key acknowledged would not be understood under a new one: those orders come again.
func (c *Client) turn(next *Side, acks *[][]byte) {
	if next == nil {
		return
	}
	if !next.Self.SigningKey().Equal(c.side.Self.SigningKey()) {
		*acks = nil
	}
	c.side.Peer.Wipe()
	c.side = *next
	c.Ask() // so that the platform hears of it
}

// obey applies an order and adds its acknowledgement, if there is one to make. An error says that the order has to come again.
func (c *Client) obey(ctx context.Context, b []byte, acks *[][]byte) error {
	o, err := OpenOrder(b, c.side.Platform)
	if err == nil && (o.To != c.id || o.PlatformBinding != c.cfg.Binding) {
		err = fmt.Errorf("%w: order to %s", ErrForeign, o.To)
	}
	if err != nil {
		// Not even a number can be trusted here, so there is nothing to acknowledge.
		c.log.Error("order of the platform", "err", err)
		return nil
	}
	result := AckDone
	switch err := c.cfg.Apply(ctx, o); {
	case errors.Is(err, ErrOrderRefused) || errors.Is(err, ErrEvidence):
		c.log.Error("order refused", "op", o.Op, "device", o.Device, "number", o.Number, "err", err)
		result = AckRefused
	case errors.Is(err, ErrOrderSuperseded):
		result = AckSuperseded
	case err != nil:
		c.log.Error("order not applied, will be tried again", "op", o.Op, "device", o.Device, "number", o.Number, "err", err)
		return err
	}
	ack, err := AckOf(c.id, o.Number, b, result).Sign(c.side.Signer)
	if err != nil {
		c.log.Error("acknowledge order", "number", o.Number, "err", err)
		return err
	}
	*acks = append(*acks, ack)
	return nil
}

// heldLists are the revocation lists that the platform need not send.
func (c *Client) heldLists() []identity.CRLNumber {
	all := append(c.cfg.Verifier.CRLNumbers(), c.refused...)
	slices.SortFunc(all, func(a, b identity.CRLNumber) int {
		return cmp.Or(bytes.Compare(a.Authority[:], b.Authority[:]), cmp.Compare(b.Number, a.Number))
	})
	all = slices.CompactFunc(all, func(a, b identity.CRLNumber) bool { return a.Authority == b.Authority })
	return all[:min(len(all), maxLists)]
}

// refuseCRL remembers a list that the verifier does not take, for example of an authority that is unknown here: or it would come again with
// every reply. The next one of that authority is looked at anew, and so is this one once another list was taken, or after a restart.
func (c *Client) refuseCRL(n identity.CRLNumber) {
	c.refused = slices.DeleteFunc(c.refused, func(r identity.CRLNumber) bool { return r.Authority == n.Authority })
	c.refused = append(c.refused, n)
	c.refused = c.refused[max(0, len(c.refused)-maxRefused):]
}

// platformLapsed says why the platform is not to be believed: its certificate is over, or a list that is in force by now names it or who
// certified it.
func (c *Client) platformLapsed() error {
	if end := c.side.Platform.NotAfter(); c.cfg.Verifier.Now().After(end) {
		return fmt.Errorf("%w: its certificate ended %s", identity.ErrExpired, end.UTC().Format(time.RFC3339))
	}
	return c.cfg.Verifier.CheckRevocation(c.side.Platform.Credential())
}

// takeCRL takes the list of a reply, if there is one, and sees to it that what the verifier has is kept.
func (c *Client) takeCRL(r Reply) {
	if len(r.CRL) > 0 {
		err := c.cfg.Verifier.AddCRL(r.CRL)
		if err == nil || errors.Is(err, identity.ErrSomeCRLs) {
			c.unkept = c.cfg.KeepCRL != nil
			c.refused = nil // it may have made room for them
		}
		if err != nil {
			c.log.Warn("revocation list of the platform", "err", err)
			c.refuseCRL(r.CRLNumber)
		}
	}
	if !c.unkept {
		return
	}
	err := c.cfg.KeepCRL()
	if c.unkept = err != nil; err != nil {
		c.log.Error("revocation lists not kept, will be tried again", "err", err)
	}
}
