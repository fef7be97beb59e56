package platform

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform/registry"
)

// peer is whom we talk to: his credential, and the keys of the binding with him. One worker at a time has it.
type peer struct {
	id      identity.ID
	self    *identity.Verified
	binding e2e.BindingID
	keys    *e2e.Peer
	next    *peer   // under the credential that follows, nil: none
	before  []*peer // both under the platform's earlier credentials, nil: not made yet
	judged  uint64  // Service.lists when self was found to be good, 0: never
}

func (p *peer) wipe() {
	p.keys.Wipe()
	if p.next != nil {
		p.next.keys.Wipe()
	}
	for _, o := range p.before {
		o.keys.Wipe()
	}
}

// is says whether the peer has these credentials.
func (p *peer) is(current, next [32]byte) bool {
	if p.self.CertificateHash() != current {
		return false
	}
	if p.next == nil {
		return next == [32]byte{}
	}
	return p.next.self.CertificateHash() == next
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
		e.Value.(*peer).wipe()
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
		old.wipe()
	}
}

func (c *peerCache) wipe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.order.Len() > 0 {
		p := c.order.Remove(c.order.Back()).(*peer)
		delete(c.byID, p.id)
		p.wipe()
	}
}

// peer returns a registered peer, whose certificate may be over, or revoked: a revoked one may still fetch the orders that tell him so, and
// the other comes to renew it.
func (s *Service) peer(id identity.ID) (*peer, error) {
	state := s.state()
	var c identity.Credential
	var current [32]byte
	var next registry.Successor
	var b e2e.BindingID
	if dev, ok := id.Device(); ok {
		d, ok := state.Device(dev)
		if !ok {
			return nil, fmt.Errorf("%s is not registered", id)
		}
		c, current, next, b = d.Credential, d.CertificateHash, d.Next, d.PlatformBinding
	} else {
		app, _ := id.App()
		a, ok := state.Application(app)
		if !ok {
			return nil, fmt.Errorf("%s is not admitted", id)
		}
		c, current, next, b = a.Credential, a.CertificateHash, a.Next, a.PlatformBinding
	}
	if p := s.peers.get(id); p != nil && p.is(current, next.CertificateHash) {
		return p, nil
	}
	p, err := s.knownPeer(c, id, b)
	if err != nil {
		return nil, err
	}
	if !next.IsZero() {
		if p.next, err = s.knownPeer(next.Credential, id, b); err != nil {
			return nil, err
		}
	}
	s.peers.put(p)
	return p, nil
}

func (s *Service) knownPeer(c identity.Credential, id identity.ID, b e2e.BindingID) (*peer, error) {
	v, err := s.known.VerifyLapsed(c, id.Role())
	if err != nil {
		return nil, err
	}
	return s.newPeer(v, b)
}

// standing returns why a peer's credential is not good now, nil if it is.
func (s *Service) standing(p *peer) error {
	lists := s.lists.Load()
	if p.judged == lists && !s.cfg.Now().After(p.self.NotAfter()) {
		return nil
	}
	_, err := s.verifier.Verify(p.self.Credential(), p.id.Role())
	if p.judged = 0; err == nil {
		p.judged = lists
	}
	return err
}

func (s *Service) newPeer(v *identity.Verified, b e2e.BindingID) (*peer, error) {
	return s.faces[0].newPeer(v, b)
}

// noEpochs is never asked: the platform does not begin, and keeps the epochs of requests in the transaction with their effect.
type noEpochs struct{}

func (noEpochs) NextEpoch() (uint64, error) { return 0, e2e.ErrWrongUse }
func (noEpochs) AcceptEpoch(uint64) error   { return e2e.ErrWrongUse }
