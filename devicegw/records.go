package devicegw

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/delivery"
)

// The records in NVM, big-endian, each locked under the root, but for the credential, which is public. LP8, LP16 and LP24 are a byte string behind its length.
//
//	identity    version 1 ‖ LP8 device ID ‖ LP24 credential ‖ roots ‖ LP24 admission ‖ profile u8 ‖ PSK required u8
//	production  version 1 ‖ LP8 device ID ‖ LP24 credential or empty ‖ roots
//	  roots     count u8 ‖ LP24 certificate each
//	state       version 1 ‖ last order u64 ‖ life-cycle number u64 ‖ retired u8 ‖ time floor u64 (Unix ms) ‖
//	            connected u8, then binding 16 ‖ LP24 credential of the application ‖
//	            tombstones: count u8, then binding 16 ‖ epoch u64 each ‖
//	            outcomes: count u8, then order u64 ‖ life-cycle number u64 ‖ op u8 ‖ result u8 each
//	revoked-*   version 1 ‖ LP24 revocation list (identity.CRLBundle)
//
// Those of a binding are the binding's ID, 16, followed by the locked record:
//
//	epoch-*     version 1 ‖ reserved u64 ‖ accepted u64
//	marks       version 1 ‖ next u64 ‖ removed u64 ‖ count u8, then mark u64 each
//	outbox-*    version 1 ‖ number u64 ‖ LP24 frame
const recordVersion = 1

const (
	maxRoots      = 8
	maxTombstones = 16
	maxOutcomes   = 32
)

var errRecord = errors.New("not a record of this version")

// identityRecord is what initial commissioning leaves behind, in one piece.
type identityRecord struct {
	Device     identity.DeviceID
	Credential identity.Credential
	Roots      [][]byte // DER
	Admission  []byte   // signed; verified again at each start
	Profile    e2e.Profile
	RequirePSK bool
}

func (r identityRecord) marshal() ([]byte, error) {
	cred, err := r.Credential.Marshal()
	if err != nil {
		return nil, err
	}
	b := newRecord()
	addLP8(b, []byte(r.Device.String()))
	addLP24(b, cred)
	addList(b, r.Roots)
	addLP24(b, r.Admission)
	b.AddUint8(uint8(r.Profile))
	addFlag(b, r.RequirePSK)
	return b.Bytes()
}

func parseIdentityRecord(data []byte) (identityRecord, error) {
	p := newParser(data)
	r := identityRecord{Device: p.device(), Credential: p.credential(), Roots: p.list(maxRoots), Admission: p.lp24()}
	r.Profile = e2e.Profile(p.u8())
	r.RequirePSK = p.flag()
	if err := p.done(); err != nil {
		return identityRecord{}, err
	}
	return r, nil
}

// productionRecord is what lies between Produce and Complete.
type productionRecord struct {
	Device     identity.DeviceID
	Credential identity.Credential // zero until Endorse
	Roots      [][]byte
}

func (r productionRecord) marshal() ([]byte, error) {
	var cred []byte
	if len(r.Credential.Chain) > 0 {
		var err error
		if cred, err = r.Credential.Marshal(); err != nil {
			return nil, err
		}
	}
	b := newRecord()
	addLP8(b, []byte(r.Device.String()))
	addLP24(b, cred)
	addList(b, r.Roots)
	return b.Bytes()
}

func parseProductionRecord(data []byte) (productionRecord, error) {
	p := newParser(data)
	r := productionRecord{Device: p.device(), Credential: p.optionalCredential(), Roots: p.list(maxRoots)}
	if err := p.done(); err != nil {
		return productionRecord{}, err
	}
	return r, nil
}

// stateRecord is everything that an order changes, so that an order is one Put.
type stateRecord struct {
	LastOrder  uint64
	Lifecycle  uint64
	Retired    bool
	Floor      time.Time // latest time that was authenticated; millisecond precision; zero: none
	Peer       *appRecord
	Tombstones []tombstone // oldest first
	Outcomes   []outcome   // oldest first
}

type appRecord struct {
	Binding    e2e.BindingID
	Credential identity.Credential

	app        identity.AppID // the name in the certificate; not stored
	generation uint32         // of the endorsement; not stored
}

// tombstone remembers a binding that has ended.
type tombstone struct {
	Binding e2e.BindingID
	Epoch   uint64 // highest accepted from the application
}

// outcome remembers how an order was judged, so that the same order gets the same answer after a power cut.
type outcome struct {
	Order, Lifecycle uint64
	Op               control.OrderOp
	Result           control.AckResult
}

func (s stateRecord) clone() stateRecord {
	s.Tombstones = slices.Clone(s.Tombstones)
	s.Outcomes = slices.Clone(s.Outcomes)
	return s
}

func (s *stateRecord) bury(b e2e.BindingID, epoch uint64) {
	s.Tombstones = append(s.Tombstones, tombstone{b, epoch})
	s.Tombstones = s.Tombstones[max(0, len(s.Tombstones)-maxTombstones):]
}

func (s *stateRecord) note(o outcome) {
	s.Outcomes = append(s.Outcomes, o)
	s.Outcomes = s.Outcomes[max(0, len(s.Outcomes)-maxOutcomes):]
}

func (s stateRecord) buried(b e2e.BindingID) bool {
	return slices.ContainsFunc(s.Tombstones, func(t tombstone) bool { return t.Binding == b })
}

func (s stateRecord) marshal() ([]byte, error) {
	b := newRecord()
	b.AddUint64(s.LastOrder)
	b.AddUint64(s.Lifecycle)
	addFlag(b, s.Retired)
	var floor uint64
	if !s.Floor.IsZero() {
		floor = uint64(s.Floor.UnixMilli())
	}
	b.AddUint64(floor)
	addFlag(b, s.Peer != nil)
	if s.Peer != nil {
		cred, err := s.Peer.Credential.Marshal()
		if err != nil {
			return nil, err
		}
		b.AddBytes(s.Peer.Binding[:])
		addLP24(b, cred)
	}
	b.AddUint8(uint8(len(s.Tombstones)))
	for _, t := range s.Tombstones {
		b.AddBytes(t.Binding[:])
		b.AddUint64(t.Epoch)
	}
	b.AddUint8(uint8(len(s.Outcomes)))
	for _, o := range s.Outcomes {
		b.AddUint64(o.Order)
		b.AddUint64(o.Lifecycle)
		b.AddUint8(uint8(o.Op))
		b.AddUint8(uint8(o.Result))
	}
	return b.Bytes()
}

func parseStateRecord(data []byte) (stateRecord, error) {
	p := newParser(data)
	s := stateRecord{LastOrder: p.u64(), Lifecycle: p.u64(), Retired: p.flag()}
	floor := p.u64()
	p.bad = p.bad || floor > 1<<50
	if floor > 0 {
		s.Floor = time.UnixMilli(int64(floor)).UTC()
	}
	if p.flag() {
		s.Peer = &appRecord{Binding: p.binding()}
		s.Peer.Credential = p.credential()
		s.Peer.app = p.appOf(s.Peer.Credential)
	}
	for range p.count(maxTombstones) {
		s.Tombstones = append(s.Tombstones, tombstone{p.binding(), p.u64()})
	}
	for range p.count(maxOutcomes) {
		s.Outcomes = append(s.Outcomes, outcome{p.u64(), p.u64(), control.OrderOp(p.u8()), control.AckResult(p.u8())})
	}
	if err := p.done(); err != nil {
		return stateRecord{}, err
	}
	return s, nil
}

type epochRecord struct {
	Reserved uint64 // the highest that may have been used
	Accepted uint64 // the highest seen of the other side
}

func (r epochRecord) marshal() ([]byte, error) {
	b := newRecord()
	b.AddUint64(r.Reserved)
	b.AddUint64(r.Accepted)
	return b.Bytes()
}

func parseEpochRecord(data []byte) (epochRecord, error) {
	p := newParser(data)
	r := epochRecord{p.u64(), p.u64()}
	return r, p.done()
}

// marksRecord is what the delivery channel keeps beside its frames. Its Put is what makes a removal happen; the frames are
// deleted after it.
type marksRecord struct {
	Next    uint64 // 0, or more than each number used when it was written
	Removed uint64 // frames up to this are gone, whatever lies in a slot
	Marks   [delivery.MarkCount]uint64
}

func (r marksRecord) marshal() ([]byte, error) {
	b := newRecord()
	b.AddUint64(r.Next)
	b.AddUint64(r.Removed)
	b.AddUint8(uint8(len(r.Marks)))
	for _, v := range r.Marks {
		b.AddUint64(v)
	}
	return b.Bytes()
}

func parseMarksRecord(data []byte) (r marksRecord, err error) {
	p := newParser(data)
	r.Next, r.Removed = p.u64(), p.u64()
	p.bad = int(p.u8()) != len(r.Marks) || p.bad
	for i := range r.Marks {
		r.Marks[i] = p.u64()
	}
	return r, p.done()
}

type frameRecord struct {
	Seq   uint64
	Frame []byte
}

func (r frameRecord) marshal() ([]byte, error) {
	b := newRecord()
	b.AddUint64(r.Seq)
	addLP24(b, r.Frame)
	return b.Bytes()
}

func parseFrameRecord(data []byte) (frameRecord, error) {
	p := newParser(data)
	r := frameRecord{p.u64(), p.lp24()}
	return r, p.done()
}

// listRecord is something that others have signed: a revocation list, a prekey bundle.
type listRecord []byte

func (l listRecord) marshal() ([]byte, error) {
	b := newRecord()
	addLP24(b, l)
	return b.Bytes()
}

func parseListRecord(data []byte) (listRecord, error) {
	p := newParser(data)
	l := listRecord(p.lp24())
	return l, p.done()
}

func parseRoots(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) == 0 {
		return nil, errors.New("devicegw: no root certificate")
	}
	roots := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		var err error
		if roots[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("parse pinned root certificate %d: %w", i, err)
		}
	}
	return roots, nil
}

func newRecord() *cryptobyte.Builder {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(recordVersion)
	return b
}

func addLP8(b *cryptobyte.Builder, v []byte) {
	b.AddUint8LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(v) })
}

func addLP24(b *cryptobyte.Builder, v []byte) {
	b.AddUint24LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(v) })
}

func addList(b *cryptobyte.Builder, items [][]byte) {
	if len(items) > 255 {
		b.SetError(fmt.Errorf("devicegw: list of %d items", len(items)))
		return
	}
	b.AddUint8(uint8(len(items)))
	for _, v := range items {
		addLP24(b, v)
	}
}

func addFlag(b *cryptobyte.Builder, v bool) {
	if v {
		b.AddUint8(1)
		return
	}
	b.AddUint8(0)
}

// parser remembers the first failure, so that a record is checked once, in done.
type parser struct {
	s   cryptobyte.String
	bad bool
}

func newParser(data []byte) *parser {
	p := &parser{s: data, bad: len(data) > MaxValue}
	p.bad = p.u8() != recordVersion || p.bad
	return p
}

func (p *parser) done() error {
	if p.bad || !p.s.Empty() {
		return errRecord
	}
	return nil
}

func (p *parser) u8() (v uint8) {
	p.bad = !p.s.ReadUint8(&v) || p.bad
	return v
}

func (p *parser) u64() (v uint64) {
	p.bad = !p.s.ReadUint64(&v) || p.bad
	return v
}

func (p *parser) flag() bool {
	v := p.u8()
	p.bad = v > 1 || p.bad
	return v == 1 && !p.bad
}

func (p *parser) count(limit int) int {
	n := int(p.u8())
	p.bad = n > limit || p.bad
	if p.bad {
		return 0
	}
	return n
}

func (p *parser) binding() (b e2e.BindingID) {
	p.bad = !p.s.CopyBytes(b[:]) || p.bad
	return b
}

func (p *parser) lp24() []byte {
	var v cryptobyte.String
	p.bad = !p.s.ReadUint24LengthPrefixed(&v) || p.bad
	return slices.Clone([]byte(v))
}

func (p *parser) list(limit int) [][]byte {
	var out [][]byte
	for range p.count(limit) {
		v := p.lp24()
		p.bad = p.bad || len(v) == 0
		out = append(out, v)
	}
	return out
}

func (p *parser) device() identity.DeviceID {
	var v cryptobyte.String
	p.bad = !p.s.ReadUint8LengthPrefixed(&v) || p.bad
	d, err := identity.ParseDeviceID(string(v))
	p.bad = err != nil || p.bad
	return d
}

func (p *parser) credential() identity.Credential {
	c, err := identity.ParseCredential(p.lp24())
	p.bad = err != nil || p.bad
	return c
}

// appOf reads the name that a stored certificate has, which was verified before it was stored.
func (p *parser) appOf(c identity.Credential) (app identity.AppID) {
	if p.bad {
		return app
	}
	cert, err := x509.ParseCertificate(c.Chain[0])
	if err == nil {
		app, err = identity.ParseAppID(cert.Subject.CommonName)
	}
	p.bad = err != nil
	return app
}

func (p *parser) optionalCredential() identity.Credential {
	b := p.lp24()
	if len(b) == 0 {
		return identity.Credential{}
	}
	c, err := identity.ParseCredential(b)
	p.bad = err != nil || p.bad
	return c
}
