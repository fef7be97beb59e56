package delivery

import "time"

// outcome is how a call of this side ended.
type outcome struct {
	status Status
	reply  Reply
}

// outCall is a call of this side that is waited for.
type outCall struct {
	id       uint64
	typ      string
	body     []byte
	deadline time.Time
	sent     bool // in this round
	ever     bool // at all: from then on the outcome is unknown until a reply comes
	done     chan outcome
}

// outCalls is the caller's half. Pure; guarded by Channel.mu.
type outCalls struct {
	calls    []*outCall // by number
	next     uint64
	reserved uint64 // numbers up to it are set aside, durably
	max      int
	level    int
	resend   time.Time
	refused  uint64
}

func (o *outCalls) add(c *outCall) {
	c.id = o.next
	o.next++
	o.calls = append(o.calls, c)
}

func (o *outCalls) find(id uint64) int {
	for i, c := range o.calls {
		if c.id == id {
			return i
		}
	}
	return -1
}

// remove forgets a call; false if it was answered already.
func (o *outCalls) remove(id uint64) bool {
	i := o.find(id)
	if i < 0 {
		return false
	}
	o.calls = append(o.calls[:i], o.calls[i+1:]...)
	if len(o.calls) == 0 {
		o.calls, o.level, o.resend = nil, 0, time.Time{}
	}
	return true
}

// answer hands a reply to its caller; one that nobody waits for is dropped.
func (o *outCalls) answer(f Frame) bool {
	i := o.find(f.Seq)
	if i < 0 {
		return false
	}
	c := o.calls[i]
	o.remove(f.Seq)
	r := outcome{status: f.Status}
	switch f.Status {
	case StatusOK:
		r.reply = Reply{Type: f.Type, Body: f.Body}
	case StatusError:
		r.reply = Reply{Err: string(f.Body)}
	}
	c.done <- r // has room for one, and the call was just taken off
	return true
}

// due is the call to be sent next. They go in the order of their numbers, which is the only one in which they are taken.
func (o *outCalls) due(now time.Time) *outCall {
	for _, c := range o.calls {
		if !c.sent && now.Before(c.deadline) {
			return c
		}
	}
	return nil
}

func (o *outCalls) rewind() {
	for _, c := range o.calls {
		c.sent = false
	}
	o.resend = time.Time{}
}

func (o *outCalls) inFlight() bool {
	for _, c := range o.calls {
		if c.sent {
			return true
		}
	}
	return false
}

// inCall is a call of the other side. Deadline is in this side's clock.
type inCall struct {
	id, deadline uint64
	typ          string
	body         []byte
}

// Bounds of the replies kept for repeated calls. A call repeated after its reply was forgotten is answered with StatusUnknown.
const (
	maxReplies     = 64
	maxReplyBytes  = 256 << 10
	maxReplyQueued = 64
)

// inCalls is the receiver's half. Pure; guarded by Channel.mu.
type inCalls struct {
	taken   uint64 // highest in queue or begun
	low     uint64 // the caller waits for none below
	queue   []inCall
	max     int
	running map[uint64]struct{}
	busy    bool // the starter runs
	level   int
	retry   time.Time

	replies []*Frame // newest last: what a repeated call gets
	bytes   int
	outgo   []*Frame // to be sent
	noRoom  uint64
}

// take notes a call that came; begun says that there is now something to begin.
func (b *inCalls) take(f Frame) (begun bool) {
	if f.Low > b.low {
		b.low = f.Low
		b.forget(func(r *Frame) bool { return r.Seq < b.low })
	}
	switch place(b.taken, f.Seq, f.Low) {
	case repeated:
		b.repeat(f.Seq)
		return false
	case outOfOrder:
		return false
	}
	if len(b.queue) >= b.max {
		b.noRoom++ // it will come again, and was not begun
		return false
	}
	b.taken = f.Seq
	b.queue = append(b.queue, inCall{id: f.Seq, deadline: f.Deadline, typ: f.Type, body: f.Body})
	return true
}

func (b *inCalls) repeat(id uint64) {
	if _, ok := b.running[id]; ok {
		return // its reply will come
	}
	for _, c := range b.queue {
		if c.id == id {
			return
		}
	}
	for _, r := range b.replies {
		if r.Seq == id {
			b.send(r)
			return
		}
	}
	b.send(&Frame{Kind: KindReply, Seq: id, Status: StatusUnknown})
}

func (b *inCalls) send(f *Frame) {
	for _, q := range b.outgo {
		if q.Seq == f.Seq {
			return
		}
	}
	if len(b.outgo) < maxReplyQueued { // otherwise the call is repeated, and with it the reply
		b.outgo = append(b.outgo, f)
	}
}

// head is the next call to begin. Those that the caller gave up before they began are passed over.
func (b *inCalls) head() (inCall, bool) {
	for len(b.queue) > 0 && b.queue[0].id < b.low {
		b.pop()
	}
	if len(b.queue) == 0 {
		return inCall{}, false
	}
	return b.queue[0], true
}

func (b *inCalls) pop() {
	b.queue[0] = inCall{}
	b.queue = b.queue[1:]
	if len(b.queue) == 0 {
		b.queue = nil
	}
}

// finish keeps the reply of a call and sends it.
func (b *inCalls) finish(f *Frame) {
	delete(b.running, f.Seq)
	b.replies = append(b.replies, f)
	b.bytes += len(f.Body)
	// The newest stays, however long it is.
	left := len(b.replies)
	b.forget(func(*Frame) bool {
		over := left > 1 && (left > maxReplies || b.bytes > maxReplyBytes)
		if over {
			left--
		}
		return over
	})
	b.send(f)
}

func (b *inCalls) forget(which func(*Frame) bool) {
	kept := b.replies[:0]
	for _, r := range b.replies {
		if which(r) {
			b.bytes -= len(r.Body)
		} else {
			kept = append(kept, r)
		}
	}
	clear(b.replies[len(kept):])
	b.replies = kept
	if len(kept) == 0 {
		b.replies = nil
	}
}
