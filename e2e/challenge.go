package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A CHALLENGE asks the sender of an INIT whether it is alive: the INIT's epoch is stale, because one of the two lost its state or
// the INIT is a replay, or the responder's own state was restored and it cannot tell. Who is alive answers with a new INIT
// that echoes the nonce, under an epoch above the one that the CHALLENGE names.

// challengeRecord is a parsed CHALLENGE. The slices point into the record.
type challengeRecord struct {
	header
	digest  []byte // first 16 bytes of H(INIT)
	nonce   []byte // to be echoed
	highest uint64 // epoch that the new INIT must exceed

	macked []byte
	mac    []byte
}

const challengeSize = headerSize + digestSize + echoSize + 8 + tagSize

// parseChallenge splits a CHALLENGE whose header is h.
func parseChallenge(h header, b []byte) (challengeRecord, bool) {
	m := challengeRecord{header: h}
	if len(b) != challengeSize {
		return m, false
	}
	const nonce = headerSize + digestSize
	m.digest, m.nonce = b[headerSize:nonce], b[nonce:nonce+echoSize]
	m.highest = binary.BigEndian.Uint64(b[challengeSize-tagSize-8:])
	m.macked, m.mac = b[:challengeSize-tagSize], b[challengeSize-tagSize:]
	return m, true
}

// ChallengeError comes from [Peer.Receive] with an INIT whose epoch does not prove that it is new ([ErrStaleEpoch],
// [ErrEchoRequired]). Publish Record: if the sender is alive, it answers with an INIT that is accepted.
type ChallengeError struct {
	Record []byte
	Err    error
}

func (e *ChallengeError) Error() string { return e.Err.Error() + "; challenge its sender" }
func (e *ChallengeError) Unwrap() error { return e.Err }

const (
	challengeLife  = time.Minute // of a nonce
	challengePause = time.Second // between CHALLENGEs of a binding
)

// challenges is what a responder remembers of its CHALLENGEs. The nonce stays the same for its life, so that whoever plays
// back old INITs cannot push the one aside that the true peer is about to echo; the MAC binds it to one INIT each time.
type challenges struct {
	nonce [echoSize]byte
	made  time.Time // zero: none outstanding
	sent  time.Time
}

// holds says whether echo answers the outstanding CHALLENGE.
func (c *challenges) holds(now time.Time, echo []byte) bool {
	return c.live(now) && subtle.ConstantTimeCompare(echo, c.nonce[:]) == 1
}

func (c *challenges) live(now time.Time) bool {
	age := now.Sub(c.made)
	return !c.made.IsZero() && age >= 0 && age < challengeLife
}

// spend ends the life of the nonce: it was echoed.
func (c *challenges) spend() { c.made = time.Time{} }

// challenge wraps the reason why INIT was refused into an error that has the CHALLENGE, at most one a second. It wants hs.
func (p *Peer) challenge(now time.Time, s Suite, digest [hashSize]byte, reason error) error {
	c := &p.challenges
	if since := now.Sub(c.sent); !c.sent.IsZero() && since >= 0 && since < challengePause {
		return reason
	}
	if !c.live(now) {
		c.nonce, c.made = p.random.challenge(), now
	}
	c.sent = now
	p.count.challenges.Add(1)
	highest := p.seenEpoch
	if e, ok := errors.AsType[*EpochError](reason); ok {
		highest = max(highest, e.Highest)
	}
	return &ChallengeError{Record: p.sealChallenge(s, digest, c.nonce, highest), Err: reason}
}

// sealChallenge wants hs.
func (p *Peer) sealChallenge(s Suite, digest [hashSize]byte, nonce [echoSize]byte, highest uint64) []byte {
	b := makeHeader(TypeChallenge, s, p.flags(), p.hint, 0).append(make([]byte, 0, challengeSize))
	b = append(b, digest[:digestSize]...)
	b = append(b, nonce[:]...)
	b = binary.BigEndian.AppendUint64(b, highest)
	return append(b, p.challengeMAC(b)...)
}

func (p *Peer) challengeMAC(b []byte) []byte {
	k := secretOf(expand(p.mk, labelChal, nil, keySize))
	defer k.Wipe()
	m := hmac.New(sha256.New, k.Expose())
	m.Write(b)
	return m.Sum(nil)[:tagSize]
}

// checkChallenge verifies a CHALLENGE to i and has the store skip what it says. It wants hs.
func (p *Peer) checkChallenge(i *initiation, h header, record []byte) (echo []byte, err error) {
	m, ok := parseChallenge(h, record)
	if !ok {
		return nil, unauthentic(&p.count.malformed)
	}
	if err := p.checkHandshake(h); err != nil {
		return nil, err
	}
	if i == nil || i.record == nil || h.suite() != i.suite {
		return nil, unauthentic(&p.count.notExpected)
	}
	if digest := Digest(i.record); subtle.ConstantTimeCompare(m.digest, digest[:digestSize]) != 1 {
		return nil, unauthentic(&p.count.notExpected)
	}
	if subtle.ConstantTimeCompare(m.mac, p.challengeMAC(m.macked)) != 1 {
		return nil, unauthentic(&p.count.badMAC)
	}
	if m.highest > p.ownEpoch {
		if err := CheckEpoch(p.ownEpoch, m.highest); err != nil {
			return nil, fmt.Errorf("follow challenge: %w", err)
		}
		r, ok := p.epochs.(RestorableEpochs)
		if !ok {
			return nil, fmt.Errorf("e2e: the peer has seen epoch %d of ours, and the store cannot skip to it", m.highest)
		}
		if err := r.SkipEpochs(m.highest); err != nil {
			return nil, fmt.Errorf("e2e: skip epochs: %w", err)
		}
		p.ownEpoch = m.highest
	}
	return slices.Clone(m.nonce), nil
}

// receiveChallenge answers the CHALLENGE to our pending INIT with a new INIT.
func (p *Peer) receiveChallenge(now time.Time, h header, record []byte) (Event, error) {
	p.hs.Lock()
	defer p.hs.Unlock()
	if p.wiped {
		return Event{}, ErrWiped
	}
	echo, err := p.checkChallenge(p.pending, h, record)
	if err != nil {
		return Event{}, err
	}
	// Without early data: whether that of the first INIT arrived is unknown, and only the caller can number it.
	i, err := p.initiate(now, echo, nil)
	if err != nil {
		return Event{}, err
	}
	if err := p.sealInit(i, nil); err != nil {
		return Event{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := Event{Kind: KindChallenged, Reply: slices.Clone(i.record), Returned: slices.Clone(p.pending.early)}
	p.pending.wipe()
	p.pending = i
	return e, nil
}

// restored asks the store.
func (p *Peer) restored() (bool, error) {
	r, ok := p.epochs.(RestorableEpochs)
	if !ok {
		return false, nil
	}
	restored, err := r.Restored()
	if err != nil {
		return false, fmt.Errorf("e2e: read restore mark: %w", err)
	}
	return restored, nil
}
