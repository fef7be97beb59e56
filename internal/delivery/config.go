package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// Peer is what a channel needs of an [e2e.Peer], which is the one to use; tests have others.
type Peer interface {
	Initiate(now time.Time, early []byte) ([]byte, error)
	Pending() []byte
	Receive(now time.Time, record []byte) (e2e.Event, error)
	Ready() bool
	Seal(now time.Time, dst, plaintext []byte) ([]byte, error)
	RenewDue(now time.Time) bool
	EarlyDataReady(now time.Time) bool
	Wipe()
}

// Event is a message that wants no reply.
type Event struct {
	Seq      uint64 // its number in this direction of the binding; 0 for a volatile one. Send sets it
	Type     string // content type, at most MaxType bytes of UTF-8
	Body     []byte // at most MaxBody; the receiver of an event owns it
	Volatile bool   // kept nowhere: sent if there is a session now, else lost

	// Binding is the connection that the event came over; a gateway sets it for its host. Device, Binding and Seq together are a key
	// that no other event has, by which a host that keeps events tells one that comes again. Send ignores it.
	Binding e2e.BindingID

	// Early says that the event came as early data of a new session: it has no forward secrecy, and whoever stole this side's
	// agreement key could have made it. Send ignores it.
	Early bool
}

// Call is a message that wants a reply.
type Call struct {
	ID       uint64
	Type     string
	Body     []byte
	Deadline time.Time // by this side's clock; the handler's context ends then
}

// Reply answers a call. Err is the text of an error that the handler returned; then the rest is empty. The body that a handler returns is
// copied.
type Reply struct {
	Type string
	Body []byte
	Err  string
}

// Pool bounds the calls that run at the same time in several channels. Make it with [NewPool].
type Pool struct{ slots chan struct{} }

// NewPool returns a pool that lets n calls run at a time.
func NewPool(n int) *Pool { return &Pool{slots: make(chan struct{}, max(1, n))} }

// Timing has the times of a channel. Zero fields mean the default; those with a limit are spread at random from half to three
// halves of their value and double up to the limit while nothing changes.
type Timing struct {
	AckDelay   time.Duration // how long an ack waits for more to acknowledge or a frame to ride on: 20 ms
	Resend     time.Duration // what is not acknowledged is sent again: 5 s
	MaxResend  time.Duration // 5 min
	Retry      time.Duration // after an error of a handler, of the Store or of Publish: 1 s
	MaxRetry   time.Duration // 1 min
	Session    time.Duration // between attempts to start a session: 5 s
	MaxSession time.Duration // 10 min
	Call       time.Duration // deadline of a call whose context has none: 30 s
	Publish    time.Duration // for one record to be acknowledged by the broker: 30 s

	// Spread delays the first attempt to start a session by up to this time, at random. An application gateway that restarts
	// with n devices and starts r sessions a second (about 500 for each core) sets it to n/r or more: 100,000 devices, 2 cores:
	// 2 min. 0: no delay.
	Spread time.Duration
}

// Config of a channel. The fields said to be required must be set.
type Config struct {
	Peer  Peer  // required: an *e2e.Peer of this binding, used by this channel only; Turn puts another in its place
	Store Store // required

	// Publish sends a record to the other side: required. It blocks until the broker acknowledged it; records are published one
	// after the other. An error means that the record may be lost; it is made again after LinkUp, or a while later.
	// The record is not changed after the call.
	Publish func(ctx context.Context, record []byte) error

	// HandleEvent takes one event after the other, in order: required. nil means that it is handled: the mark is written,
	// and the other side told. On an error it gets the same event again, with back-off, and no later one before; a volatile event is
	// dropped instead. It may use the channel.
	HandleEvent func(ctx context.Context, e Event) error

	// HandleCall runs a call, at most once ever. Its error goes to the caller as a text. Several run at the same time. nil
	// answers each call with [ErrNoHandler].
	HandleCall func(ctx context.Context, c Call) (Reply, error)

	// HandlerKeepsMark says that HandleEvent itself makes MarkEvents e.Seq, in the transaction of its own effects (so that
	// Store.Load returns it): then events are handled exactly once. The channel writes no mark for events. A handler whose
	// commit failed in an unknown way must compare e.Seq with its mark when it gets the event again.
	HandlerKeepsMark bool

	// EarlyData puts the oldest event into the INIT of a new session, which saves a round trip, whenever the peer is ready for that. Without
	// a prekey, early data has no forward secrecy and no protection from whoever stole the other side's agreement key: see package e2e.
	EarlyData bool

	// KeepSession starts a session whenever there is none, also with nothing to send: then the other side need not wait for
	// its own next attempt after a restart of this one.
	KeepSession bool

	MaxQueue      int  // events in the outbox: 1,024
	MaxQueueBytes int  // their bytes, as stored: 4 MiB
	DropOldest    bool // a full outbox drops its oldest events instead of refusing new ones

	MaxInFlight int   // events sent and not acknowledged, and events received and not handled: 32
	MaxReceived int   // records received and not looked at: 64
	MaxCalls    int   // calls of this side that wait for a reply: 16
	ServeCalls  int   // calls of the other side that run at a time: 4
	Pool        *Pool // bounds them over several channels; nil: this channel's bound alone

	Timing Timing
	Logger *slog.Logger     // nil: nothing is logged. Bodies and keys never are
	Now    func() time.Time // nil: time.Now. With a monotonic reading
	Seed   uint64           // of the jitter; 0: a random one
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Peer == nil || c.Store == nil:
		return c, errors.New("delivery: Config needs Peer and Store")
	case c.Publish == nil || c.HandleEvent == nil:
		return c, errors.New("delivery: Config needs Publish and HandleEvent")
	}
	if c.HandleCall == nil {
		c.HandleCall = func(context.Context, Call) (Reply, error) { return Reply{}, ErrNoHandler }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, n := range []struct {
		name  string
		field *int
		def   int
	}{
		{"MaxQueue", &c.MaxQueue, 1024},
		{"MaxQueueBytes", &c.MaxQueueBytes, 4 << 20},
		{"MaxInFlight", &c.MaxInFlight, 32},
		{"MaxReceived", &c.MaxReceived, 64},
		{"MaxCalls", &c.MaxCalls, 16},
		{"ServeCalls", &c.ServeCalls, 4},
	} {
		if *n.field < 0 {
			return c, fmt.Errorf("delivery: Config.%s is %d: choose a positive number, or 0 for %d", n.name, *n.field, n.def)
		}
		if *n.field == 0 {
			*n.field = n.def
		}
	}
	if c.MaxQueueBytes < MaxFrame {
		return c, fmt.Errorf("delivery: Config.MaxQueueBytes is %d: less than one frame of %d", c.MaxQueueBytes, MaxFrame)
	}
	t := &c.Timing
	for _, d := range []struct {
		name  string
		field *time.Duration
		def   time.Duration
	}{
		{"AckDelay", &t.AckDelay, 20 * time.Millisecond},
		{"Resend", &t.Resend, 5 * time.Second},
		{"MaxResend", &t.MaxResend, 5 * time.Minute},
		{"Retry", &t.Retry, time.Second},
		{"MaxRetry", &t.MaxRetry, time.Minute},
		{"Session", &t.Session, 5 * time.Second},
		{"MaxSession", &t.MaxSession, 10 * time.Minute},
		{"Call", &t.Call, 30 * time.Second},
		{"Publish", &t.Publish, 30 * time.Second},
		{"Spread", &t.Spread, 0},
	} {
		if *d.field < 0 {
			return c, fmt.Errorf("delivery: Timing.%s is %v: choose a positive time, or 0 for %v", d.name, *d.field, d.def)
		}
		if *d.field == 0 {
			*d.field = d.def
		}
	}
	return c, nil
}

// Stats counts what happened since the channel was opened.
type Stats struct {
	Queued, QueuedBytes int // in the outbox now
	InFlight            int // of these, sent and not acknowledged
	Calls               int // of this side, waited for now
	Ready, Connected    bool

	Sent, Resent     uint64 // event frames published, and those of them that were not the first of their number
	Refused, Dropped uint64 // events of this side: by a full outbox; by DropOldest
	VolatileLost     uint64 // volatile events of this side that were refused, or lost their session or link

	Handled      uint64 // events of the other side, without volatile ones
	Repeated     uint64 // events that came again, and were not handled again
	OutOfOrder   uint64 // events that came before an older one, and were left to come again
	Skipped      uint64 // numbers of events that the other side gave up
	NoRoom       uint64 // events and calls that found the queue of a slow handler full, and were left to come again
	Failures     uint64 // errors of HandleEvent
	CallsRun     uint64
	CallsExpired uint64

	RecordsDropped uint64 // received, and found the queue full
	RecordsRefused uint64 // by package e2e, see its own Stats
	BadFrames      uint64 // authentic, but malformed or of no sense
	Sessions       uint64 // begun to be used
	Initiated      uint64 // new INITs
	StoreErrors    uint64
	PublishErrors  uint64
}
