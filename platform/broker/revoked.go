package broker

import "sync"

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
	if s.err == nil {
		s.changed = b.cfg.Verifier.Changed() // before the question
		s.err = b.recheck(c)
	}
	return s.err
}

func (b *Broker) recheck(c *conn) error {
	if c.lapsed == nil {
		return b.cfg.Verifier.RecheckClient(c.chain, c.until)
	}
	if _, err := b.cfg.Verifier.VerifyClientLapsed(c.chain); err != nil {
		return err
	}
	return c.lapsed.AuthenticateLapsed(c.id, c.id.String(), c.lapsed.certificate)
}

// revokeLive ends the connections whose certificate a new list has made bad, until the broker closes: their clients may come back with a better one, or
// for it. A connection that is being made meanwhile is judged again at its CONNECT.
func (b *Broker) revokeLive() {
	for {
		changed := b.cfg.Verifier.Changed() // before the connections are looked at
		for _, c := range b.connections() {
			if err := b.stands(c); err != nil && !c.evicted.Load() {
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
