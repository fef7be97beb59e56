package e2e

import (
	"fmt"
	"time"
)

// Limits of a session. Zero fields mean the default.
type Limits struct {
	// MaxAge is how long a session may seal: at most and by default 24 hours.
	MaxAge time.Duration

	// MaxMessages is how many messages a side may seal in a session: at most and by default 2^20.
	MaxMessages uint32

	// Linger is how long the keys to receive under the session before this one stay after the new one took over, and how
	// long beyond MaxAge records are still taken: the longest time the broker keeps a message. By default one hour, at most
	// 24 hours.
	Linger time.Duration
}

const (
	defaultMaxAge      = 24 * time.Hour
	defaultMaxMessages = 1 << 20
	defaultLinger      = time.Hour
	maxLinger          = 24 * time.Hour

	// maxFailures is the number of records with a wrong tag after which a session wants to be renewed.
	maxFailures = 1 << 20

	// contendFor is how long a pending INIT of the role that wins has precedence over the other side's. After it the
	// winner gives way: its INITs seem to reach nobody, or nobody that can answer.
	contendFor = time.Minute
)

func (l Limits) withDefaults() (Limits, error) {
	if l.MaxAge == 0 {
		l.MaxAge = defaultMaxAge
	}
	if l.MaxMessages == 0 {
		l.MaxMessages = defaultMaxMessages
	}
	if l.Linger == 0 {
		l.Linger = defaultLinger
	}
	switch {
	case l.MaxAge < time.Second || l.MaxAge > defaultMaxAge:
		return l, fmt.Errorf("e2e: Limits.MaxAge is %v: choose from 1s to %v", l.MaxAge, defaultMaxAge)
	case l.MaxMessages < 2 || l.MaxMessages > defaultMaxMessages:
		return l, fmt.Errorf("e2e: Limits.MaxMessages is %d: choose from 2 to %d", l.MaxMessages, defaultMaxMessages)
	case l.Linger < 0 || l.Linger > maxLinger:
		return l, fmt.Errorf("e2e: Limits.Linger is %v: choose up to %v", l.Linger, maxLinger)
	}
	return l, nil
}

// deadlines are the ages of a session as points in time. Comparing those costs a message less than computing its session's age.
type deadlines struct {
	created    time.Time
	soft, hard time.Time // of sealing
	gone       time.Time // of receiving
}

func (l Limits) from(created time.Time) deadlines {
	return deadlines{
		created: created,
		soft:    created.Add(l.MaxAge - l.MaxAge/10),
		hard:    created.Add(l.MaxAge),
		gone:    created.Add(l.MaxAge + l.Linger),
	}
}

// due is the soft limit, 90 % of age or messages.
func (s *session) due(now time.Time, l *Limits) bool {
	n := l.MaxMessages - l.MaxMessages/10
	return s.sent >= n || s.seen.next >= n || s.failed >= maxFailures || !now.Before(s.soft)
}

// spent is the hard limit of sealing.
func (s *session) spent(now time.Time, l *Limits) bool {
	return s.sent >= l.MaxMessages || !now.Before(s.hard)
}

// expired is the hard limit of receiving.
func (s *session) expired(now time.Time) bool { return !now.Before(s.gone) }
