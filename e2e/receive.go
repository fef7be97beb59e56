package e2e

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"slices"
	"time"
)

// EventKind says what a record did.
type EventKind byte

// The kinds of events.
const (
	// KindNone: nothing to deliver. Publish Reply, if there is one.
	KindNone EventKind = iota

	// KindEarlyData: Payload is the early data of the peer's INIT. Unless it came under a prekey (Event.Prekey), it has no forward secrecy,
	// and whoever stole our agreement key (and knows the pre-shared key) could have made it. Only the epoch protects it from replay.
	KindEarlyData

	// KindEstablished: Seal uses the new session Session from now on. For the initiator it means that the early data
	// arrived.
	KindEstablished

	// KindData: Payload is a message, never empty.
	KindData

	// KindClosed: the peer closed Session for Reason; its keys are gone.
	KindClosed

	// KindLost: our INIT crossed the peer's and lost; its early data is in Returned. (If the peer's INIT has early data of
	// its own, the kind is KindEarlyData, and Returned is set all the same.)
	KindLost

	// KindChallenged: the peer could not tell whether our INIT was new. Reply is another INIT, which it will accept, and which is the
	// pending one now; it has no early data: that of the first is in Returned.
	KindChallenged
)

// Event is the effect of one authentic record.
type Event struct {
	Kind EventKind

	// Reason is that of a CLOSE.
	Reason byte

	// Switched says that this record made Session the one that Seal uses: at KindEstablished, and at a KindData that came
	// before the confirmation.
	Switched bool

	// Prekey is the number of the prekey that protected the early data; 0: none did.
	Prekey uint32

	Session SessionID // the session that the record belongs to or makes
	Payload []byte    // owned by the caller

	// Reply, when not nil, is a record to publish now: RESP to an INIT, the empty DATA with which an initiator confirms
	// a new session, or an INIT (KindChallenged). It need not be kept: it is made again from a repeated INIT, and any DATA confirms.
	Reply []byte

	// Returned is the early data of our own INIT, when that INIT lost against the peer's, or was challenged. It may have arrived all the
	// same: send it again under whatever number tells the peer's application that it is the same message.
	Returned []byte
}

// Initiate starts a new session: it takes an epoch and returns an INIT to publish. A session in use stays in use until
// the new one is established; an earlier pending INIT is dropped, with its early data. Early data may be nil; without a prekey
// ([Peer.UsePrekey]) it has no forward secrecy and no protection from who stole the peer's agreement key (see the package
// documentation). With Config.RequirePrekey and no prekey, early data is [ErrNoPrekey].
func (p *Peer) Initiate(now time.Time, early []byte) ([]byte, error) {
	switch {
	case p.oneShot:
		return nil, fmt.Errorf("initiate a session with or as a platform: %w", ErrWrongUse)
	case len(early) > MaxPayload:
		return nil, fmt.Errorf("seal early data of %d bytes: %w", len(early), ErrTooLarge)
	}
	p.hs.Lock()
	defer p.hs.Unlock()
	if p.wiped {
		return nil, ErrWiped
	}
	var prekey *Prekey
	if len(early) > 0 {
		if prekey = p.livePrekey(now); prekey == nil && p.requirePrekey {
			return nil, ErrNoPrekey
		}
	}
	i, err := p.initiate(now, nil, prekey)
	if err != nil {
		return nil, err
	}
	i.early = slices.Clone(early)
	if err := p.sealInit(i, early); err != nil {
		return nil, err
	}
	if p.trying.IsZero() {
		p.trying = now
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending.wipe()
	p.pending = i
	return slices.Clone(i.record), nil
}

// Receive takes a record from the transport, in whatever order and number they come. On nil the event tells what to do; every error
// means that the record is to be dropped, and acknowledged to the broker; a [ChallengeError] has something to publish besides. An error that Is none of this package's comes from
// Config.Epochs or Config.Key: then nothing was accepted, and the peer's repetition of the record may succeed.
func (p *Peer) Receive(now time.Time, record []byte) (Event, error) {
	var e Event
	err := p.ReceiveInto(&e, now, nil, record)
	return e, err
}

// ReceiveInto is Receive for callers that reuse their memory: it fills in e, whatever was in it, and appends the payload of a DATA record
// to dst; e.Payload is the appended part. record must not overlap dst.
func (p *Peer) ReceiveInto(e *Event, now time.Time, dst, record []byte) (err error) {
	*e = Event{}
	if p.oneShot {
		return fmt.Errorf("receive session records of or as a platform: %w", ErrWrongUse)
	}
	h, ok := parseHeader(record)
	if !ok {
		return unauthentic(&p.count.malformed)
	}
	switch h.typ() {
	case TypeData, TypeClose:
		return p.receiveData(e, now, dst, h, record)
	case TypeInit:
		*e, err = p.receiveInit(now, h, record)
	case TypeResp:
		*e, err = p.receiveResp(now, h, record)
	default:
		*e, err = p.receiveChallenge(now, h, record)
	}
	return err
}

func (p *Peer) receiveInit(now time.Time, h header, record []byte) (Event, error) {
	p.hs.Lock()
	defer p.hs.Unlock()
	if p.wiped {
		return Event{}, ErrWiped
	}
	m, err := p.checkInit(h, record)
	if err != nil {
		return Event{}, err
	}
	p.mu.Lock()
	a := p.answer
	p.mu.Unlock()
	if a != nil && a.digest == Digest(record) {
		return Event{Session: a.session, Reply: slices.Clone(a.resp)}, nil
	}
	alive := p.challenges.holds(now, m.echo)
	if !alive {
		restored, err := p.restored()
		if err != nil {
			return Event{}, err
		}
		if restored {
			return Event{}, p.challenge(now, m.suite(), Digest(record), ErrEchoRequired)
		}
	}
	if m.epoch <= p.seenEpoch {
		p.count.stale.Add(1)
		return Event{}, p.challenge(now, m.suite(), Digest(record), CheckEpoch(p.seenEpoch, m.epoch))
	}
	var prekey ecdh.KeyExchanger
	if m.prekey != 0 {
		if prekey, err = p.findPrekey(m.prekey); errors.Is(err, ErrUnknownPrekey) {
			return Event{}, p.challenge(now, m.suite(), Digest(record), err)
		}
		if err != nil {
			return Event{}, err
		}
	}
	o, err := p.openInit(m, prekey, record)
	if err != nil {
		return Event{}, err
	}
	defer o.ck1.Wipe()
	if p.requirePrekey && m.prekey == 0 && len(o.payload) > 0 {
		// Whoever has our agreement key could have made it. Its author, if there is one, starts a session and sends it there.
		clear(o.payload)
		return Event{}, p.challenge(now, m.suite(), o.digest, ErrPrekeyRequired)
	}
	if p.pending != nil && !p.selfB && p.contending(now) {
		// Our INIT wins. The other one's epoch is used up, so that nobody can play it later, when its sender has sent the
		// early data again.
		if err := p.acceptEpoch(o.epoch, alive); err != nil {
			return Event{}, p.refuseEpoch(now, m, o.digest, err)
		}
		p.count.crossed.Add(1)
		clear(o.payload)
		return Event{}, nil
	}
	resp, ck3, th3, err := p.respond(o, nil)
	if err != nil {
		return Event{}, err
	}
	defer ck3.Wipe()
	s, err := p.newSession(o.suite, ck3, th3, now)
	if err != nil {
		return Event{}, err
	}
	s.caps = o.caps
	// Durable before anything is delivered or answered, and after everything that can fail.
	if err := p.acceptEpoch(o.epoch, alive); err != nil {
		s.wipe()
		return Event{}, p.refuseEpoch(now, m, o.digest, err)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(now)
	p.orders++
	s.order = p.orders
	p.next.wipe()
	p.next = s
	p.setDue(now)
	p.answer = &answer{digest: o.digest, resp: resp, session: s.id}
	e := Event{Session: s.id, Reply: slices.Clone(resp)}
	if p.pending != nil {
		e.Kind, e.Returned = KindLost, slices.Clone(p.pending.early)
		p.pending.wipe()
		p.pending, p.trying = nil, time.Time{}
	}
	if len(o.payload) > 0 {
		e.Kind, e.Payload, e.Prekey = KindEarlyData, o.payload, m.prekey
	}
	return e, nil
}

// contending says whether our pending INIT still has the precedence of the lower role. It ends, lest a winner whose INITs
// lead nowhere keeps the pair apart for ever.
func (p *Peer) contending(now time.Time) bool {
	since := now.Sub(p.trying)
	return since >= 0 && since < contendFor
}

// acceptEpoch makes epoch the highest seen. alive says that INIT echoed our CHALLENGE, whose nonce is used up then.
func (p *Peer) acceptEpoch(epoch uint64, alive bool) error {
	accept := p.epochs.AcceptEpoch
	if r, ok := p.epochs.(RestorableEpochs); ok && alive {
		accept = r.AcceptEcho
	}
	if err := accept(epoch); err != nil {
		return fmt.Errorf("accept epoch: %w", err)
	}
	p.seenEpoch = epoch
	if alive {
		p.challenges.spend()
	}
	return nil
}

// refuseEpoch is for an error of acceptEpoch: after a restart, a stale epoch shows only in the store.
func (p *Peer) refuseEpoch(now time.Time, m initRecord, digest [hashSize]byte, err error) error {
	if !errors.Is(err, ErrStaleEpoch) {
		return err
	}
	p.count.stale.Add(1)
	return p.challenge(now, m.suite(), digest, err)
}

func (p *Peer) receiveResp(now time.Time, h header, record []byte) (Event, error) {
	p.hs.Lock()
	defer p.hs.Unlock()
	if p.wiped {
		return Event{}, ErrWiped
	}
	if err := p.checkHandshake(h); err != nil {
		return Event{}, err
	}
	i := p.pending
	if i == nil {
		return Event{}, unauthentic(&p.count.notExpected)
	}
	o, err := p.openResp(i, h, record)
	if err != nil {
		return Event{}, err
	}
	defer o.ck3.Wipe()
	s, err := p.newSession(h.suite(), o.ck3, o.th3, i.created)
	if err != nil {
		return Event{}, err
	}
	s.caps = o.caps
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(now)
	p.pending.wipe()
	p.pending, p.trying = nil, time.Time{}
	p.orders++
	s.order = p.orders
	p.takeOver(s, now)
	confirm, err := p.seal(nil, TypeData, 0, nil)
	if err != nil {
		return Event{}, err
	}
	return Event{Kind: KindEstablished, Session: s.id, Payload: o.payload, Reply: confirm, Switched: true}, nil
}
