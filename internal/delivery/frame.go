package delivery

import (
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
)

// Kind is the kind of a frame.
type Kind byte

// The kinds of version 1.
const (
	KindEvent Kind = 1
	KindAck   Kind = 2
	KindCall  Kind = 3
	KindReply Kind = 4
)

// Status is how a call ended.
type Status byte

// The statuses of a reply.
const (
	StatusOK      Status = 0
	StatusError   Status = 1 // the handler returned an error; the body is its text
	StatusUnknown Status = 2 // begun before, but the reply is no longer known
	StatusExpired Status = 3 // came after its deadline; not run, and never will
)

// Bounds of a frame, in bytes.
const (
	MaxType  = 255     // content type
	MaxBody  = 1 << 16 // body
	MaxFrame = 2 + 8 + 8 + 8 + 8 + 8 + 1 + MaxType + MaxBody

	// MaxErrorText is the longest error text in a reply. A longer one is cut.
	MaxErrorText = 1024
)

const (
	frameVersion = 1

	flagAck   = 1 << 0
	flagClock = 1 << 1
	flagWant  = 1 << 2
	allFlags  = flagAck | flagClock | flagWant
)

// Frame is the plaintext of a record. Fields that its Kind does not have are zero.
type Frame struct {
	Kind      Kind
	HasAck    bool
	Ack       uint64
	HasClock  bool
	Clock     uint64 // ms, in the sender's clock
	WantClock bool

	Seq      uint64 // event, call, reply; 0: volatile event
	Low      uint64 // event, call
	Deadline uint64 // call: ms, in the receiver's clock
	Status   Status // reply
	Type     string // event, call, reply
	Body     []byte // event, call, reply
}

// Append appends the frame's bytes to dst. The frame must be one that [ParseFrame] would return: lengths, numbers and
// statuses have been checked.
func (f Frame) Append(dst []byte) []byte {
	b := cryptobyte.NewBuilder(dst)
	b.AddUint8(frameVersion<<4 | byte(f.Kind))
	var flags byte
	if f.HasAck {
		flags |= flagAck
	}
	if f.HasClock {
		flags |= flagClock
	}
	if f.WantClock {
		flags |= flagWant
	}
	b.AddUint8(flags)
	if f.HasAck {
		b.AddUint64(f.Ack)
	}
	if f.HasClock {
		b.AddUint64(f.Clock)
	}
	switch f.Kind {
	case KindAck:
		return b.BytesOrPanic()
	case KindEvent:
		b.AddUint64(f.Seq)
		b.AddUint64(f.Low)
	case KindCall:
		b.AddUint64(f.Seq)
		b.AddUint64(f.Low)
		b.AddUint64(f.Deadline)
	case KindReply:
		b.AddUint64(f.Seq)
		b.AddUint8(byte(f.Status))
	}
	b.AddUint8(byte(len(f.Type)))
	b.AddBytes([]byte(f.Type))
	b.AddBytes(f.Body)
	return b.BytesOrPanic()
}

// ParseFrame is the inverse of [Frame.Append]: what it accepts has one encoding. Body is part of b. The error is [ErrFrame].
func ParseFrame(b []byte) (Frame, error) {
	var f Frame
	if len(b) > MaxFrame {
		return Frame{}, fmt.Errorf("%w: %d bytes, more than %d", ErrFrame, len(b), MaxFrame)
	}
	s := cryptobyte.String(b)
	var head, flags uint8
	if !s.ReadUint8(&head) || !s.ReadUint8(&flags) {
		return Frame{}, fmt.Errorf("%w: %d bytes", ErrFrame, len(b))
	}
	if head>>4 != frameVersion {
		return Frame{}, fmt.Errorf("%w: version %d, this is %d", ErrFrame, head>>4, frameVersion)
	}
	if flags&^allFlags != 0 {
		return Frame{}, fmt.Errorf("%w: unknown flags 0x%02x", ErrFrame, flags)
	}
	f.Kind = Kind(head & 0x0f)
	f.HasAck, f.HasClock, f.WantClock = flags&flagAck != 0, flags&flagClock != 0, flags&flagWant != 0
	if f.HasAck && !s.ReadUint64(&f.Ack) || f.HasClock && !s.ReadUint64(&f.Clock) {
		return Frame{}, fmt.Errorf("%w: cut off", ErrFrame)
	}

	ok := true
	switch f.Kind {
	case KindAck:
		if !f.HasAck || !s.Empty() {
			return Frame{}, fmt.Errorf("%w: ack without number or with a body", ErrFrame)
		}
		return f, nil
	case KindEvent:
		ok = s.ReadUint64(&f.Seq) && s.ReadUint64(&f.Low) &&
			f.Low <= f.Seq && (f.Low == 0) == (f.Seq == 0)
	case KindCall:
		ok = s.ReadUint64(&f.Seq) && s.ReadUint64(&f.Low) && s.ReadUint64(&f.Deadline) &&
			f.Low != 0 && f.Low <= f.Seq
	case KindReply:
		var status uint8
		ok = s.ReadUint64(&f.Seq) && s.ReadUint8(&status) && f.Seq != 0 && Status(status) <= StatusExpired
		f.Status = Status(status)
	default:
		return Frame{}, fmt.Errorf("%w: unknown kind %d", ErrFrame, f.Kind)
	}
	var typ cryptobyte.String
	if !ok || !s.ReadUint8LengthPrefixed(&typ) {
		return Frame{}, fmt.Errorf("%w: numbers of kind %d", ErrFrame, f.Kind)
	}
	if !utf8.Valid(typ) {
		return Frame{}, fmt.Errorf("%w: content type is not UTF-8", ErrFrame)
	}
	f.Type, f.Body = string(typ), s
	if len(f.Body) > MaxBody {
		return Frame{}, fmt.Errorf("%w: body of %d bytes, more than %d", ErrFrame, len(f.Body), MaxBody)
	}
	if f.Kind == KindReply && !f.validReply() {
		return Frame{}, fmt.Errorf("%w: body of a reply of status %d", ErrFrame, f.Status)
	}
	return f, nil
}

func (f Frame) validReply() bool {
	switch f.Status {
	case StatusOK:
		return true
	case StatusError:
		return f.Type == "" && len(f.Body) <= MaxErrorText && utf8.Valid(f.Body)
	default:
		return f.Type == "" && len(f.Body) == 0
	}
}

// checkMessage says whether a message of this side fits into a frame.
func checkMessage(typ string, body []byte) error {
	switch {
	case len(typ) > MaxType:
		return fmt.Errorf("%w: content type of %d bytes, at most %d", ErrTooLarge, len(typ), MaxType)
	case len(body) > MaxBody:
		return fmt.Errorf("%w: body of %d bytes, at most %d", ErrTooLarge, len(body), MaxBody)
	case !utf8.ValidString(typ):
		return ErrType
	}
	return nil
}

// errorText cuts an error's text to what a reply may carry.
func errorText(s string) []byte {
	b := []byte(s)
	if !utf8.Valid(b) {
		b = []byte(fmt.Sprintf("%q", s))
	}
	if len(b) > MaxErrorText {
		b = b[:MaxErrorText]
		for !utf8.Valid(b) {
			b = b[:len(b)-1]
		}
	}
	if len(b) == 0 {
		return []byte("error without text")
	}
	return b
}
