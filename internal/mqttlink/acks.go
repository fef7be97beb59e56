package mqttlink

import (
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/session"
)

// acks sends the PUBACKs of one connection in the order of its messages, in whatever order they are given (MQTT 5, 4.6). It
// replaces the client's own tracker, which looks only every 50 ms and so allows no more than one receive window in that time.
type acks struct {
	session session.SessionManager

	mu      sync.Mutex // guards the rest
	pending []*pendingAck
	closed  bool

	wake  chan struct{}
	ended chan struct{}
}

type pendingAck struct {
	id    uint16
	given bool
}

func newAcks(s session.SessionManager) *acks {
	return &acks{session: s, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// add notes a message and returns what Message.Ack is to call.
func (a *acks) add(id uint16) func() {
	p := &pendingAck{id: id}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = append(a.pending, p)
	return func() { a.give(p) }
}

func (a *acks) give(p *pendingAck) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.given = true
	if !a.closed && len(a.pending) > 0 && a.pending[0].given {
		a.signal()
	}
}

func (a *acks) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run writes acknowledgements until close. The session's Ack blocks while the network does, which is why no caller of
// Message.Ack runs it.
func (a *acks) run() {
	defer close(a.ended)
	for range a.wake {
		for {
			p, closed := a.next()
			if closed {
				return
			}
			if p == nil {
				break
			}
			// Its error is that of the connection, which the reader meets too.
			_ = a.session.Ack(&packets.Publish{PacketID: p.id, QoS: 1})
		}
	}
}

func (a *acks) next() (p *pendingAck, closed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(a.pending) == 0 || !a.pending[0].given {
		return nil, a.closed
	}
	p = a.pending[0]
	a.pending = a.pending[1:]
	return p, false
}

// close ends run and waits for it: packet IDs mean something else on the next connection, so an acknowledgement given late
// must not reach it.
func (a *acks) close() {
	a.mu.Lock()
	a.closed = true
	a.pending = nil
	a.signal()
	a.mu.Unlock()
	<-a.ended
}

// quietSession keeps the client from acknowledging a message when the callback returns; acks does it on the session beneath.
type quietSession struct{ session.SessionManager }

func (quietSession) Ack(*packets.Publish) error { return nil }
