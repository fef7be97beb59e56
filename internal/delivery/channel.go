package delivery

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// Channel is one side of one binding. Make it with [Open], and call [Channel.Run]. It is safe for concurrent use. While nothing
// happens it has one goroutine; handlers and Publish have theirs while they run.
type Channel struct {
	cfg Config

	wake chan struct{} // room for one: something happened
	quit chan struct{} // closed when the channel is
	slot chan struct{} // room for one: whoever is in it may take numbers and write them

	inMu    sync.Mutex // guards records and lost
	records [][]byte
	lost    uint64

	mu         sync.Mutex // guards the rest; held for no I/O and no foreign code
	core       core
	peer       Peer
	closed     bool
	wiped      bool
	running    bool
	publishing bool
	earlySeq   uint64        // event in the outstanding INIT
	empty      chan struct{} // closed when the outbox is empty; nil: nobody waits
}

// Open loads a binding's state and returns its channel, which sends nothing before Run. Events and calls may be sent, and wait.
func Open(cfg Config) (*Channel, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	state, err := cfg.Store.Load()
	if err != nil {
		return nil, fmt.Errorf("delivery: load state: %w", err)
	}
	seed := cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	now := cfg.Now()
	rng := rand.New(rand.NewPCG(seed, 0))
	c := &Channel{
		cfg: cfg, peer: cfg.Peer,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), slot: make(chan struct{}, 1),
		core: core{
			timing: cfg.Timing, rng: rng, clock: clock{start: now},
			out:    outbox{next: max(1, state.Next), window: cfg.MaxInFlight, max: cfg.MaxInFlight},
			in:     inbox{mark: state.Marks[MarkEvents], taken: state.Marks[MarkEvents], max: cfg.MaxInFlight},
			mine:   outCalls{next: state.Marks[MarkNumbers] + 1, reserved: state.Marks[MarkNumbers], max: cfg.MaxCalls},
			theirs: inCalls{taken: state.Marks[MarkCalls], max: cfg.MaxCalls},
			pace: pacer{
				base: cfg.Timing.Session, max: cfg.Timing.MaxSession, spread: cfg.Timing.Spread, rng: rng,
			},
		},
	}
	last := uint64(0)
	for _, e := range state.Outbox {
		f, err := ParseFrame(e.Frame)
		switch {
		case err != nil:
			return nil, fmt.Errorf("delivery: outbox entry %d: %w", e.Seq, err)
		case f.Kind != KindEvent || f.Seq != e.Seq || e.Seq <= last || e.Seq >= state.Next:
			return nil, fmt.Errorf("delivery: outbox entry %d: the store is inconsistent (frame %d, after %d, next %d)",
				e.Seq, f.Seq, last, state.Next)
		}
		last = e.Seq
		c.core.out.push(e)
	}
	return c, nil
}

// Send sends an event and returns its number. When it returns nil the event is in the store, and the other side will handle it,
// whatever restarts in between. Errors: [ErrFull], [ErrTooLarge], [ErrType], [ErrClosed], a [*StoreError], that of ctx. A
// volatile event has no number; it is only queued for the session of this moment, or the error is [ErrOffline].
func (c *Channel) Send(ctx context.Context, e Event) (seq uint64, err error) {
	if err := checkMessage(e.Type, e.Body); err != nil {
		return 0, err
	}
	if e.Volatile {
		return 0, c.sendVolatile(e)
	}
	if err := c.enter(ctx); err != nil {
		return 0, err
	}
	defer c.leave()

	c.mu.Lock()
	o := &c.core.out
	seq = o.next
	frame := Frame{Kind: KindEvent, Seq: seq, Low: seq, Type: e.Type, Body: e.Body}.Append(nil)
	if full := c.outboxFull(len(frame)); full != nil {
		c.core.stats.Refused++
		full.Refused = c.core.stats.Refused
		c.mu.Unlock()
		return 0, full
	}
	// Used up, whatever the store says: an append that failed may have been made.
	o.next++
	c.mu.Unlock()

	if err := c.cfg.Store.Append(seq, frame); err != nil {
		c.mu.Lock()
		c.core.stats.StoreErrors++
		c.mu.Unlock()
		return 0, &StoreError{Op: fmt.Sprintf("append event %d", seq), Err: err}
	}
	c.mu.Lock()
	o.push(Entry{Seq: seq, Frame: frame})
	// After the append: a power cut between the two leaves one event more, not one less.
	for c.cfg.DropOldest && (len(o.entries) > c.cfg.MaxQueue || o.bytes > c.cfg.MaxQueueBytes) {
		c.core.removeTo = max(c.core.removeTo, o.low())
		c.core.held++
		o.dropped++
		o.shift(1)
	}
	c.mu.Unlock()
	c.poke()
	return seq, nil
}

// outboxFull wants mu. What the store still holds after it was acknowledged, because removing it fails, has its own bound.
func (c *Channel) outboxFull(size int) *FullError {
	o := &c.core.out
	room := len(o.entries) < c.cfg.MaxQueue && o.bytes+size <= c.cfg.MaxQueueBytes
	if (room || c.cfg.DropOldest) && c.core.held <= c.cfg.MaxQueue {
		return nil
	}
	return &FullError{
		What: "outbox", Queued: len(o.entries) + c.core.held, Max: c.cfg.MaxQueue,
		Bytes: o.bytes, MaxBytes: c.cfg.MaxQueueBytes, Dropped: o.dropped,
	}
}

func (c *Channel) sendVolatile(e Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.core
	switch {
	case c.closed:
		return ErrClosed
	case !k.usable() || !c.running:
		return ErrOffline
	case len(k.volatile) >= maxVolatile:
		k.stats.VolatileLost++
		return &FullError{What: "volatile events", Queued: len(k.volatile), Max: maxVolatile}
	}
	k.volatile = append(k.volatile, &Frame{Kind: KindEvent, Type: e.Type, Body: bytes.Clone(e.Body)})
	c.poke()
	return nil
}

// numberBlock is how many call numbers are set aside with one write.
const numberBlock = 64

// Call sends a call and waits for its reply, until ctx's deadline or, without one, Timing.Call. The call is not begun later than
// that. Errors: a [*RemoteError] (with the text also in Reply.Err) when the handler returned an error; [ErrNotRun] when the
// call did not run and never will; [ErrUnknownOutcome] when it was sent and nothing is known; [ErrFull], [ErrTooLarge],
// [ErrType], [ErrClosed], a [*StoreError] before it was sent. Errors at the end of ctx are also the cause of that end.
func (c *Channel) Call(ctx context.Context, typ string, body []byte) (Reply, error) {
	if err := checkMessage(typ, body); err != nil {
		return Reply{}, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timing.Call)
		defer cancel()
	}
	// Contexts know time.Now alone; the channel's clock may be another.
	end, _ := ctx.Deadline()
	deadline := c.cfg.Now().Add(time.Until(end))
	call := &outCall{typ: typ, body: body, deadline: deadline, done: make(chan outcome, 1)}
	if err := c.begin(ctx, call); err != nil {
		return Reply{}, err
	}
	c.poke()
	var cause error
	select {
	case o := <-call.done:
		return o.result()
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-c.quit:
		cause = ErrClosed
	}
	c.mu.Lock()
	waiting := c.core.mine.remove(call.id)
	sent := call.ever
	c.mu.Unlock()
	if !waiting { // answered at the last moment, or the channel was wiped
		select {
		case o := <-call.done:
			return o.result()
		default:
		}
	}
	if !sent {
		return Reply{}, fmt.Errorf("%w: not sent before the end: %w", ErrNotRun, cause)
	}
	return Reply{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, cause)
}

// begin gives a call its number and its place.
func (c *Channel) begin(ctx context.Context, call *outCall) error {
	if err := c.enter(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	defer c.leave()
	c.mu.Lock()
	m := &c.core.mine
	if len(m.calls) >= m.max {
		m.refused++
		full := &FullError{What: "calls", Queued: len(m.calls), Max: m.max, Refused: m.refused}
		c.mu.Unlock()
		return full
	}
	if m.next <= m.reserved {
		m.add(call)
		c.mu.Unlock()
		return nil
	}
	upTo := m.next + numberBlock - 1
	c.mu.Unlock()
	if err := c.cfg.Store.PutMark(MarkNumbers, upTo); err != nil {
		c.mu.Lock()
		c.core.stats.StoreErrors++
		c.mu.Unlock()
		return &StoreError{Op: "set aside call numbers", Err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.reserved = upTo
	m.add(call)
	return nil
}

func (o outcome) result() (Reply, error) {
	switch o.status {
	case StatusOK:
		return o.reply, nil
	case StatusError:
		return o.reply, &RemoteError{Text: o.reply.Err}
	case StatusExpired:
		return Reply{}, fmt.Errorf("%w: it reached the other side after its deadline", ErrNotRun)
	}
	return Reply{}, fmt.Errorf("%w: the other side began it and restarted since", ErrUnknownOutcome)
}

// Flush waits until the outbox is empty: the other side has handled every event sent so far.
func (c *Channel) Flush(ctx context.Context) error {
	for {
		c.mu.Lock()
		if len(c.core.out.entries) == 0 && !c.wiped {
			c.mu.Unlock()
			return nil
		}
		if c.closed {
			c.mu.Unlock()
			return ErrClosed
		}
		if c.empty == nil {
			c.empty = make(chan struct{})
		}
		wait := c.empty
		c.mu.Unlock()
		select {
		case <-wait:
		case <-c.quit:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Receive takes a record that the link brought, which belongs to the channel from then on. It never blocks: a record that finds the
// queue full is dropped and counted, and comes again from the other side. Acknowledge the message to the broker in any case.
func (c *Channel) Receive(record []byte) {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	if len(c.records) >= c.cfg.MaxReceived || len(record) > maxRecord {
		c.lost++
		return
	}
	c.records = append(c.records, record)
	c.poke()
}

// maxRecord has room for a frame in any record of package e2e, with an ML-KEM key.
const maxRecord = MaxFrame + 2048

// LinkUp says that Publish can work now: the link is connected, and what the other side sends will arrive (the topics are
// subscribed).
func (c *Channel) LinkUp() {
	now := c.cfg.Now()
	c.mu.Lock()
	c.core.linkUp(now, c.cfg.KeepSession)
	c.mu.Unlock()
	c.poke()
}

// LinkDown says that Publish cannot work until the next LinkUp.
func (c *Channel) LinkDown() {
	c.mu.Lock()
	c.core.linkDown()
	c.mu.Unlock()
	c.poke()
}

// Turn goes on with another peer of the same binding, because one side of it has a new credential, and wipes the one before. Its sessions
// end with it; what was under way in them, calls included, is sent again in the next one.
func (c *Channel) Turn(p Peer) {
	now := c.cfg.Now()
	c.mu.Lock()
	old := c.peer
	c.peer, c.earlySeq = p, 0
	c.core.turned(now)
	wiped := c.wiped
	c.mu.Unlock()
	old.Wipe()
	if wiped {
		p.Wipe()
	}
	c.poke()
}

// with returns the peer of now.
func (c *Channel) with() Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

// Stats returns the counters.
func (c *Channel) Stats() Stats {
	var s Stats
	c.mu.Lock()
	c.core.fillStats(&s)
	c.mu.Unlock()
	c.inMu.Lock()
	s.RecordsDropped = c.lost
	c.inMu.Unlock()
	return s
}

// Wipe closes the channel, wipes the peer's keys and forgets every message in RAM; Run ends with [ErrClosed]. The Store is
// left to its owner. After Run has returned nothing of it is left but what handlers and callers keep.
func (c *Channel) Wipe() {
	c.close()
	c.mu.Lock()
	c.wiped = true
	c.core.wipe()
	peer := c.peer
	c.mu.Unlock()
	c.inMu.Lock()
	c.records = nil
	c.inMu.Unlock()
	peer.Wipe()
}

func (c *Channel) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.quit)
	}
}

// enter waits for the right to take numbers.
func (c *Channel) enter(ctx context.Context) error {
	select {
	case c.slot <- struct{}{}:
	case <-c.quit:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := ctx.Err(); err != nil {
		c.leave()
		return context.Cause(ctx)
	}
	select {
	case <-c.quit:
		c.leave()
		return ErrClosed
	default:
		return nil
	}
}

func (c *Channel) leave() { <-c.slot }

func (c *Channel) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

var _ Peer = (*e2e.Peer)(nil)

// longest is the sleep when nothing is due.
const longest = time.Hour
