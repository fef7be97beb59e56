package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Exchange is the initiator's side of a one-shot exchange: a request in an INIT, the reply in its RESP, no session. Several may
// be under way at a time (at most 64, else the oldest is refused). It is safe for concurrent use.
type Exchange struct {
	p     *Peer
	began time.Time
	th1   [hashSize]byte

	mu   sync.Mutex // guards i and the fields of it that change
	i    *initiation
	over bool
}

// Begin takes an epoch and starts a one-shot exchange with the platform. Call Transcript, put signatures over it into the
// request, then call Init.
func (p *Peer) Begin(now time.Time) (*Exchange, error) {
	if !p.oneShot || p.selfB {
		return nil, fmt.Errorf("begin an exchange with what is no platform: %w", ErrWrongUse)
	}
	p.hs.Lock()
	defer p.hs.Unlock()
	if p.wiped {
		return nil, ErrWiped
	}
	i, err := p.initiate(now, p.echo, nil)
	if err != nil {
		return nil, err
	}
	p.echo = nil
	return &Exchange{p: p, began: now, th1: i.th1, i: i}, nil
}

// Transcript returns TH1. It names the binding, the epoch and the ephemeral key of this INIT, so a signature over it cannot be
// carried in another.
func (x *Exchange) Transcript() [32]byte { return x.th1 }

// Began returns the time given to Begin.
func (x *Exchange) Began() time.Time { return x.began }

// Init seals the request, at most [MaxPayload] bytes, into an INIT. Publish it, and the same bytes again until Open accepts a RESP. A
// second call is refused: two requests under one key would lay both open.
func (x *Exchange) Init(body []byte) ([]byte, error) {
	if len(body) > MaxPayload {
		return nil, fmt.Errorf("seal request of %d bytes: %w", len(body), ErrTooLarge)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.i.record != nil || x.over {
		return nil, fmt.Errorf("seal a second request: %w", ErrWrongUse)
	}
	x.p.hs.Lock()
	defer x.p.hs.Unlock()
	if x.p.wiped {
		return nil, ErrWiped
	}
	if err := x.p.sealInit(x.i, body); err != nil {
		return nil, err
	}
	return slices.Clone(x.i.record), nil
}

// Open returns the reply in resp. On an error (a RESP of another exchange, or a forgery) the exchange waits on, but for
// [ErrChallenged]: then, as after success, it is over, and Open returns [ErrReplay].
func (x *Exchange) Open(resp []byte) ([]byte, error) {
	h, ok := parseHeader(resp)
	if !ok || h.typ() != TypeResp && h.typ() != TypeChallenge {
		return nil, unauthentic(&x.p.count.malformed)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.over:
		return nil, fmt.Errorf("open a second reply: %w", ErrReplay)
	case x.i.record == nil:
		return nil, unauthentic(&x.p.count.notExpected)
	}
	x.p.hs.Lock()
	defer x.p.hs.Unlock()
	if x.p.wiped {
		return nil, ErrWiped
	}
	if h.typ() == TypeChallenge {
		echo, err := x.p.checkChallenge(x.i, h, resp)
		if err != nil {
			return nil, err
		}
		x.p.echo = echo
		x.i.wipe()
		x.over = true
		return nil, ErrChallenged
	}
	if err := x.p.checkHandshake(h); err != nil {
		return nil, err
	}
	o, err := x.p.openResp(x.i, h, resp)
	if err != nil {
		return nil, err
	}
	o.ck3.Wipe()
	x.i.wipe()
	x.over = true
	x.p.count.requests.Add(1)
	return o.payload, nil
}

// Format prints the two names and no key.
func (x *Exchange) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "e2e.Exchange(%v)", x.p) }

// Request is the responder's side of a one-shot exchange. The peer keeps no state of it: whoever calls OpenRequest keeps, in one
// durable transaction with the request's effect, the epoch (in an [EpochWindow]), the digest and the RESP. An INIT with the
// same epoch and digest gets that RESP again; the window refuses every other one with a used epoch.
//
// Whoever stole the platform's agreement key can make requests in anybody's name. A request that changes something must
// carry a signature over Transcript.
type Request struct {
	p      *Peer
	suite  Suite // of INIT's header
	epoch  uint64
	digest [hashSize]byte
	th1    [hashSize]byte
	body   []byte

	mu   sync.Mutex // guards o
	o    *opening
	used bool
}

// Digest is SHA-256 of a record: what tells a repeated INIT from another one, before anything is computed.
func Digest(record []byte) [32]byte { return sha256.Sum256(record) }

// OpenRequest authenticates an INIT as a platform. The epoch is not checked against anything: the caller does that.
func (p *Peer) OpenRequest(init []byte) (*Request, error) {
	if !p.oneShot || !p.selfB {
		return nil, fmt.Errorf("open a request as what is no platform: %w", ErrWrongUse)
	}
	h, ok := parseHeader(init)
	if !ok || h.typ() != TypeInit {
		return nil, unauthentic(&p.count.malformed)
	}
	p.hs.Lock()
	defer p.hs.Unlock()
	if p.wiped {
		return nil, ErrWiped
	}
	m, err := p.checkInit(h, init)
	if err != nil {
		return nil, err
	}
	o, err := p.openInit(m, nil, init)
	if err != nil {
		return nil, err
	}
	return &Request{p: p, suite: h.suite(), epoch: o.epoch, digest: o.digest, th1: o.th1, body: o.payload, o: o}, nil
}

// Epoch returns the epoch of the INIT, for [EpochWindow].
func (r *Request) Epoch() uint64 { return r.epoch }

// Digest returns [Digest] of the INIT.
func (r *Request) Digest() [32]byte { return r.digest }

// Transcript returns TH1, as [Exchange.Transcript].
func (r *Request) Transcript() [32]byte { return r.th1 }

// Challenge answers, in the place of a reply, a request whose epoch the window refuses: a replay, or the request of a peer that lost its
// state and now learns from which epoch on it is heard again. w is the window that refused. At most one a second is made for
// a peer; otherwise the error is the window's.
func (r *Request) Challenge(now time.Time, w EpochWindow) ([]byte, error) {
	reason := w.Check(r.epoch)
	if reason == nil {
		return nil, fmt.Errorf("challenge a request whose epoch is new: %w", ErrWrongUse)
	}
	r.p.hs.Lock()
	defer r.p.hs.Unlock()
	if r.p.wiped {
		return nil, ErrWiped
	}
	err := r.p.challenge(now, r.suite, r.digest, &EpochError{Epoch: r.epoch, Highest: w.Highest, err: reason})
	if c, ok := errors.AsType[*ChallengeError](err); ok {
		return c.Record, nil
	}
	return nil, err
}

// Body returns the request. The slice is the caller's.
func (r *Request) Body() []byte { return r.body }

// Reply seals the reply, at most [MaxPayload] bytes, into a RESP. A second call is refused: the first RESP is the one to repeat.
func (r *Request) Reply(body []byte) ([]byte, error) {
	if len(body) > MaxPayload {
		return nil, fmt.Errorf("seal reply of %d bytes: %w", len(body), ErrTooLarge)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used {
		return nil, fmt.Errorf("seal a second reply: %w", ErrWrongUse)
	}
	r.used = true
	resp, ck3, _, err := r.p.respond(r.o, body)
	if err != nil {
		return nil, err
	}
	ck3.Wipe()
	r.p.count.requests.Add(1)
	return resp, nil
}

// Format prints the two names and the epoch, and neither key nor body.
func (r *Request) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "e2e.Request(%v, epoch %d)", r.p, r.epoch)
}
