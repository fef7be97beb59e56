package delivery

import "time"

// clock is what this side tells as its time: milliseconds since the channel was opened. The monotonic clock stands still while a
// machine sleeps and the wall clock jumps; the one that went further is taken, because a clock that is ahead makes calls
// expire too soon, and one that is behind would run them too late.
type clock struct {
	start time.Time
	last  uint64
}

func (c *clock) read(now time.Time) uint64 {
	d := max(now.Sub(c.start), now.Round(0).Sub(c.start.Round(0)), 0)
	c.last = max(c.last, uint64(d/time.Millisecond))
	return c.last
}

// clockAge is how long an idea of the other side's clock serves: crystals drift by seconds a day, RC oscillators by minutes.
const clockAge = 10 * time.Minute

// peerClock is what the other side's clock showed, at the latest, when this side's showed at.
type peerClock struct {
	known bool
	value uint64
	at    time.Time
}

func (p *peerClock) learn(value uint64, now time.Time) {
	// This frame may have taken longer than an earlier one. What is no longer fresh has no say.
	if at, ok := p.project(now); ok && at >= value && p.fresh(now) {
		return
	}
	*p = peerClock{known: true, value: value, at: now}
}

// project is what the other side's clock shows, at the least, at t.
func (p *peerClock) project(t time.Time) (uint64, bool) {
	d := t.Sub(p.at)
	if !p.known || d < 0 {
		return 0, false
	}
	return p.value + uint64(d/time.Millisecond), true
}

func (p *peerClock) fresh(now time.Time) bool {
	d := now.Sub(p.at)
	return p.known && d >= 0 && d < clockAge
}
