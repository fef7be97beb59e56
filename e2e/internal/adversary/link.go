package adversary

import (
	"bytes"
	"crypto/ecdh"
	"fmt"
	"strings"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// end is one party of one binding: what survives a power cut, and a peer, which does not.
type end struct {
	party party
	store *store
	open  func() (*e2e.Peer, error)
	peer  *e2e.Peer

	exchanges []*exchange // one-shot bindings, at the requester
	desk      *desk       // one-shot bindings, at the platform
}

func (e *end) boot() (err error) {
	e.store.reboot()
	e.exchanges = nil
	e.peer, err = e.open()
	return err
}

// link is one binding: end 0 is A, end 1 is B.
type link struct {
	w       *World
	index   int
	oneShot bool
	terms   terms
	ends    [2]*end
	thief   *thief
	shelf   *shelf // of the application in a session binding of ProfileEphemeral

	sent     [2]map[[32]byte]struct{} // digests of what each end has sent
	messages map[string]*message
	number   int
	sessions map[e2e.SessionID]*meeting
	newest   map[heard]int
}

// message is a payload, which no two of a world have in common.
type message struct {
	number, from int
	session      e2e.SessionID // that sealed it; zero for early data
	delivered    bool
}

// meeting is a session as its two ends have reported it.
type meeting struct {
	responder   int
	established [2]bool
	exported    []byte
}

type heard struct {
	session e2e.SessionID
	by      int
}

func newLink(w *World, index int, oneShot bool, t terms, a, b party) (*link, error) {
	l := &link{
		w: w, index: index, oneShot: oneShot, terms: t, messages: map[string]*message{}, sessions: map[e2e.SessionID]*meeting{}, newest: map[heard]int{},
	}
	binding := e2e.NewBindingID()
	parties := [2]party{a, b}
	if !oneShot && t.profile == e2e.ProfileEphemeral && t.prekeys {
		l.shelf = &shelf{owner: b, keys: map[uint32]*ecdh.PrivateKey{}}
	}
	for i := range parties {
		l.sent[i] = map[[32]byte]struct{}{}
		e := &end{party: parties[i], store: &store{faults: &w.faults, clock: w.clock}}
		cfg := e2e.Config{
			Self: parties[i].verified, Key: parties[i].key, Remote: parties[1-i].verified, Binding: binding, PSK: t.psk, RequirePSK: !t.psk.IsZero(),
			Profile: t.profile, Suites: t.suites[i], Windowed: t.windowed[i], Limits: t.limits, Epochs: e.store,
		}
		if l.shelf != nil && i == 1 {
			cfg.Prekeys, cfg.RequirePrekey = l.shelf, t.requirePrekey
		}
		e.open = func() (*e2e.Peer, error) {
			p, err := e2e.NewPeer(cfg)
			if err == nil && i == 0 {
				err = l.usePrekey(p)
			}
			return p, err
		}
		if err := e.boot(); err != nil {
			return nil, err
		}
		l.ends[i] = e
	}
	if oneShot {
		l.ends[1].desk = newDesk()
	}
	var err error
	if l.thief, err = newThief(l, binding); err != nil {
		return nil, err
	}
	return l, nil
}

// write makes a message of side.
func (l *link) write(side int, session e2e.SessionID) string {
	l.number++
	m := fmt.Sprintf("%d.%d.%s", l.index, l.number, strings.Repeat("x", l.w.choose.Choose(80)))
	l.messages[m] = &message{number: l.number, from: side, session: session}
	return m
}

// speak has side send one message: DATA, or a request to a platform.
func (l *link) speak(side int) error {
	if l.oneShot {
		return l.request(side)
	}
	e := l.ends[side]
	id, ok := e.peer.Session()
	if !ok {
		return nil
	}
	record, err := e.peer.Seal(l.w.now, nil, []byte(l.write(side, id)))
	if err != nil {
		return nil // its limit is reached
	}
	l.w.send(l, side, record)
	return nil
}

// burst seals so many messages that keys change, and lets the last few arrive.
func (l *link) burst(side int) error {
	if l.oneShot || !l.ends[side].peer.Ready() {
		return nil
	}
	var buf []byte
	for range l.w.choose.Choose(maxBurst) {
		var err error
		if buf, err = l.ends[side].peer.Seal(l.w.now, buf[:0], nil); err != nil {
			return nil
		}
	}
	for range 3 {
		if err := l.speak(side); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) start(side int) error {
	if l.oneShot {
		return l.request(side)
	}
	return l.initiate(side, l.w.choose.Choose(2) == 0)
}

func (l *link) initiate(side int, withEarly bool) error {
	e := l.ends[side]
	var early []byte
	if withEarly && e.peer.EarlyDataReady(l.w.now) {
		early = []byte(l.write(side, e2e.SessionID{}))
	}
	var record []byte
	var err error
	if !l.w.alive(e, func() { record, err = e.peer.Initiate(l.w.now, early) }) {
		return nil
	}
	if err != nil {
		return violation(RuleAPI, "%s cannot initiate: %v", l.name(side), err)
	}
	l.w.send(l, side, record)
	return nil
}

// again sends the pending INIT once more.
func (l *link) again(side int) error {
	if record := l.ends[side].peer.Pending(); record != nil {
		l.w.send(l, side, record)
	}
	for _, x := range l.ends[side].exchanges {
		l.w.send(l, side, x.init)
	}
	return nil
}

func (l *link) hangUp(side int) error {
	if l.oneShot || l.w.choose.Choose(4) > 0 {
		return nil
	}
	if record, err := l.ends[side].peer.CloseSession(7); err == nil {
		l.w.send(l, side, record)
	}
	return nil
}

func (l *link) crash(side int) error {
	l.w.stats.Crashes++
	return l.ends[side].boot()
}

// restore puts an end back to an earlier state. A platform that lost what it did has no way back (docs/protocol.md 7), so none does here.
func (l *link) restore(side int) error {
	e := l.ends[side]
	if len(e.store.old) == 0 || l.oneShot && side == 1 || l.w.choose.Choose(4) > 0 {
		return nil
	}
	l.w.stats.Restores++
	e.store.restore(l.w.choose.Choose(len(e.store.old)))
	return e.boot()
}

// receive gives a record to an end and judges what it makes of it.
func (l *link) receive(to int, record []byte) error {
	if l.oneShot {
		return l.receiveOneShot(to, record)
	}
	var ev e2e.Event
	var err error
	e := l.ends[to]
	if !l.w.alive(e, func() { ev, err = e.peer.Receive(l.w.now, record) }) {
		return nil
	}
	if err != nil {
		return l.refused(to, record, ev, err)
	}
	if !l.genuine(to, record) {
		return l.thief.accepted(to, record, ev)
	}
	typ, _ := e2e.TypeOf(record)
	if err := l.met(to, typ, ev); err != nil {
		return err
	}
	switch ev.Kind {
	case e2e.KindData, e2e.KindEarlyData:
		if err := l.delivered(to, ev); err != nil {
			return err
		}
	case e2e.KindChallenged:
		l.w.stats.Challenged++
	}
	if ev.Reply != nil {
		l.w.send(l, to, ev.Reply)
	}
	return nil
}

func (l *link) genuine(to int, record []byte) bool {
	_, ok := l.sent[1-to][e2e.Digest(record)]
	return ok
}

func (l *link) refused(to int, record []byte, ev e2e.Event, err error) error {
	l.w.stats.Refused++
	if ev.Kind != e2e.KindNone || ev.Payload != nil || ev.Reply != nil {
		return violation(RuleAPI, "an event comes with the error %v", err)
	}
	if err == e2e.ErrUnauthentic {
		return nil
	}
	// Every other error says that the record is authentic.
	if !l.genuine(to, record) && !l.thief.made(to, record) {
		return violation(RuleForged, "%s takes a record for authentic (%v): %x", l.name(to), err, record)
	}
	if c, ok := challengeOf(err); ok {
		l.w.send(l, to, c)
	}
	return nil
}

// met keeps the books of sessions.
func (l *link) met(to int, typ e2e.Type, ev e2e.Event) error {
	switch {
	case typ == e2e.TypeInit && ev.Reply != nil:
		m, ok := l.sessions[ev.Session]
		if !ok {
			l.sessions[ev.Session] = &meeting{responder: to}
		} else if m.responder != to {
			return violation(RuleAgreement, "two sides answer for session %v", ev.Session)
		}
	case typ == e2e.TypeResp, ev.Switched:
		m, ok := l.sessions[ev.Session]
		if !ok || (m.responder == to) == (typ == e2e.TypeResp) {
			return violation(RuleAgreement, "%s is in session %v, the other side is not", l.name(to), ev.Session)
		}
		exported, err := l.ends[to].peer.Export(ev.Session, "adversary", 32)
		if err != nil {
			return violation(RuleAPI, "export from an established session: %v", err)
		}
		if m.exported != nil && !bytes.Equal(m.exported, exported) {
			return violation(RuleAgreement, "session %v exports different keys on its two sides", ev.Session)
		}
		m.exported, m.established[to] = exported, true
		l.w.stats.Established++
	}
	return nil
}

func (l *link) delivered(to int, ev e2e.Event) error {
	m, ok := l.messages[string(ev.Payload)]
	switch {
	case !ok || m.from != 1-to:
		return violation(RuleForged, "%s got %q", l.name(to), ev.Payload)
	case m.delivered && ev.Kind == e2e.KindEarlyData && l.thief.heardBy(to):
	case m.delivered:
		return violation(RuleRepeated, "%s got %q again", l.name(to), ev.Payload)
	case ev.Kind == e2e.KindEarlyData:
		if m.session != (e2e.SessionID{}) {
			return violation(RuleAgreement, "%q was no early data", ev.Payload)
		}
		l.w.stats.Early++
	default:
		if m.session != ev.Session {
			return violation(RuleAgreement, "%q was sealed in session %v and arrived in %v", ev.Payload, m.session, ev.Session)
		}
		at := heard{ev.Session, to}
		if m.number < l.newest[at] && !l.terms.windowed[to] {
			return violation(RuleOrder, "%q came after a later message", ev.Payload)
		}
		l.newest[at] = max(l.newest[at], m.number)
	}
	m.delivered = true
	l.w.stats.Delivered++
	return nil
}

// comeBack has one side start anew, with a network that works.
func (l *link) comeBack(from int) error {
	if l.thief.blocks(from) {
		return nil
	}
	l.w.queue, l.w.resting = nil, true
	defer func() { l.w.resting = false }()
	if l.oneShot {
		return l.comeBackOneShot()
	}
	if err := l.initiate(from, true); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	// Sent again, with back-off: a CHALLENGE may want another one after it, and there is one a second.
	for range 2 {
		l.w.now = l.w.now.Add(2 * time.Second)
		if record := l.ends[from].peer.Pending(); record != nil {
			l.w.send(l, from, record)
		}
		if err := l.settle(); err != nil {
			return err
		}
	}
	for side := range 2 {
		before := l.w.stats.Delivered
		if err := l.speak(side); err != nil {
			return err
		}
		if err := l.settle(); err != nil {
			return err
		}
		if l.w.stats.Delivered != before+1 {
			return violation(RuleReturn, "no message of %s arrives after %s started a session", l.name(side), l.name(from))
		}
	}
	return nil
}

// settle delivers what is sent, and what is sent because of that.
func (l *link) settle() error {
	for range 50 {
		if len(l.w.queue) == 0 {
			return nil
		}
		s := l.w.queue[0]
		l.w.queue = l.w.queue[1:]
		if err := l.w.give(l, 1-s.side, s.record); err != nil {
			return err
		}
	}
	return violation(RuleReturn, "the two ends of binding %d answer one another without end", l.index)
}
