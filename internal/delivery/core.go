package delivery

import (
	"math/rand/v2"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// core is the state of a channel: what was received and sent, and what is to be done when. Pure: it does no I/O, reads no clock
// and starts nothing. Guarded by Channel.mu.
type core struct {
	timing Timing
	rng    *rand.Rand

	out      outbox
	in       inbox
	mine     outCalls
	theirs   inCalls
	volatile []*Frame
	control  [][]byte // records of package e2e to publish: they go first

	clock     clock
	peerClock peerClock
	wantAt    time.Time // not before: ask for the other side's clock
	tell      bool      // the next ack frame tells the clock
	want      bool      // and asks for the other's

	pace      pacer
	session   e2e.SessionID // the one that Seal uses
	connected bool
	ready     bool
	spent     bool // the session seals no more
	renew     bool
	stray     bool // a record of a session that is not known came
	strayAt   time.Time
	silence   int // timeouts since the other side was heard
	pubLevel  int
	blocked   time.Time // nothing is published before

	removeTo    uint64 // the store's outbox is to be cleared up to here
	removed     uint64 // and is cleared up to here
	held        int    // entries between the two
	removeAt    time.Time
	removeLevel int

	stats Stats
}

// maxSilence is the number of timeouts after which a session is taken for dead.
const maxSilence = 3

const (
	maxVolatile = 64
	maxControl  = 4
)

func (k *core) usable() bool { return k.connected && k.ready && !k.spent }

// received digests an authentic frame of session s.
func (k *core) received(now time.Time, s e2e.SessionID, f Frame) {
	// A side that comes back, or that is heard after a silence, gets what waits for it without the rest of the back-off.
	if f.WantClock || k.silence > 0 && f.Kind != KindAck {
		if k.out.alive() {
			k.out.rewind()
			k.out.window = k.out.max
		}
		if k.mine.level > 0 {
			k.mine.level = 0
			k.mine.rewind()
		}
	}
	k.silence = 0
	k.pace.heard()
	if f.HasAck {
		k.ack(f.Ack)
	}
	// An older session may be that of the other side before its restart, and so its clock.
	if f.HasClock && s == k.session {
		k.peerClock.learn(f.Clock, now)
	}
	if f.WantClock {
		k.tell = true
		k.in.owe(now)
	}
	switch f.Kind {
	case KindEvent:
		k.event(now, f, false)
	case KindCall:
		k.theirs.take(f)
	case KindReply:
		k.mine.answer(f)
	}
}

func (k *core) ack(seq uint64) {
	n, ok := k.out.ack(seq)
	if !ok {
		k.stats.BadFrames++
		return
	}
	k.held += n
	if n > 0 {
		k.removeTo = max(k.removeTo, seq)
	}
}

func (k *core) event(now time.Time, f Frame, early bool) {
	e := Event{Seq: f.Seq, Type: f.Type, Body: f.Body, Volatile: f.Seq == 0, Early: early}
	switch k.in.take(e, f.Low) {
	case repeated:
		k.stats.Repeated++
		k.in.owe(now) // the ack was lost
	case outOfOrder:
		k.stats.OutOfOrder++
	case noRoom:
		k.stats.NoRoom++
	}
}

// handled notes that the first event of the inbox is over.
func (k *core) handled(now time.Time) {
	volatile := k.in.queue[0].Volatile
	k.in.done()
	if volatile {
		return
	}
	k.stats.Handled++
	if k.in.owed >= max(1, k.in.max/2) {
		k.in.owe(now)
	} else {
		k.in.owe(now.Add(k.timing.AckDelay))
	}
}

// switched begins the use of a session: whatever was in flight under an older one may be lost. early is the number of the event
// that went as early data and is known to have arrived, or 0.
func (k *core) switched(now time.Time, s e2e.SessionID, early uint64) {
	k.session = s
	k.ready, k.spent, k.stray = true, false, false
	k.silence = 0
	k.stats.Sessions++
	k.peerClock = peerClock{}
	k.wantAt = now.Add(k.timing.Resend) // it comes by itself
	k.out.rewind()
	k.out.window, k.out.level = k.out.max, 0
	if early != 0 {
		k.out.sent(early)
	}
	k.mine.rewind()
	k.mine.level = 0
	k.tell = true
	k.in.owe(now)
}

// turned forgets the session: there is another peer, which has none. Where there was one, the other side waits for the next.
func (k *core) turned(now time.Time) {
	k.session = e2e.SessionID{}
	k.stray = k.stray || k.ready
	k.ready, k.spent, k.renew, k.silence = false, false, false, 0
	k.control = nil
	k.pace.resends = 0
	k.pace.hasten(now)
}

// sessionState brings in what the peer says of itself.
func (k *core) sessionState(ready, renew bool) {
	if !ready {
		k.spent = false
	}
	k.ready, k.renew = ready, renew
}

// strange notes a DATA record that belongs to no session known here.
func (k *core) strange(now time.Time) {
	if !k.ready {
		k.stray = true // the other side has a session that was lost here, in a restart: a new one is due
		return
	}
	// It may not know yet that this side uses a new session. Anybody can send such records, so not each is answered.
	if now.Before(k.strayAt) {
		return
	}
	k.strayAt = now.Add(k.timing.Resend)
	k.in.owe(now)
}

func (k *core) linkUp(now time.Time, keep bool) {
	k.connected = true
	k.pubLevel, k.blocked = 0, time.Time{}
	k.out.rewind()
	k.mine.rewind()
	k.pace.hasten(now)
	if keep && k.ready {
		k.tell, k.want = true, true
		k.in.owe(now)
	}
}

func (k *core) linkDown() { k.connected = false }

// tick does what time alone brings.
func (k *core) tick(now time.Time) {
	if !k.usable() {
		k.stats.VolatileLost += uint64(len(k.volatile))
		k.volatile = nil
	}
	if !k.connected {
		k.control = nil // INIT and RESP are made again when needed
		return
	}
	if !k.ready {
		return // the session that comes sends everything again
	}
	if at := k.out.resend; !at.IsZero() && !now.Before(at) {
		k.out.timeout()
		k.silence++
	}
	if at := k.mine.resend; !at.IsZero() && !now.Before(at) {
		k.mine.rewind()
		k.mine.level++
		k.silence++
	}
	if k.out.cursor > 0 && k.out.resend.IsZero() {
		k.out.resend = k.after(now, k.out.level)
	}
	if k.mine.resend.IsZero() && k.mine.inFlight() {
		k.mine.resend = k.after(now, k.mine.level)
	}
	if !k.peerClock.fresh(now) && k.mine.due(now) != nil && !now.Before(k.wantAt) {
		k.wantAt = k.after(now, 0)
		k.want, k.tell = true, true
		k.in.owe(now)
	}
}

func (k *core) after(now time.Time, level int) time.Time {
	return now.Add(backoff(k.rng, k.timing.Resend, k.timing.MaxResend, level))
}

// wantSession says whether a new session is to be started.
func (k *core) wantSession(keep bool) bool {
	if !k.connected {
		return false
	}
	if !k.ready || k.spent {
		return keep || k.stray || k.spent || len(k.out.entries) > 0 || len(k.mine.calls) > 0
	}
	return k.renew || k.silence >= maxSilence
}

// wakeAt is when tick, or the caller, has something to do next; zero: when something happens.
func (k *core) wakeAt(now time.Time, keep bool) time.Time {
	var at time.Time
	add := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	add(k.removeAt)
	if len(k.in.queue) > 0 && !k.in.busy {
		add(k.in.retry)
	}
	if len(k.theirs.queue) > 0 && !k.theirs.busy {
		add(k.theirs.retry)
	}
	if !k.connected {
		return at
	}
	if k.blocked.After(now) {
		add(k.blocked)
	}
	if k.wantSession(keep) {
		add(k.pace.at)
	}
	if k.ready {
		add(k.out.resend)
		add(k.mine.resend)
		if k.in.ackDue.After(now) {
			add(k.in.ackDue)
		}
		if !k.peerClock.fresh(now) && k.mine.due(now) != nil {
			add(k.wantAt)
		}
	}
	return at
}

// wipe forgets every message. What a handler was given is the handler's; the worker drops the rest of the inbox.
func (k *core) wipe() {
	for _, e := range k.out.entries {
		clear(e.Frame)
	}
	for _, r := range k.theirs.replies {
		clear(r.Body)
	}
	for _, c := range k.theirs.queue {
		clear(c.body)
	}
	for i, e := range k.in.queue {
		if i > 0 || !k.in.busy {
			clear(e.Body)
		}
	}
	k.out.entries, k.out.bytes, k.out.cursor = nil, 0, 0
	k.theirs.replies, k.theirs.outgo, k.theirs.queue = nil, nil, nil
	if !k.in.busy {
		k.in.queue = nil
	}
	k.volatile, k.control, k.mine.calls = nil, nil, nil
}

func (k *core) fillStats(s *Stats) {
	*s = k.stats
	s.Queued, s.QueuedBytes, s.InFlight = len(k.out.entries), k.out.bytes, k.out.cursor
	s.Calls, s.Ready, s.Connected = len(k.mine.calls), k.ready && !k.spent, k.connected
	s.Dropped, s.Skipped = k.out.dropped, k.in.skipped
	s.NoRoom += k.theirs.noRoom
}
