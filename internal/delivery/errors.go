package delivery

import (
	"errors"
	"fmt"
)

var (
	// ErrFrame means that a frame does not have the form that the package documentation draws.
	ErrFrame = errors.New("delivery: malformed frame")

	// ErrFull means that a queue is full; the error is a [*FullError] with the figures. Wait until the other side
	// acknowledged some ([Channel.Flush]), or set [Config].DropOldest.
	ErrFull = errors.New("delivery: queue is full")

	// ErrTooLarge means that a body exceeds [MaxBody] or a content type [MaxType]. Split it.
	ErrTooLarge = errors.New("delivery: message is too large")

	// ErrType means that a content type is not UTF-8. Use a media type, as "application/json".
	ErrType = errors.New("delivery: content type is not UTF-8")

	// ErrOffline means that a volatile event found no link or no session and was not sent. Send another one later, or a
	// durable one now.
	ErrOffline = errors.New("delivery: no session with the other side now")

	// ErrUnknownOutcome means that a call was sent and no reply came: it may have run, be running, or never run. Ask the other
	// side what became of it, or repeat only what can be repeated.
	ErrUnknownOutcome = errors.New("delivery: outcome of the call is unknown")

	// ErrNotRun means that a call did not run and never will: it was not sent, or expired before it began. It can be repeated.
	ErrNotRun = errors.New("delivery: the call was not run")

	// ErrNoHandler is the error that a caller sees (as the text of a [RemoteError]) when the other side handles no calls.
	ErrNoHandler = errors.New("delivery: calls are not handled here")

	// ErrClosed means that the channel was wiped, or its Run has ended. Open the binding again.
	ErrClosed = errors.New("delivery: channel is closed")
)

// FullError says which bound was met.
type FullError struct {
	What             string // "outbox", "volatile events" or "calls"
	Queued, Max      int    // entries
	Bytes, MaxBytes  int    // of all entries; MaxBytes 0: not bounded by bytes
	Refused, Dropped uint64 // by this channel since it was opened
}

func (e *FullError) Error() string {
	if e.MaxBytes == 0 {
		return fmt.Sprintf("delivery: %s full: %d of %d entries wait for the other side", e.What, e.Queued, e.Max)
	}
	return fmt.Sprintf("delivery: %s full: %d of %d entries, %d of %d bytes wait for the other side",
		e.What, e.Queued, e.Max, e.Bytes, e.MaxBytes)
}

// Is makes errors.Is(err, ErrFull) true.
func (e *FullError) Is(target error) bool { return target == ErrFull }

// RemoteError is the error that the other side's handler returned: the call ran.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string {
	return fmt.Sprintf("delivery: the other side answered: %q", e.Text)
}

// StoreError is an error of the [Store] behind Send or Call. Whether the write was made is not known: an event may still be
// sent after a restart.
type StoreError struct {
	Op  string
	Err error
}

func (e *StoreError) Error() string { return "delivery: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the store's own error.
func (e *StoreError) Unwrap() error { return e.Err }
