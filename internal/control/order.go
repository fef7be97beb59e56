package control

import (
	"crypto"
	"crypto/sha256"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// OrderOp is what the platform orders a gateway to do.
type OrderOp uint8

// The orders of the platform.
const (
	OrderInstall OrderOp = iota + 1 // take the peer's certificate and endorsement, begin the binding
	OrderRemove                     // delete everything of the binding
	OrderWipe                       // device: clear the NVM, end of life
)

func (o OrderOp) String() string {
	switch o {
	case OrderInstall:
		return "install"
	case OrderRemove:
		return "remove"
	case OrderWipe:
		return "wipe"
	}
	return fmt.Sprintf("order %d", uint8(o))
}

// Order is one step of a device's life cycle, for one of the two peers. Body, behind the version:
//
//	number u64 ‖ LP8 platform ‖ LP8 to ‖ platform binding ID 16 ‖ LP8 device ‖ life-cycle number u64 ‖ op 1 ‖
//	binding ID 16 ‖ LP8 peer or empty ‖ LP24 credential of the peer or empty ‖ LP24 evidence or empty
//
// A gateway applies orders in the sequence of their numbers. Of one device it applies only growing life-cycle numbers, so
// that no old order comes true again.
type Order struct {
	Number          uint64 // grows with each order to this peer
	Platform        identity.PlatformID
	To              identity.ID
	PlatformBinding e2e.BindingID // of To with the platform
	Device          identity.DeviceID
	Lifecycle       uint64
	Op              OrderOp
	Binding         e2e.BindingID       // of device and application; install, remove
	Peer            identity.ID         // the other side; install, remove
	Credential      identity.Credential // the peer's; install
	Evidence        []byte              // an [Evidence]; remove, wipe
}

// Sign makes the signed order with the platform's signing key.
func (o Order) Sign(platform crypto.Signer) ([]byte, error) {
	b := build()
	b.AddUint64(o.Number)
	b.id(o.Platform.ID)
	b.id(o.To)
	b.AddBytes(o.PlatformBinding[:])
	b.id(o.Device.ID)
	b.AddUint64(o.Lifecycle)
	b.AddUint8(uint8(o.Op))
	b.AddBytes(o.Binding[:])
	b.id(o.Peer)
	b.credential(o.Credential)
	b.lp24(o.Evidence)
	body, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode %s order to %s: %w", o.Op, o.To, err)
	}
	sig, err := identity.Sign(platform, identity.ContextOrder, body)
	if err != nil {
		return nil, fmt.Errorf("sign %s order to %s: %w", o.Op, o.To, err)
	}
	return marshalSigned(body, sig)
}

// OpenOrder parses b and verifies platform's signature and name. Whether the order is for this peer, is new and may be applied,
// the caller decides.
func OpenOrder(b []byte, platform *identity.Verified) (Order, error) {
	fail := func(err error) (Order, error) { return Order{}, fmt.Errorf("open order: %w", err) }
	body, sig, err := parseSigned(b, "order")
	if err != nil {
		return fail(err)
	}
	if err := identity.VerifySignature(platform.SigningKey(), identity.ContextOrder, body, sig); err != nil {
		return fail(err)
	}
	p := parse(body, MaxMessage)
	o := Order{
		Number:   p.u64(),
		Platform: p.platform(),
		To:       p.id(false),
	}
	o.PlatformBinding = p.binding()
	o.Device = p.device()
	o.Lifecycle = p.u64()
	o.Op = OrderOp(p.u8())
	o.Binding = p.binding()
	o.Peer = p.id(true)
	o.Credential = p.credential(true)
	o.Evidence = p.lp24()
	if err := p.done("order"); err != nil {
		return fail(err)
	}
	if o.Platform.ID != platform.ID() {
		return fail(fmt.Errorf("%w: order of %s signed by %s", ErrForeign, o.Platform, platform.ID()))
	}
	if err := o.check(); err != nil {
		return fail(err)
	}
	return o, nil
}

// check holds each operation to the fields it has.
func (o Order) check() error {
	hasPeer, hasCredential := !o.Peer.IsZero(), len(o.Credential.Chain) > 0
	hasBinding, hasEvidence := o.Binding != e2e.BindingID{}, len(o.Evidence) > 0
	ok := o.Number > 0 && o.Lifecycle > 0
	switch o.Op {
	case OrderInstall:
		ok = ok && hasPeer && hasCredential && hasBinding && !hasEvidence
	case OrderRemove:
		ok = ok && hasPeer && !hasCredential && hasBinding && hasEvidence
	case OrderWipe:
		ok = ok && !hasPeer && !hasCredential && !hasBinding && hasEvidence && o.To == o.Device.ID
	default:
		ok = false
	}
	if !ok {
		return malformed(o.Op.String() + " order")
	}
	return nil
}

// AckResult is what became of an order.
type AckResult uint8

// What becomes of an order. A refused order will not be applied later either: the platform does not send it again, and
// shows it to the operator.
const (
	AckDone AckResult = iota + 1
	AckSuperseded
	AckRefused
)

func (r AckResult) String() string {
	switch r {
	case AckDone:
		return "done"
	case AckSuperseded:
		return "superseded"
	case AckRefused:
		return "refused"
	}
	return fmt.Sprintf("result %d", uint8(r))
}

// Ack is a peer's signed word that it dealt with an order. Body, behind the version:
//
//	LP8 from ‖ order number u64 ‖ SHA-256 of the signed order 32 ‖ result 1
type Ack struct {
	From   identity.ID
	Number uint64
	Order  [32]byte
	Result AckResult
}

// AckOf names the order with these bytes.
func AckOf(from identity.ID, number uint64, order []byte, result AckResult) Ack {
	return Ack{From: from, Number: number, Order: sha256.Sum256(order), Result: result}
}

// Sign makes the signed acknowledgement.
func (a Ack) Sign(peer crypto.Signer) ([]byte, error) {
	b := build()
	b.id(a.From)
	b.AddUint64(a.Number)
	b.AddBytes(a.Order[:])
	b.AddUint8(uint8(a.Result))
	body, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode acknowledgement: %w", err)
	}
	sig, err := identity.Sign(peer, identity.ContextAck, body)
	if err != nil {
		return nil, fmt.Errorf("sign acknowledgement: %w", err)
	}
	return marshalSigned(body, sig)
}

// OpenAck parses b and verifies that peer signed it.
func OpenAck(b []byte, peer *identity.Verified) (Ack, error) {
	fail := func(err error) (Ack, error) { return Ack{}, fmt.Errorf("open acknowledgement: %w", err) }
	body, sig, err := parseSigned(b, "acknowledgement")
	if err != nil {
		return fail(err)
	}
	if err := identity.VerifySignature(peer.SigningKey(), identity.ContextAck, body, sig); err != nil {
		return fail(err)
	}
	p := parse(body, 256)
	a := Ack{From: p.id(false), Number: p.u64()}
	p.array(a.Order[:])
	a.Result = AckResult(p.u8())
	if err := p.done("acknowledgement"); err != nil {
		return fail(err)
	}
	if a.From != peer.ID() {
		return fail(fmt.Errorf("%w: acknowledgement of %s signed by %s", ErrForeign, a.From, peer.ID()))
	}
	if a.Result < AckDone || a.Result > AckRefused {
		return fail(malformed("acknowledgement's result"))
	}
	return a, nil
}
