package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// Run does the channel's work until ctx ends, then returns nil, or until Wipe, then returns [ErrClosed]. It ends after the handlers
// have: their context ends with ctx. The channel is closed then. Run is called once.
func (c *Channel) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.closed || c.running {
		c.mu.Unlock()
		return ErrClosed
	}
	c.running = true
	c.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	r := &runner{Channel: c, ctx: ctx, serve: make(chan struct{}, c.cfg.ServeCalls)}
	defer r.wg.Wait()
	defer cancel()
	defer c.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.quit:
			return ErrClosed
		case <-c.wake:
		case <-timer.C:
		}
		timer.Reset(r.step())
	}
}

// runner is a Channel while Run runs.
type runner struct {
	*Channel
	ctx   context.Context
	wg    sync.WaitGroup
	serve chan struct{} // room for the calls that run
}

// step does everything that is due, and returns the time until something else is.
func (r *runner) step() time.Duration {
	r.inMu.Lock()
	records := r.records
	r.records = nil
	r.inMu.Unlock()
	for _, record := range records {
		r.receive(record)
	}
	r.remove()

	now, peer := r.cfg.Now(), r.with()
	ready, pending, renew := peer.Ready(), peer.Pending(), peer.RenewDue(now)
	mayEarly := r.cfg.EarlyData && peer.EarlyDataReady(now)
	r.mu.Lock()
	if r.peer != peer {
		r.mu.Unlock()
		return 0 // what was said is of one that is no more
	}
	k := &r.core
	k.sessionState(ready, renew)
	k.tick(now)
	act := k.pace.next(now, k.wantSession(r.cfg.KeepSession), pending != nil)
	if act == actResend {
		k.addControl(pending)
	}
	var early Frame
	if act == actInitiate && mayEarly && len(k.out.entries) > 0 && len(k.out.entries[0].Frame) <= maxEarly {
		early, _ = ParseFrame(k.out.entries[0].Frame)
	}
	r.mu.Unlock()
	if act == actInitiate {
		r.initiate(now, peer, early)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return longest
	}
	if !r.publishing && k.something(now) {
		r.publishing = true
		r.wg.Go(r.publish)
	}
	if !k.in.busy && len(k.in.queue) > 0 && !now.Before(k.in.retry) {
		k.in.busy = true
		r.wg.Go(r.handleEvents)
	}
	if !k.theirs.busy && len(k.theirs.queue) > 0 && !now.Before(k.theirs.retry) {
		k.theirs.busy = true
		r.wg.Go(r.startCalls)
	}
	if r.empty != nil && len(k.out.entries) == 0 {
		close(r.empty)
		r.empty = nil
	}
	at := k.wakeAt(now, r.cfg.KeepSession)
	if at.IsZero() {
		return longest
	}
	return max(0, at.Sub(now))
}

// maxEarly is the longest frame put into early data: an INIT is sent again as a whole.
const maxEarly = 4096

func (k *core) addControl(record []byte) {
	if len(k.control) >= maxControl {
		k.control = k.control[1:] // the newest INIT and RESP are the ones that count
	}
	k.control = append(k.control, record)
}

func (r *runner) initiate(now time.Time, peer Peer, early Frame) {
	var payload []byte
	if early.Seq != 0 {
		payload = early.Append(nil) // low is its own number: it is the oldest
		defer clear(payload)
	}
	init, err := peer.Initiate(now, payload)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peer != peer {
		return
	}
	if err != nil {
		r.core.stats.StoreErrors++
		r.cfg.Logger.Warn("delivery: start session", "err", err)
		return // the pacer has moved on
	}
	r.earlySeq = early.Seq
	r.core.stats.Initiated++
	r.core.addControl(init)
}

func (r *runner) receive(record []byte) {
	now := r.cfg.Now()
	peer := r.with()
	ev, err := peer.Receive(now, record)
	typ, terr := e2e.TypeOf(record)
	if err != nil {
		if !errors.Is(err, e2e.ErrUnauthentic) && !errors.Is(err, e2e.ErrReplay) {
			r.cfg.Logger.Info("delivery: receive", "err", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.core.stats.RecordsRefused++
		if c, ok := errors.AsType[*e2e.ChallengeError](err); ok {
			r.core.addControl(c.Record)
		}
		if terr == nil && typ == e2e.TypeData && errors.Is(err, e2e.ErrUnauthentic) {
			r.core.strange(now)
		}
		return
	}
	var f Frame
	var ferr error
	if len(ev.Payload) > 0 {
		f, ferr = ParseFrame(ev.Payload)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := &r.core
	if ev.Reply != nil {
		k.addControl(ev.Reply)
	}
	if ev.Kind == e2e.KindChallenged {
		r.earlySeq = 0 // the new INIT has none; the outbox still has the event
	}
	if ev.Switched && r.peer == peer {
		// Only an initiator's own early data is known to have arrived.
		seq := uint64(0)
		if typ == e2e.TypeResp {
			seq = r.earlySeq
		}
		r.earlySeq = 0
		k.switched(now, ev.Session, seq)
	}
	if typ == e2e.TypeInit && ev.Reply != nil && !k.ready {
		k.pace.hold(now.Add(k.timing.Resend)) // the initiator's confirmation is under way
	}
	switch {
	case len(ev.Payload) == 0:
	case ferr != nil:
		k.stats.BadFrames++
		r.cfg.Logger.Warn("delivery: the other side sent a malformed frame", "err", ferr)
	case ev.Kind == e2e.KindEarlyData:
		if f.Kind != KindEvent || f.Seq == 0 {
			k.stats.BadFrames++
			return
		}
		k.event(now, f, true)
	default:
		k.received(now, ev.Session, f)
	}
}

// remove brings the store's outbox to where the acknowledgements are.
func (r *runner) remove() {
	now := r.cfg.Now()
	r.mu.Lock()
	k := &r.core
	upTo, held := k.removeTo, k.held
	if upTo <= k.removed || now.Before(k.removeAt) {
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	err := r.cfg.Store.Remove(upTo)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		k.stats.StoreErrors++
		k.removeAt = now.Add(backoff(k.rng, k.timing.Retry, k.timing.MaxRetry, k.removeLevel))
		k.removeLevel++
		r.cfg.Logger.Warn("delivery: remove acknowledged events", "up to", upTo, "err", err)
		return
	}
	k.removed, k.removeAt, k.removeLevel = upTo, time.Time{}, 0
	k.held -= held
}

// publish seals and publishes until there is nothing to send. One at a time, so that records leave in the order of their
// counters: the other side refuses those that were overtaken.
func (r *runner) publish() {
	for {
		now := r.cfg.Now()
		r.mu.Lock()
		it, ok := r.core.next(now)
		if !ok || r.closed {
			r.publishing = false
			r.mu.Unlock()
			r.poke() // what was sent has timers now
			return
		}
		r.mu.Unlock()
		record := it.record
		if record == nil {
			var err error
			record, err = r.with().Seal(now, nil, it.frame)
			clear(it.frame)
			r.mu.Lock()
			if err != nil {
				if !errors.Is(err, e2e.ErrNoSession) && !errors.Is(err, e2e.ErrRenewRequired) {
					r.cfg.Logger.Warn("delivery: seal", "err", err)
				}
				// Until there is another session; it may be there already.
				r.core.spent = it.session == r.core.session
				r.publishing = false
				r.mu.Unlock()
				r.poke()
				return
			}
			ok := r.core.commit(it, now)
			r.mu.Unlock()
			if !ok {
				continue
			}
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Timing.Publish)
		err := r.cfg.Publish(ctx, record)
		cancel()
		r.mu.Lock()
		if err == nil {
			r.core.pubLevel = 0
			r.mu.Unlock()
			continue
		}
		r.core.publishFailed(it, r.cfg.Now())
		r.publishing = false
		r.mu.Unlock()
		r.cfg.Logger.Debug("delivery: publish", "err", err)
		r.poke()
		return
	}
}

// handleEvents gives the inbox to the handler, one event after the other, until it is empty or something fails.
func (r *runner) handleEvents() {
	for {
		r.mu.Lock()
		in := &r.core.in
		if len(in.queue) == 0 || r.ctx.Err() != nil || r.closed {
			in.busy = false
			if r.closed {
				in.queue = nil
			}
			r.mu.Unlock()
			return
		}
		e := in.queue[0]
		r.mu.Unlock()

		var err error
		if !e.handled {
			err = r.cfg.HandleEvent(r.ctx, e.Event)
		}
		failed := err != nil
		if err == nil && !e.Volatile && !r.cfg.HandlerKeepsMark {
			if merr := r.cfg.Store.PutMark(MarkEvents, e.Seq); merr != nil {
				err = fmt.Errorf("put mark: %w", merr)
			}
		}

		now := r.cfg.Now()
		r.mu.Lock()
		switch {
		case err == nil:
			r.core.handled(now)
		case e.Volatile:
			r.core.stats.Failures++
			r.core.handled(now)
		default:
			// Handled but not marked: this process will not handle it again, and does not acknowledge it.
			in.queue[0].handled = !failed
			if failed {
				r.core.stats.Failures++
			} else {
				r.core.stats.StoreErrors++
			}
			in.retry = now.Add(backoff(r.core.rng, r.core.timing.Retry, r.core.timing.MaxRetry, in.level))
			in.level++
			in.busy = false
		}
		stop := !in.busy
		r.mu.Unlock()
		r.poke()
		if stop {
			r.cfg.Logger.Warn("delivery: handle event", "seq", e.Seq, "err", err)
			return
		}
	}
}
