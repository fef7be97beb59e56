package identity

import (
	"sync"
	"time"
)

// TimeFloor is what a device without a clock knows of the time: a moment that has certainly passed. It starts at the build
// time of the firmware and rises with whatever authenticated time comes by: the beginning of a verified certificate's validity, the date of
// a revocation list, the platform's time in an authenticated reply. Between two such moments it goes on with the monotonic
// clock, which measures time without knowing it.
//
// With a floor a validity that is over is found to be over, at the latest when the floor has passed its end. A validity that has not begun
// cannot be told from a floor that is behind, so it is taken as proof that its beginning has passed: the CA does not
// date certificates ahead. Safe for concurrent use.
type TimeFloor struct {
	mu    sync.Mutex // guards floor and since
	floor time.Time
	since time.Time // local time of the last rise; only its monotonic reading counts
}

// NewTimeFloor returns a floor at start, which is the build time or the floor that was stored before the last power-down.
func NewTimeFloor(start time.Time) *TimeFloor {
	return &TimeFloor{floor: start.UTC(), since: time.Now()}
}

// Now returns the latest moment that has certainly passed.
func (f *TimeFloor) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now()
}

func (f *TimeFloor) now() time.Time {
	// Sub uses the monotonic readings of both, so a stepped wall clock moves nothing.
	return f.floor.Add(max(0, time.Since(f.since)))
}

// Advance raises the floor to t and reports whether it rose. t must be authenticated: a false one in the future makes good
// certificates look expired for as long as it is kept. An earlier t changes nothing.
func (f *TimeFloor) Advance(t time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !t.After(f.now()) {
		return false
	}
	f.floor, f.since = t.UTC(), time.Now()
	return true
}
