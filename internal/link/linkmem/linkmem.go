// Package linkmem is an MQTT broker in memory for tests: each [Client] of a [Broker] is a [link.Link]. It has no socket and no
// clock but the back-off before a reconnect, so it runs inside a synctest bubble.
//
// Start with [New] and [Broker.Client]. What a test wants to go wrong it says in [Options], or does itself with [Client.Cut],
// [Client.SetOffline] and [Broker.Evict].
package linkmem

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/semio-iot/semio/internal/link"
)

// Action is what a client wants to do with a topic.
type Action byte

// The actions that [Options.Allow] is asked about. A subscription is asked with its filter, a delivery with its topic.
const (
	Publish Action = iota + 1
	Subscribe
	Receive
)

// Fate says what becomes of an allowed publication.
type Fate byte

// The fates. Whatever QoS 1 permits, and a broker that loses what it took.
const (
	Deliver   Fate = iota
	Drop           // acknowledged, and lost
	Duplicate      // delivered twice
	Unacked        // delivered, and the publisher gets ErrDown
	Refuse         // not delivered, and the publisher gets ErrDown
)

// Publication is a message on its way.
type Publication struct {
	From    string // client ID
	Topic   string
	Payload []byte // do not change
}

// Options of a broker. The zero value allows everything and delivers everything once, in order. The functions are called
// concurrently and without a lock of the broker.
type Options struct {
	// Connect is asked at each connection. An error is the return value of the client's Run.
	Connect func(client string) error
	// Allow is asked at each publication, subscription and delivery.
	Allow func(client string, a Action, topic string) bool
	// Fate decides about each allowed publication.
	Fate func(p Publication) Fate
	// Tap sees each publication that the broker was asked for, allowed or not, before Fate.
	Tap func(p Publication)
	// Backoff is the wait before a reconnect, default 1 ms.
	Backoff time.Duration
	// KeepSessions keeps subscriptions, queue and unacknowledged messages of a client that is not connected, and delivers
	// them after its next connect. Otherwise every connection is a clean start.
	KeepSessions bool
}

// maxQueue is the length of a client's queue; what comes when it is full is lost, as with brokers.
const maxQueue = 8192

var (
	errCut     = errors.New("linkmem: connection cut")
	errTaken   = errors.New("linkmem: another connection took the client ID")
	errStopped = errors.New("linkmem: stopped")
	errRanOnce = errors.New("linkmem: Run called a second time")
)

// Broker connects its clients. Safe for concurrent use.
type Broker struct {
	opts Options

	mu       sync.Mutex // guards sessions and everything in them
	sessions map[string]*session
}

// session is what the broker knows of a client ID.
type session struct {
	owner   *Client // connected now, else nil
	filters map[string]bool
	queue   []Publication
	unacked []*delivery
}

type delivery struct {
	p     Publication
	acked bool
}

// New returns a broker.
func New(o Options) *Broker {
	if o.Backoff <= 0 {
		o.Backoff = time.Millisecond
	}
	return &Broker{opts: o, sessions: map[string]*session{}}
}

// Client returns a new link under a client ID. A second client with the ID of a connected one takes its connection over.
func (b *Broker) Client(id string) *Client {
	return &Client{b: b, id: id, wake: make(chan struct{}, 1)}
}

// Evict cuts the connections of all clients that match and empties their sessions.
func (b *Broker) Evict(match func(client string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, s := range b.sessions {
		if !match(id) {
			continue
		}
		if s.owner != nil {
			s.owner.cut(errCut)
		}
		s.queue, s.unacked, s.filters = nil, nil, map[string]bool{}
	}
}

// Connected reports whether a client has a connection now.
func (b *Broker) Connected(client string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[client]
	return s != nil && s.owner != nil
}

// Inject publishes as if a client of that name had, without asking Allow.
func (b *Broker) Inject(p Publication) { b.route(p, 1) }

func (b *Broker) route(p Publication, times int) {
	b.mu.Lock()
	var to []*session
	var ids []string
	for id, s := range b.sessions {
		for f := range s.filters {
			if match(f, p.Topic) {
				to, ids = append(to, s), append(ids, id)
				break
			}
		}
	}
	b.mu.Unlock()
	for i, s := range to {
		if b.opts.Allow != nil && !b.opts.Allow(ids[i], Receive, p.Topic) {
			continue
		}
		b.mu.Lock()
		for range times {
			if len(s.queue) < maxQueue {
				s.queue = append(s.queue, p)
			}
		}
		if s.owner != nil {
			s.owner.poke()
		}
		b.mu.Unlock()
	}
}

// match implements MQTT 5, 4.7.
func match(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(t) || level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}

// Client is a link of one client ID. It implements [link.Link].
type Client struct {
	b    *Broker
	id   string
	wake chan struct{} // something changed for Run

	// The broker's mu guards what follows.
	ran     bool
	offline bool
	up      bool
	ended   error // why the connection ended; nil while it stands
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// cut wants the broker's mutex.
func (c *Client) cut(err error) {
	if !c.up {
		return
	}
	c.up, c.ended = false, err
	s := c.b.sessions[c.id]
	if s.owner == c {
		s.owner = nil
	}
	if !c.b.opts.KeepSessions {
		s.filters, s.queue, s.unacked = map[string]bool{}, nil, nil
	}
	c.poke()
}

// Cut ends the connection, as a broken network does. The client connects again after the back-off.
func (c *Client) Cut() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.cut(errCut)
}

// SetOffline cuts the connection and keeps it from coming back, until it is called with false.
func (c *Client) SetOffline(offline bool) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.offline = offline
	if offline {
		c.cut(errCut)
	}
	c.poke()
}

// Run implements [link.Link]. It also returns what Options.Connect refuses with. Down is the last call if Run ends while
// connected.
func (c *Client) Run(ctx context.Context, r link.Receiver) error {
	c.b.mu.Lock()
	ran := c.ran
	c.ran = true
	c.b.mu.Unlock()
	if ran {
		return errRanOnce
	}
	defer func() {
		c.b.mu.Lock()
		c.cut(errStopped)
		c.b.mu.Unlock()
	}()
	for ctx.Err() == nil {
		connected, err := c.connect()
		if err != nil {
			return err
		}
		if !connected {
			select {
			case <-ctx.Done():
			case <-c.wake:
			}
			continue
		}
		if r.Up != nil {
			r.Up()
		}
		err = c.serve(ctx, r)
		if r.Down != nil {
			r.Down(err)
		}
		if ctx.Err() != nil {
			break
		}
		pause := time.NewTimer(c.b.opts.Backoff)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	return nil
}

func (c *Client) connect() (bool, error) {
	if f := c.b.opts.Connect; f != nil && !c.isOffline() {
		if err := f(c.id); err != nil {
			return false, err
		}
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.offline {
		return false, nil
	}
	s := c.b.sessions[c.id]
	if s == nil {
		s = &session{filters: map[string]bool{}}
		c.b.sessions[c.id] = s
	}
	if s.owner != nil {
		s.owner.cut(errTaken)
	}
	s.owner, c.up, c.ended = c, true, nil
	// What was not acknowledged comes again, before what waits.
	var again []Publication
	for _, d := range s.unacked {
		if !d.acked {
			again = append(again, d.p)
		}
	}
	s.queue, s.unacked = append(again, s.queue...), nil
	c.poke()
	return true, nil
}

func (c *Client) isOffline() bool {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.offline
}

func (c *Client) serve(ctx context.Context, r link.Receiver) error {
	for {
		d, err := c.next()
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			c.Cut()
			return ctx.Err()
		case d == nil:
			select {
			case <-ctx.Done():
			case <-c.wake:
			}
			continue
		}
		if r.Message != nil {
			r.Message(link.Message{Topic: d.p.Topic, Payload: append([]byte(nil), d.p.Payload...), Ack: func() { c.ack(d) }})
		}
	}
}

func (c *Client) next() (*delivery, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if !c.up {
		return nil, c.ended
	}
	s := c.b.sessions[c.id]
	if len(s.queue) == 0 {
		return nil, nil
	}
	d := &delivery{p: s.queue[0]}
	s.queue = s.queue[1:]
	if c.b.opts.KeepSessions {
		s.unacked = append(s.unacked, d)
	}
	return d, nil
}

func (c *Client) ack(d *delivery) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	d.acked = true
	s := c.b.sessions[c.id]
	for len(s.unacked) > 0 && s.unacked[0].acked {
		s.unacked = s.unacked[1:]
	}
}

// Publish implements [link.Link]. A refusal has reason 0x87, not authorised.
func (c *Client) Publish(ctx context.Context, topic string, payload []byte) error {
	if err := link.CheckTopic(topic); err != nil {
		return err
	}
	if err := c.check(ctx); err != nil {
		return err
	}
	p := Publication{From: c.id, Topic: topic, Payload: append([]byte(nil), payload...)}
	if c.b.opts.Tap != nil {
		c.b.opts.Tap(p)
	}
	if f := c.b.opts.Allow; f != nil && !f(c.id, Publish, topic) {
		return &link.PublishError{Topic: topic, Reason: 0x87, Text: "not authorized"}
	}
	fate := Deliver
	if c.b.opts.Fate != nil {
		fate = c.b.opts.Fate(p)
	}
	switch fate {
	case Drop:
	case Duplicate:
		c.b.route(p, 2)
	case Unacked:
		c.b.route(p, 1)
		return link.ErrDown
	case Refuse:
		return link.ErrDown
	default:
		c.b.route(p, 1)
	}
	return nil
}

// Subscribe implements [link.Link]. A refusal has reason 0x87, not authorised.
func (c *Client) Subscribe(ctx context.Context, filters ...string) error {
	if err := link.CheckFilters(filters...); err != nil {
		return err
	}
	if err := c.check(ctx); err != nil {
		return err
	}
	for _, f := range filters {
		if allow := c.b.opts.Allow; allow != nil && !allow(c.id, Subscribe, f) {
			return &link.SubscribeError{Filter: f, Reason: 0x87, Text: "not authorized"}
		}
	}
	return c.change(func(s *session) {
		for _, f := range filters {
			s.filters[f] = true
		}
	})
}

// Unsubscribe implements [link.Link].
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) error {
	if err := link.CheckFilters(filters...); err != nil {
		return err
	}
	if err := c.check(ctx); err != nil {
		return err
	}
	return c.change(func(s *session) {
		for _, f := range filters {
			delete(s.filters, f)
		}
	})
}

func (c *Client) change(f func(*session)) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if !c.up {
		return link.ErrDown
	}
	f(c.b.sessions[c.id])
	return nil
}

func (c *Client) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.change(func(*session) {})
}
