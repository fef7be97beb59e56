package delivery

import "time"

// outbox is the sender's half of events: what the other side has not acknowledged, and how much of it is in flight. Pure;
// guarded by Channel.mu.
type outbox struct {
	entries []Entry
	bytes   int
	next    uint64 // number of the next event

	cursor  int    // entries before it are in flight
	high    uint64 // highest ever sent
	window  int    // at most so many in flight
	max     int    // window never grows beyond
	level   int    // timeouts without progress
	resend  time.Time
	dropped uint64
}

func (o *outbox) push(e Entry) {
	o.entries = append(o.entries, e)
	o.bytes += len(e.Frame)
}

func (o *outbox) low() uint64 { return o.entries[0].Seq }

// shift takes n entries off the front.
func (o *outbox) shift(n int) {
	for i := range n {
		o.bytes -= len(o.entries[i].Frame)
		o.entries[i] = Entry{} // the array may live on
	}
	o.entries = o.entries[n:]
	o.cursor = max(0, o.cursor-n)
	if len(o.entries) == 0 {
		o.entries = nil
		o.resend = time.Time{}
	}
}

// ack takes the events up to seq out. ok is false for a number that was never used.
func (o *outbox) ack(seq uint64) (n int, ok bool) {
	if seq >= o.next {
		return 0, false
	}
	for n < len(o.entries) && o.entries[n].Seq <= seq {
		n++
	}
	if n > 0 {
		o.shift(n)
		o.level = 0
		o.window = min(o.max, 2*o.window)
		o.resend = time.Time{} // armed again by what is sent next, or by the timer of what is in flight
	}
	return n, true
}

// due is the entry to be sent next. Behind a gap in the numbers (an append that failed, an older crash) nothing is sent until
// the gap is the oldest, because the receiver takes a number out of order only when it is low.
func (o *outbox) due() (Entry, bool) {
	if o.cursor >= len(o.entries) || o.cursor >= o.window {
		return Entry{}, false
	}
	e := o.entries[o.cursor]
	if o.cursor > 0 && e.Seq != o.entries[o.cursor-1].Seq+1 {
		return Entry{}, false
	}
	return e, true
}

// sent notes that the entry numbered seq goes out now, unless the queue has moved since due returned it.
func (o *outbox) sent(seq uint64) bool {
	if e, ok := o.due(); !ok || e.Seq != seq {
		return false
	}
	o.cursor++
	return true
}

// rewind makes everything be sent again, as under a new session.
func (o *outbox) rewind() {
	o.cursor = 0
	o.resend = time.Time{}
}

// timeout sends the oldest alone: while nobody answers, one message is enough to ask. Acknowledgements open the window again.
func (o *outbox) timeout() {
	o.rewind()
	o.window = 1
	o.level++
}

// alive forgets the timeouts: the other side was heard.
func (o *outbox) alive() (was bool) {
	was = o.level > 0
	o.level = 0
	return was
}
