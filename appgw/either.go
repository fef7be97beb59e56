package appgw

import (
	"errors"
	"sync"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// either is a device's e2e.Peer while it is not known whether the device has heard of this application's newest credential: both
// sides derive their keys from the two certificates. What comes is opened under the one that the device was heard under last, then under the
// newest; what goes is tried under each in turn. The first handshake that holds under the newest decides, for good. It implements delivery.Peer.
type either struct {
	turned func() // the device was heard under the newest; optional

	mu      sync.Mutex // guards what follows
	current *e2e.Peer
	make    func() (*e2e.Peer, error) // of the newest; nil: current is it
	newest  *e2e.Peer                 // once made
	asked   *e2e.Peer                 // whose INIT went out last
}

// peers returns the two that there are; the second is made at the first need, and nil where there is none.
func (e *either) peers() (current, newest *e2e.Peer, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.newest == nil && e.make != nil {
		if e.newest, err = e.make(); err != nil {
			return e.current, nil, err
		}
	}
	return e.current, e.newest, nil
}

func (e *either) now() *e2e.Peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current
}

// Receive implements delivery.Peer.
func (e *either) Receive(now time.Time, record []byte) (e2e.Event, error) {
	ev, err := e.now().Receive(now, record)
	if err == nil || !errors.Is(err, e2e.ErrUnauthentic) {
		return ev, err
	}
	if typ, terr := e2e.TypeOf(record); terr != nil || typ == e2e.TypeData || typ == e2e.TypeClose {
		return ev, err // there is no session before a handshake
	}
	_, newest, merr := e.peers()
	if merr != nil {
		return ev, merr
	}
	if newest == nil {
		return ev, err
	}
	if ev, nerr := newest.Receive(now, record); nerr == nil {
		e.turn(newest)
		return ev, nil
	} else if !errors.Is(nerr, e2e.ErrUnauthentic) {
		return ev, nerr
	}
	return ev, err
}

func (e *either) turn(newest *e2e.Peer) {
	e.mu.Lock()
	if e.newest != newest {
		e.mu.Unlock()
		return // it was replaced meanwhile
	}
	old := e.current
	e.current, e.newest, e.make, e.asked = newest, nil, nil, newest
	e.mu.Unlock()
	old.Wipe()
	if e.turned != nil {
		e.turned()
	}
}

// offer makes another one the newest, and leaves the current one.
func (e *either) offer(make func() (*e2e.Peer, error)) {
	e.mu.Lock()
	newest := e.newest
	if e.asked == newest {
		e.asked = nil
	}
	e.make, e.newest = make, nil
	e.mu.Unlock()
	if newest != nil {
		newest.Wipe()
	}
}

// Initiate implements delivery.Peer.
func (e *either) Initiate(now time.Time, early []byte) ([]byte, error) {
	current, newest, err := e.peers()
	if err != nil {
		return nil, err
	}
	p := current
	e.mu.Lock()
	if newest != nil && e.asked == current {
		p = newest
	}
	e.asked = p
	e.mu.Unlock()
	return p.Initiate(now, early)
}

// Pending implements delivery.Peer.
func (e *either) Pending() []byte {
	e.mu.Lock()
	p := e.asked
	e.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Pending()
}

// The rest of delivery.Peer concerns sessions, which are the current one's.

func (e *either) Ready() bool                       { return e.now().Ready() }
func (e *either) RenewDue(now time.Time) bool       { return e.now().RenewDue(now) }
func (e *either) EarlyDataReady(now time.Time) bool { return e.now().EarlyDataReady(now) }
func (e *either) Seal(now time.Time, dst, plaintext []byte) ([]byte, error) {
	return e.now().Seal(now, dst, plaintext)
}

func (e *either) Wipe() {
	e.mu.Lock()
	current, newest := e.current, e.newest
	e.make = nil
	e.mu.Unlock()
	current.Wipe()
	if newest != nil {
		newest.Wipe()
	}
}
