package platform

import (
	"context"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// nudgePause spreads the nudges of a new revocation list, and with them the polls that they cause: 100,000 gateways take 8 minutes.
const nudgePause = 5 * time.Millisecond

// nudger remembers whom to nudge. A nudge that is lost delays an order, no more: gateways ask at every connect and from time to time.
type nudger struct {
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	urgent map[identity.ID]bool
	slow   map[identity.ID]bool
}

func newNudger() *nudger {
	return &nudger{wake: make(chan struct{}, 1), urgent: map[identity.ID]bool{}, slow: map[identity.ID]bool{}}
}

// soon nudges peers for whom there is an order.
func (n *nudger) soon(ids ...identity.ID) {
	if len(ids) == 0 {
		return
	}
	n.mu.Lock()
	for _, id := range ids {
		n.urgent[id] = true
	}
	n.mu.Unlock()
	n.poke()
}

// eventually nudges everybody: there is a new revocation list.
func (n *nudger) eventually(s registry.State) {
	n.mu.Lock()
	for d := range s.Devices() {
		if d.Status != registry.Retired {
			n.slow[d.ID.ID] = true
		}
	}
	for a := range s.Applications() {
		if !a.Revoked {
			n.slow[a.ID.ID] = true
		}
	}
	n.mu.Unlock()
	n.poke()
}

// devicesOf nudges the devices of an application: it has a new credential.
func (n *nudger) devicesOf(app identity.AppID, s registry.State) {
	n.mu.Lock()
	for d := range s.Devices() {
		if d.Status == registry.Connected && d.App == app {
			n.slow[d.ID.ID] = true
		}
	}
	n.mu.Unlock()
	n.poke()
}

// catchUp nudges, after a connect to the broker, those whose nudge may have been lost before.
func (n *nudger) catchUp(s registry.State) {
	n.mu.Lock()
	for d := range s.Devices() {
		for _, o := range d.Orders {
			n.slow[o.To] = true
		}
	}
	n.mu.Unlock()
	n.poke()
}

func (n *nudger) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// next takes one peer out.
func (n *nudger) next() (id identity.ID, slow, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.urgent {
		delete(n.urgent, id)
		delete(n.slow, id)
		return id, false, true
	}
	for id := range n.slow {
		delete(n.slow, id)
		return id, true, true
	}
	return identity.ID{}, false, false
}

// nudgeLoop publishes nudges until ctx ends. Without a connection they are dropped: catchUp follows the next connect,
// and gateways ask from time to time.
func (s *Service) nudgeLoop(ctx context.Context) {
	for {
		id, slow, ok := s.nudges.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-s.nudges.wake:
			}
			continue
		}
		s.publish(ctx, id, control.Nudge())
		if ctx.Err() != nil || slow && !sleep(ctx, nudgePause) {
			return
		}
	}
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
