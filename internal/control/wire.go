package control

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// Version is the first byte of every format of this package.
const Version = 1

// MaxMessage is the largest encoded message in bytes. It leaves room for a revocation list beside the orders.
const MaxMessage = 1 << 20

// ErrMalformed reports bytes that are not an encoding of this version. The sender speaks another version or is broken;
// nothing of the message was used.
var ErrMalformed = errors.New("control: malformed message")

func malformed(what string) error {
	return fmt.Errorf("%w: %s", ErrMalformed, what)
}

// reader reads fields one after the other and remembers the first failure, so that a parser is checked once, in done.
type reader struct {
	s   cryptobyte.String
	bad bool
}

// parse begins a format: its length and version.
func parse(b []byte, limit int) *reader {
	r := &reader{s: b}
	if len(b) > limit || r.u8() != Version {
		r.bad = true
	}
	return r
}

func (r *reader) done(what string) error {
	if r.bad || !r.s.Empty() {
		return malformed(what)
	}
	return nil
}

func (r *reader) u8() (v uint8) {
	r.bad = !r.s.ReadUint8(&v) || r.bad
	return v
}

func (r *reader) u32() (v uint32) {
	r.bad = !r.s.ReadUint32(&v) || r.bad
	return v
}

func (r *reader) u64() (v uint64) {
	r.bad = !r.s.ReadUint64(&v) || r.bad
	return v
}

func (r *reader) flag() bool {
	v := r.u8()
	r.bad = v > 1 || r.bad
	return v == 1
}

func (r *reader) array(dst []byte) {
	r.bad = !r.s.CopyBytes(dst) || r.bad
}

func (r *reader) lp8() []byte {
	var v cryptobyte.String
	r.bad = !r.s.ReadUint8LengthPrefixed(&v) || r.bad
	return copied(v)
}

func (r *reader) lp24() []byte {
	var v cryptobyte.String
	r.bad = !r.s.ReadUint24LengthPrefixed(&v) || r.bad
	return copied(v)
}

// copied keeps the distinction that the formats make: an empty field is nil.
func copied(v cryptobyte.String) []byte {
	if len(v) == 0 {
		return nil
	}
	return append([]byte(nil), v...)
}

// list reads at most limit byte strings behind their count.
func (r *reader) list(limit int) [][]byte {
	n := int(r.u8())
	if n > limit {
		r.bad = true
	}
	if r.bad || n == 0 {
		return nil
	}
	out := make([][]byte, n)
	for i := range out {
		out[i] = r.lp24()
		r.bad = r.bad || len(out[i]) == 0
	}
	return out
}

// numbers reads which revocation lists somebody has; each authority once, in ascending order.
func (r *reader) numbers() []identity.CRLNumber {
	n := int(r.u8())
	if n > maxLists {
		r.bad = true
	}
	if r.bad || n == 0 {
		return nil
	}
	out := make([]identity.CRLNumber, n)
	for i := range out {
		r.array(out[i].Authority[:])
		out[i].Number = r.u64()
	}
	r.bad = r.bad || !ascending(out)
	return out
}

func ascending(n []identity.CRLNumber) bool {
	for i := 1; i < len(n); i++ {
		if bytes.Compare(n[i-1].Authority[:], n[i].Authority[:]) >= 0 {
			return false
		}
	}
	return true
}

// id reads a name; empty is the zero ID only where the format allows it.
func (r *reader) id(optional bool) identity.ID {
	b := r.lp8()
	if len(b) == 0 && optional {
		return identity.ID{}
	}
	id, err := identity.ParseID(string(b))
	r.bad = err != nil || r.bad
	return id
}

func (r *reader) device() identity.DeviceID {
	d, ok := r.id(false).Device()
	r.bad = !ok || r.bad
	return d
}

func (r *reader) app() identity.AppID {
	a, ok := r.id(false).App()
	r.bad = !ok || r.bad
	return a
}

func (r *reader) platform() identity.PlatformID {
	p, ok := r.id(false).Platform()
	r.bad = !ok || r.bad
	return p
}

func (r *reader) binding() (b e2e.BindingID) {
	r.array(b[:])
	return b
}

// credential reads a certificate chain and endorsement; empty is the zero Credential where the format allows it.
func (r *reader) credential(optional bool) identity.Credential {
	b := r.lp24()
	if len(b) == 0 && optional {
		return identity.Credential{}
	}
	c, err := identity.ParseCredential(b)
	r.bad = err != nil || r.bad
	return c
}

// builder is cryptobyte's with the fields that our formats share.
type builder struct{ cryptobyte.Builder }

func build() *builder {
	b := new(builder)
	b.AddUint8(Version)
	return b
}

func (b *builder) lp8(v []byte) {
	b.AddUint8LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(v) })
}

func (b *builder) lp24(v []byte) {
	b.AddUint24LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(v) })
}

func (b *builder) list(items [][]byte) {
	if len(items) > 255 {
		b.SetError(fmt.Errorf("control: list of %d items", len(items)))
		return
	}
	b.AddUint8(uint8(len(items)))
	for _, v := range items {
		b.lp24(v)
	}
}

func (b *builder) numbers(n []identity.CRLNumber) {
	if len(n) > maxLists || !ascending(n) {
		b.SetError(fmt.Errorf("control: %d numbers of revocation lists, want at most %d in ascending order of the authorities", len(n), maxLists))
		return
	}
	b.AddUint8(uint8(len(n)))
	for _, v := range n {
		b.AddBytes(v.Authority[:])
		b.AddUint64(v.Number)
	}
}

func (b *builder) id(id identity.ID) { b.lp8([]byte(id.String())) }

func (b *builder) flag(v bool) {
	if v {
		b.AddUint8(1)
		return
	}
	b.AddUint8(0)
}

func (b *builder) credential(c identity.Credential) {
	if len(c.Chain) == 0 {
		b.lp24(nil)
		return
	}
	enc, err := c.Marshal()
	if err != nil {
		b.SetError(err)
		return
	}
	b.lp24(enc)
}

// signed is a body and the signature over it: LP24(body) ‖ LP8(signature), behind the version.
func marshalSigned(body, sig []byte) ([]byte, error) {
	b := build()
	b.lp24(body)
	b.lp8(sig)
	return b.Bytes()
}

func parseSigned(b []byte, what string) (body, sig []byte, err error) {
	r := parse(b, MaxMessage)
	body, sig = r.lp24(), r.lp8()
	if err := r.done(what); err != nil {
		return nil, nil, err
	}
	return body, sig, nil
}
