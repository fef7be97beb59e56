package platform

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform/registry"
)

// txn is one change under way: what the store's transaction holds, and the state that becomes current when it commits.
type txn struct {
	s       *Service
	tx      Tx
	now     time.Time
	state   registry.State
	head    AuditHead
	effects registry.Effects
	crl     bool              // a new revocation list is in force
	over    map[[32]byte]bool // chains of CAs that are found to be revoked now
	after   []func()          // reports, when everything is durable
}

// update runs f in a transaction and, when that is durable, makes its state the current one and starts its effects. f has no
// effects but through t: a store may run it again.
func (s *Service) update(ctx context.Context, f func(t *txn) error) error {
	reports, err := s.commit(ctx, f)
	for _, r := range reports {
		r()
	}
	return err
}

func (s *Service) commit(ctx context.Context, f func(t *txn) error) (reports []func(), err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.makeSure(ctx); err != nil {
		return nil, err
	}
	before := s.state()
	var last *txn
	err = s.cfg.Store.Update(ctx, func(tx Tx) error {
		last = nil // the store may run it again
		head, err := loadHead(tx)
		if err != nil {
			return err
		}
		if head != s.head {
			return ErrShared
		}
		t := &txn{s: s, tx: tx, now: s.cfg.Now(), state: before, head: head}
		if err := f(t); err != nil {
			return err
		}
		if err := t.flush(); err != nil {
			return err
		}
		last = t
		return nil
	})
	if err != nil {
		if last != nil {
			// The change was complete, and the commit failed: perhaps only its answer was lost.
			s.unsure = &last.head
			if err := s.makeSure(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("the store did not say whether a change was made, and cannot be asked now", "err", err)
			}
		}
		return nil, err
	}
	s.head = last.head
	for _, id := range last.effects.Devices {
		old, _ := before.Device(id)
		if d, _ := last.state.Device(id); d.CertificateHash != old.CertificateHash {
			s.index(d.ID.ID, d.Credential)
		}
	}
	for _, id := range last.effects.Applications {
		old, _ := before.Application(id)
		if a, _ := last.state.Application(id); a.CertificateHash != old.CertificateHash {
			s.index(a.ID.ID, a.Credential)
		}
	}
	s.snapshot.Store(&last.state)
	// In this order: whoever is cut off must find the new state when he comes back.
	s.enforce.changed(before, last.state, last.head.Seq, last.effects)
	s.nudges.soon(last.effects.Nudge...)
	s.noteOver(last.over)
	if last.crl {
		s.nudges.eventually(last.state)
	}
	for _, e := range last.effects.Audit {
		switch {
		case e.Kind == registry.KindRetired:
			s.kickRevocation()
		case e.Kind == registry.KindRenewed && e.Device.IsZero():
			s.nudges.devicesOf(e.App, last.state)
		}
	}
	return last.after, nil
}

// makeSure reads the store again after a commit of unknown outcome: what was made must be the current state, and have its effects, before
// anything is decided on it. It wants writing.
func (s *Service) makeSure(ctx context.Context) error {
	if s.unsure == nil {
		return nil
	}
	before := s.state()
	err := s.load(ctx, func(head AuditHead) error {
		if head != s.head && head != *s.unsure {
			return ErrShared
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.unsure = nil
	after := s.state()
	var eff registry.Effects
	for d := range after.Devices() {
		// The end of its last order takes a retired device's permissions.
		if old, _ := before.Device(d.ID); old.Lifecycle != d.Lifecycle || len(old.Orders) != len(d.Orders) {
			eff.Devices = append(eff.Devices, d.ID)
			if d.Status == registry.Retired && old.Status != registry.Retired {
				eff.Evict = append(eff.Evict, d.ID.ID)
			}
		}
	}
	for a := range after.Applications() {
		if old, _ := before.Application(a.ID); old.Revision != a.Revision {
			eff.Applications = append(eff.Applications, a.ID)
			if a.Revoked {
				eff.Evict = append(eff.Evict, a.ID.ID)
			}
		}
	}
	evict, over := s.cutOff(after)
	eff.Evict = append(eff.Evict, evict...)
	s.enforce.changed(before, after, s.head.Seq, eff)
	s.noteOver(over)
	s.nudges.catchUp(after)
	s.kickRevocation()
	return nil
}

// apply carries out a registry event. After an error the transaction can go on: nothing of the event was done.
func (t *txn) apply(e registry.Event) (registry.Effects, error) {
	next, eff, err := registry.Apply(t.state, e)
	if err != nil {
		return registry.Effects{}, err
	}
	t.state = next
	for _, q := range eff.Queued {
		v, err := queued{device: q.Device}.marshal()
		if err != nil {
			return eff, err
		}
		if err := t.tx.Put(orderKey(q.Order.To, q.Order.Number), v); err != nil {
			return eff, err
		}
	}
	for _, q := range eff.Dropped {
		if err := t.tx.Delete(orderKey(q.Order.To, q.Order.Number)); err != nil {
			return eff, err
		}
	}
	for _, entry := range eff.Audit {
		if err := t.audit(AuditEntry{Entry: entry}); err != nil {
			return eff, err
		}
	}
	t.effects.Devices = append(t.effects.Devices, eff.Devices...)
	t.effects.Applications = append(t.effects.Applications, eff.Applications...)
	t.effects.Audit = append(t.effects.Audit, eff.Audit...)
	t.effects.Evict = append(t.effects.Evict, eff.Evict...)
	t.effects.Nudge = append(t.effects.Nudge, eff.Nudge...)
	return eff, nil
}

// must is apply for an event that cannot be refused here, so that a refusal is a fault of ours or of the store.
func (t *txn) must(e registry.Event) error {
	if _, err := t.apply(e); err != nil {
		return fmt.Errorf("platform: state and store disagree: %w", err)
	}
	return nil
}

// flush writes the records that changed, each once, and the head of the audit log.
func (t *txn) flush() error {
	for _, id := range unique(t.effects.Devices) {
		d, _ := t.state.Device(id)
		raw, err := d.Marshal()
		if err != nil {
			return err
		}
		if err := t.tx.Put(prefixDevice+id.String(), raw); err != nil {
			return err
		}
	}
	for _, id := range unique(t.effects.Applications) {
		a, _ := t.state.Application(id)
		raw, err := a.Marshal()
		if err != nil {
			return err
		}
		if err := t.tx.Put(prefixApp+id.String(), raw); err != nil {
			return err
		}
	}
	return t.tx.Put(keyAuditHead, t.head.marshal())
}

// keep stores what an entry's evidence names by its SHA-256, once.
func (t *txn) keep(b []byte) error {
	key := evidenceKey(sha256.Sum256(b))
	if _, err := t.tx.Get(key); !errors.Is(err, ErrNotFound) {
		return err
	}
	return t.tx.Put(key, b)
}

func unique[T comparable](in []T) []T {
	seen := make(map[T]bool, len(in))
	var out []T
	for _, v := range in {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// queued is an order in its receiver's queue: version u8 = 1 ‖ LP8 device ‖ LP24 signed order, empty until it is handed out.
type queued struct {
	device identity.DeviceID
	signed []byte
}

func (q queued) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(q.device.String())) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(q.signed) })
	return b.Bytes()
}

func parseQueued(raw []byte) (q queued, err error) {
	s := cryptobyte.String(raw)
	var version uint8
	var name, signed cryptobyte.String
	if !s.ReadUint8(&version) || version != 1 || !s.ReadUint8LengthPrefixed(&name) || !s.ReadUint24LengthPrefixed(&signed) || !s.Empty() {
		return queued{}, fmt.Errorf("%w: queued order", registry.ErrRecord)
	}
	if q.device, err = identity.ParseDeviceID(string(name)); err != nil {
		return queued{}, fmt.Errorf("%w: queued order: %w", registry.ErrRecord, err)
	}
	if len(signed) > 0 {
		q.signed = append([]byte(nil), signed...)
	}
	return q, nil
}
