package delivery

import (
	"math/rand/v2"
	"time"
)

// action is what a pacer says to do now.
type action byte

const (
	actNone     action = iota
	actInitiate        // a new session: costs an epoch on both sides
	actResend          // the outstanding INIT, byte for byte
)

// maxResends is how often one INIT is sent again before a new one is made. A new one is needed when the other side took the epoch
// and then lost its RESP in a restart, after which it refuses this INIT for ever.
const maxResends = 3

// pacer says when a session is to be started, so that a silent or hostile other side costs neither traffic nor epochs (each is a
// write into flash) without bound, and so that many gateways that lost their sessions at once do not come at once. Pure; guarded
// by Channel.mu.
type pacer struct {
	base, max, spread time.Duration
	rng               *rand.Rand

	wanted  bool
	level   int
	resends int
	at      time.Time // nothing before
	floor   time.Time // nothing before, whatever shortens at
}

func (p *pacer) next(now time.Time, wanted, pending bool) action {
	if !wanted {
		p.wanted = false
		return actNone
	}
	if !p.wanted {
		p.wanted = true
		p.hold(now.Add(spread(p.rng, p.spread)))
	}
	if now.Before(p.at) {
		return actNone
	}
	p.at = now.Add(backoff(p.rng, p.base, p.max, p.level))
	p.floor = now.Add(p.base / 2)
	p.level++
	if pending && p.resends < maxResends {
		p.resends++
		return actResend
	}
	p.resends = 0
	return actInitiate
}

// hold puts the next action off until t.
func (p *pacer) hold(t time.Time) {
	if p.at.Before(t) {
		p.at = t
	}
}

// hasten starts over, as after a reconnect: there is a new chance to be heard.
func (p *pacer) hasten(now time.Time) {
	p.level = 0
	p.at = p.floor
	p.hold(now.Add(spread(p.rng, p.spread)))
}

// heard ends the back-off: the other side answers under a session.
func (p *pacer) heard() { p.level = 0 }

// backoff doubles base with each level up to limit, and spreads the result from a half to three halves of it.
func backoff(rng *rand.Rand, base, limit time.Duration, level int) time.Duration {
	d := base
	for range level {
		if d *= 2; d >= limit {
			d = limit
			break
		}
	}
	return d/2 + spread(rng, d)
}

// spread is somewhere in [0, d).
func spread(rng *rand.Rand, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(d)))
}
