package platform

import (
	"context"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform/registry"
)

const (
	// farewell is how long a retired device keeps its connection to fetch its wipe order, if the authority is quick. An eviction
	// may have to wait for an earlier one, and takes at most grantFirst and evictTimeout itself: together below the 2 seconds of Retire.
	farewell     = 600 * time.Millisecond
	lastAnswer   = 200 * time.Millisecond // for the answer to the acknowledgement of the wipe order
	grantFirst   = 200 * time.Millisecond // for permissions that must be gone before a connection is cut
	evictTimeout = 400 * time.Millisecond
	evictMany    = 16 // at a time

	retryMin = 200 * time.Millisecond
	retryMax = 10 * time.Second
)

// enforcer carries changes to the broker, after the commit, until they succeeded. What it has still to do dies with the process:
// therefore it reconciles at start, and whoever should have been cut off finds that the broker asks Authenticate when he comes back.
type enforcer struct {
	s          *Service
	caps       Caps
	wakeGrants chan struct{}
	wakeEvict  chan struct{}

	granting chan struct{} // capacity 1, held during Apply and Reconcile

	mu        sync.Mutex // guards what follows
	evict     map[identity.ID]eviction
	reconcile bool
	rev       uint64
	pending   map[Grant]bool // true: to add, false: to delete
}

type eviction struct {
	at   time.Time
	wait time.Duration // after the next failure
}

// leaving are the devices that were retired less than 2 seconds ago.
type leaving struct{ until sync.Map } // identity.ID to time.Time

func (l *leaving) add(ids []identity.ID, now time.Time) {
	if len(ids) == 0 {
		return
	}
	l.until.Range(func(id, until any) bool {
		if now.After(until.(time.Time)) {
			l.until.Delete(id)
		}
		return true
	})
	for _, id := range ids {
		if id.Role() == identity.RoleDevice {
			l.until.Store(id, now.Add(2*time.Second))
		}
	}
}

func (l *leaving) has(id identity.ID, now time.Time) bool {
	until, ok := l.until.Load(id)
	return ok && now.Before(until.(time.Time))
}

func newEnforcer(s *Service) *enforcer {
	e := &enforcer{
		s: s, wakeGrants: make(chan struct{}, 1), wakeEvict: make(chan struct{}, 1),
		evict: map[identity.ID]eviction{}, pending: map[Grant]bool{}, granting: make(chan struct{}, 1),
	}
	if s.cfg.Enforcer != nil {
		e.caps = s.cfg.Enforcer.Caps()
	}
	e.reconcile = e.caps.Grants
	return e
}

// changed notes what a committed change means for the broker.
func (e *enforcer) changed(before, after registry.State, rev uint64, eff registry.Effects) {
	e.s.leaving.add(eff.Evict, time.Now())
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.caps.Evict {
		e.noteEvictions(after, eff)
	}
	if e.caps.Grants && eff.Changed() {
		e.noteGrants(before, after, eff)
		e.rev = rev
		poke(e.wakeGrants)
	}
}

func (e *enforcer) noteEvictions(after registry.State, eff registry.Effects) {
	for _, id := range eff.Evict {
		at := time.Now()
		if id.Role() == identity.RoleDevice {
			at = at.Add(farewell)
		}
		e.evict[id] = eviction{at, retryMin}
		poke(e.wakeEvict)
	}
	for _, id := range eff.Devices {
		// Who has acknowledged the wipe order has no reason to stay, once he has got the answer.
		d, _ := after.Device(id)
		if ev, ok := e.evict[id.ID]; ok && d.Finished() {
			if soon := time.Now().Add(lastAnswer); soon.Before(ev.at) {
				e.evict[id.ID] = eviction{soon, ev.wait}
				poke(e.wakeEvict)
			}
		}
	}
}

func (e *enforcer) noteGrants(before, after registry.State, eff registry.Effects) {
	var was, is []Grant
	r := e.s.routing
	for _, id := range unique(eff.Devices) {
		if d, ok := before.Device(id); ok {
			was = append(was, r.DeviceGrants(before, d)...)
		}
		d, _ := after.Device(id)
		is = append(is, r.DeviceGrants(after, d)...)
	}
	for _, id := range unique(eff.Applications) {
		if a, ok := before.Application(id); ok {
			was = append(was, r.ApplicationGrants(a)...)
		}
		a, _ := after.Application(id)
		is = append(is, r.ApplicationGrants(a)...)
	}
	for _, g := range minus(was, is) {
		e.pending[g] = false
	}
	for _, g := range minus(is, was) {
		e.pending[g] = true
	}
}

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

func minus(a, b []Grant) []Grant {
	in := make(map[Grant]bool, len(b))
	for _, g := range b {
		in[g] = true
	}
	var out []Grant
	for _, g := range a {
		if !in[g] {
			out = append(out, g)
		}
	}
	return out
}

// grantLoop applies changes of permissions until ctx ends.
func (e *enforcer) grantLoop(ctx context.Context) {
	wait := retryMin
	for e.caps.Grants && ctx.Err() == nil {
		worked, err := e.grant(ctx)
		switch {
		case err != nil:
			e.s.log.Error("broker's permissions not changed, will be reconciled", "err", err, "in", wait)
			sleep(ctx, wait)
			wait = min(2*wait, retryMax)
		case worked:
			wait = retryMin
		default:
			select {
			case <-ctx.Done():
			case <-e.wakeGrants:
			}
		}
	}
}

// grant does one piece of work.
func (e *enforcer) grant(ctx context.Context) (worked bool, err error) {
	select {
	case e.granting <- struct{}{}:
		defer func() { <-e.granting }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	e.mu.Lock()
	reconcile, rev, pending := e.reconcile, e.rev, e.pending
	e.reconcile, e.pending = false, map[Grant]bool{}
	e.mu.Unlock()
	switch {
	case reconcile:
		err = e.s.cfg.Enforcer.Reconcile(ctx, e.s.Grants())
	case len(pending) > 0:
		var add, del []Grant
		for g, wanted := range pending {
			if wanted {
				add = append(add, g)
			} else {
				del = append(del, g)
			}
		}
		err = e.s.cfg.Enforcer.Apply(ctx, rev, add, del)
	default:
		return false, nil
	}
	if err != nil {
		e.mu.Lock()
		e.reconcile = true
		e.mu.Unlock()
	}
	return true, err
}

// evictLoop cuts connections until ctx ends.
func (e *enforcer) evictLoop(ctx context.Context) {
	for e.caps.Evict && ctx.Err() == nil {
		due, next := e.due()
		if len(due) > 0 {
			e.evictAll(ctx, due)
			continue
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-e.wakeEvict:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// due takes out whose time has come, and says when the next one's will.
func (e *enforcer) due() (due map[identity.ID]eviction, next time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	due, next = map[identity.ID]eviction{}, time.Hour
	for id, ev := range e.evict {
		if wait := time.Until(ev.at); wait > 0 {
			next = min(next, wait)
		} else if len(due) < evictMany {
			due[id] = ev
			delete(e.evict, id)
		}
	}
	return due, next
}

// grantFirst gives a broker that keeps a list the time to forget a permission before he who had it is cut off and comes back.
func (e *enforcer) grantFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, grantFirst)
	defer cancel()
	for worked := e.caps.Grants; worked; {
		var err error
		if worked, err = e.grant(ctx); err != nil {
			poke(e.wakeGrants) // the loop goes on with it
			return
		}
	}
}

func (e *enforcer) evictAll(ctx context.Context, due map[identity.ID]eviction) {
	e.grantFirst(ctx)
	ctx, cancel := context.WithTimeout(ctx, evictTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for id, ev := range due {
		wg.Go(func() {
			err := e.s.cfg.Enforcer.Evict(ctx, id)
			if f := e.s.cfg.Observer.Enforced; f != nil {
				f(id, err)
			}
			if err == nil {
				return
			}
			e.s.log.Error("connection not cut, will be tried again", "peer", id, "err", err, "in", ev.wait)
			e.mu.Lock()
			defer e.mu.Unlock()
			if _, newer := e.evict[id]; !newer {
				e.evict[id] = eviction{time.Now().Add(ev.wait), min(2*ev.wait, retryMax)}
			}
		})
	}
	wg.Wait()
}
