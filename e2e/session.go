package e2e

import (
	"time"

	"github.com/semio-iot/semio/internal/secret"
)

// session holds the keys of one session in RAM and nowhere else: after a crash there is no counter to take up again, only
// a new handshake. Guarded by Peer.mu.
type session struct {
	id      SessionID
	suite   Suite
	created time.Time
	order   uint64 // sessions of a peer count up; the latest one wins

	out  *chain
	sent uint32 // counter of the next record

	in       *chain
	received uint32 // counters below are refused
	failed   uint32 // records with this session's ID and a wrong tag
	renew    bool   // the peer asks for a new session
}

// newSession ends the key schedule. ck3 stays the caller's to wipe.
func newSession(s Suite, ck3 secret.Bytes, th3 [hashSize]byte, selfB bool, now time.Time) (*session, error) {
	out, in := labelAB, labelBA
	if selfB {
		out, in = labelBA, labelAB
	}
	n := &session{
		id:      SessionID(expand(ck3, labelSID, th3[:], sessionIDSize)),
		suite:   s,
		created: now,
	}
	var err error
	if n.out, err = newChain(s, ck3, out, th3); err != nil {
		return nil, err
	}
	if n.in, err = newChain(s, ck3, in, th3); err != nil {
		return nil, err
	}
	return n, nil
}

func (s *session) wipe() {
	if s == nil {
		return
	}
	s.out.wipe()
	s.in.wipe()
}

// seal appends a record to dst. The caller has checked the limits; the counter moves before anything is computed.
func (s *session) seal(dst []byte, typ Type, flags byte, plaintext []byte) ([]byte, error) {
	counter := s.sent
	gen := counter >> ratchetShift
	if gen != s.out.gen {
		next, err := s.out.at(gen)
		if err != nil {
			return dst, err
		}
		s.out.wipe()
		s.out = next
	}
	s.sent++
	start := len(dst)
	dst, _ = extend(dst, headerSize+len(plaintext))
	dst = header{
		typ: typ, suite: s.suite, flags: flags, generation: byte(gen), id: s.id, counter: counter,
	}.append(dst[:start])
	return s.out.keys.seal(dst, counter, dst[start:], plaintext), nil
}

type verdict byte

const (
	opened verdict = iota
	badTag
	oldGeneration
	repeated
)

// open appends the payload of record to dst. Nothing of s moves unless it returns opened.
func (s *session) open(dst []byte, h header, record []byte) ([]byte, verdict) {
	gen := h.counter >> ratchetShift
	if gen < s.in.gen {
		return dst, oldGeneration // its keys are gone
	}
	if gen-s.in.gen > maxSkip {
		return dst, badTag
	}
	at, err := s.in.at(gen)
	if err != nil {
		return dst, badTag
	}
	start := len(dst)
	dst, ok := at.keys.open(dst, h.counter, record[:headerSize], record[headerSize:])
	switch {
	case !ok:
		if at != s.in {
			at.wipe()
		}
		if s.failed < 1<<32-1 {
			s.failed++
		}
		return dst, badTag
	case h.counter < s.received: // same generation, so at is s.in
		clear(dst[start:])
		return dst[:start], repeated
	}
	if at != s.in {
		s.in.wipe()
		s.in = at
	}
	s.received = h.counter + 1
	return dst, opened
}
