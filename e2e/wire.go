package e2e

import "crypto/mlkem"

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

// TypeOf returns the type that a record claims; nothing of it is verified but the form of its header. The error is
// [ErrUnauthentic].
func TypeOf(record []byte) (Type, error) {
	h, ok := parseHeader(record)
	if !ok {
		return 0, ErrUnauthentic
	}
	return h.typ(), nil
}

// HintOf returns the binding that an INIT, RESP or CHALLENGE claims to belong to, false for other records. It picks the peer to
// give a record to; nothing is verified.
func HintOf(record []byte) (Hint, bool) {
	h, ok := parseHeader(record)
	if !ok || h.hasSession() {
		return Hint{}, false
	}
	return Hint(h.id()), true
}
