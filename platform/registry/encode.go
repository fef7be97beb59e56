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
//	version u8 = 1 ‖ 'D' ‖ LP8 ID ‖ LP16 credential ‖ certificate hash 32 ‖ platform binding 16 ‖ LP8 claim key ‖ status u8 ‖
//	LP8 application ‖ binding 16 ‖ listed u8 ‖ life cycle u64 ‖ revision u64 ‖ last request 16 ‖ last order u64 ‖
//	n u16 ‖ n x (number u64 ‖ LP8 to ‖ op u8 ‖ life cycle u64 ‖ binding 16 ‖ LP8 peer ‖ evidence kind u8 ‖ evidence hash 32 ‖ sent u8)
func (d Device) Marshal() ([]byte, error) {
	if len(d.Orders) > maxOrders {
		return nil, fmt.Errorf("marshal record of %s: %d orders, at most %d fit", d.ID, len(d.Orders), maxOrders)
	}
	cred, err := d.Credential.Marshal()
	if err != nil {
		return nil, fmt.Errorf("marshal record of %s: %w", d.ID, err)
	}
	var b cryptobyte.Builder
	b.AddBytes([]byte{recordVersion, 'D'})
	addID(&b, d.ID.ID)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(cred) })
	b.AddBytes(d.CertificateHash[:])
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
	d.Credential = r.credential()
	r.array(d.CertificateHash[:])
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
	n := int(r.u16())
	r.need(n <= maxOrders)
	for i := 0; i < n && !r.bad; i++ {
		o := Order{Number: r.u64(), To: r.id(false), Op: OrderOp(r.u8()), Lifecycle: r.u64()}
		r.array(o.Binding[:])
		o.Peer = r.id(true)
		o.Evidence.Kind = EvidenceKind(r.u8())
		r.array(o.Evidence.Hash[:])
		o.Sent = r.flag()
		r.need(o.Op >= Install && o.Op <= Wipe && o.Evidence.Kind <= EvidenceCRL)
		d.Orders = append(d.Orders, o)
	}
	if !r.done() {
		return Device{}, fmt.Errorf("%w: device", ErrRecord)
	}
	return d, nil
}

// Marshal returns the storage form of the record:
//
//	version u8 = 1 ‖ 'A' ‖ LP8 ID ‖ LP16 credential ‖ certificate hash 32 ‖ platform binding 16 ‖ revoked u8 ‖ revision u64 ‖
//	last order u64
func (a Application) Marshal() ([]byte, error) {
	cred, err := a.Credential.Marshal()
	if err != nil {
		return nil, fmt.Errorf("marshal record of %s: %w", a.ID, err)
	}
	var b cryptobyte.Builder
	b.AddBytes([]byte{recordVersion, 'A'})
	addID(&b, a.ID.ID)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(cred) })
	b.AddBytes(a.CertificateHash[:])
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
	a.Credential = r.credential()
	r.array(a.CertificateHash[:])
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

func (r *reader) credential() identity.Credential {
	var v cryptobyte.String
	r.need(r.s.ReadUint16LengthPrefixed(&v))
	c, err := identity.ParseCredential(v)
	r.need(err == nil)
	return c
}
