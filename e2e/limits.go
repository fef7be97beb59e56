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

// due is the soft limit, 90 % of age or messages. A clock set back before the session's start counts too: its age is unknown.
func (l Limits) due(s *session, age time.Duration) bool {
	soft := l.MaxMessages - l.MaxMessages/10
	return age < 0 || age >= l.MaxAge-l.MaxAge/10 || s.sent >= soft || s.seen.next >= soft || s.failed >= maxFailures
}

// spent is the hard limit of sealing.
func (l Limits) spent(s *session, age time.Duration) bool {
	return age >= l.MaxAge || s.sent >= l.MaxMessages
}

// expired is the hard limit of receiving.
func (l Limits) expired(s *session, now time.Time) bool {
	return now.Sub(s.created) >= l.MaxAge+l.Linger
}
