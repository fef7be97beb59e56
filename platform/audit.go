package platform

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// ErrAudit reports an audit log that is not the one that the platform wrote.
var ErrAudit = errors.New("platform: audit log is damaged or was changed")

// AuditEntry is one line of the audit log. Its storage form, behind which the hash of the chain is computed (integers big-endian):
//
//	version u8 = 1 ‖ seq u64 ‖ time u64 (Unix ms) ‖ hash of the entry before 32 ‖ kind u8 ‖ LP8 device ‖ LP8 application ‖
//	LP8 actor ‖ life cycle u64 ‖ revision u64 ‖ binding 16 ‖ order u64 ‖ code u8 ‖ suppressed u32 ‖ evidence kind u8 ‖ evidence hash 32
//
//	hash = SHA-256("semio/1 audit" ‖ 0x00 ‖ entry);  the first entry has a predecessor of zeros
type AuditEntry struct {
	Seq  uint64 // from 1, without gaps
	Time time.Time
	Prev [32]byte
	registry.Entry
	Code       uint8  // refused requests: control.Code
	Suppressed uint32 // refused requests: how many of this peer were left out before, see docs/lifecycle.md
}

// AuditHead names the newest entry. Whoever keeps one elsewhere notices later that the log before it was rewritten.
type AuditHead struct {
	Seq  uint64
	Hash [32]byte
}

const (
	auditLabel   = "semio/1 audit\x00"
	auditVersion = 1
)

func (e AuditEntry) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(auditVersion)
	b.AddUint64(e.Seq)
	b.AddUint64(uint64(e.Time.UnixMilli()))
	b.AddBytes(e.Prev[:])
	b.AddUint8(uint8(e.Kind))
	for _, id := range []identity.ID{e.Device.ID, e.App.ID, e.Actor} {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(id.String())) })
	}
	b.AddUint64(e.Lifecycle)
	b.AddUint64(e.Revision)
	b.AddBytes(e.Binding[:])
	b.AddUint64(e.Order)
	b.AddUint8(e.Code)
	b.AddUint32(e.Suppressed)
	b.AddUint8(uint8(e.Evidence.Kind))
	b.AddBytes(e.Evidence.Hash[:])
	return b.Bytes()
}

func parseAuditEntry(raw []byte) (AuditEntry, error) {
	s := cryptobyte.String(raw)
	var e AuditEntry
	var version, kind, evidence uint8
	var ms uint64
	var names [3]cryptobyte.String
	ok := s.ReadUint8(&version) && version == auditVersion && s.ReadUint64(&e.Seq) && s.ReadUint64(&ms) && ms < 1<<50 &&
		s.CopyBytes(e.Prev[:]) && s.ReadUint8(&kind) &&
		s.ReadUint8LengthPrefixed(&names[0]) && s.ReadUint8LengthPrefixed(&names[1]) && s.ReadUint8LengthPrefixed(&names[2]) &&
		s.ReadUint64(&e.Lifecycle) && s.ReadUint64(&e.Revision) && s.CopyBytes(e.Binding[:]) && s.ReadUint64(&e.Order) &&
		s.ReadUint8(&e.Code) && s.ReadUint32(&e.Suppressed) && s.ReadUint8(&evidence) && s.CopyBytes(e.Evidence.Hash[:]) && s.Empty()
	if !ok ||
		e.Device.UnmarshalText(names[0]) != nil || e.App.UnmarshalText(names[1]) != nil || e.Actor.UnmarshalText(names[2]) != nil {
		return AuditEntry{}, fmt.Errorf("%w: an entry cannot be read", ErrAudit)
	}
	e.Time = time.UnixMilli(int64(ms)).UTC()
	e.Kind, e.Evidence.Kind = registry.Kind(kind), registry.EvidenceKind(evidence)
	return e, nil
}

func auditHash(raw []byte) [32]byte {
	return sha256.Sum256(append([]byte(auditLabel), raw...))
}

// marshal: seq u64 ‖ hash 32.
func (h AuditHead) marshal() []byte {
	return append(binary.BigEndian.AppendUint64(nil, h.Seq), h.Hash[:]...)
}

func loadHead(tx Tx) (AuditHead, error) {
	raw, err := tx.Get(keyAuditHead)
	switch {
	case errors.Is(err, ErrNotFound):
		return AuditHead{}, nil
	case err != nil:
		return AuditHead{}, err
	case len(raw) != 8+32:
		return AuditHead{}, fmt.Errorf("%w: its head cannot be read", ErrAudit)
	}
	return AuditHead{Seq: binary.BigEndian.Uint64(raw), Hash: [32]byte(raw[8:])}, nil
}

// audit appends e to the log.
func (t *txn) audit(e AuditEntry) error {
	e.Seq, e.Time, e.Prev = t.head.Seq+1, t.now, t.head.Hash
	raw, err := e.marshal()
	if err != nil {
		return fmt.Errorf("write audit entry: %w", err)
	}
	t.head = AuditHead{Seq: e.Seq, Hash: auditHash(raw)}
	return t.tx.Put(numbered(prefixAudit, e.Seq), raw)
}

// Audit yields the audit log, oldest entry first, from one consistent state. It ends with an error if the store fails.
func (s *Service) Audit(ctx context.Context) iter.Seq2[AuditEntry, error] {
	return func(yield func(AuditEntry, error) bool) {
		err := s.cfg.Store.View(ctx, func(tx Tx) error {
			for _, raw := range tx.List(prefixAudit) {
				e, err := parseAuditEntry(raw)
				if err != nil {
					return err
				}
				if !yield(e, nil) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && err != errStop {
			yield(AuditEntry{}, err)
		}
	}
}

var errStop = errors.New("stop")

// AuditHead returns the newest entry's name. Keep it somewhere else from time to time, and give it to [Service.VerifyAuditSince].
func (s *Service) AuditHead() AuditHead {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.head
}

// Evidence returns the signed bytes that an audit entry refers to, [ErrNotFound] where there are none.
func (s *Service) Evidence(ctx context.Context, e registry.Evidence) (b []byte, err error) {
	err = s.cfg.Store.View(ctx, func(tx Tx) error {
		b, err = tx.Get(evidenceKey(e.Hash))
		return err
	})
	return b, err
}

// VerifyAudit checks the whole log: no entry is missing, each continues the one before, every piece of evidence is there, is
// unchanged, and speaks of what the entry says; an application's request carries its signature. The error is [ErrAudit].
func (s *Service) VerifyAudit(ctx context.Context) error {
	return s.VerifyAuditSince(ctx, AuditHead{})
}

// VerifyAuditSince is VerifyAudit that also checks that the log contains a head that was kept elsewhere.
func (s *Service) VerifyAuditSince(ctx context.Context, kept AuditHead) error {
	err := s.cfg.Store.View(ctx, func(tx Tx) error { return s.verifyAudit(tx, kept) })
	if err != nil {
		return fmt.Errorf("verify audit log: %w", err)
	}
	return nil
}

func (s *Service) verifyAudit(tx Tx, kept AuditHead) error {
	var at AuditHead
	inUse := map[identity.ID]identity.Credential{} // as of the entry
	found := kept.Seq == 0
	for key, raw := range tx.List(prefixAudit) {
		e, err := parseAuditEntry(raw)
		if err != nil {
			return fmt.Errorf("entry %d: %w", at.Seq+1, err)
		}
		if e.Seq != at.Seq+1 || key != numbered(prefixAudit, e.Seq) || e.Prev != at.Hash {
			return fmt.Errorf("%w: entry %d does not continue entry %d", ErrAudit, e.Seq, at.Seq)
		}
		if err := s.verifyEvidence(tx, e, inUse); err != nil {
			return fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		at = AuditHead{Seq: e.Seq, Hash: auditHash(raw)}
		found = found || at == kept
	}
	head, err := loadHead(tx)
	switch {
	case err != nil:
		return err
	case head != at:
		return fmt.Errorf("%w: it ends at entry %d, the head is entry %d", ErrAudit, at.Seq, head.Seq)
	case !found:
		return fmt.Errorf("%w: it does not contain entry %d as it was", ErrAudit, kept.Seq)
	}
	return sameCredentials(tx, inUse)
}

// sameCredentials compares the records with what the log says last of their credentials.
func sameCredentials(tx Tx, inUse map[identity.ID]identity.Credential) error {
	for id, c := range inUse {
		want := sha256.Sum256(c.Chain[0])
		have := want
		if id.Role() == identity.RoleDevice {
			raw, err := tx.Get(prefixDevice + id.String())
			if err != nil {
				return fmt.Errorf("%w: device %s: %w", ErrAudit, id, err)
			}
			d, err := registry.ParseDevice(raw)
			if err != nil {
				return fmt.Errorf("%w: device %s: %w", ErrAudit, id, err)
			}
			have = d.CertificateHash
		} else {
			raw, err := tx.Get(prefixApp + id.String())
			if err != nil {
				return fmt.Errorf("%w: application %s: %w", ErrAudit, id, err)
			}
			a, err := registry.ParseApplication(raw)
			if err != nil {
				return fmt.Errorf("%w: application %s: %w", ErrAudit, id, err)
			}
			have = a.CertificateHash
		}
		if have != want {
			return fmt.Errorf("%w: the registry has a certificate of %s that it does not know", ErrAudit, id)
		}
	}
	return nil
}

func (s *Service) verifyEvidence(tx Tx, e AuditEntry, inUse map[identity.ID]identity.Credential) error {
	if e.Evidence.Kind == 0 {
		if e.Evidence.Hash != [32]byte{} {
			return fmt.Errorf("%w: evidence of no kind", ErrAudit)
		}
		return nil
	}
	b, err := tx.Get(evidenceKey(e.Evidence.Hash))
	if err != nil {
		return fmt.Errorf("%w: its evidence: %w", ErrAudit, err)
	}
	if sha256.Sum256(b) != e.Evidence.Hash {
		return fmt.Errorf("%w: its evidence was changed", ErrAudit)
	}
	switch e.Evidence.Kind {
	case registry.EvidenceRequest:
		return s.verifyRequest(b, e, inUse)
	case registry.EvidenceCredential:
		return s.verifyCredential(b, e, inUse)
	}
	return nil
}

// verifyCredential notes whose credential is the one in use from now on.
func (s *Service) verifyCredential(b []byte, e AuditEntry, inUse map[identity.ID]identity.Credential) error {
	id := e.App.ID
	if !e.Device.IsZero() {
		id = e.Device.ID
	}
	c, err := identity.ParseCredential(b)
	if err != nil {
		return fmt.Errorf("%w: its evidence: %w", ErrAudit, err)
	}
	v, err := s.verifierAt(e.Time)
	if err != nil {
		return err
	}
	// It may have been offered in time and used years later.
	peer, err := v.VerifyLapsed(c, id.Role())
	if err != nil {
		return fmt.Errorf("%w: credential of %s: %w", ErrAudit, id, err)
	}
	if peer.ID() != id {
		return fmt.Errorf("%w: its evidence is a credential of %s", ErrAudit, peer.ID())
	}
	inUse[id] = c
	return nil
}

// verifyRequest wants the signature of the application under the credential of that time.
func (s *Service) verifyRequest(b []byte, e AuditEntry, inUse map[identity.ID]identity.Credential) error {
	c, ok := inUse[e.App.ID]
	if !ok {
		return fmt.Errorf("%w: application %s was not admitted", ErrAudit, e.App)
	}
	ev, err := control.ParseEvidence(b)
	if err != nil || ev.Request == nil {
		return fmt.Errorf("%w: its evidence is no request", ErrAudit)
	}
	r := ev.Request.Request
	if r.App != e.App || r.Device != e.Device {
		return fmt.Errorf("%w: its evidence is a request of %s about %s", ErrAudit, r.App, r.Device)
	}
	if want, ok := opOf[e.Kind]; ok && r.Op != want {
		return fmt.Errorf("%w: its evidence is a request to %s", ErrAudit, r.Op)
	}
	if e.Kind == registry.KindDisconnected && r.Binding != e.Binding {
		return fmt.Errorf("%w: its evidence ends another binding", ErrAudit)
	}
	v, err := s.verifierAt(e.Time)
	if err != nil {
		return err
	}
	app, err := v.Verify(c, identity.RoleApplication)
	if err != nil {
		return fmt.Errorf("%w: certificate of %s: %w", ErrAudit, e.App, err)
	}
	if err := ev.Request.Verify(app); err != nil {
		return fmt.Errorf("%w: %w", ErrAudit, err)
	}
	return nil
}

var opOf = map[registry.Kind]control.Op{
	registry.KindConnected:    control.OpConnect,
	registry.KindDisconnected: control.OpDisconnect,
}

// verifierAt verifies as of a time in the past, whatever was revoked since.
func (s *Service) verifierAt(at time.Time) (*identity.Verifier, error) {
	return identity.NewVerifier(identity.VerifierConfig{Roots: s.cfg.Roots, Now: func() time.Time { return at }})
}
