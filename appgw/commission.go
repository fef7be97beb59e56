package appgw

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// Connect asks the platform to connect a device whose sticker was scanned with this application, and returns nil when both sides'
// certificates are exchanged here; the device follows when it can be reached. A refusal is a [*RefusedError]. A device that is
// connected already is no error. The request ends with ctx; ErrOutcomeUnknown says that it may still be carried out.
func (g *Gateway) Connect(ctx context.Context, s identity.Sticker) error {
	if err := g.connect(ctx, s); err != nil {
		return fmt.Errorf("connect %s: %w", s.Device, err)
	}
	return nil
}

func (g *Gateway) connect(ctx context.Context, s identity.Sticker) error {
	if err := g.usable(); err != nil {
		return err
	}
	var proof crypto.Signer
	var psk []byte
	switch {
	case !s.Claim.IsZero():
		key, err := s.Claim.PSK(s.Device)
		if err != nil {
			return err
		}
		defer key.Wipe()
		psk = key.Bytes()
		defer clear(psk)
		if proof, err = s.Claim.ProofKey(s.Device); err != nil {
			return err
		}
	case !g.cfg.WithoutClaimCode:
		return ErrClaimCode
	}
	if done, err := g.complete(ctx, s.Device, psk); done || err != nil {
		return err
	}
	// The order may come after a restart of ours: what it needs is durable before it can.
	if psk != nil {
		err := g.memory.update(ctx, func(tx Tx) error { return g.memory.putLocked(tx, keyClaim(s.Device), psk) })
		if err != nil {
			return err
		}
	}
	res, err := g.client.Do(ctx, control.Request{Op: control.OpConnect, Device: s.Device}, proof)
	if err != nil {
		return err
	}
	if err := res.Err(); err != nil {
		return errors.Join(err, g.forgetClaim(ctx, s.Device, psk, err))
	}
	if err := g.client.Sync(ctx); err != nil {
		return err
	}
	if _, err = g.device(s.Device); err == nil {
		return nil
	}
	if _, refused := g.binding(ctx, s.Device); refused == nil {
		return fmt.Errorf("%w: this gateway has refused the device's certificate, the log says why; Disconnect frees the device for a new try", err)
	}
	return err
}

// complete deals with a device that is connected already: it may lack only the claim code, if the order came after a lost one.
func (g *Gateway) complete(ctx context.Context, id identity.DeviceID, psk []byte) (done bool, err error) {
	g.orders.Lock()
	defer g.orders.Unlock()
	d, err := g.device(id)
	if errors.Is(err, ErrUnknownDevice) {
		return false, nil
	}
	if err != nil || d.channel != nil || psk == nil {
		return true, err
	}
	var r deviceRecord
	err = g.memory.update(ctx, func(tx Tx) error {
		var err error
		if r, err = g.memory.device(tx, id); err != nil {
			return err
		}
		r.PSK = psk
		return g.memory.putDevice(tx, id, r)
	})
	if err != nil {
		return false, err
	}
	if d, err = g.newDevice(id, r); err != nil {
		return false, err
	}
	g.install(d)
	return true, nil
}

// forgetClaim drops the claim code of a refused request, unless another request has replaced it meanwhile.
func (g *Gateway) forgetClaim(ctx context.Context, id identity.DeviceID, psk []byte, refusal error) error {
	if !errors.Is(refusal, ErrClaimRefused) {
		return nil
	}
	return g.memory.update(ctx, func(tx Tx) error {
		kept, err := g.memory.getLocked(tx, keyClaim(id))
		defer clear(kept)
		if err != nil || !bytes.Equal(kept, psk) {
			return err
		}
		return tx.Delete(keyClaim(id))
	})
}

// Disconnect asks the platform to end the connection with a device (decommissioning) and returns nil when this side has deleted
// everything of it; the device follows when it can be reached. Events that wait for the device are dropped with the connection:
// Flush first if they matter.
func (g *Gateway) Disconnect(ctx context.Context, id identity.DeviceID) error {
	if err := g.disconnect(ctx, id); err != nil {
		return fmt.Errorf("disconnect %s: %w", id, err)
	}
	return nil
}

func (g *Gateway) disconnect(ctx context.Context, id identity.DeviceID) error {
	if err := g.usable(); err != nil {
		return err
	}
	// From the store: a device that is left out, because its certificate is over, has a connection that can be ended.
	binding, err := g.binding(ctx, id)
	if err != nil {
		return err
	}
	if err := g.leave(ctx, id, binding); err != nil {
		return err
	}
	res, err := g.client.Do(ctx, control.Request{Op: control.OpDisconnect, Device: id, Binding: binding}, nil)
	if err != nil {
		return err
	}
	if err := res.Err(); err != nil {
		return err
	}
	return g.client.Sync(ctx)
}

// leave notes that a connection is to end, before anybody is asked: the order may come after a restart, and a renewal, of ours.
func (g *Gateway) leave(ctx context.Context, id identity.DeviceID, b e2e.BindingID) error {
	g.orders.Lock()
	defer g.orders.Unlock()
	return g.memory.update(ctx, func(tx Tx) error {
		r, err := g.memory.device(tx, id)
		if err != nil {
			return err
		}
		defer clear(r.PSK)
		if r.Leaving || !r.Connected || r.Binding != b.String() {
			return nil
		}
		r.Leaving = true
		return g.memory.putDevice(tx, id, r)
	})
}

// binding is that of a connected device, or of one that was refused: the platform has connected it, and nobody else can end that.
func (g *Gateway) binding(ctx context.Context, id identity.DeviceID) (b e2e.BindingID, err error) {
	err = g.memory.store.View(ctx, func(tx Tx) error {
		r, err := g.memory.device(tx, id)
		if err != nil {
			return err
		}
		defer clear(r.PSK)
		switch {
		case r.Connected:
			b, err = r.binding()
		case r.Refused != "":
			b, err = parseBinding(r.Refused)
		default:
			err = fmt.Errorf("%s: %w", id, ErrUnknownDevice)
		}
		return err
	})
	return b, err
}

// apply carries out an order of the platform; see control.ClientConfig.
func (g *Gateway) apply(ctx context.Context, o control.Order) error {
	g.orders.Lock()
	defer g.orders.Unlock()
	var r deviceRecord
	var used bool
	err := g.memory.store.View(ctx, func(tx Tx) error {
		var err error
		if r, err = g.memory.device(tx, o.Device); err != nil {
			return err
		}
		used, err = inUse(tx, o.Binding)
		return err
	})
	if err != nil {
		return err
	}
	connected := r.Connected && r.Binding == o.Binding.String()
	if o.Lifecycle <= r.Lifecycle {
		err := repeated(o, r, connected)
		if err == nil && connected {
			err = g.present(o.Device, r)
		}
		return err
	}
	switch o.Op {
	case control.OrderInstall:
		return g.applyInstall(ctx, o, r, used)
	case control.OrderRemove:
		return g.applyRemove(ctx, o, r, connected)
	}
	return fmt.Errorf("%w: %s is no order for an application", control.ErrOrderRefused, o.Op)
}

// present makes sure of a device that the store has as connected, under the credential that the store has: it may have taken an install
// without saying so.
func (g *Gateway) present(id identity.DeviceID, r deviceRecord) error {
	defer clear(r.PSK)
	if d, err := g.device(id); err == nil {
		g.catchUp(d, r)
		return nil
	}
	d, err := g.newDevice(id, r)
	switch {
	case errors.Is(err, errMemory):
		return err
	case err != nil:
		g.log.Error("device is left out", "device", id, "err", err) // as loadDevices does
		return nil
	}
	g.install(d)
	return nil
}

// repeated answers an order that is not new as it was answered before.
func repeated(o control.Order, r deviceRecord, connected bool) error {
	if o.Lifecycle == r.Lifecycle && connected == (o.Op == control.OrderInstall) {
		return nil
	}
	return control.ErrOrderSuperseded
}

func (g *Gateway) applyInstall(ctx context.Context, o control.Order, r deviceRecord, used bool) error {
	v, err := g.verifier.Verify(o.Credential, identity.RoleDevice)
	renewal := r.Connected && r.Binding == o.Binding.String()
	switch {
	case err != nil && renewal && passing(err):
		// The device speaks under it already, and this order comes once: refused for good, the two would never understand each other again.
		return fmt.Errorf("%w: %w", control.ErrOrderWaits, err)
	case err != nil:
		return g.refuse(ctx, o, r, err)
	case v.ID() != o.Device.ID || o.Peer != o.Device.ID:
		return g.refuse(ctx, o, r, fmt.Errorf("certificate of %s for %s", v.ID(), o.Device))
	case renewal:
		return g.renew(ctx, o, r, v)
	case r.Connected:
		// It would delete a connection without evidence.
		return fmt.Errorf("%w: %s is connected under binding %s, which nobody has ended", control.ErrOrderRefused, o.Device, r.Binding)
	case used:
		// Queue, marks and epochs belong to a binding: a second device would get the first one's messages.
		return fmt.Errorf("%w: binding %s was used before", control.ErrOrderRefused, o.Binding)
	}
	next := deviceRecord{
		Lifecycle: o.Lifecycle, Connected: true, Binding: o.Binding.String(), Credential: o.Credential, Own: g.current().hash(),
	}
	err = g.memory.store.View(ctx, func(tx Tx) (err error) {
		next.PSK, err = g.memory.getLocked(tx, keyClaim(o.Device))
		return err
	})
	if err != nil {
		return err
	}
	defer clear(next.PSK)
	d, err := g.newDevice(o.Device, next)
	switch {
	case errors.Is(err, errMemory):
		return err // nothing is decided: the order comes again
	case err != nil:
		return g.refuse(ctx, o, r, err)
	}
	err = g.memory.update(ctx, func(tx Tx) error {
		if err := tx.Delete(keyClaim(o.Device)); err != nil {
			return err
		}
		if err := putU64s(tx, keyEpoch(o.Binding), 0, 0); err != nil {
			return err
		}
		return g.memory.putDevice(tx, o.Device, next)
	})
	if err != nil {
		d.stop()
		return err
	}
	g.install(d)
	return nil
}

// passing says that a certificate is refused for what may be wrong here: the clock, or the roots.
func passing(err error) bool {
	return errors.Is(err, identity.ErrNotYetValid) || errors.Is(err, identity.ErrExpired) || errors.Is(err, identity.ErrUntrusted)
}

// refuse refuses a device for good, and keeps the binding so that Disconnect can end it.
func (g *Gateway) refuse(ctx context.Context, o control.Order, r deviceRecord, why error) error {
	if !r.Connected {
		r.Refused = o.Binding.String()
		if err := g.memory.update(ctx, func(tx Tx) error { return g.memory.putDevice(tx, o.Device, r) }); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %w", control.ErrOrderRefused, why)
}

// install puts a device into the table, in the place of one that lacked its claim code, and starts it.
func (g *Gateway) install(d *device) {
	g.mu.Lock()
	g.devices[d.id] = d
	g.start(d)
	g.mu.Unlock()
	g.log.Info("device connected", "device", d.id, "binding", d.binding)
	if g.cfg.Observe.Connected != nil {
		g.cfg.Observe.Connected(d.id)
	}
}

func (g *Gateway) applyRemove(ctx context.Context, o control.Order, r deviceRecord, connected bool) error {
	next := r
	next.Lifecycle, next.Refused = o.Lifecycle, ""
	if !connected {
		// Nothing to destroy, so nothing to prove; the life-cycle number alone moves on.
		return g.memory.update(ctx, func(tx Tx) error { return g.memory.putDevice(tx, o.Device, next) })
	}
	e, err := control.ParseEvidence(o.Evidence)
	if err != nil {
		return fmt.Errorf("%w: %w", control.ErrOrderRefused, err)
	}
	if err := g.permits(e, o, r); err != nil {
		return err
	}
	g.mu.Lock()
	d := g.devices[o.Device]
	g.takeOut(d)
	g.mu.Unlock()
	if d != nil {
		d.stop()
	}
	err = g.memory.update(ctx, func(tx Tx) error { return g.memory.bury(tx, o, o.Binding) })
	if err != nil {
		return err
	}
	g.log.Info("device disconnected", "device", o.Device, "binding", o.Binding)
	if g.cfg.Observe.Disconnected != nil {
		g.cfg.Observe.Disconnected(o.Device)
	}
	return nil
}

// bury deletes everything of a binding but its tombstone and the device's life-cycle number, in one transaction.
func (m memory) bury(tx Tx, o control.Order, b e2e.BindingID) error {
	epochs, err := getU64s(tx, keyEpoch(b), 2)
	if err != nil {
		return err
	}
	for _, prefix := range bindingKeys(b) {
		var keys []string
		for key := range tx.List(prefix) {
			keys = append(keys, key)
		}
		for _, key := range keys {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
	}
	if err := putU64s(tx, keyTomb(b), epochs[1]); err != nil {
		return err
	}
	return m.putDevice(tx, o.Device, deviceRecord{Lifecycle: o.Lifecycle})
}
