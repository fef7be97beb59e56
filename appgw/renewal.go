package appgw

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// eitherOf makes the keys for a device: under what the application was when the device was heard last, and, where that is not
// what it is now, under the newest.
func (g *Gateway) eitherOf(d *device, r deviceRecord, remote *identity.Verified) (*either, error) {
	e := &either{turned: func() { g.heard(d.id, d.binding) }}
	newest := g.current().own
	o := g.ownOf(r)
	if o != nil {
		e.make = g.newestPeer(newest, d.id, d.binding)
	} else {
		o = newest
	}
	var err error
	e.current, err = g.devicePeer(o, r, remote)
	return e, err
}

// newestPeer returns what makes the keys for a device under the credential that is in use with the platform.
func (g *Gateway) newestPeer(newest *own, id identity.DeviceID, b e2e.BindingID) func() (*e2e.Peer, error) {
	return func() (*e2e.Peer, error) {
		var r deviceRecord
		err := g.memory.store.View(context.Background(), func(tx Tx) (err error) {
			r, err = g.memory.device(tx, id)
			return err
		})
		if err != nil {
			return nil, err
		}
		defer clear(r.PSK)
		if !r.Connected || r.Binding != b.String() {
			return nil, fmt.Errorf("%s: %w", id, ErrUnknownDevice)
		}
		remote, err := g.verifier.VerifyLapsed(r.Credential, identity.RoleDevice)
		if err != nil {
			return nil, err
		}
		return g.devicePeer(newest, r, remote)
	}
}

func (g *Gateway) devicePeer(o *own, r deviceRecord, remote *identity.Verified) (*e2e.Peer, error) {
	binding, err := r.binding()
	if err != nil {
		return nil, err
	}
	cfg := e2e.Config{
		Self: o.self, Key: o.key, Remote: remote, Binding: binding,
		RequirePSK: !g.cfg.WithoutClaimCode, Profile: g.cfg.Profile, Suites: g.cfg.Suites,
		Prekeys: g.prekeys, RequirePrekey: true,
		Epochs: newEpochs(g.cfg.Store, binding),
	}
	if len(r.PSK) > 0 {
		if cfg.PSK, err = identity.NewPSK(r.PSK); err != nil {
			return nil, err
		}
		defer cfg.PSK.Wipe()
		cfg.RequirePSK = true
	}
	return e2e.NewPeer(cfg)
}

// heard notes that a device knows the credential that is in use. It is a hint for the next start, and no harm if it is lost: the
// device is looked for under both.
func (g *Gateway) heard(id identity.DeviceID, b e2e.BindingID) {
	hash := g.current().hash()
	err := g.memory.update(context.Background(), func(tx Tx) error {
		r, err := g.memory.device(tx, id)
		if err != nil {
			return err
		}
		defer clear(r.PSK)
		if !r.Connected || r.Binding != b.String() {
			return nil
		}
		r.Own = hash
		return g.memory.putDevice(tx, id, r)
	})
	if err != nil {
		g.log.Warn("note that a device knows the newest credential", "device", id, "err", err)
	}
}

// applyRenewal takes the newer credential of a device that is connected. Everything else of the connection stays.
func (g *Gateway) applyRenewal(ctx context.Context, o control.Order, r deviceRecord, v *identity.Verified) error {
	defer clear(r.PSK)
	same := len(r.Credential.Chain) > 0 && bytes.Equal(r.Credential.Chain[0], v.Certificate().Raw)
	switch old, err := x509.ParseCertificate(r.Credential.Chain[0]); {
	case same:
	case err != nil:
		return err
	case v.Generation() <= r.Credential.Generation():
		return fmt.Errorf("%w: credential of %s is of generation %d, the known one of %d", control.ErrOrderRefused, o.Device, v.Generation(), r.Credential.Generation())
	case !v.SigningKey().Equal(old.PublicKey.(*ecdsa.PublicKey)):
		// A device has its keys from its chip.
		return fmt.Errorf("%w: credential of %s is for another key", control.ErrOrderRefused, o.Device)
	}
	next := r
	next.Lifecycle, next.Credential = o.Lifecycle, o.Credential
	g.mu.Lock()
	d := g.devices[o.Device]
	g.mu.Unlock()
	var peer *either
	if d != nil && d.channel != nil && !same {
		var err error
		if peer, err = g.eitherOf(d, next, v); err != nil {
			return fmt.Errorf("%w: %w", control.ErrOrderRefused, err)
		}
	}
	if err := g.memory.update(ctx, func(tx Tx) error { return g.memory.putDevice(tx, o.Device, next) }); err != nil {
		if peer != nil {
			peer.Wipe()
		}
		return err
	}
	switch {
	case d == nil:
		// It was left out, because its certificate was over or its authority revoked.
		if err := g.present(o.Device, next); err != nil {
			return err
		}
	case peer != nil:
		g.mu.Lock()
		d.chain, d.peer = next.Credential.Chain, peer
		g.mu.Unlock()
		// The channel goes on with its queue, handlers and calls, under other keys.
		d.channel.Turn(peer)
	default:
		g.mu.Lock()
		d.chain = next.Credential.Chain
		g.mu.Unlock()
	}
	g.log.Info("device has a new credential", "device", o.Device, "generation", v.Generation())
	return nil
}
