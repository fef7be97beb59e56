package platform

import (
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

// AddCRL takes a revocation list of an authority in DER: durable, in force and on its way to the gateways when AddCRL returns. An
// application that it names loses its connections, a device that it names is retired, and both sides get the list as evidence.
// The errors are those of [identity.Verifier.AddCRL]: an older list changes nothing.
func (s *Service) AddCRL(ctx context.Context, der []byte) error {
	if err := s.verifier.AddCRL(der); err != nil {
		return err
	}
	s.lists.Add(1) // whoever was found to be good is looked at again
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("add revocation list: %w", err)
	}
	evidence, err := control.Evidence{CRL: der}.Marshal()
	if err != nil {
		return fmt.Errorf("add revocation list: %w", err)
	}
	hash := sha256.Sum256(evidence)
	err = s.update(ctx, func(t *txn) error {
		changed := false
		for i, kept := range s.verifier.CRLs() {
			key := numbered(prefixCRL, uint64(i))
			old, err := t.tx.Get(key)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if err == nil && sha256.Sum256(old) == sha256.Sum256(kept) {
				continue
			}
			if err := t.tx.Put(key, kept); err != nil {
				return err
			}
			changed = true
		}
		t.crl = changed
		used := false
		for _, id := range s.named(list) {
			eff, err := t.revoked(id, der, hash)
			if err != nil {
				return err
			}
			used = used || eff
		}
		if !used {
			return nil
		}
		return t.keep(evidence)
	})
	if err != nil {
		return fmt.Errorf("add revocation list: %w", err)
	}
	return nil
}

// revoked carries out that a list names a peer.
func (t *txn) revoked(id identity.ID, der []byte, hash [32]byte) (changed bool, err error) {
	var c identity.Credential
	var e registry.Event
	if dev, ok := id.Device(); ok {
		d, _ := t.state.Device(dev)
		c, e = d.Credential, registry.DeviceRevoked{Device: dev, Evidence: hash}
	} else {
		app, _ := id.App()
		a, _ := t.state.Application(app)
		c, e = a.Credential, registry.ApplicationRevoked{App: app, Evidence: hash}
	}
	// Serial numbers are an authority's own; only this says that the list is about this certificate.
	if t.s.verifier.VerifyRevoked(der, c) != nil {
		return false, nil
	}
	eff, err := t.apply(e)
	return eff.Changed(), err
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
	if err != nil {
		return err
	}
	return s.AddCRL(ctx, crl)
}
