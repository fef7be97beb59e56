package appgw

import (
	"context"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// eitherOf makes the keys for a device: under what the application was when the device was heard last, and, where that is not
// what it is now, under the newest. It is nil where the claim code is required and not known.
func (g *Gateway) eitherOf(d *device, r deviceRecord, remote *identity.Verified) (*either, error) {
	if len(r.PSK) == 0 && !g.cfg.WithoutClaimCode {
		return nil, nil
	}
	e := &either{turned: func() { g.heard(d.id, d.binding) }}
	newest := g.current().own
	o := g.ownOf(r)
	if o != nil {
		e.make = g.newestPeer(newest, d.id, d.binding)
	} else {
		o = newest
	}
	var err error
	if e.current, err = g.devicePeer(o, r, remote); err != nil {
		return nil, err
	}
	return e, nil
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
