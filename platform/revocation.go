package platform

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// AddCRL takes revocation lists, as [identity.Verifier.AddCRL] does: durable, in force and on their way to the gateways when AddCRL returns. An
// application that one names loses its connections, a device that one names is retired, and both sides get the list as evidence. Who was certified by an
// issuing CA that a list names loses the connection to the broker (soon after the return or, if the process ends before, at the next Open) and is refused
// by everybody, but stays in the registry: once it has a certificate of another CA it goes on. The errors are those of [identity.Verifier.AddCRL]: an older list changes nothing.
func (s *Service) AddCRL(ctx context.Context, crls []byte) error {
	refused := s.verifier.AddCRL(crls) // with ErrSomeCRLs the rest is in force, and goes the whole way first
	if refused != nil && !errors.Is(refused, identity.ErrSomeCRLs) {
		return refused
	}
	s.lists.Add(1) // whoever was found to be good is looked at again
	fail := func(err error) error { return fmt.Errorf("add revocation list: %w", err) }
	bundles, err := identity.ParseCRLs(crls)
	if err != nil {
		return fail(err)
	}
	var lists []newList
	for _, b := range bundles {
		l, err := readList(b)
		switch {
		case err == nil:
			lists = append(lists, l)
		case refused == nil: // else it is one of those that the verifier has refused
			return fail(err)
		}
	}
	err = s.update(ctx, func(t *txn) error {
		var err error
		if t.crl, err = t.keepLists(); err != nil {
			return err
		}
		for _, l := range lists {
			if err := t.carryOut(l); err != nil {
				return err
			}
		}
		if t.crl {
			var evict []identity.ID
			evict, t.over = s.cutOff(t.state)
			t.effects.Evict = append(t.effects.Evict, evict...)
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return refused
}

// newList is a list as the orders carry it.
type newList struct {
	*x509.RevocationList
	bundle   []byte
	evidence []byte
	hash     [32]byte // of evidence
}

func readList(b identity.CRLBundle) (l newList, err error) {
	if l.RevocationList, err = x509.ParseRevocationList(b.List); err != nil {
		return l, err
	}
	if l.bundle, err = b.Marshal(); err != nil {
		return l, err
	}
	if l.evidence, err = (control.Evidence{CRL: l.bundle}).Marshal(); err != nil {
		return l, err
	}
	l.hash = sha256.Sum256(l.evidence)
	return l, nil
}

// keepLists stores the lists that are in force, and tells whether there is a new one among them.
func (t *txn) keepLists() (changed bool, err error) {
	lists := t.s.verifier.CRLs()
	for i, kept := range lists {
		key := numbered(prefixCRL, uint64(i))
		old, err := t.tx.Get(key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return false, err
		}
		if err == nil && bytes.Equal(old, kept) {
			continue
		}
		if err := t.tx.Put(key, kept); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// carryOut ends whom a list names.
func (t *txn) carryOut(l newList) error {
	for _, id := range t.s.named(l.RevocationList) {
		if err := t.revoked(id, l); err != nil {
			return err
		}
	}
	return nil
}

// cutOff returns whose connections end because the issuing CA of the certificate in the registry is revoked, and the chains of such CAs: with
// noteOver each is found once. The broker does not let the peers in again as what they were. What somebody else has connected with under their names
// is not known here; package broker judges it by itself.
func (s *Service) cutOff(state registry.State) (evict []identity.ID, over map[[32]byte]bool) {
	over = map[[32]byte]bool{} // by the chain without the peer's own certificate, of which the events speak
	cut := func(id identity.ID, c identity.Credential) {
		if len(c.Chain) < 2 {
			return
		}
		key := sha256.Sum256(bytes.Join(c.Chain[1:], nil))
		revoked, known := over[key]
		if !known {
			err := s.verifier.CheckRevocation(identity.Credential{Chain: c.Chain[1:]})
			revoked = errors.Is(err, identity.ErrRevoked) && !s.over[key]
			over[key] = revoked
		}
		if revoked {
			evict = append(evict, id)
		}
	}
	for d := range state.Devices() {
		if d.Status != registry.Retired {
			cut(d.ID.ID, d.Credential)
		}
	}
	for a := range state.Applications() {
		if !a.Revoked {
			cut(a.ID.ID, a.Credential)
		}
	}
	return evict, over
}

// noteOver wants writing.
func (s *Service) noteOver(over map[[32]byte]bool) {
	for chain, revoked := range over {
		s.over[chain] = s.over[chain] || revoked
	}
}

// revoked carries out that a list names a peer.
func (t *txn) revoked(id identity.ID, l newList) error {
	var c identity.Credential
	var e registry.Event
	evidence := l.evidence
	if dev, ok := id.Device(); ok {
		d, _ := t.state.Device(dev)
		c, e = d.Credential, registry.DeviceRevoked{Device: dev, Evidence: l.hash}
	} else {
		app, _ := id.App()
		a, _ := t.state.Application(app)
		c = a.Credential
		var err error
		// A device that was away may know an earlier certificate, which the list does not name.
		if evidence, err = (control.Evidence{CRL: l.bundle, Application: c}).Marshal(); err != nil {
			return err
		}
		e = registry.ApplicationRevoked{App: app, Evidence: sha256.Sum256(evidence)}
	}
	// Serial numbers are an authority's own; only this says that the list is about this certificate.
	if t.s.verifier.VerifyRevoked(l.bundle, c) != nil {
		return nil
	}
	eff, err := t.apply(e)
	if err != nil || !eff.Changed() {
		return err
	}
	return t.keep(evidence)
}

// index notes the serial number of a peer's certificate. It wants writing, or a service that nobody else has yet.
func (s *Service) index(id identity.ID, c identity.Credential) {
	cert, err := x509.ParseCertificate(c.Chain[0])
	if err != nil {
		s.log.Error("certificate in the registry", "peer", id, "err", err)
		return
	}
	serial := string(cert.SerialNumber.Bytes())
	s.serials[serial] = append(s.serials[serial], id)
}

// named returns the peers that a list may speak of. It wants writing.
func (s *Service) named(list *x509.RevocationList) []identity.ID {
	var out []identity.ID
	for _, e := range list.RevokedCertificateEntries {
		out = append(out, s.serials[string(e.SerialNumber.Bytes())]...)
	}
	return out
}

func (s *Service) kickRevocation() { poke(s.revoke) }

const (
	revokeTimeout  = 30 * time.Second
	revokeRetryMin = time.Second
	revokeRetryMax = 5 * time.Minute
)

// revokeLoop asks the authority about every retired device that no list names yet, until ctx ends. The records themselves are the list of
// what is to be done, so nothing is forgotten over a restart.
func (s *Service) revokeLoop(ctx context.Context) {
	if s.cfg.Revoker == nil {
		return
	}
	wait := revokeRetryMin
	since := map[identity.DeviceID]time.Time{}
	for ctx.Err() == nil {
		pending := s.unlisted()
		for _, id := range pending {
			if _, ok := since[id]; !ok {
				since[id] = time.Now()
			}
			err := s.askAuthority(ctx, id)
			switch d, _ := s.state().Device(id); {
			case ctx.Err() != nil:
				return
			case d.Listed:
				wait = revokeRetryMin
				if f := s.cfg.Observer.Revoked; f != nil {
					f(id.ID, time.Since(since[id]))
				}
				delete(since, id)
			default:
				s.log.Warn("the authority's list does not name a retired device yet, will ask again", "device", id, "err", err, "in", wait)
			}
		}
		pause := time.Hour
		if len(s.unlisted()) > 0 {
			pause, wait = wait, min(2*wait, revokeRetryMax)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-s.revoke:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (s *Service) unlisted() []identity.DeviceID {
	var out []identity.DeviceID
	for d := range s.state().Devices() {
		if d.Status == registry.Retired && !d.Listed {
			out = append(out, d.ID)
		}
	}
	return out
}

func (s *Service) askAuthority(ctx context.Context, id identity.DeviceID) error {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	crl, err := s.cfg.Revoker.Revoke(ctx, id.ID)
	if len(crl) > 0 { // also with an error: the lists that could be signed
		err = errors.Join(err, s.AddCRL(ctx, crl))
	}
	return err
}
