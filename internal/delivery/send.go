package delivery

import (
	"time"

	"github.com/semio-iot/semio/e2e"
)

// item is one record to be published next: a record of package e2e, or a frame yet to be sealed.
type item struct {
	record []byte
	frame  []byte

	kind       Kind
	seq        uint64
	ref        *Frame   // reply or volatile event
	call       *outCall // call
	ack        uint64
	tell, want bool
	session    e2e.SessionID // when it was made
}

// something says whether next would return an item.
func (k *core) something(now time.Time) bool {
	if !k.connected || now.Before(k.blocked) {
		return false
	}
	if len(k.control) > 0 {
		return true
	}
	if !k.usable() {
		return false
	}
	if _, ok := k.out.due(); ok {
		return true
	}
	if len(k.theirs.outgo) > 0 || len(k.volatile) > 0 {
		return true
	}
	if k.peerClock.fresh(now) && k.mine.due(now) != nil {
		return true
	}
	return !k.in.ackDue.IsZero() && !now.Before(k.in.ackDue)
}

// next makes the item to be published next. Nothing is changed before commit.
func (k *core) next(now time.Time) (item, bool) {
	if !k.something(now) {
		return item{}, false
	}
	if len(k.control) > 0 {
		r := k.control[0]
		k.control = k.control[1:]
		return item{record: r}, true
	}
	f, it := k.pick(now)
	f.HasAck, f.Ack = true, k.in.mark
	it.kind, it.seq, it.ack, it.session = f.Kind, f.Seq, f.Ack, k.session
	it.frame = f.Append(make([]byte, 0, 64+len(f.Type)+len(f.Body)))
	return it, true
}

// pick wants something to be true.
func (k *core) pick(now time.Time) (Frame, item) {
	if len(k.theirs.outgo) > 0 {
		r := k.theirs.outgo[0]
		return *r, item{ref: r}
	}
	if k.peerClock.fresh(now) {
		if c := k.mine.due(now); c != nil {
			// The project of a time that has passed here already cannot happen: due left such calls out.
			deadline, _ := k.peerClock.project(c.deadline)
			return Frame{
				Kind: KindCall, Seq: c.id, Low: k.mine.calls[0].id, Deadline: deadline, Type: c.typ, Body: c.body,
			}, item{call: c}
		}
	}
	if e, ok := k.out.due(); ok {
		f, err := ParseFrame(e.Frame)
		if err == nil { // Open has checked those of the store, Send made the others
			f.Low = k.out.low()
			return f, item{}
		}
	}
	if len(k.volatile) > 0 {
		v := k.volatile[0]
		return *v, item{ref: v}
	}
	f := Frame{Kind: KindAck, HasClock: k.tell, WantClock: k.want}
	if k.tell {
		f.Clock = k.clock.read(now)
	}
	return f, item{tell: k.tell, want: k.want}
}

// commit notes that it goes out now, sealed; false if meanwhile it must not (a call was given up, an event dropped) or would
// be taken for sent under a session under which it may not have been.
func (k *core) commit(it item, now time.Time) bool {
	if it.session != k.session {
		return false
	}
	switch it.kind {
	case KindReply:
		if len(k.theirs.outgo) == 0 || k.theirs.outgo[0] != it.ref {
			return false
		}
		k.theirs.outgo = k.theirs.outgo[1:]
	case KindCall:
		if i := k.mine.find(it.seq); i < 0 || it.call.sent {
			return false
		}
		it.call.sent, it.call.ever = true, true
		if k.mine.resend.IsZero() {
			k.mine.resend = k.after(now, k.mine.level)
		}
	case KindEvent:
		if it.ref != nil {
			if len(k.volatile) == 0 || k.volatile[0] != it.ref {
				return false
			}
			k.volatile = k.volatile[1:]
			break
		}
		if !k.out.sent(it.seq) {
			return false
		}
		k.stats.Sent++
		if it.seq <= k.out.high {
			k.stats.Resent++
		}
		k.out.high = max(k.out.high, it.seq)
		if k.out.resend.IsZero() {
			k.out.resend = k.after(now, k.out.level)
		}
	}
	if it.ack == k.in.mark {
		// A pure ack that tells or asks for the clock is still owed after another frame carried the number.
		if it.kind == KindAck || !k.tell && !k.want {
			k.in.acked()
		}
	}
	if it.tell {
		k.tell = false
	}
	if it.want {
		k.want = false
	}
	return true
}

// publishFailed notes that it may not have reached the broker.
func (k *core) publishFailed(it item, now time.Time) {
	k.stats.PublishErrors++
	k.blocked = now.Add(backoff(k.rng, k.timing.Retry, k.timing.MaxRetry, k.pubLevel))
	k.pubLevel++
	switch it.kind {
	case KindEvent:
		if it.seq != 0 {
			k.out.rewind()
		} else {
			k.stats.VolatileLost++
		}
	case KindCall:
		k.mine.rewind()
	case KindReply:
		k.theirs.send(it.ref)
	}
	k.tell, k.want = k.tell || it.tell, k.want || it.want
	if it.kind != 0 {
		k.in.owe(k.blocked)
	}
}
