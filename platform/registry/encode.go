package registry

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/semio-iot/semio/identity"
)

// ErrRecord reports bytes that are no record of this version: the store is damaged or of a later version.
var ErrRecord = errors.New("registry: not a record of this version")

const (
	recordVersion = 1
	maxRecord     = 4 << 20
	maxOrders     = 1 << 14
	claimKeySize  = 33
)

// Marshal returns the storage form of the record. Integers are big-endian, LP8 and LP16 byte strings behind their length:
//
//	version u8 = 1 ‖ 'D' ‖ LP8 ID ‖ LP16 credential ‖ certificate hash 32 ‖ generation u32 ‖
//	LP16 next credential or empty ‖ its certificate hash 32 ‖ its generation u32 ‖ platform binding 16 ‖ LP8 claim key ‖ status u8 ‖ LP8 application ‖ binding 16 ‖ listed u8 ‖ life cycle u64 ‖ revision u64 ‖ last request 16 ‖ last order u64 ‖
//	n u16 ‖ n x (number u64 ‖ LP8 to ‖ op u8 ‖ life cycle u64 ‖ binding 16 ‖ LP8 peer ‖ evidence kind u8 ‖ evidence hash 32 ‖ again u8 ‖
//	sent u8)
func (d Device) Marshal() ([]byte, error) {
	if len(d.Orders) > maxOrders {
		return nil, fmt.Errorf("marshal record of %s: %d orders, at most %d fit", d.ID, len(d.Orders), maxOrders)
	}
	var b cryptobyte.Builder
	b.AddBytes([]byte{recordVersion, 'D'})
	addID(&b, d.ID.ID)
	addSuccessor(&b, d.inUse(), false)
	addSuccessor(&b, d.Next, true)
	b.AddBytes(d.PlatformBinding[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(d.ClaimKey) })
	b.AddUint8(uint8(d.Status))
	addID(&b, d.App.ID)
	b.AddBytes(d.Binding[:])
	addBool(&b, d.Listed)
	b.AddUint64(d.Lifecycle)
	b.AddUint64(d.Revision)
	b.AddBytes(d.LastRequest[:])
	b.AddUint64(d.LastOrder)
	b.AddUint16(uint16(len(d.Orders)))
	for _, o := range d.Orders {
		b.AddUint64(o.Number)
		addID(&b, o.To)
		b.AddUint8(uint8(o.Op))
		b.AddUint64(o.Lifecycle)
		b.AddBytes(o.Binding[:])
		addID(&b, o.Peer)
		b.AddUint8(uint8(o.Evidence.Kind))
		b.AddBytes(o.Evidence.Hash[:])
		addBool(&b, o.Again)
		addBool(&b, o.Sent)
	}
	return b.Bytes()
}

// ParseDevice is the inverse of [Device.Marshal]. The error is [ErrRecord].
func ParseDevice(raw []byte) (Device, error) {
	r := reader{s: raw, bad: len(raw) > maxRecord}
	r.header('D')
	var d Device
	var ok bool
	d.ID, ok = r.id(false).Device()
	r.need(ok)
	n := r.successor(false)
	d.Credential, d.CertificateHash, d.Generation = n.Credential, n.CertificateHash, n.Generation
	d.Next = r.successor(true)
	r.array(d.PlatformBinding[:])
	if d.ClaimKey = r.lp8(); d.ClaimKey != nil {
		r.need(len(d.ClaimKey) == claimKeySize)
	}
	d.Status = Status(r.u8())
	r.need(d.Status >= Registered && d.Status <= Retired)
	if app := r.id(true); !app.IsZero() {
		d.App, ok = app.App()
		r.need(ok)
	}
	r.array(d.Binding[:])
	r.need(d.App.IsZero() == d.Binding.IsZero())
	r.need(d.Status == Retired || (d.Status == Connected) != d.App.IsZero())
	d.Listed = r.flag()
	d.Lifecycle, d.Revision = r.u64(), r.u64()
	r.array(d.LastRequest[:])
	d.LastOrder = r.u64()
	orders := int(r.u16())
	r.need(orders <= maxOrders)
	for i := 0; i < orders && !r.bad; i++ {
		o := Order{Number: r.u64(), To: r.id(false), Op: OrderOp(r.u8()), Lifecycle: r.u64()}
		r.array(o.Binding[:])
		o.Peer = r.id(true)
		o.Evidence.Kind = EvidenceKind(r.u8())
		r.array(o.Evidence.Hash[:])
		o.Again, o.Sent = r.flag(), r.flag()
		r.need((!o.Again || o.Op == Install) && o.Op >= Install && o.Op <= Wipe && o.Evidence.Kind <= EvidenceCRL)
		d.Orders = append(d.Orders, o)
	}
	if !r.done() {
		return Device{}, fmt.Errorf("%w: device", ErrRecord)
	}
	return d, nil
}

// Marshal returns the storage form of the record:
//
//	version u8 = 1 ‖ 'A' ‖ LP8 ID ‖ LP16 credential ‖ certificate hash 32 ‖ generation u32 ‖
//	LP16 next credential or empty ‖ its certificate hash 32 ‖ its generation u32 ‖ platform binding 16 ‖ revoked u8 ‖ revision u64 ‖ last order u64
func (a Application) Marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddBytes([]byte{recordVersion, 'A'})
	addID(&b, a.ID.ID)
	addSuccessor(&b, a.inUse(), false)
	addSuccessor(&b, a.Next, true)
	b.AddBytes(a.PlatformBinding[:])
	addBool(&b, a.Revoked)
	b.AddUint64(a.Revision)
	b.AddUint64(a.LastOrder)
	return b.Bytes()
}

// ParseApplication is the inverse of [Application.Marshal]. The error is [ErrRecord].
func ParseApplication(raw []byte) (Application, error) {
	r := reader{s: raw, bad: len(raw) > maxRecord}
	r.header('A')
	var a Application
	var ok bool
	a.ID, ok = r.id(false).App()
	r.need(ok)
	n := r.successor(false)
	a.Credential, a.CertificateHash, a.Generation = n.Credential, n.CertificateHash, n.Generation
	a.Next = r.successor(true)
	r.array(a.PlatformBinding[:])
	a.Revoked = r.flag()
	a.Revision, a.LastOrder = r.u64(), r.u64()
	if !r.done() {
		return Application{}, fmt.Errorf("%w: application", ErrRecord)
	}
	return a, nil
}

func addID(b *cryptobyte.Builder, id identity.ID) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(id.String())) })
}

// addSuccessor adds a credential with what is known of it; an optional one may be none.
func addSuccessor(b *cryptobyte.Builder, n Successor, optional bool) {
	var cred []byte
	if !optional || !n.IsZero() {
		var err error
		if cred, err = n.Credential.Marshal(); err != nil {
			b.SetError(err)
			return
		}
	}
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(cred) })
	b.AddBytes(n.CertificateHash[:])
	b.AddUint32(n.Generation)
}

func addBool(b *cryptobyte.Builder, v bool) {
	if v {
		b.AddUint8(1)
		return
	}
	b.AddUint8(0)
}

// reader remembers the first failure.
type reader struct {
	s   cryptobyte.String
	bad bool
}

func (r *reader) need(ok bool) { r.bad = r.bad || !ok }

func (r *reader) done() bool { return !r.bad && r.s.Empty() }

func (r *reader) header(kind uint8) {
	r.need(r.u8() == recordVersion)
	r.need(r.u8() == kind)
}

func (r *reader) u8() (v uint8)   { r.need(r.s.ReadUint8(&v)); return v }
func (r *reader) u16() (v uint16) { r.need(r.s.ReadUint16(&v)); return v }
func (r *reader) u32() (v uint32) { r.need(r.s.ReadUint32(&v)); return v }
func (r *reader) u64() (v uint64) { r.need(r.s.ReadUint64(&v)); return v }

func (r *reader) array(dst []byte) { r.need(r.s.CopyBytes(dst)) }

func (r *reader) flag() bool {
	v := r.u8()
	r.need(v <= 1)
	return v == 1
}

func (r *reader) lp8() []byte {
	var v cryptobyte.String
	r.need(r.s.ReadUint8LengthPrefixed(&v))
	if len(v) == 0 {
		return nil
	}
	return append([]byte(nil), v...)
}

func (r *reader) id(optional bool) identity.ID {
	b := r.lp8()
	if b == nil && optional {
		return identity.ID{}
	}
	id, err := identity.ParseID(string(b))
	r.need(err == nil)
	return id
}

// successor is the inverse of addSuccessor.
func (r *reader) successor(optional bool) (n Successor) {
	var v cryptobyte.String
	r.need(r.s.ReadUint16LengthPrefixed(&v))
	none := optional && len(v) == 0
	if !none {
		var err error
		n.Credential, err = identity.ParseCredential(v)
		r.need(err == nil)
	}
	r.array(n.CertificateHash[:])
	n.Generation = r.u32()
	if optional {
		r.need(none == n.IsZero() && (!none || n.Generation == 0))
	}
	return n
}
