package platform

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// A peer renews its certificate through the platform, which relays the request, accepts the new credential beside the old one, and makes it
// the one in use when it hears the peer under it. The certificate authority decides who gets what; nothing here can make a
// credential that peers would take.

// Renewer asks the certificate authority for a new certificate of a key that it has certified before.
type Renewer interface {
	// Renew returns the chain for a certificate request (PKCS #10, DER) of a peer for its own name and key: leaf first, without the
	// root. The platform checks what it gets, keeps it, and asks again after an error.
	Renew(ctx context.Context, csr []byte) (chain [][]byte, err error)
}

const (
	renewTimeout = 30 * time.Second
	renewAgain   = time.Minute // after an error of the authority, for each peer
	renewTooSoon = time.Hour   // after the authority has returned the certificate that the peer has
	renewers     = 2           // requests to the authority under way
	renewQueue   = 4096        // peers that wait, or have waited lately
)

// renewals are the requests to the authority. What is lost here comes again: peers ask with each of their polls.
type renewals struct {
	queue chan renewal

	mu    sync.Mutex // guards known
	known map[identity.ID]time.Time
}

type renewal struct {
	peer    identity.ID
	csr     []byte
	current [32]byte // certificate
}

func newRenewals() *renewals {
	return &renewals{queue: make(chan renewal, renewQueue), known: map[identity.ID]time.Time{}}
}

// want queues a request, unless one of that peer waits or was refused a moment ago.
func (r *renewals) want(q renewal, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until, ok := r.known[q.peer]; ok && now.Before(until) {
		return
	}
	if len(r.known) >= renewQueue {
		for id, until := range r.known {
			if !now.Before(until) {
				delete(r.known, id)
			}
		}
	}
	if len(r.known) >= renewQueue {
		return
	}
	select {
	case r.queue <- q:
		r.known[q.peer] = now.Add(24 * time.Hour) // until it has been dealt with
	default:
	}
}

// dealt says that a peer may ask again after a while.
func (r *renewals) dealt(peer identity.ID, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[peer] = until
}

// renewLoop asks the authority until ctx ends.
func (s *Service) renewLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-s.renewals.queue:
			wait := renewAgain // also after a success: a certificate that hardly lasts must not be asked for without pause
			if err := s.askRenewal(ctx, q); err != nil {
				if errors.Is(err, errTooSoon) {
					wait = renewTooSoon
				}
				s.log.Error("certificate not renewed, the peer will ask again", "peer", q.peer, "err", err, "in", wait)
			}
			s.renewals.dealt(q.peer, s.cfg.Now().Add(wait))
		}
	}
}

var errTooSoon = errors.New("platform: the authority returned the certificate that the peer has; it may be too soon to renew it")

// askRenewal has the answer kept and the peer nudged, who takes it with its next request.
func (s *Service) askRenewal(ctx context.Context, q renewal) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	chain, err := s.cfg.Renewer.Renew(ctx, q.csr)
	if err != nil {
		return fmt.Errorf("ask the certificate authority: %w", err)
	}
	csr, err := identity.ParseCSR(q.csr)
	if err != nil {
		return err
	}
	if err := s.checkChain(chain, csr); err != nil {
		return fmt.Errorf("answer of the certificate authority: %w", err)
	}
	if sha256.Sum256(chain[0]) == q.current {
		return errTooSoon
	}
	raw, err := identity.Credential{Chain: chain}.Marshal()
	if err != nil {
		return err
	}
	err = s.update(ctx, func(t *txn) error {
		t.effects.Nudge = append(t.effects.Nudge, q.peer)
		return t.tx.Put(prefixChain+q.peer.String(), raw)
	})
	if err == nil {
		s.log.Info("certificate renewed, the peer has not taken it yet", "peer", q.peer)
	}
	return err
}

// checkChain says whether a chain is good now, and is what was asked for.
func (s *Service) checkChain(chain [][]byte, csr *identity.CSR) error {
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
	}
	id, instance, err := s.verifier.VerifyClient(certs)
	if err != nil {
		return err
	}
	if id != csr.ID || instance != "" || !csr.PublicKey.Equal(certs[0].PublicKey) {
		return fmt.Errorf("%w: a certificate of %s, or of another key, was not asked for", identity.ErrCSR, id)
	}
	return nil
}

// renewing is what a message wants of its sender's credential, as far as it was verified.
type renewing struct {
	csr   *identity.CSR      // nil: none
	offer *identity.Verified // nil: none
}

// examineRenewal never fails: what is not good is left out, and the peer offers or asks again.
func (s *Service) examineRenewal(p *peer, m control.Message) renewing {
	var r renewing
	if len(m.CSR) > 0 {
		csr, err := identity.ParseCSR(m.CSR)
		if err == nil && (csr.ID != p.id || csr.Instance != "" || !csr.PublicKey.Equal(p.self.SigningKey())) {
			err = fmt.Errorf("%w: it is not for the peer's own name and key", identity.ErrCSR)
		}
		if err != nil {
			s.log.Warn("certificate request refused", "peer", p.id, "err", err)
		} else {
			r.csr = csr
		}
	}
	if len(m.Credential.Chain) > 0 {
		offer, err := s.examineOffer(p, m.Credential)
		if err != nil {
			s.log.Warn("new credential refused", "peer", p.id, "err", err)
		} else {
			r.offer = offer
		}
	}
	return r
}

func (s *Service) examineOffer(p *peer, c identity.Credential) (*identity.Verified, error) {
	v, err := s.verifier.Verify(c, p.id.Role())
	if err != nil {
		return nil, err
	}
	if err := v.Follows(p.self); err != nil {
		return nil, err
	}
	if p.next != nil && v.Certificate().NotBefore.Before(p.next.self.Certificate().NotBefore) {
		return nil, fmt.Errorf("%w: it is older than the one that was offered before", identity.ErrGeneration) // a message that comes late
	}
	if p.id.Role() == identity.RoleDevice {
		have, _ := p.self.HelperHash()
		helper, _ := v.HelperHash()
		if !v.SigningKey().Equal(p.self.SigningKey()) || !v.Agreement().Equal(p.self.Agreement()) || helper != have {
			return nil, fmt.Errorf("%w: a device keeps its keys and its helper data", identity.ErrKey)
		}
	}
	next, err := s.newPeer(v, p.binding)
	if err != nil {
		return nil, err
	}
	next.keys.Wipe()
	return v, nil
}

// renew makes the answer to what a message wants of its sender's credential.
func (t *txn) renew(p *peer, r renewing, reply *control.Reply) error {
	if r.offer != nil {
		_, err := t.apply(registry.Offered{Peer: p.id, Next: registry.Successor{
			Credential: r.offer.Credential(), CertificateHash: r.offer.CertificateHash(), Generation: r.offer.Generation(),
		}})
		if err != nil {
			t.after = append(t.after, func() { t.s.log.Warn("new credential refused", "peer", p.id, "err", err) })
		} else if reply.Admission, err = t.s.admission(r.offer, p.binding); err != nil {
			return err
		}
	}
	if r.csr == nil || t.s.cfg.Renewer == nil || ended(t.state, p.id) {
		return nil
	}
	kept, err := t.keptChain(p, r.csr)
	if err != nil {
		return err
	}
	if reply.Chain = kept; kept == nil {
		current := p.self.CertificateHash()
		t.after = append(t.after, func() {
			t.s.renewals.want(renewal{peer: p.id, csr: r.csr.DER, current: current}, t.now)
		})
	}
	return nil
}

// ended says that a peer is retired or revoked: its certificate is renewed no more, and it has still to hear of its end.
func ended(s registry.State, id identity.ID) bool {
	if dev, ok := id.Device(); ok {
		d, _ := s.Device(dev)
		return d.Status == registry.Retired
	}
	app, _ := id.App()
	a, _ := s.Application(app)
	return a.Revoked
}

// keptChain returns the authority's answer to an earlier request, nil if there is none that is good now, or that would have to be renewed
// at once.
func (t *txn) keptChain(p *peer, csr *identity.CSR) ([][]byte, error) {
	raw, err := t.tx.Get(prefixChain + p.id.String())
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := identity.ParseCredential(raw)
	if err != nil {
		return nil, fmt.Errorf("read certificate of %s: %w: %w", p.id, registry.ErrRecord, err)
	}
	leaf, err := x509.ParseCertificate(c.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("read certificate of %s: %w: %w", p.id, registry.ErrRecord, err)
	}
	if sha256.Sum256(leaf.Raw) == p.self.CertificateHash() || t.s.checkChain(c.Chain, csr) != nil ||
		leaf.NotAfter.Sub(t.now) <= leaf.NotAfter.Sub(leaf.NotBefore)/3 {
		return nil, nil
	}
	return c.Chain, nil
}

// renewed makes the credential under which a message came the one in use. was is the peer under the one before.
func (t *txn) renewed(was, is *peer) error {
	cred, err := is.self.Credential().Marshal()
	if err != nil {
		return err
	}
	if _, err := t.apply(registry.Renewed{Peer: is.id, CertificateHash: is.self.CertificateHash(), Evidence: sha256.Sum256(cred)}); err != nil {
		return err
	}
	if err := t.tx.Delete(prefixChain + is.id.String()); err != nil {
		return err
	}
	if t.s.standing(was) != nil {
		// Its connection may be one that the broker lets on the control topics alone: the next one will not be.
		t.effects.Evict = append(t.effects.Evict, is.id)
	}
	t.after = append(t.after, func() {
		t.s.log.Info("renewed", "peer", is.id, "generation", is.self.Generation(), "until", is.self.NotAfter())
	})
	return t.keep(cred)
}

// peerCredential returns the credential of the application that a device is connected with, if it is newer than the one that the device holds. A
// device that has still to install its application gets it with the order.
func (t *txn) peerCredential(id identity.ID, held uint32) identity.Credential {
	dev, _ := id.Device()
	d, _ := t.state.Device(dev)
	if d.Status != registry.Connected {
		return identity.Credential{}
	}
	for _, o := range d.Pending(d.ID.ID) {
		if o.Op == registry.Install {
			return identity.Credential{}
		}
	}
	if a, _ := t.state.Application(d.App); a.Generation > held {
		return a.Credential
	}
	return identity.Credential{}
}
