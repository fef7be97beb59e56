package platform

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform/registry"
)

// face is one of the platform's own credentials. Peers derive the keys of their binding from the one that they know, which they may have got years
// ago. The present one comes first; a peer that speaks to an earlier one gets its admission anew, and orders only when it speaks to the present one.
type face struct {
	self *identity.Verified
	key  ecdh.KeyExchanger
}

// setFaces verifies Config's credentials. The present one must be good now; an earlier one only was.
func (s *Service) setFaces() error {
	cfg := &s.cfg
	self, err := s.verifier.Verify(cfg.Credential, identity.RolePlatform)
	if err != nil {
		return fmt.Errorf("own credential: %w", err)
	}
	if cert, left := self.Certificate(), self.NotAfter().Sub(s.cfg.Now()); left <= cert.NotAfter.Sub(cert.NotBefore)/3 {
		s.log.Warn("own certificate is to be renewed", "ends", self.NotAfter())
	}
	s.self = self
	s.id, _ = self.ID().Platform()
	if err := holds(self, identity.Holder{Signer: cfg.Signer, Key: cfg.Key}); err != nil {
		return err
	}
	s.faces = []face{{self, cfg.Key}}
	for _, h := range cfg.Previous {
		// A list that names it does not matter: nothing is signed with it any more.
		v, err := s.known.VerifyLapsed(h.Credential, identity.RolePlatform)
		if err != nil {
			return fmt.Errorf("previous credential: %w", err)
		}
		if err := holds(v, h); err != nil {
			return fmt.Errorf("previous credential: %w", err)
		}
		switch {
		case v.ID() != self.ID():
			return fmt.Errorf("%w: Previous has one of %s, Credential is of %s", errConfig, v.ID(), self.ID())
		case v.Generation() >= self.Generation():
			return fmt.Errorf("%w: Previous has generation %d, Credential %d; gateways take a higher one only", errConfig, v.Generation(), self.Generation())
		}
		s.faces = append(s.faces, face{v, h.Key})
	}
	return nil
}

func holds(v *identity.Verified, h identity.Holder) error {
	if pub, ok := h.Signer.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(v.SigningKey()) {
		return fmt.Errorf("%w: Signer is not the key of the certificate", errConfig)
	}
	if !v.Agreement().Equal(h.Key.PublicKey()) {
		return fmt.Errorf("%w: Key is not the agreement key that the credential endorses", errConfig)
	}
	return nil
}

// identityRecord is whose store this is. Encoding: version u8 = 2 ‖ SHA-256 of name and prefix 32 ‖ SHA-256 of the newest certificate 32 ‖
// generation u32.
type identityRecord struct {
	name        [32]byte
	certificate [32]byte
	generation  uint32
}

const identityV2 = 2

func (r identityRecord) marshal() []byte {
	b := append([]byte{identityV2}, r.name[:]...)
	b = append(b, r.certificate[:]...)
	return binary.BigEndian.AppendUint32(b, r.generation)
}

func parseIdentity(b []byte) (r identityRecord, ok bool) {
	if len(b) != 1+32+32+4 || b[0] != identityV2 {
		return r, false
	}
	copy(r.name[:], b[1:])
	copy(r.certificate[:], b[33:])
	r.generation = binary.BigEndian.Uint32(b[65:])
	return r, true
}

// claimStore makes an empty store this platform's, refuses another one's, and notes the certificate that peers get from now on.
func (s *Service) claimStore(ctx context.Context) error {
	mine := identityRecord{
		name:        sha256.Sum256([]byte("semio/1 store\x00" + s.id.String() + "\x00" + s.topics.Prefix())),
		certificate: s.self.CertificateHash(), generation: s.self.Generation(),
	}
	var raw []byte
	err := s.cfg.Store.View(ctx, func(tx Tx) (err error) {
		raw, err = tx.Get(keyIdentity)
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	case bytes.Equal(raw, mine.marshal()):
		return nil
	default:
		kept, ok := parseIdentity(raw)
		if !ok || kept.name != mine.name {
			return ErrIdentity
		}
		if err := s.succeeds(kept); err != nil {
			return err
		}
	}
	return s.cfg.Store.Update(ctx, func(tx Tx) error { return tx.Put(keyIdentity, mine.marshal()) })
}

// succeeds says whether the present certificate follows the one that the store has. Who forgets at the change what the platform was before would
// be understood by nobody.
func (s *Service) succeeds(kept identityRecord) error {
	for _, f := range s.faces[1:] {
		if f.self.CertificateHash() == kept.certificate {
			return nil
		}
	}
	if s.self.CertificateHash() != kept.certificate {
		return fmt.Errorf("%w: generation %d came before, and Config.Previous does not have it", ErrIdentity, kept.generation)
	}
	return nil
}

// heard is an INIT that was opened: as is the peer under the credential that it uses, outdated says that it knows an earlier face only.
type heard struct {
	as       *peer
	req      *e2e.Request
	outdated bool
}

// open tries an INIT under everything that the two may know each other by.
func (s *Service) open(p *peer, init []byte) (heard, error) {
	try := func(c *peer) (*e2e.Request, error) { return c.keys.OpenRequest(init) }
	req, err := try(p)
	if err == nil {
		return heard{p, req, false}, nil
	}
	if p.next != nil {
		if req, err := try(p.next); err == nil {
			return heard{p.next, req, false}, nil
		}
	}
	if len(s.faces) == 1 {
		return heard{}, err
	}
	before, err2 := s.before(p)
	if err2 != nil {
		return heard{}, err2
	}
	for _, c := range before {
		if req, err := try(c); err == nil {
			return heard{c, req, true}, nil
		}
	}
	return heard{}, err
}

// before returns a peer under the earlier faces. They are made when they are needed first; one worker at a time has a peer.
func (s *Service) before(p *peer) ([]*peer, error) {
	if p.before != nil {
		return p.before, nil
	}
	var all []*peer
	for _, f := range s.faces[1:] {
		for _, c := range []*peer{p, p.next} {
			if c == nil {
				continue
			}
			o, err := f.newPeer(c.self, c.binding)
			if err != nil {
				return nil, err
			}
			all = append(all, o)
		}
	}
	p.before = all
	return all, nil
}

func (f face) newPeer(v *identity.Verified, b e2e.BindingID) (*peer, error) {
	keys, err := e2e.NewPeer(e2e.Config{Self: f.self, Key: f.key, Remote: v, Binding: b, Epochs: noEpochs{}})
	if err != nil {
		return nil, err
	}
	return &peer{id: v.ID(), self: v, binding: b, keys: keys}, nil
}

// noteFace keeps that a peer has been heard under the present credential.
func (t *txn) noteFace(h heard) error {
	if h.outdated {
		return nil
	}
	now := t.s.self.CertificateHash()
	key := prefixFace + h.as.id.String()
	switch known, err := t.tx.Get(key); {
	case err == nil && bytes.Equal(known, now[:]):
		return nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	}
	return t.tx.Put(key, now[:])
}

// Outdated returns the peers that have not been heard under the present credential: devices that are not retired, and applications that are
// not revoked. When there is none, or none that matters, Config.Previous has done its work.
func (s *Service) Outdated(ctx context.Context) ([]identity.ID, error) {
	now := s.self.CertificateHash()
	var out []identity.ID
	err := s.cfg.Store.View(ctx, func(tx Tx) error {
		look := func(id identity.ID) error {
			known, err := tx.Get(prefixFace + id.String())
			if errors.Is(err, ErrNotFound) || err == nil && !bytes.Equal(known, now[:]) {
				out = append(out, id)
				return nil
			}
			return err
		}
		for d := range s.state().Devices() {
			if d.Status == registry.Retired {
				continue
			}
			if err := look(d.ID.ID); err != nil {
				return err
			}
		}
		for a := range s.state().Applications() {
			if a.Revoked {
				continue
			}
			if err := look(a.ID.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list outdated peers: %w", err)
	}
	return out, nil
}
