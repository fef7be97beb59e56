package broker

import (
	"errors"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
)

// errLeaving says that a list names a device itself. Where the authorizer is a RenewalAuthorizer, the device keeps what is allowed for a renewal, its control
// topics, for lastOrders: it is to fetch the order that wipes it, and would not be let in for that any more. The platform mostly ends that sooner.
var errLeaving = errors.New("broker: the certificate of the device is revoked")

const lastOrders = 3 * time.Second

// standing is what the revocation lists make of the certificate of a live connection. A handshake judges by the lists of that moment; whoever has
// the key of a CA that is revoked later, or of one certificate, would keep what he has opened before.
type standing struct {
	mu      sync.Mutex      // guards the rest
	changed <-chan struct{} // closed: there are other lists than those that c was judged by
	err     error           // once it is bad it stays so
}

// stands says whether a connection's certificate is as good as when it was made. It is asked with every packet, and costs something only after a
// list has come.
func (b *Broker) stands(c *conn) error {
	s := &c.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.changed:
	default:
		return s.err
	}
	if s.err == nil || errors.Is(s.err, errLeaving) {
		s.changed = b.cfg.Verifier.Changed() // before the question
		s.err = b.recheck(c)
	}
	return s.err
}

func (b *Broker) recheck(c *conn) error {
	if c.lapsed == nil {
		err := b.cfg.Verifier.RecheckClient(c.chain, c.until)
		if err != nil && b.mayLeave(c) {
			time.AfterFunc(lastOrders, c.evict)
			return errLeaving
		}
		return err
	}
	if _, err := b.cfg.Verifier.VerifyClientLapsed(c.chain); err != nil {
		return err
	}
	return c.lapsed.AuthenticateLapsed(c.id, c.id.String(), c.lapsed.certificate)
}

// mayLeave says that a connection is one of a device that a list names, and not its CA.
func (b *Broker) mayLeave(c *conn) bool {
	_, ok := b.cfg.Authorizer.(RenewalAuthorizer)
	if !ok || c.id.Role() != identity.RoleDevice || !b.cfg.Verifier.Revoked(c.chain[0]) {
		return false
	}
	for _, ca := range c.chain[1:] {
		if b.cfg.Verifier.Revoked(ca) {
			return false
		}
	}
	return true
}

// revokeLive ends the connections whose certificate a new list has made bad, until the broker closes: their clients may come back with a better one, or
// for it. A connection that is being made meanwhile is judged again at its CONNECT.
func (b *Broker) revokeLive() {
	for {
		changed := b.cfg.Verifier.Changed() // before the connections are looked at
		for _, c := range b.connections() {
			if err := b.stands(c); err != nil && !errors.Is(err, errLeaving) && !c.evicted.Load() {
				b.cfg.Logger.Warn("the certificate of a live connection is revoked, connection ended", "id", c.id, "error", err)
				c.evict()
			}
		}
		select {
		case <-changed:
		case <-b.closing:
			return
		}
	}
}
