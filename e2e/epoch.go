package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Epochs is what must outlive RAM for one binding: two numbers. All methods may be called from any goroutine, never two of one
// peer at the same time, and must not call back into the [Peer].
//
// An implementation that forgets (a restored backup) could have an old INIT delivered twice. Whose storage can be restored
// implements [RestorableEpochs], and has every binding marked after it happened.
type Epochs interface {
	// NextEpoch returns a number greater than any it returned before in this binding, and at least 1. The number is
	// durable (written and synced) before NextEpoch returns: else a power cut could use it twice.
	NextEpoch() (uint64, error)

	// AcceptEpoch makes epoch the highest seen of the other side. It returns an error that Is [ErrStaleEpoch] or
	// [ErrEpochJump] unless [CheckEpoch] allows it, and it is durable before nil is returned. It is called for
	// authenticated records only. Any other error means: not accepted, the same record may come again.
	AcceptEpoch(epoch uint64) error
}

// RestorableEpochs is what Epochs implement to come back after their numbers were set back: a backup was restored, a disk lost
// what it had promised to keep. All methods are durable before they return nil.
type RestorableEpochs interface {
	Epochs

	// Restored says whether the numbers were marked as restored, and AcceptEcho was not called since.
	Restored() (bool, error)

	// AcceptEcho is AcceptEpoch for an INIT that proved to be new by echoing our CHALLENGE. It ends Restored, in the same
	// write.
	AcceptEcho(epoch uint64) error

	// SkipEpochs makes every NextEpoch from now on return more than highest: the peer has seen that epoch of ours.
	SkipEpochs(highest uint64) error
}

const maxEpochJump = 1 << 32

// EpochError is an epoch that cannot be accepted: it Is ErrStaleEpoch or ErrEpochJump.
type EpochError struct {
	Epoch, Highest uint64 // of the record, and seen before
	err            error
}

func (e *EpochError) Error() string { return fmt.Sprintf("%v: %d after %d", e.err, e.Epoch, e.Highest) }
func (e *EpochError) Unwrap() error { return e.err }

// CheckEpoch is the rule of [Epochs.AcceptEpoch]: epoch must be greater than highest (0: none seen) by at most 2^32. Its error is an
// [EpochError].
func CheckEpoch(highest, epoch uint64) error {
	if epoch <= highest {
		return &EpochError{epoch, highest, ErrStaleEpoch}
	}
	if epoch-highest > maxEpochJump {
		return &EpochError{epoch, highest, ErrEpochJump}
	}
	return nil
}

// EpochWindow says which epochs of one-shot exchanges were used: those of a peer may overtake one another by up to 63. The zero
// value has seen none. It is a plain value: keep its Marshal form in the transaction that also keeps the request's effect
// and its RESP.
type EpochWindow struct {
	Highest uint64 // highest epoch accepted, 0: none
	Bits    uint64 // bit i: epoch Highest-i was accepted
}

const (
	epochWindowWidth   = 64
	epochWindowVersion = 1
	epochWindowSize    = 1 + 8 + 8
)

// Check says whether Accept would take epoch, without taking it: ErrReplay when it was used, [ErrStaleEpoch] when it lies
// below the window (used or not), [ErrEpochJump].
func (w EpochWindow) Check(epoch uint64) error {
	if epoch > w.Highest {
		return CheckEpoch(w.Highest, epoch)
	}
	behind := w.Highest - epoch
	if epoch == 0 || behind >= epochWindowWidth {
		return &EpochError{epoch, w.Highest, ErrStaleEpoch}
	}
	if w.Bits>>behind&1 == 1 {
		return fmt.Errorf("%w: epoch %d is used", ErrReplay, epoch)
	}
	return nil
}

// Accept marks epoch as used, or returns Check's error and changes nothing.
func (w *EpochWindow) Accept(epoch uint64) error {
	if err := w.Check(epoch); err != nil {
		return err
	}
	if epoch > w.Highest {
		w.Bits <<= min(epoch-w.Highest, epochWindowWidth) // a shift by 64 clears, in Go
		w.Highest = epoch
	}
	w.Bits |= 1 << (w.Highest - epoch)
	return nil
}

// Marshal returns the storage form: version 1, Highest u64, Bits u64, big-endian, 17 bytes.
func (w EpochWindow) Marshal() []byte {
	b := make([]byte, 0, epochWindowSize)
	b = append(b, epochWindowVersion)
	b = binary.BigEndian.AppendUint64(b, w.Highest)
	return binary.BigEndian.AppendUint64(b, w.Bits)
}

// ParseEpochWindow reads what Marshal wrote, and refuses a window that Accept cannot have made.
func ParseEpochWindow(b []byte) (EpochWindow, error) {
	if len(b) != epochWindowSize || b[0] != epochWindowVersion {
		return EpochWindow{}, errors.New("e2e: not an epoch window of version 1")
	}
	w := EpochWindow{Highest: binary.BigEndian.Uint64(b[1:]), Bits: binary.BigEndian.Uint64(b[9:])}
	switch {
	case w.Highest == 0 && w.Bits != 0,
		w.Highest > 0 && w.Bits&1 == 0,
		w.Highest < epochWindowWidth && w.Bits>>w.Highest != 0: // bits of epochs below 1
		return EpochWindow{}, errors.New("e2e: epoch window contradicts itself")
	}
	return w, nil
}
