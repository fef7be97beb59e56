package delivery

// Mark names one of the counters of a binding that only grow.
type Mark byte

const (
	// MarkEvents is the highest event of the other side that was handled here.
	MarkEvents Mark = iota
	// MarkCalls is the highest call of the other side that was begun here.
	MarkCalls
	// MarkNumbers is the highest number set aside for calls of this side. Numbers are set aside in blocks, so that most calls
	// write nothing.
	MarkNumbers

	// MarkCount is the number of marks.
	MarkCount
)

func (m Mark) String() string {
	switch m {
	case MarkEvents:
		return "events"
	case MarkCalls:
		return "calls"
	case MarkNumbers:
		return "numbers"
	}
	return "unknown"
}

// Entry is one event in the outbox. Frame is plaintext: whoever stores it encrypts it first.
type Entry struct {
	Seq   uint64
	Frame []byte
}

// State is what a [Store] keeps for one binding. The zero State is that of a new binding.
type State struct {
	// Next is one more than the highest number that Append was ever given, also when that entry was removed since; 0 when there
	// was none.
	Next uint64
	// Marks has the value last put for each mark, 0 for one never put.
	Marks [MarkCount]uint64
	// Outbox has the entries not removed, in ascending order.
	Outbox []Entry
}

// Store is the durable state of one binding. deliverytest.TestStore shows whether an implementation keeps this contract.
//
// Each method is atomic, and durable when it returns nil: a power cut leaves all of it or nothing. After an error either may be
// the case, and the Store stays usable. The methods are called from several goroutines at once. Arguments are not kept
// after the return; what Load returns belongs to the caller.
//
// A Store that lost its newest writes (a backup restored) breaks the promises of this package: numbers come again. Move Next and
// MarkNumbers far on before it is used again, or start the binding anew.
type Store interface {
	// Load returns everything. It is called once, before the other methods.
	Load() (State, error)

	// Append adds an entry to the outbox and sets Next to seq+1. A seq below Next is an error and changes nothing; one above
	// it is none (numbers may be skipped).
	Append(seq uint64, frame []byte) error

	// Remove takes every entry up to and including upTo out of the outbox. Next stays. No such entry is no error.
	Remove(upTo uint64) error

	// PutMark sets a mark. A value below the one kept leaves it as it is, and is no error.
	PutMark(m Mark, value uint64) error
}
