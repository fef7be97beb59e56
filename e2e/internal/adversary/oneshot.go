package adversary

import (
	"errors"
	"slices"

	"github.com/semio-iot/semio/e2e"
)

const maxExchanges = 2 // under way at a requester

// exchange is a requester's.
type exchange struct {
	x       *e2e.Exchange
	request string
	init    []byte
}

// desk is what a platform keeps in its store.
type desk struct {
	window  e2e.EpochWindow
	answers map[uint64]answered
	done    map[string]bool // requests that took effect
}

type answered struct {
	digest [32]byte
	resp   []byte
}

func newDesk() *desk { return &desk{answers: map[uint64]answered{}, done: map[string]bool{}} }

// request begins an exchange.
func (l *link) request(side int) error {
	if side != 0 {
		return nil
	}
	e := l.ends[0]
	x := &exchange{request: l.write(0, e2e.SessionID{})}
	var err error
	if !l.w.alive(e, func() { x.x, err = e.peer.Begin(l.w.now) }) {
		return nil
	}
	if err != nil {
		return violation(RuleAPI, "%s cannot begin: %v", l.name(0), err)
	}
	if x.init, err = x.x.Init([]byte(x.request)); err != nil {
		return violation(RuleAPI, "%s cannot seal a request: %v", l.name(0), err)
	}
	if len(e.exchanges) == maxExchanges {
		e.exchanges = slices.Delete(e.exchanges, 0, 1)
	}
	e.exchanges = append(e.exchanges, x)
	l.w.send(l, 0, x.init)
	return nil
}

func (l *link) receiveOneShot(to int, record []byte) error {
	if to == 0 {
		return l.receiveReply(record)
	}
	e := l.ends[1]
	r, err := e.peer.OpenRequest(record)
	if err != nil {
		return l.refused(1, record, e2e.Event{}, err)
	}
	m, ok := l.messages[string(r.Body())]
	if !l.genuine(1, record) || !ok || m.from != 0 {
		return violation(RuleForged, "the platform takes a request that was not made: %q", r.Body())
	}
	d := e.desk
	if a, ok := d.answers[r.Epoch()]; ok && a.digest == r.Digest() {
		l.w.send(l, 1, a.resp)
		return nil
	}
	window := d.window
	if err := window.Accept(r.Epoch()); err != nil {
		l.w.stats.Refused++
		if c, err := r.Challenge(l.w.now, d.window); err == nil {
			l.w.stats.Challenged++
			l.w.send(l, 1, c)
		}
		return nil
	}
	resp, err := r.Reply([]byte("done: " + string(r.Body())))
	if err != nil {
		return violation(RuleAPI, "the platform cannot reply: %v", err)
	}
	// The transaction. A power cut before it leaves nothing of the request, one after it the RESP for the next time.
	if e.store.cut > 0 && l.w.choose.Choose(2) == 0 {
		return l.crash(1)
	}
	if d.done[string(r.Body())] {
		return violation(RuleOnce, "request %q took effect twice", r.Body())
	}
	d.window, d.answers[r.Epoch()], d.done[string(r.Body())] = window, answered{r.Digest(), resp}, true
	if e.store.cut > 0 {
		return l.crash(1)
	}
	l.w.send(l, 1, resp)
	return nil
}

func (l *link) receiveReply(record []byte) error {
	e := l.ends[0]
	for i, x := range e.exchanges {
		var body []byte
		var err error
		if !l.w.alive(e, func() { body, err = x.x.Open(record) }) {
			return nil
		}
		if err == e2e.ErrUnauthentic {
			continue
		}
		if !l.genuine(0, record) {
			return violation(RuleForged, "%s takes a reply that was not made (%v): %x", l.name(0), err, record)
		}
		e.exchanges = slices.Delete(e.exchanges, i, i+1)
		switch {
		case errors.Is(err, e2e.ErrChallenged):
			l.w.stats.Challenged++
			return l.request(0) // anew: the request did not take effect, or the platform knows it
		case err != nil:
			return violation(RuleAPI, "%s cannot open a reply: %v", l.name(0), err)
		case string(body) != "done: "+x.request:
			return violation(RuleAgreement, "%q is no reply to %q", body, x.request)
		case !l.ends[1].desk.done[x.request]:
			return violation(RuleAgreement, "%q has a reply and took no effect", x.request)
		}
		l.w.stats.Requests++
		return nil
	}
	l.w.stats.Refused++
	return nil
}

func (l *link) comeBackOneShot() error {
	before := l.w.stats.Requests
	if err := l.request(0); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	if l.w.stats.Requests == before {
		return violation(RuleReturn, "the platform does not answer %s", l.name(0))
	}
	return nil
}

func challengeOf(err error) ([]byte, bool) {
	c, ok := errors.AsType[*e2e.ChallengeError](err)
	if !ok {
		return nil, false
	}
	return c.Record, true
}
