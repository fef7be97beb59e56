package e2e

import "sync/atomic"

// Stats counts what a peer did, and the records it refused by reason. They are the only place where the reasons show: on the
// wire a refusal is silence, in the API one error.
type Stats struct {
	Handshakes uint64 // sessions established, as either side
	Requests   uint64 // one-shot exchanges completed, as either side
	Sealed     uint64 // DATA and CLOSE
	Opened     uint64 // DATA and CLOSE

	Malformed      uint64 // lengths, version, type, reserved bits, generation
	Unsupported    uint64 // suite, profile
	OwnDirection   uint64 // our own record came back
	WrongBinding   uint64 // hint of another binding
	BadMAC         uint64 // outer MAC of INIT, MAC of CHALLENGE: junk, or another key (PSK)
	BadPoint       uint64 // ephemeral key is no point of the curve
	BadTag         uint64 // payload or DATA does not authenticate
	UnknownSession uint64 // DATA of a session that is gone
	OldGeneration  uint64 // DATA older than the last ratchet step
	NotExpected    uint64 // RESP or CHALLENGE without an INIT of ours
	Replayed       uint64 // authentic, but received before
	StaleEpoch     uint64 // authentic, but not newer than the last INIT
	Crossed        uint64 // the other side's INIT that lost against ours
	Challenges     uint64 // CHALLENGEs made, for an INIT that was stale or came after our state was restored
	Expired        uint64 // authentic, but the session is past its age
}

// counters is Stats as it is counted. What every message counts lies under Peer.mu, which it holds anyway.
type counters struct {
	sealed, opened uint64

	handshakes, requests                                                                        atomic.Uint64
	malformed, unsupported, ownDirection, wrongBinding, badMAC, badPoint, badTag                atomic.Uint64
	unknownSession, oldGeneration, notExpected, replayed, stale, crossed, isExpired, challenges atomic.Uint64
}

// unauthentic counts a reason and gives the one error.
func unauthentic(reason *atomic.Uint64) error {
	reason.Add(1)
	return ErrUnauthentic
}

// Stats returns the counters since NewPeer.
func (p *Peer) Stats() Stats {
	c := &p.count
	p.mu.Lock()
	sealed, opened := c.sealed, c.opened
	p.mu.Unlock()
	return Stats{
		Handshakes: c.handshakes.Load(), Requests: c.requests.Load(), Sealed: sealed, Opened: opened,
		Malformed: c.malformed.Load(), Unsupported: c.unsupported.Load(), OwnDirection: c.ownDirection.Load(),
		WrongBinding: c.wrongBinding.Load(), BadMAC: c.badMAC.Load(), BadPoint: c.badPoint.Load(), BadTag: c.badTag.Load(),
		UnknownSession: c.unknownSession.Load(), OldGeneration: c.oldGeneration.Load(), NotExpected: c.notExpected.Load(),
		Replayed: c.replayed.Load(), StaleEpoch: c.stale.Load(), Crossed: c.crossed.Load(), Expired: c.isExpired.Load(), Challenges: c.challenges.Load(),
	}
}
