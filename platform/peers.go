package platform

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// peer is whom we talk to: his credential, and the keys of the binding with him.
type peer struct {
	id      identity.ID
	self    *identity.Verified
	binding e2e.BindingID
	keys    *e2e.Peer
}

// peerCache holds the peers used last. Making one costs two signatures and an agreement.
type peerCache struct {
	limit int

	mu    sync.Mutex // guards what follows
	order *list.List // of *peer, used last in front
	byID  map[identity.ID]*list.Element
}

func newPeerCache(limit int) *peerCache {
	return &peerCache{limit: limit, order: list.New(), byID: map[identity.ID]*list.Element{}}
}

func (c *peerCache) get(id identity.ID) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byID[id]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*peer)
}

func (c *peerCache) put(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[p.id]; e != nil {
		e.Value = p
		c.order.MoveToFront(e)
		return
	}
	c.byID[p.id] = c.order.PushFront(p)
	for c.order.Len() > c.limit {
		e := c.order.Back()
		old := c.order.Remove(e).(*peer)
		delete(c.byID, old.id)
		// An exchange that is under way with it fails and is sent again.
		old.keys.Wipe()
	}
}

func (c *peerCache) wipe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.order.Len() > 0 {
		p := c.order.Remove(c.order.Back()).(*peer)
		delete(c.byID, p.id)
		p.keys.Wipe()
	}
}

// peer returns a registered peer, revoked or not: a revoked one may still fetch the orders that tell him so.
func (s *Service) peer(id identity.ID) (*peer, error) {
	if p := s.peers.get(id); p != nil {
		return p, nil
	}
	state := s.state()
	var c identity.Credential
	var b e2e.BindingID
	if dev, ok := id.Device(); ok {
		d, ok := state.Device(dev)
		if !ok {
			return nil, fmt.Errorf("%s is not registered", id)
		}
		c, b = d.Credential, d.PlatformBinding
	} else {
		app, _ := id.App()
		a, ok := state.Application(app)
		if !ok {
			return nil, fmt.Errorf("%s is not admitted", id)
		}
		c, b = a.Credential, a.PlatformBinding
	}
	v, err := s.known.Verify(c, id.Role())
	if err != nil {
		return nil, err
	}
	p, err := s.newPeer(v, b)
	if err != nil {
		return nil, err
	}
	s.peers.put(p)
	return p, nil
}

func (s *Service) newPeer(v *identity.Verified, b e2e.BindingID) (*peer, error) {
	keys, err := e2e.NewPeer(e2e.Config{Self: s.self, Key: s.cfg.Key, Remote: v, Binding: b, Epochs: noEpochs{}})
	if err != nil {
		return nil, err
	}
	return &peer{id: v.ID(), self: v, binding: b, keys: keys}, nil
}

// noEpochs is never asked: the platform does not begin, and keeps the epochs of requests in the transaction with their effect.
type noEpochs struct{}

func (noEpochs) NextEpoch() (uint64, error) { return 0, e2e.ErrWrongUse }
func (noEpochs) AcceptEpoch(uint64) error   { return e2e.ErrWrongUse }
