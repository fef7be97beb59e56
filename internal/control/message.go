package control

import (
	"errors"
	"fmt"
	"time"

	"github.com/semio-iot/semio/identity"
)

// Nudge is what the platform publishes to a peer that should ask: one byte that no record of package e2e begins with.
var nudge = []byte{0x00}

// Nudge returns the content-free publication that makes a gateway ask the platform.
func Nudge() []byte { return append([]byte(nil), nudge...) }

// IsNudge tells a nudge from a reply.
func IsNudge(payload []byte) bool { return len(payload) == 1 && payload[0] == nudge[0] }

const (
	maxAcks  = 16
	maxLists = 32 // those that a verifier keeps, and maxRefused that it cannot use

	maxRefused = 16
	maxOrders  = 16
	maxText    = 200
)

// Message is what the INIT of a gateway carries to the platform. Encoding, behind the version:
//
//	count u8, then LP24 each: signed acknowledgements ‖ count u8, then authority 8 ‖ number u64 each: revocation lists held ‖
//	LP24 signed request or empty ‖ number of the prekey held u32 ‖ LP24 prekey bundle or empty ‖
//	LP24 certificate request or empty ‖ LP24 credential or empty ‖ generation of the application's endorsement held u32
type Message struct {
	Acks         [][]byte             // at most 16
	Lists        []identity.CRLNumber // that need not be sent, at most 32, in ascending order of the authorities
	Request      *SignedRequest
	PrekeyNumber uint32 // device: of the application's prekey that it has, 0: none
	Prekey       []byte // application: its newest one, for its devices; an e2e.Prekey bundle

	// Renewal. Like prekeys these are no orders: they may come again, and prove themselves by the authority's signature.
	CSR            []byte              // asks for a new certificate; PKCS #10, for the sender's own name
	Credential     identity.Credential // the sender's own new one, of a higher generation; zero: none
	PeerGeneration uint32              // device: of its application's endorsement, 0: none
}

// Marshal encodes the message.
func (m Message) Marshal() ([]byte, error) {
	if len(m.Acks) > maxAcks {
		return nil, fmt.Errorf("control: %d acknowledgements in one message, at most %d fit", len(m.Acks), maxAcks)
	}
	b := build()
	b.list(m.Acks)
	b.numbers(m.Lists)
	var req []byte
	if m.Request != nil {
		var err error
		if req, err = m.Request.Marshal(); err != nil {
			return nil, err
		}
	}
	b.lp24(req)
	b.AddUint32(m.PrekeyNumber)
	b.lp24(m.Prekey)
	if len(m.CSR) > identity.MaxCSR {
		return nil, fmt.Errorf("control: certificate request of %d bytes, at most %d fit", len(m.CSR), identity.MaxCSR)
	}
	b.lp24(m.CSR)
	b.credential(m.Credential)
	b.AddUint32(m.PeerGeneration)
	return b.Bytes()
}

// ParseMessage parses what Marshal made.
func ParseMessage(b []byte) (Message, error) {
	p := parse(b, MaxMessage)
	m := Message{Acks: p.list(maxAcks), Lists: p.numbers()}
	req := p.lp24()
	m.PrekeyNumber, m.Prekey = p.u32(), p.lp24()
	m.CSR = p.lp24()
	p.bad = p.bad || len(m.CSR) > identity.MaxCSR
	m.Credential, m.PeerGeneration = p.credential(true), p.u32()
	if err := p.done("message to the platform"); err != nil {
		return Message{}, err
	}
	if req == nil {
		return m, nil
	}
	var err error
	if m.Request, err = ParseSignedRequest(req); err != nil {
		return Message{}, err
	}
	return m, nil
}

// Reply is what the RESP of the platform carries. Encoding, behind the version:
//
//	time u64 (Unix milliseconds) ‖ count u8, then LP24 each: signed orders ‖ more u8 ‖
//	LP24 revocation list or empty, then its authority 8 ‖ its number u64 (nothing of them if empty) ‖
//	present u8, then request ID 16 ‖ code u8 ‖ LP8 text ‖ revision u64 (nothing of it if not present) ‖ LP24 prekey bundle or empty ‖
//	count u8, then LP24 each: certificates ‖ LP24 admission or empty ‖ LP24 credential or empty
type Reply struct {
	Time   time.Time // millisecond precision
	Orders [][]byte  // signed, in sequence, at most 16
	More   bool      // further orders or lists wait: ask again

	// CRL is one revocation list of which the peer has an older number or none, as identity.Verifier.AddCRL takes it. What the platform
	// says whose it is serves a peer that cannot use it, to name it in Message.Lists.
	CRL       []byte
	CRLNumber identity.CRLNumber

	Result *Result // of the request that the message carried
	Prekey []byte  // device: the newest one of its application, where it has another or none

	Chain          [][]byte            // answer to a certificate request: leaf first, without the root
	Admission      []byte              // anew: the peer's own or the platform's credential is another than that of the last one
	PeerCredential identity.Credential // device: its application's, where it has one of a lower generation; zero: none
}

// Marshal encodes the reply.
func (r Reply) Marshal() ([]byte, error) {
	if len(r.Orders) > maxOrders {
		return nil, fmt.Errorf("control: %d orders in one reply, at most %d fit", len(r.Orders), maxOrders)
	}
	b := build()
	b.AddUint64(uint64(r.Time.UnixMilli()))
	b.list(r.Orders)
	b.flag(r.More)
	b.lp24(r.CRL)
	if len(r.CRL) > 0 {
		b.AddBytes(r.CRLNumber.Authority[:])
		b.AddUint64(r.CRLNumber.Number)
	}
	b.flag(r.Result != nil)
	if r.Result != nil {
		b.AddBytes(r.Result.Request[:])
		b.AddUint8(uint8(r.Result.Code))
		b.lp8([]byte(r.Result.Text))
		b.AddUint64(r.Result.Revision)
	}
	b.lp24(r.Prekey)
	if len(r.Chain) > identity.MaxChain {
		return nil, fmt.Errorf("control: chain of %d certificates, at most %d fit", len(r.Chain), identity.MaxChain)
	}
	b.list(r.Chain)
	b.lp24(r.Admission)
	b.credential(r.PeerCredential)
	return b.Bytes()
}

// ParseReply parses what Marshal made.
func ParseReply(b []byte) (Reply, error) {
	p := parse(b, MaxMessage)
	ms := p.u64()
	p.bad = p.bad || ms > 1<<50
	r := Reply{Time: time.UnixMilli(int64(ms)).UTC(), Orders: p.list(maxOrders), More: p.flag(), CRL: p.lp24()}
	if len(r.CRL) > 0 {
		p.array(r.CRLNumber.Authority[:])
		r.CRLNumber.Number = p.u64()
	}
	if p.flag() {
		r.Result = new(Result)
		p.array(r.Result.Request[:])
		r.Result.Code = Code(p.u8())
		text := p.lp8()
		p.bad = p.bad || len(text) > maxText
		r.Result.Text = string(text)
		r.Result.Revision = p.u64()
	}
	r.Prekey = p.lp24()
	r.Chain, r.Admission, r.PeerCredential = p.list(identity.MaxChain), p.lp24(), p.credential(true)
	if err := p.done("reply of the platform"); err != nil {
		return Reply{}, err
	}
	return r, nil
}

// Code says how the platform decided.
type Code uint8

// The platform's decisions about a request.
const (
	CodeOK Code = iota + 1
	CodeUnknownDevice
	CodeConnectedElsewhere
	CodeClaimRefused
	CodeTooManyGuesses
	CodeRetired
	CodeRevision
	CodeNotConnected
	CodePolicy
	CodeRefused // the request itself is wrong: signature, application, form
)

// What Result.Err wraps, one for each code but CodeOK.
var (
	ErrUnknownDevice      = errors.New("device is not registered with this platform")
	ErrConnectedElsewhere = errors.New("device is connected with another application, which must disconnect it first")
	ErrClaimRefused       = errors.New("claim code is wrong or missing: scan the sticker again")
	ErrTooManyGuesses     = errors.New("too many wrong claim codes: wait before the next try")
	ErrRetired            = errors.New("device is retired and cannot be connected again")
	ErrRevision           = errors.New("device has changed since the request was made: look at it again")
	ErrNotConnected       = errors.New("device is not connected with this application")
	ErrPolicy             = errors.New("platform's policy refuses")
	ErrRequest            = errors.New("request is not valid")
)

var codeErrors = map[Code]error{
	CodeUnknownDevice:      ErrUnknownDevice,
	CodeConnectedElsewhere: ErrConnectedElsewhere,
	CodeClaimRefused:       ErrClaimRefused,
	CodeTooManyGuesses:     ErrTooManyGuesses,
	CodeRetired:            ErrRetired,
	CodeRevision:           ErrRevision,
	CodeNotConnected:       ErrNotConnected,
	CodePolicy:             ErrPolicy,
	CodeRefused:            ErrRequest,
}

// Result is the platform's decision about one request.
type Result struct {
	Request  RequestID
	Code     Code
	Text     string // for people, at most 200 bytes
	Revision uint64 // of the device's record after the decision; 0 where the asker may not know it
}

// Err is nil for CodeOK, else a [*RefusedError].
func (r Result) Err() error {
	if r.Code == CodeOK {
		return nil
	}
	return &RefusedError{Result: r}
}

// RefusedError is the platform's refusal of a request. It wraps the sentinel of its code.
type RefusedError struct{ Result Result }

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("platform refused (code %d)", e.Result.Code)
	if err := e.Unwrap(); err != nil {
		s = "platform refused: " + err.Error()
	}
	if e.Result.Text != "" {
		s += " (" + e.Result.Text + ")"
	}
	return s
}

// Unwrap returns the sentinel of the code, nil for one that this version does not know.
func (e *RefusedError) Unwrap() error { return codeErrors[e.Result.Code] }
