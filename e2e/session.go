package e2e

import (
	"encoding/binary"
	"time"

	"github.com/semio-iot/semio/internal/secret"
)

// session holds the keys of one session in RAM and nowhere else: after a crash there is no counter to take up again, only
// a new handshake. Guarded by Peer.mu.
type session struct {
	deadlines
	id    SessionID
	suite Suite
	order uint64 // sessions of a peer count up; the latest one wins

	exporter secret.Bytes
	caps     uint32 // what the other side says it can

	out  *chain
	sent uint32 // counter of the next record

	in     *chain // of the newest record
	before *chain // of the generation before, while a windowed receiver may need it; else nil
	seen   window
	wide   bool   // Config.Windowed
	failed uint32 // records with this session's ID and a wrong tag
	renew  bool   // the peer asks for a new session
}

// newSession ends the key schedule. ck3 stays the caller's to wipe.
func (p *Peer) newSession(s Suite, ck3 secret.Bytes, th3 [hashSize]byte, now time.Time) (*session, error) {
	out, in := labelAB, labelBA
	if p.selfB {
		out, in = labelBA, labelAB
	}
	n := &session{
		deadlines: p.limits.from(now),

		id:       SessionID(expand(ck3, labelSID, th3[:], sessionIDSize)),
		suite:    s,
		wide:     p.windowed,
		exporter: secretOf(expand(ck3, labelExporter, th3[:], keySize)),
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
	s.exporter.Wipe()
	s.out.wipe()
	s.in.wipe()
	s.before.wipe()
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
	if need := start + headerSize + len(plaintext) + tagSize; need > cap(dst) {
		dst = append(make([]byte, 0, need), dst...)
	}
	dst = dst[:start+headerSize]
	h := makeHeader(typ, s.suite, flags, s.id, counter)
	h.put(dst[start:])
	return s.out.keys.seal(dst, plaintext), nil
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
	counter := h.counter()
	at, before, v := s.in, (*chain)(nil), opened
	if gen := counter >> ratchetShift; gen != at.gen {
		if at, before, v = s.chains(gen); v != opened {
			return dst, v
		}
	}
	start := len(dst)
	dst, ok := at.keys.open(dst, record)
	switch {
	case !ok:
		s.giveUp(at, before)
		if s.failed < 1<<32-1 {
			s.failed++
		}
		return dst, badTag
	case !s.seen.fresh(counter, s.wide): // of no later generation, so nothing was derived
		clear(dst[start:])
		return dst[:start], repeated
	}
	s.seen.take(counter)
	if !s.holds(at) {
		s.before.wipe()
		if s.in != before {
			s.in.wipe()
		}
		s.in, s.before = at, before
	}
	if s.before != nil && !s.seen.touches() {
		s.before.wipe()
		s.before = nil
	}
	return dst, opened
}

// named says whether name is the session's ID. A session that is nil has none.
func (s *session) named(name uint64) bool {
	return s != nil && binary.BigEndian.Uint64(s.id[:]) == name
}

// chains returns the chain of generation gen, which is not the newest record's, and, where a later one than now is asked for and the receiver is windowed, the chain of the
// generation before gen. What it derives is the caller's: to put into s, or to wipe.
func (s *session) chains(gen uint32) (at, before *chain, v verdict) {
	switch {
	case s.before != nil && gen == s.before.gen:
		return s.before, nil, opened
	case gen < s.in.gen:
		return nil, nil, oldGeneration // its keys are gone
	case gen-s.in.gen > maxSkip:
		return nil, nil, badTag
	}
	from := s.in
	var err error
	if s.wide {
		if before, err = s.in.at(gen - 1); err != nil {
			return nil, nil, badTag
		}
		from = before
	}
	if at, err = from.at(gen); err != nil {
		s.giveUp(before)
		return nil, nil, badTag
	}
	return at, before, opened
}

func (s *session) holds(c *chain) bool { return c == s.in || c == s.before }

// giveUp wipes what chains has derived.
func (s *session) giveUp(derived ...*chain) {
	for _, c := range derived {
		if !s.holds(c) {
			c.wipe()
		}
	}
}
