package delivery

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// startCalls begins the waiting calls in the order of their numbers, as slots become free: the mark is durable before a call
// begins, so that no restart lets it run twice.
func (r *runner) startCalls() {
	for {
		if !r.takeSlots() {
			r.mu.Lock()
			r.core.theirs.busy = false
			r.mu.Unlock()
			return
		}
		r.mu.Lock()
		b := &r.core.theirs
		call, ok := b.head()
		if !ok || r.closed {
			b.busy = false
			r.mu.Unlock()
			r.giveSlots()
			return
		}
		if b.running == nil {
			b.running = make(map[uint64]struct{})
		}
		b.running[call.id] = struct{}{}
		r.mu.Unlock()

		err := r.cfg.Store.PutMark(MarkCalls, call.id)

		now := r.cfg.Now()
		r.mu.Lock()
		if err != nil {
			// It stays the first: not begun, whether the mark was written or not.
			delete(b.running, call.id)
			r.core.stats.StoreErrors++
			b.retry = now.Add(backoff(r.core.rng, r.core.timing.Retry, r.core.timing.MaxRetry, b.level))
			b.level++
			b.busy = false
			r.mu.Unlock()
			r.giveSlots()
			r.poke()
			r.cfg.Logger.Warn("delivery: begin call", "id", call.id, "err", err)
			return
		}
		b.level, b.retry = 0, time.Time{}
		if len(b.queue) > 0 && b.queue[0].id == call.id {
			b.pop()
		}
		clock := r.core.clock.read(now)
		if clock >= call.deadline {
			// After the mark: the caller is told that it never runs.
			r.core.stats.CallsExpired++
			b.finish(&Frame{Kind: KindReply, Seq: call.id, Status: StatusExpired})
			r.mu.Unlock()
			r.giveSlots()
			r.poke()
			continue
		}
		r.core.stats.CallsRun++
		r.mu.Unlock()
		left := time.Duration(min(call.deadline-clock, uint64(maxCall/time.Millisecond))) * time.Millisecond
		r.wg.Go(func() { r.runCall(call, now.Add(left), left) })
	}
}

// maxCall bounds what a caller may ask for: a handler's context ends then.
const maxCall = 24 * time.Hour

func (r *runner) runCall(in inCall, deadline time.Time, left time.Duration) {
	defer r.giveSlots()
	ctx, cancel := context.WithTimeout(r.ctx, left)
	defer cancel()
	reply, err := r.cfg.HandleCall(ctx, Call{ID: in.id, Type: in.typ, Body: in.body, Deadline: deadline})
	f := &Frame{Kind: KindReply, Seq: in.id, Status: StatusOK, Type: reply.Type}
	if err == nil && reply.Err != "" {
		err = &RemoteError{Text: reply.Err}
	}
	if err == nil {
		if cerr := checkMessage(reply.Type, reply.Body); cerr != nil {
			err = fmt.Errorf("the call ran, but its reply cannot be sent: %w", cerr)
		}
	}
	if err != nil {
		text := err.Error()
		if reply.Err != "" {
			text = reply.Err
		}
		f.Status, f.Type, f.Body = StatusError, "", errorText(text)
	} else {
		f.Body = bytes.Clone(reply.Body) // it is kept for a repetition, and wiped in the end; the handler's slice is the handler's
	}
	r.mu.Lock()
	r.core.theirs.finish(f)
	r.mu.Unlock()
	r.poke()
}

func (r *runner) takeSlots() bool {
	select {
	case r.serve <- struct{}{}:
	case <-r.ctx.Done():
		return false
	}
	if r.cfg.Pool == nil {
		return true
	}
	select {
	case r.cfg.Pool.slots <- struct{}{}:
		return true
	case <-r.ctx.Done():
		<-r.serve
		return false
	}
}

func (r *runner) giveSlots() {
	if r.cfg.Pool != nil {
		<-r.cfg.Pool.slots
	}
	<-r.serve
}
