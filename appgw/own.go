package appgw

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/kv"
)

// own is who the gateway is: one of its credentials, with the keys.
type own struct {
	self   *identity.Verified
	signer crypto.Signer
	key    ecdh.KeyExchanger
}

func (o *own) hash() string { h := o.self.CertificateHash(); return hex.EncodeToString(h[:]) }

// with is with what the gateway speaks to the platform: who both are. A renewal of either side changes it; the binding stays.
type with struct {
	*own
	platform  *identity.Verified
	bundle    control.Admission
	admission []byte
}

// The store's part of it. What is in use with the platform, and the credentials that devices still know the application by. Public.
const (
	keySelf   = "self"
	prefixOwn = "own/" // <SHA-256 of the certificate, hex>
)

// hold takes one of the gateway's own credentials. It may have ended: it is the one that others know until they hear of the next.
func (g *Gateway) hold(h identity.Holder) (*own, error) {
	v, err := g.verifier.VerifyLapsed(h.Credential, identity.RoleApplication)
	if err != nil {
		return nil, err
	}
	if pub, ok := h.Signer.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(v.SigningKey()) {
		return nil, fmt.Errorf("%w: Signer is not the key of Credential", ErrConfig)
	}
	if !v.Agreement().Equal(h.Key.PublicKey()) {
		return nil, fmt.Errorf("%w: Key is not the agreement key that Credential endorses", ErrConfig)
	}
	return &own{v, h.Signer, h.Key}, nil
}

// identify finds out who the gateway is: the newest, by Config; what the platform knows it as, by store and admissions; and what it was before.
func (g *Gateway) identify(ctx context.Context) error {
	newest, err := g.hold(identity.Holder{Credential: g.cfg.Credential, Signer: g.cfg.Signer, Key: g.cfg.Key})
	if err != nil {
		return fmt.Errorf("own credential: %w", err)
	}
	g.app, _ = newest.self.ID().App()
	cert := newest.self.Certificate()
	if left := newest.self.NotAfter().Sub(g.verifier.Now()); left <= cert.NotAfter.Sub(cert.NotBefore)/3 {
		g.log.Warn("own certificate is to be renewed", "ends", newest.self.NotAfter())
	}
	g.owns = []*own{newest}
	for _, h := range g.cfg.Previous {
		o, err := g.hold(h)
		switch {
		case errors.Is(err, ErrConfig):
			return fmt.Errorf("previous credential: %w", err)
		case err != nil: // of an authority that is no longer trusted, or revoked: it serves nobody
			g.log.Warn("previous credential is left out", "err", err)
		case o.self.ID() != newest.self.ID():
			return fmt.Errorf("%w: Previous is of %s, Credential of %s", ErrConfig, o.self.ID(), newest.self.ID())
		default:
			g.owns = append(g.owns, o)
		}
	}
	kept, err := g.loadSide(ctx)
	if err != nil {
		return err
	}
	given, err := g.givenSide()
	if kept != nil {
		for _, behind := range []error{ErrNotAdmitted, control.ErrOtherCertificate, identity.ErrExpired, identity.ErrRevoked} {
			if errors.Is(err, behind) {
				err = nil // renewals have left it behind
			}
		}
	}
	if err != nil {
		return err
	}
	switch {
	case kept == nil:
		g.side = given
	case given != nil && g.supersedes(given, kept):
		g.side = given
	default:
		g.side = kept
	}
	used := g.side.self
	switch {
	case used.CertificateHash() == newest.self.CertificateHash():
	case newest.self.Generation() > used.Generation():
		g.offered = newest
	default:
		return fmt.Errorf("%w: Credential is of generation %d, and the platform knows this application by another one of generation %d; take the newest",
			ErrConfig, newest.self.Generation(), used.Generation())
	}
	return g.memory.update(ctx, func(tx Tx) error { return g.putSide(tx, g.side) })
}

// givenSide is what Config.Admission says, nil without one.
func (g *Gateway) givenSide() (*with, error) {
	if g.cfg.Admission == nil {
		return nil, ErrNotAdmitted
	}
	var errs error
	for _, o := range g.owns {
		bundle, platform, err := control.OpenAdmission(g.cfg.Admission, g.verifier, o.self)
		if err == nil {
			return &with{o, platform, bundle, g.cfg.Admission}, nil
		}
		errs = errors.Join(errs, err)
		if !errors.Is(err, control.ErrOtherCertificate) {
			break
		}
	}
	return nil, errs
}

// loadSide returns what the store says, nil for a new store.
func (g *Gateway) loadSide(ctx context.Context) (*with, error) {
	var credential, admission []byte
	err := g.memory.store.View(ctx, func(tx Tx) (err error) {
		if credential, err = tx.Get(keySelf); err != nil {
			return err
		}
		admission, err = tx.Get(keyAdmission)
		return err
	})
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := identity.ParseCredential(credential)
	if err != nil {
		return nil, fmt.Errorf("store key %s: %w", keySelf, err)
	}
	o, err := g.keysFor(c)
	if err == nil {
		var bundle control.Admission
		var platform *identity.Verified
		if bundle, platform, err = control.ReopenAdmission(admission, g.verifier, o.self); err == nil {
			return &with{o, platform, bundle, admission}, nil
		}
	}
	// Whoever was admitted anew does not need what is kept; the admission of before is in the host's configuration too.
	if given, _ := g.givenSide(); given != nil {
		if b, berr := control.AdmissionBinding(admission); berr == nil && b != given.bundle.Binding {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("what the platform knows this application as: %w", err)
}

// keysFor finds the keys of a credential that was ours.
func (g *Gateway) keysFor(c identity.Credential) (*own, error) {
	v, err := g.verifier.VerifyLapsed(c, identity.RoleApplication)
	if err != nil {
		return nil, err
	}
	if v.ID() != g.app.ID {
		return nil, fmt.Errorf("%w: the store is that of %s", ErrConfig, v.ID())
	}
	for _, o := range g.owns {
		if o.self.SigningKey().Equal(v.SigningKey()) && o.self.Agreement().Equal(v.Agreement()) {
			return &own{v, o.signer, o.key}, nil
		}
	}
	if newest := g.owns[0].self.Generation(); v.Generation() > newest {
		return nil, fmt.Errorf("%w: it knows one of generation %d, Credential is of generation %d; take the newest", ErrConfig, v.Generation(), newest)
	}
	return nil, fmt.Errorf("%w: the keys of its credential of generation %d are missing; set Previous to what the application was then",
		ErrConfig, v.Generation())
}

// supersedes decides between an admission by Config and the kept one, which may have been renewed since.
func (g *Gateway) supersedes(given, kept *with) bool {
	if given.bundle.Binding != kept.bundle.Binding || given.platform.ID() != kept.platform.ID() {
		return true // another platform, or admitted once more
	}
	if given.self.Generation() != kept.self.Generation() {
		return given.self.Generation() > kept.self.Generation()
	}
	return given.platform.Generation() > kept.platform.Generation()
}

// putSide keeps with what the platform is spoken to. Under another credential than before the prekeys begin anew.
func (g *Gateway) putSide(tx Tx, w *with) error {
	c, err := w.self.Credential().Marshal()
	if err != nil {
		return err
	}
	switch kept, err := tx.Get(keySelf); {
	case errors.Is(err, kv.ErrNotFound):
	case err != nil:
		return err
	case !bytes.Equal(kept, c):
		if err := skip(tx, keyPrekeyNumber, 1, 1); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		key   string
		value []byte
	}{{keySelf, c}, {prefixOwn + w.hash(), c}, {keyAdmission, w.admission}} {
		if err := tx.Put(p.key, p.value); err != nil {
			return err
		}
	}
	return nil
}

// pruneOwn deletes the credentials that no device knows the application by any more.
func (g *Gateway) pruneOwn(ctx context.Context, used map[string]bool) error {
	var gone []string
	err := g.memory.store.View(ctx, func(tx Tx) error {
		for key := range tx.List(prefixOwn) {
			if hash := key[len(prefixOwn):]; hash != g.side.hash() && !used[hash] {
				gone = append(gone, key)
			}
		}
		return nil
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	return g.memory.update(ctx, func(tx Tx) error {
		for _, key := range gone {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// ownOf returns who the application was when a device heard of it last, nil where that is not known or the keys are gone.
func (g *Gateway) ownOf(r deviceRecord) *own {
	if r.Own == "" || r.Own == g.side.hash() {
		return nil
	}
	var credential []byte
	err := g.memory.store.View(context.Background(), func(tx Tx) (err error) {
		credential, err = tx.Get(prefixOwn + r.Own)
		return err
	})
	if err != nil {
		return nil
	}
	c, err := identity.ParseCredential(credential)
	if err != nil {
		return nil
	}
	o, err := g.keysFor(c)
	if err != nil {
		g.log.Warn("device is heard again once it knows the newest credential", "err", err)
		return nil
	}
	return o
}

// newPeer makes the keys for speaking to the platform.
func (g *Gateway) newPeer(w *with) (*e2e.Peer, error) {
	return e2e.NewPeer(e2e.Config{
		Self: w.self, Key: w.key, Remote: w.platform, Binding: w.bundle.Binding, Epochs: newEpochs(g.cfg.Store, w.bundle.Binding),
	})
}

// current is with what the gateway speaks to the platform now.
func (g *Gateway) current() *with {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.side
}

// newCredential is control.ClientConfig.Credential: the newest, while the platform does not know it.
func (g *Gateway) newCredential() identity.Credential {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.offered == nil {
		return identity.Credential{}
	}
	return g.offered.self.Credential()
}

// takeAdmission is control.ClientConfig.TakeAdmission: the platform has taken the newest credential, or has a newer one itself.
func (g *Gateway) takeAdmission(admission []byte) *control.Side {
	side, err := g.readmitted(admission)
	if err != nil {
		g.log.Error("admission of the platform", "err", err)
	}
	return side
}

func (g *Gateway) readmitted(admission []byte) (*control.Side, error) {
	g.orders.Lock()
	defer g.orders.Unlock()
	g.mu.Lock()
	now, offered := g.side, g.offered
	g.mu.Unlock()
	next := with{own: now.own, admission: admission}
	var err error
	next.bundle, next.platform, err = control.OpenAdmission(admission, g.verifier, now.self)
	if err != nil && offered != nil {
		next.own = offered
		next.bundle, next.platform, err = control.OpenAdmission(admission, g.verifier, offered.self)
	}
	if err != nil {
		return nil, err
	}
	if err := now.mayBecome(next); err != nil {
		return nil, err
	}
	mine, theirs := next.own != now.own, next.platform.CertificateHash() != now.platform.CertificateHash()
	if !mine && !theirs {
		return nil, nil
	}
	peer, err := g.newPeer(&next)
	if err != nil {
		return nil, err
	}
	if err := g.memory.update(context.Background(), func(tx Tx) error { return g.putSide(tx, &next) }); err != nil {
		peer.Wipe()
		return nil, err
	}
	g.mu.Lock()
	g.side = &next
	if mine {
		g.offered = nil
	}
	g.mu.Unlock()
	if mine {
		g.prekeys.follow()
		g.offerDevices()
		g.log.Info("the platform knows the newest credential", "generation", next.self.Generation())
	}
	if theirs {
		g.log.Info("the platform has a new credential", "platform", next.platform.ID(), "generation", next.platform.Generation())
	}
	return &control.Side{Self: next.self, Signer: next.signer, Platform: next.platform, Peer: peer}, nil
}

// mayBecome reports an admission that is another than the next one of the same pair.
func (w *with) mayBecome(next with) error {
	switch {
	case next.bundle.Binding != w.bundle.Binding || next.bundle.Topics != w.bundle.Topics:
		return fmt.Errorf("%w: it is of another binding or topic prefix", control.ErrForeign)
	case next.platform.CertificateHash() != w.platform.CertificateHash() || next.platform.Generation() != w.platform.Generation():
		if err := next.platform.Follows(w.platform); err != nil {
			return fmt.Errorf("%w: %w", control.ErrForeign, err)
		}
	}
	return nil
}

// offerDevices lets every device speak to the credential that is in use from now on. The caller holds orders.
func (g *Gateway) offerDevices() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.devices {
		if d.peer != nil {
			d.peer.offer(g.newestPeer(g.side.own, d.id, d.binding))
		}
	}
}

// permits looks for the evidence of an order under what the application is. A request of its own may have been signed before a renewal; then a
// signature of then counts too, for a connection that this gateway has asked to end. Nothing else does under what the application was: those keys may
// have been replaced, and their certificate revoked, because somebody else has them.
func (g *Gateway) permits(e control.Evidence, o control.Order, r deviceRecord) error {
	w := g.current()
	err := e.Permits(o, g.verifier, control.Parties{Device: r.Credential, Application: w.self})
	if err == nil || e.Request == nil || !r.Leaving {
		return err
	}
	for _, before := range g.owns {
		if e.Permits(o, g.verifier, control.Parties{Device: r.Credential, Application: before.self}) == nil {
			return nil
		}
	}
	return err
}
