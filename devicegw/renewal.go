package devicegw

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// A device renews its certificate by itself, through the platform, with the key that it has for life. The next credential is durable before
// it is offered, and takes the place of the one in use in one write, when the platform's admission of it is there: cut anywhere, the
// device has one or the other, and goes on from there. What the steps bring is signed by the authority and verified as in production.

// loadNext reads what an earlier run has got and not brought into use. One that is damaged or of no use is asked for again.
func (g *Gateway) loadNext(ctx context.Context) error {
	b, found, err := load(ctx, g.nvm, nameRenewal, noBinding, parseListRecord)
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrWrongRoot) {
		g.log.Warn("certificate that was not in use yet; it will be asked for again", "err", err)
		return nil
	}
	if err != nil || !found {
		return err
	}
	c, err := identity.ParseCredential(b)
	var next *identity.Verified
	if err == nil {
		next, err = g.verifyNext(c)
	}
	if err == nil {
		g.next = next
		return nil
	}
	g.log.Info("certificate that was not in use yet is of no use", "err", err)
	if err := g.nvm.nvm.Delete(ctx, nameRenewal); err != nil {
		g.log.Warn("delete it", "err", err)
	}
	return nil
}

// verifyNext says whether a credential can follow the one in use.
func (g *Gateway) verifyNext(c identity.Credential) (*identity.Verified, error) {
	next, err := g.verifier.Verify(c, identity.RoleDevice)
	if err != nil {
		return nil, err
	}
	if err := ours(g.cfg.Root, g.id, next); err != nil {
		return nil, err
	}
	if err := next.Follows(g.self); err != nil {
		return nil, err
	}
	if next.CertificateHash() == g.self.CertificateHash() {
		return nil, fmt.Errorf("%w: it is the certificate in use", errNotOurs)
	}
	return next, nil
}

// lapsed says whether a credential is over, or revoked, or a CA without which it leads to no root is. The caller holds one of the mutexes.
func (g *Gateway) lapsed(v *identity.Verified) bool {
	return g.verifier.Now().After(v.NotAfter()) || g.verifier.CheckRevocation(v.Credential()) != nil
}

// due says that the device wants another certificate: a third of the validity is left, which is when the authority begins to give one, or
// none of it.
func (g *Gateway) due() bool {
	cert := g.self.Certificate()
	left := cert.NotAfter.Sub(g.verifier.Now()) // saturates for certificates without expiry
	return left <= cert.NotAfter.Sub(cert.NotBefore)/3 || g.lapsed(g.self)
}

// request is control.ClientConfig.CSR.
func (g *Gateway) request() []byte {
	g.mu.Lock()
	wanted := !g.retiring && (g.next == nil || g.lapsed(g.next)) && g.due()
	g.mu.Unlock()
	if !wanted {
		return nil
	}
	csr, err := identity.NewCSR(g.cfg.Root.Signer(), g.id.ID, identity.CSROptions{HelperHash: g.cfg.Root.HelperHash()})
	if err != nil {
		g.log.Error("ask for a new certificate", "err", err)
		return nil
	}
	return csr
}

// takeChain is control.ClientConfig.TakeChain.
func (g *Gateway) takeChain(chain [][]byte) {
	g.changes.Lock()
	defer g.changes.Unlock()
	hash := sha256.Sum256(chain[0])
	if !g.due() || hash == g.self.CertificateHash() || g.next != nil && hash == g.next.CertificateHash() {
		return // nobody has asked for it, or it came before
	}
	next, err := g.endorse(chain)
	if err != nil {
		g.log.Warn("certificate that the platform has passed on", "err", err)
		return
	}
	g.update(func() { g.next = next })
	g.client.Ask()
}

// endorse makes the next credential, durable.
func (g *Gateway) endorse(chain [][]byte) (*identity.Verified, error) {
	generation := g.self.Generation()
	if g.next != nil {
		generation = max(generation, g.next.Generation()) // the platform may have taken that one, and takes none of an earlier generation after it
	}
	e, err := identity.Endorse(g.cfg.Root.Signer(), chain[0], g.cfg.Root.KeyExchanger().PublicKey(), identity.EndorseOptions{Generation: generation + 1})
	if err != nil {
		return nil, err
	}
	next, err := g.verifyNext(identity.Credential{Chain: chain, Endorsement: e})
	if err != nil {
		return nil, err
	}
	b, err := next.Credential().Marshal()
	if err != nil {
		return nil, err
	}
	return next, save(context.Background(), g.nvm, nameRenewal, noBinding, listRecord(b))
}

// offer is control.ClientConfig.Credential.
func (g *Gateway) offer() identity.Credential {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil || g.lapsed(g.next) {
		return identity.Credential{}
	}
	return g.next.Credential()
}

// takeAdmission is control.ClientConfig.TakeAdmission: the platform has accepted the device's next credential, or has one of its own.
func (g *Gateway) takeAdmission(b []byte) *control.Side {
	g.changes.Lock()
	defer g.changes.Unlock()
	side, err := g.admit(b)
	if err != nil {
		g.log.Warn("admission of the platform", "err", err)
	}
	return side
}

func (g *Gateway) admit(b []byte) (*control.Side, error) {
	self := g.self
	a, platform, err := control.OpenAdmission(b, g.verifier, self)
	if err != nil && g.next != nil {
		self = g.next
		a, platform, err = control.OpenAdmission(b, g.verifier, self)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case a.Binding != g.platformBinding || a.Topics.Prefix() != g.topics.Prefix() || platform.ID() != g.platform.ID():
		return nil, fmt.Errorf("%w: admission of another platform, binding or prefix", control.ErrForeign)
	case self == g.self && platform.CertificateHash() == g.platform.CertificateHash():
		return nil, nil // nothing new
	}
	if platform.CertificateHash() != g.platform.CertificateHash() || platform.Generation() != g.platform.Generation() {
		if err := platform.Follows(g.platform); err != nil {
			return nil, fmt.Errorf("%w: %w", control.ErrForeign, err)
		}
	}
	peer, err := g.platformPeer(self, platform)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	conn := g.conn
	g.mu.Unlock()
	if self == g.self {
		conn = nil // between device and application nothing changes
	}
	var appPeer *e2e.Peer
	if conn != nil {
		if appPeer, err = g.appPeer(conn, self, conn.verified); err != nil {
			peer.Wipe()
			return nil, err
		}
	}
	rec, next := g.rec, g.next
	rec.Credential, rec.Admission = self.Credential(), b
	if self == next {
		next = nil
	}
	if err := save(context.Background(), g.nvm, nameIdentity, noBinding, rec); err != nil {
		peer.Wipe()
		if conn != nil {
			appPeer.Wipe()
		}
		return nil, err // the platform says it again
	}
	g.update(func() { g.rec, g.self, g.platform, g.next = rec, self, platform, next })
	if conn != nil {
		conn.turn(appPeer, conn.verified)
	}
	side := &control.Side{Self: self, Signer: g.cfg.Root.Signer(), Platform: platform, Peer: peer}
	if next != nil {
		return side, nil
	}
	g.log.Info("renewed", "generation", self.Generation(), "until", self.NotAfter().UTC().Format(time.RFC3339))
	// Left behind they do no harm: the first is told from the one in use by its generation, the second is as good as the newer one.
	if err := errors.Join(g.nvm.nvm.Delete(context.Background(), nameRenewal), saveCredential(context.Background(), g.nvm.nvm, rec.Credential)); err != nil {
		g.log.Warn("after a renewal", "err", err)
	}
	return side, nil
}

// peerGeneration is control.ClientConfig.PeerGeneration.
func (g *Gateway) peerGeneration() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Peer == nil {
		return 0
	}
	return g.state.Peer.generation
}

// takePeer is control.ClientConfig.TakePeer: the application has another credential. The connection stays; one that was suspended because
// the old one is over goes on.
func (g *Gateway) takePeer(c identity.Credential) {
	g.changes.Lock()
	defer g.changes.Unlock()
	if err := g.replacePeer(context.Background(), c); err != nil {
		g.log.Warn("credential of the application that the platform has passed on", "err", err)
	}
}

func (g *Gateway) replacePeer(ctx context.Context, c identity.Credential) error {
	g.mu.Lock()
	s, conn := g.state.clone(), g.conn
	g.mu.Unlock()
	if s.Peer == nil || s.Retired {
		return nil
	}
	app, err := g.verifier.Verify(c, identity.RoleApplication)
	if err != nil {
		return err
	}
	switch {
	case app.ID() != s.Peer.app.ID:
		return fmt.Errorf("%w: it is of %s, the device is connected with %s", control.ErrForeign, app.ID(), s.Peer.app)
	case app.Generation() <= s.Peer.generation:
		return nil
	}
	known, err := g.recall(s.Peer.Credential)
	if err != nil {
		return err
	}
	if err := app.Follows(known); err != nil {
		return err
	}
	s.Peer = &appRecord{Binding: s.Peer.Binding, Credential: c, app: s.Peer.app, generation: app.Generation()}
	var peer *e2e.Peer
	fresh := conn == nil
	if fresh {
		conn, err = g.newConnection(ctx, *s.Peer)
	} else {
		peer, err = g.appPeer(conn, g.self, app)
	}
	if err != nil {
		return err
	}
	if err := save(ctx, g.nvm, nameState, noBinding, s); err != nil {
		if fresh {
			conn.discard()
		} else {
			peer.Wipe()
		}
		return err
	}
	g.update(func() { g.state, g.conn, g.suspended = s, conn, nil })
	if !fresh {
		conn.turn(peer, app)
	}
	g.log.Info("the application has another credential", "app", s.Peer.app, "generation", app.Generation())
	return nil
}
