package delivery

import "time"

// verdict is what became of a number that arrived.
type verdict byte

const (
	taken      verdict = iota
	repeated           // taken before
	outOfOrder         // an older one is missing; it will be sent again after that
	noRoom
)

// place says what to do with number seq, when all up to last were taken and the sender has given up all below low.
func place(last, seq, low uint64) verdict {
	switch {
	case seq <= last:
		return repeated
	case seq != max(last+1, low):
		return outOfOrder
	}
	return taken
}

type inEvent struct {
	Event
	handled bool // the handler returned nil, its mark is not yet written
}

// inbox is the receiver's half of events: taken in order, not yet handled. It is lost at a crash, and therefore nothing in
// it is acknowledged. Pure; guarded by Channel.mu.
type inbox struct {
	mark   uint64 // handled, durably: what an ack says
	taken  uint64 // highest in queue, or mark
	queue  []inEvent
	max    int
	level  int       // failures of the first in the queue
	retry  time.Time // not before
	busy   bool      // the worker runs
	owed   int       // events handled since the last ack
	ackDue time.Time // zero: no ack is owed

	skipped uint64 // numbers that the sender gave up
}

func (b *inbox) take(e Event, low uint64) verdict {
	if e.Volatile {
		if len(b.queue) >= b.max {
			return noRoom
		}
		b.queue = append(b.queue, inEvent{Event: e})
		return taken
	}
	v := place(b.taken, e.Seq, low)
	if v != taken {
		return v
	}
	if len(b.queue) >= b.max {
		return noRoom
	}
	b.skipped += e.Seq - b.taken - 1
	b.taken = e.Seq
	b.queue = append(b.queue, inEvent{Event: e})
	return taken
}

// done takes the first off the queue: handled and marked, or a volatile one that is over.
func (b *inbox) done() {
	e := b.queue[0]
	b.queue[0] = inEvent{}
	b.queue = b.queue[1:]
	if len(b.queue) == 0 {
		b.queue = nil
	}
	b.level, b.retry = 0, time.Time{}
	if !e.Volatile {
		b.mark = e.Seq
		b.owed++
	}
}

// owe asks for an ack at the given time or before.
func (b *inbox) owe(at time.Time) {
	if b.ackDue.IsZero() || at.Before(b.ackDue) {
		b.ackDue = at
	}
}

// acked notes that a frame with the ack left.
func (b *inbox) acked() {
	b.owed, b.ackDue = 0, time.Time{}
}
