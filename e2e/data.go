package e2e

import (
	"fmt"
	"time"
)

// Seal appends a DATA record with plaintext to dst. Publish records in the order in which they were sealed: a receiver takes
// gaps, but nothing older than the newest, unless it has Config.Windowed. An empty plaintext confirms the session or keeps it alive and is not delivered.
// dst and plaintext must not overlap. On an error dst comes back as it was.
func (p *Peer) Seal(now time.Time, dst, plaintext []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.wiped:
		return dst, ErrWiped
	case len(plaintext) > MaxPayload:
		return dst, fmt.Errorf("seal %d bytes: %w", len(plaintext), ErrTooLarge)
	case p.current == nil:
		return dst, ErrNoSession
	}
	p.expire(now)
	flags := byte(0)
	if p.current.due(now, &p.limits) {
		if p.current.spent(now, &p.limits) { // never before it is due
			return dst, ErrRenewRequired
		}
		flags = flagRenew
	}
	return p.seal(dst, TypeData, flags, plaintext)
}

// seal wants mu and a current session.
func (p *Peer) seal(dst []byte, typ Type, flags byte, plaintext []byte) ([]byte, error) {
	if p.selfB {
		flags |= flagB
	}
	out, err := p.current.seal(dst, typ, flags, plaintext)
	if err == nil {
		p.count.sealed++
	}
	return out, err
}

// CloseSession returns a CLOSE record to publish, and wipes every session and the pending INIT. Reasons belong to the caller.
// CLOSE ends a session and nothing more: no credential or binding may be erased because of one.
func (p *Peer) CloseSession(reason byte) ([]byte, error) {
	p.hs.Lock()
	defer p.hs.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.dropSessions()
	switch {
	case p.wiped:
		return nil, ErrWiped
	case p.current == nil:
		return nil, ErrNoSession
	}
	return p.seal(nil, TypeClose, 0, []byte{reason})
}

// receiveData is for DATA and CLOSE. It fills in e, which is zero: an Event is large enough for its copies to show beside the
// opening of a short message.
func (p *Peer) receiveData(e *Event, now time.Time, dst []byte, h header, record []byte) error {
	if len(record) < minDataSize || len(record) > minDataSize+MaxPayload || h.counter() > maxCounter {
		return unauthentic(&p.count.malformed)
	}
	if h.typ() == TypeClose && len(record) != minDataSize+1 {
		return unauthentic(&p.count.malformed) // its reason is one byte
	}
	if h.fromB() == p.selfB {
		return unauthentic(&p.count.ownDirection)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wiped {
		return ErrWiped
	}
	late := p.expire(now)
	s := p.find(h.name())
	if s == nil {
		return unauthentic(&p.count.unknownSession)
	}
	if s.suite != h.suite() {
		return unauthentic(&p.count.unsupported)
	}
	start := len(dst)
	dst, v := s.open(dst, h, record)
	switch v {
	case badTag:
		return unauthentic(&p.count.badTag)
	case oldGeneration:
		return unauthentic(&p.count.oldGeneration)
	case repeated:
		p.count.replayed.Add(1)
		return ErrReplay
	}
	payload := dst[start:]
	if late && s.expired(now) {
		clear(payload)
		p.count.isExpired.Add(1)
		p.drop(s)
		return ErrExpired
	}
	p.count.opened++
	if h.flags()&flagRenew != 0 {
		s.renew = true
	}

	e.Session = s.id
	// Only the peer that has our RESP can have sealed this, so the new session is its session too. A session that was
	// answered before the current one was made is received on, but not gone back to.
	if s == p.next && (p.current == nil || s.order > p.current.order) {
		p.next, p.answer = nil, nil
		p.takeOver(s, now)
		e.Kind, e.Switched = KindEstablished, true
	}
	switch {
	case h.typ() == TypeClose:
		e.Kind, e.Switched = KindClosed, false
		e.Reason = payload[0]
		p.drop(s)
	case len(payload) > 0:
		e.Kind, e.Payload = KindData, payload
	}
	return nil
}

// find returns the session whose ID is this number.
func (p *Peer) find(name uint64) *session {
	switch {
	case p.current.named(name):
		return p.current
	case p.previous.named(name):
		return p.previous
	case p.next.named(name):
		return p.next
	}
	return nil
}

// takeOver makes s the session that Seal uses, and the one before it the previous one.
func (p *Peer) takeOver(s *session, now time.Time) {
	p.previous.wipe()
	p.previous, p.current = p.current, s
	p.lingers = now.Add(p.limits.Linger)
	p.setDue(now)
	p.count.handshakes.Add(1)
}

// drop forgets s, and what is older when s is the current session.
func (p *Peer) drop(s *session) {
	s.wipe()
	switch s {
	case p.current:
		p.previous.wipe()
		p.current, p.previous = nil, nil
	case p.previous:
		p.previous = nil
	case p.next:
		p.next, p.answer = nil, nil
	}
}

// expire forgets keys that only receive, once the new session has carried data of the peer and the broker has no older
// messages left, or once they are past their age. It returns false where no session can be past its age, not even the current one: one
// comparison of times is all that a message pays.
func (p *Peer) expire(now time.Time) (late bool) {
	if now.Before(p.due) {
		return false
	}
	p.expireNow(now)
	return true
}

func (p *Peer) expireNow(now time.Time) {
	replaced := p.current != nil && p.current.seen.next > 0 && !now.Before(p.lingers)
	if s := p.previous; s != nil && (replaced || s.expired(now)) {
		p.drop(s)
	}
	if s := p.next; s != nil && (replaced && s.order < p.current.order || s.expired(now)) {
		p.drop(s)
	}
	p.setDue(now)
}

// setDue finds the moment until which expire has nothing to do. It is called whenever a session comes.
func (p *Peer) setDue(now time.Time) {
	p.due = now.Add(defaultMaxAge)
	sooner := func(t time.Time) {
		if t.Before(p.due) {
			p.due = t
		}
	}
	for _, s := range []*session{p.current, p.previous, p.next} {
		if s != nil {
			sooner(s.gone)
		}
	}
	if p.previous != nil || p.next != nil {
		sooner(p.lingers)
	}
}
