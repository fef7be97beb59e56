package appgw

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// renew takes the new credential of a connected device, which the platform has heard under it. Binding, claim code, epochs, queue and marks
// stay; one that was left out because the old certificate is over comes back.
func (g *Gateway) renew(ctx context.Context, o control.Order, r deviceRecord, v *identity.Verified) error {
	if err := g.follows(r.Credential, v); err != nil {
		return fmt.Errorf("%w: %w", control.ErrOrderRefused, err)
	}
	next := r
	next.Lifecycle, next.Credential = o.Lifecycle, o.Credential
	defer clear(next.PSK)
	g.mu.Lock()
	d := g.devices[o.Device]
	g.mu.Unlock()
	if d != nil {
		// What can fail, before anything is written.
		peer, err := g.eitherOf(d, next, v)
		if err != nil {
			return fmt.Errorf("%w: %w", control.ErrOrderRefused, err)
		}
		if err := g.putDevice(ctx, o.Device, next); err != nil {
			if peer != nil {
				peer.Wipe()
			}
			return err
		}
		g.turn(d, peer, next)
		return nil
	}
	d, err := g.newDevice(o.Device, next)
	switch {
	case errors.Is(err, errMemory):
		return err // nothing is decided: the order comes again
	case err != nil:
		return fmt.Errorf("%w: %w", control.ErrOrderRefused, err)
	}
	if err := g.putDevice(ctx, o.Device, next); err != nil {
		d.stop()
		return err
	}
	g.install(d)
	return nil
}

func (g *Gateway) putDevice(ctx context.Context, id identity.DeviceID, r deviceRecord) error {
	return g.memory.update(ctx, func(tx Tx) error { return g.memory.putDevice(tx, id, r) })
}

// turn goes on with a device under the credential of its record. peer is nil while the claim code is not known.
func (g *Gateway) turn(d *device, peer *either, r deviceRecord) {
	g.mu.Lock()
	d.chain, d.peer = r.Credential.Chain, peer
	g.mu.Unlock()
	if peer != nil && d.channel != nil {
		d.channel.Turn(peer)
	}
	g.log.Info("device renewed", "device", d.id)
}

// catchUp is turn for a device whose record was written without our knowing.
func (g *Gateway) catchUp(d *device, r deviceRecord) {
	if bytes.Equal(d.chain[0], r.Credential.Chain[0]) {
		return
	}
	v, err := g.verifier.Verify(r.Credential, identity.RoleDevice)
	var peer *either
	if err == nil {
		peer, err = g.eitherOf(d, r, v)
	}
	if err != nil {
		g.log.Error("device is not heard", "device", d.id, "err", err)
		return
	}
	g.turn(d, peer, r)
}

// follows says whether a credential can take the place of one that was verified before: of a higher generation, and for the same keys and
// helper data, which a device has for life. The name is checked.
func (g *Gateway) follows(have identity.Credential, next *identity.Verified) error {
	// Without the revocation lists: the old certificate may be on one because there is a new one.
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: g.cfg.Roots, Now: g.cfg.Now})
	if err != nil {
		return err
	}
	old, err := v.VerifyLapsed(have, identity.RoleDevice)
	if err != nil {
		return err
	}
	before, _ := old.HelperHash()
	after, _ := next.HelperHash()
	if err := next.Follows(old); err != nil {
		return err
	}
	if !next.SigningKey().Equal(old.SigningKey()) || !next.Agreement().Equal(old.Agreement()) || before != after {
		return fmt.Errorf("%w: %s has other keys or helper data than it is connected with", identity.ErrKey, old.ID())
	}
	return nil
}
