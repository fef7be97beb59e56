package serialpuf

import (
	"errors"
	"fmt"
)

// What can be wrong with a reply. Each comes inside a *FrameError with the figures.
var (
	ErrNoReply  = errors.New("serialpuf: no frame came; check that the MCU runs, that RX and TX are crossed, baud rate, and that Config.Reply exceeds its power-off time")
	ErrShort    = errors.New("serialpuf: the line fell silent within a frame; check that the MCU sends it in one go and does not reset, or raise Config.Gap")
	ErrChecksum = errors.New("serialpuf: checksum of the frame is wrong; check ground and cable, lower the baud rate, and compare the firmware's CRC-32 with the package's example")
	ErrNoise    = errors.New("serialpuf: too many bytes that are no frame; check the baud rate, and silence the MCU's log on this line")
	ErrFlags    = errors.New("serialpuf: the frame has flags that this version does not know; update this module, or fix the firmware")
	ErrSize     = errors.New("serialpuf: the MCU sent a reading of another size; make Config.Size and the firmware's region agree")
	ErrNotFresh = errors.New("serialpuf: the MCU sent a reading without a power-up since the last one; have its firmware cut the memory's power for each request")
)

// ErrClosed is returned by Measure after Close.
var ErrClosed = errors.New("serialpuf: source is closed; open it again")

// FrameError is a failed reply with its figures. It tells nothing of the reading.
type FrameError struct {
	Err       error // the sentinel, found by errors.Is
	Got, Want int   // bytes of the frame for ErrShort, of the reading for ErrSize; flags as sent and as known for ErrFlags; 0 otherwise
	Skipped   int   // bytes so far that belonged to no frame
	Requests  int   // sent in this call
}

func (e *FrameError) Error() string {
	s := fmt.Sprintf("%v (%d requests, %d bytes skipped", e.Err, e.Requests, e.Skipped)
	switch e.Err {
	case ErrShort, ErrSize:
		s += fmt.Sprintf(", got %d bytes, want %d", e.Got, e.Want)
	case ErrFlags:
		s += fmt.Sprintf(", got 0x%04x, known 0x%04x", e.Got, e.Want)
	}
	return s + ")"
}

// Unwrap returns the sentinel.
func (e *FrameError) Unwrap() error { return e.Err }
