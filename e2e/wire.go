package e2e

import (
	"crypto/mlkem"
	"encoding/binary"
)

// Type is a record's type: the low nibble of its first byte.
type Type byte

// The record types of version 1.
const (
	TypeData      Type = 0
	TypeInit      Type = 1
	TypeResp      Type = 2
	TypeClose     Type = 3
	TypeChallenge Type = 4
)

// Profile is the shape of the handshake, pinned at commissioning on both sides.
type Profile byte

// The profiles. Those not listed are refused.
const (
	// ProfileEphemeral adds an ephemeral exchange to each session: forward secrecy, and no key-compromise
	// impersonation from RESP on. The default.
	ProfileEphemeral Profile = 0

	// ProfileStatic is the paper's own Diffie-Hellman: the two agreement keys alone, and a random number of each side in each session. It
	// has NO forward secrecy: who gets either agreement key (and the pre-shared key) later reads everything that was ever recorded,
	// except what suites 0x03 and 0x04 protect after INIT. It does NOT resist key-compromise impersonation: who has a
	// side's agreement key (and the pre-shared key) can pose as anybody towards it. What it saves is five key agreements for each
	// handshake, which then costs a few hash calls. Choose it for hardware that cannot afford them, and for nothing else.
	ProfileStatic Profile = 1
)

func (p Profile) implemented() bool { return p <= ProfileStatic }

// shareSize is the length of what a side puts into the handshake: a point or a nonce.
func (p Profile) shareSize() int {
	if p == ProfileStatic {
		return nonceSize
	}
	return pointSize
}

// Sizes of the wire format.
const (
	version = 1

	headerSize    = 16
	tagSize       = 16
	mac1Size      = 16
	pointSize     = 33
	nonceSize     = 32 // in the place of a point in ProfileStatic
	capsSize      = 4
	echoSize      = 16
	prekeySize    = 4  // its number
	digestSize    = 16 // of INIT, in CHALLENGE
	hintSize      = 8
	sessionIDSize = 8
	kemKeySize    = mlkem.EncapsulationKeySize768 // 1,184
	kemCipherSize = mlkem.CiphertextSize768       // 1,088

	initClearSize = headerSize + 8 + 2 + pointSize // of ProfileEphemeral, without echo and ML-KEM key
	initRest      = capsSize + tagSize + mac1Size  // behind the clear part, without payload
	respRest      = capsSize + tagSize
	minDataSize   = headerSize + tagSize
)

const (
	// Overhead is what a DATA record adds to its payload, in bytes.
	Overhead = headerSize + tagSize

	// MaxPayload is the longest payload of any record, in bytes.
	MaxPayload = 1 << 20

	// MaxRecord is the longest record of any type. A transport may drop what is longer.
	MaxRecord = initClearSize + echoSize + prekeySize + kemKeySize + initRest + MaxPayload
)

const (
	flagB       = 1 << 0 // the sender is B
	flagRenew   = 1 << 1 // please initiate a new session
	flagEcho    = 1 << 2 // INIT answers a CHALLENGE
	flagPrekey  = 1 << 3 // INIT's payload is under a prekey
	flagProfile = 3 << 4
)

// allowedFlags lists for each type the bits that may be set; the others must be 0.
var allowedFlags = [...]byte{
	TypeData:      flagB | flagRenew,
	TypeInit:      flagB | flagEcho | flagPrekey | flagProfile,
	TypeResp:      flagB | flagProfile,
	TypeClose:     flagB,
	TypeChallenge: flagB | flagProfile,
}

// Hint is the public name of a binding in the header of handshake records: 8 bytes that need not be unique. It tells nothing
// about the binding to those who do not know it; it is the same in all its handshakes, so who watches can link them.
type Hint [hintSize]byte

// SessionID names a session within its peer. It is derived from the handshake, never chosen.
type SessionID [sessionIDSize]byte

// header is the first 16 bytes of each record.
type header struct {
	typ        Type
	suite      Suite
	flags      byte
	generation byte
	id         [8]byte // session ID, or hint in a handshake
	counter    uint32
}

func (h header) append(b []byte) []byte {
	var w [headerSize]byte
	putHeader(w[:], h.typ, h.suite, h.flags, h.id, h.counter)
	w[3] = h.generation
	return append(b, w[:]...)
}

// putHeader writes the header of counter into b. It writes two words, as copyHeader reads them: single bytes that are read as words right
// after stall the processor for a tenth of the time that a short message takes.
func putHeader(b []byte, typ Type, s Suite, flags byte, id [8]byte, counter uint32) {
	_ = b[headerSize-1]
	first := uint64(version<<4|byte(typ))<<56 | uint64(s)<<48 | uint64(flags)<<40 | uint64(byte(counter>>ratchetShift))<<32
	name := binary.BigEndian.Uint64(id[:])
	binary.BigEndian.PutUint64(b, first|name>>32)
	binary.BigEndian.PutUint64(b[8:], name<<32|uint64(counter))
}

func copyHeader(dst, header []byte) {
	_, _ = dst[headerSize-1], header[headerSize-1]
	binary.NativeEndian.PutUint64(dst, binary.NativeEndian.Uint64(header))
	binary.NativeEndian.PutUint64(dst[8:], binary.NativeEndian.Uint64(header[8:]))
}

func (h *header) fromB() bool      { return h.flags&flagB != 0 }
func (h *header) profile() Profile { return Profile(h.flags & flagProfile >> 4) }

// parseHeader checks everything that can be checked without knowing the binding.
func parseHeader(b []byte) (h header, ok bool) {
	ok = h.parse(b)
	return h, ok
}

// parse is parseHeader in place, which saves a short message the copies. h is unspecified after false.
func (h *header) parse(b []byte) bool {
	if len(b) < headerSize || len(b) > MaxRecord || b[0]>>4 != version {
		return false
	}
	h.typ, h.suite, h.flags, h.generation = Type(b[0]&0x0f), Suite(b[1]), b[2], b[3]
	h.id = [8]byte(b[4:12])
	h.counter = binary.BigEndian.Uint32(b[12:16])
	switch {
	case h.typ > TypeChallenge || h.flags&^allowedFlags[h.typ] != 0 || h.suite == 0 || h.suite > lastSuite:
		return false
	case h.typ != TypeData && h.typ != TypeClose && h.counter != 0:
		return false
	}
	return h.generation == byte(h.counter>>ratchetShift)
}

// TypeOf returns the type that a record claims; nothing of it is verified but the form of its header. The error is
// [ErrUnauthentic].
func TypeOf(record []byte) (Type, error) {
	h, ok := parseHeader(record)
	if !ok {
		return 0, ErrUnauthentic
	}
	return h.typ, nil
}

// HintOf returns the binding that an INIT, RESP or CHALLENGE claims to belong to, false for other records. It picks the peer to
// give a record to; nothing is verified.
func HintOf(record []byte) (Hint, bool) {
	h, ok := parseHeader(record)
	if !ok || h.typ == TypeData || h.typ == TypeClose {
		return Hint{}, false
	}
	return Hint(h.id), true
}
