package devicegw

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
)

// ackGrace is how long a device that is to be wiped tries to tell the platform so.
const ackGrace = 2 * time.Second

// Run keeps the device connected until ctx ends, and returns nil once everything that it started has ended. It returns
// [ErrRetired] when the device has been wiped, and the link's error when connecting cannot succeed by waiting. It is called once.
func (g *Gateway) Run(ctx context.Context) error {
	g.mu.Lock()
	again := g.started
	g.started = true
	g.mu.Unlock()
	if again {
		return errors.New("devicegw: Run was called before: open the gateway again")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	notes := newNotes()
	start := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				cancel(err)
			}
		})
	}
	start(func() error { return g.client.Run(ctx) })
	start(func() error { g.attend(ctx, notes); return nil })
	start(func() error { notes.run(ctx); return nil })
	start(func() error { return g.retire(ctx) })
	start(func() error {
		err := g.link.Run(ctx, Receiver{Up: g.linkUp, Down: g.linkDown, Message: g.message})
		if err == nil && ctx.Err() == nil {
			err = errors.New("devicegw: the link's Run returned before its context ended")
		}
		return err
	})
	wg.Wait()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrRetired):
		// Not ctx, which has ended: from here on nothing may stop it.
		return errors.Join(ErrRetired, erase(context.WithoutCancel(ctx), g.cfg.Root, g.cfg.NVM))
	case errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded):
		return nil
	default:
		return fmt.Errorf("run device gateway: %w", cause)
	}
}

// retire waits for the order to wipe, tells the platform that it is carried out, and ends the others. A platform that does not
// answer does not prevent it.
func (g *Gateway) retire(ctx context.Context) error {
	for {
		g.mu.Lock()
		retiring, changed := g.retiring, g.changed
		g.mu.Unlock()
		if retiring {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
	g.log.Warn("retired: wiping the device")
	if g.cfg.OnRetired != nil {
		g.cfg.OnRetired()
	}
	grace, cancel := context.WithTimeout(ctx, ackGrace)
	defer cancel()
	// The platform cuts off whom it has retired: without the connection there is nobody left to tell.
	cut := make(chan struct{})
	go func() { defer close(cut); g.awaitDown(grace); cancel() }()
	if err := g.client.Sync(grace); err != nil {
		g.log.Info("connection ended before the platform confirmed that it knows of the wipe", "err", err)
	}
	cancel()
	<-cut
	return ErrRetired
}

// awaitDown waits until there is no connection to the broker, or ctx ends.
func (g *Gateway) awaitDown(ctx context.Context) {
	for {
		g.mu.Lock()
		up, changed := g.up, g.changed
		g.mu.Unlock()
		if up == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (g *Gateway) linkUp() {
	g.update(func() {
		g.ups++
		g.up, g.lastErr = g.ups, nil
	})
}

func (g *Gateway) linkDown(err error) { g.update(func() { g.up, g.lastErr = 0, err }) }

// message hands over; nothing below blocks. What is dropped for want of room comes again, so everything is acknowledged.
func (g *Gateway) message(m Message) {
	g.mu.Lock()
	conn := g.conn
	g.mu.Unlock()
	switch {
	case m.Topic == g.topics.ToPeer(g.id.ID):
		g.client.Receive(m.Payload)
	case conn != nil && m.Topic == conn.down:
		conn.channel.Receive(m.Payload)
	default:
		g.log.Debug("message on a topic of nobody", "topic", m.Topic)
	}
	if m.Ack != nil {
		m.Ack()
	}
}

// Between attempts to subscribe after a refusal, doubled, upper half random. A device that was disconnected while it was
// offline is refused its old topic until it has heard so from the platform.
const (
	subscribeRetry    = time.Second
	subscribeRetryMax = time.Minute
)

// attend runs the connection's channel and keeps the subscriptions.
func (g *Gateway) attend(ctx context.Context, n *notes) {
	var channels sync.WaitGroup
	defer channels.Wait()
	var running *connection
	stop := func() {}
	defer func() { stop() }()
	var known *appRecord           // the peer that the host was told of
	var told, control, down uint64 // number of the broker connection that was told, and for which each filter is granted
	wait := subscribeRetry
	for ctx.Err() == nil {
		g.mu.Lock()
		want, peer, up, changed := g.conn, g.state.Peer, g.up, g.changed
		g.mu.Unlock()

		if known != nil && (peer == nil || peer.Binding != known.Binding) {
			n.tell(g.cfg.OnDisconnected, known.app)
			known = nil
		}
		if known == nil && peer != nil {
			n.tell(g.cfg.OnConnected, peer.app)
			known = peer
		}
		if running != want {
			stop()
			if running != nil && down != 0 && down == up {
				old := running.down
				g.try(ctx, func(ctx context.Context) error { return g.link.Unsubscribe(ctx, old) })
			}
			running, down, stop = want, 0, func() {}
			if want != nil {
				stop = g.start(ctx, want, &channels)
			}
		}
		if told != 0 && told != up {
			g.client.LinkDown()
			if running != nil {
				running.channel.LinkDown()
			}
			told, control, down = 0, 0, 0
		}
		ok := true
		if up != 0 && control != up {
			ok = g.try(ctx, func(ctx context.Context) error { return g.link.Subscribe(ctx, g.topics.ToPeer(g.id.ID)) })
			if ok {
				told, control = up, up
				g.client.LinkUp()
			}
		}
		if ok && up != 0 && running != nil && down != up {
			ok = g.try(ctx, func(ctx context.Context) error { return g.link.Subscribe(ctx, running.down) })
			if ok {
				down = up
				running.channel.LinkUp()
			}
		}
		var retry <-chan time.Time
		if ok {
			wait = subscribeRetry
		} else {
			retry = time.After(wait - rand.N(wait/2))
			wait = min(2*wait, subscribeRetryMax)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-retry:
		}
	}
}

// start runs a connection's channel until the function that it returns is called. It does not wait for the end: a handler of the host may
// take its time.
func (g *Gateway) start(ctx context.Context, c *connection, channels *sync.WaitGroup) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	channels.Go(func() {
		if err := c.channel.Run(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("delivery channel", "err", err)
		}
		c.discard()
	})
	return cancel
}

// try makes one request to the broker and keeps its error for Status.
func (g *Gateway) try(ctx context.Context, f func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := f(ctx)
	if err == nil {
		return true
	}
	g.log.Warn("subscription", "err", err)
	g.mu.Lock() // not update: nobody waits for an error, and attend itself would wake for it
	g.lastErr = err
	g.mu.Unlock()
	return false
}

// notes calls the host's functions one after the other, away from everything that must go on.
type notes struct {
	mu    sync.Mutex // guards queue
	queue []func()
	wake  chan struct{}
}

func newNotes() *notes { return &notes{wake: make(chan struct{}, 1)} }

// tell queues a call of f. The queue is as long as there are changes of the connection that the host has not heard of yet.
func (n *notes) tell(f func(identity.AppID), app identity.AppID) {
	if f == nil {
		return
	}
	n.mu.Lock()
	n.queue = append(n.queue, func() { f(app) })
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *notes) run(ctx context.Context) {
	for {
		n.mu.Lock()
		queue := n.queue
		n.queue = nil
		n.mu.Unlock()
		for _, f := range queue {
			f()
		}
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
	}
}
