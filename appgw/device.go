package appgw

import (
	"context"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/delivery"
)

// device is one connected device; another connection is another device.
type device struct {
	id      identity.DeviceID
	binding e2e.BindingID
	chain   [][]byte           // certificates, to find out that one is revoked later; changes under Gateway.mu
	channel *delivery.Channel  // nil while the sticker's claim code is not known
	peer    *either            // of channel; under Gateway.mu
	cancel  context.CancelFunc // set by start, under Gateway.mu
}

// newDevice makes a device from its record. The credential is verified again: a certificate may have been revoked meanwhile.
func (g *Gateway) newDevice(id identity.DeviceID, r deviceRecord) (*device, error) {
	verified, err := g.verifier.Verify(r.Credential, identity.RoleDevice)
	if err != nil {
		return nil, err
	}
	binding, err := r.binding()
	if err != nil {
		return nil, err
	}
	d := &device{id: id, binding: binding, chain: r.Credential.Chain}
	if d.peer, err = g.eitherOf(d, r, verified); err != nil || d.peer == nil {
		return d, err
	}
	down := g.topics.Down(g.app, id)
	box := newOutbox(g.memory, binding)
	d.channel, err = delivery.Open(delivery.Config{
		Peer:    d.peer,
		Store:   box,
		Publish: func(ctx context.Context, record []byte) error { return g.link.Publish(ctx, down, record) },
		HandleEvent: func(ctx context.Context, e Event) error {
			e.Binding = binding
			return g.handleEvent(ctx, id, e, box)
		},
		HandlerKeepsMark: g.cfg.OnEventTx != nil,
		HandleCall:       g.callHandler(id),
		MaxQueue:         g.cfg.MaxQueue,
		Pool:             g.calls,
		Logger:           g.log.With("device", id),
	})
	if err != nil {
		d.peer.Wipe()
		return nil, fmt.Errorf("%w: %w", errMemory, err)
	}
	return d, nil
}

// errMemory tells a store that failed from a device that cannot be taken.
var errMemory = errors.New("appgw: read the store")

func (g *Gateway) callHandler(id identity.DeviceID) func(context.Context, Call) (Reply, error) {
	if g.cfg.OnCall == nil {
		return nil
	}
	return func(ctx context.Context, c Call) (Reply, error) { return g.cfg.OnCall(ctx, id, c) }
}

// start runs the device's channel, if there is one and Run runs. The caller holds mu.
func (g *Gateway) start(d *device) {
	if d.channel == nil || g.running == nil || d.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(g.running)
	d.cancel = cancel
	g.work.Go(func() {
		if err := d.channel.Run(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("channel of device ended", "device", d.id, "err", err)
		}
	})
	if g.up {
		d.channel.LinkUp()
	}
}

// stop ends a device that is no longer in the table and wipes its keys. It does not wait for a handler of the host, which may be what
// waits for the device's end; what the handler leaves to be written is refused once the binding is buried.
func (d *device) stop() {
	if d.channel == nil {
		return
	}
	if d.cancel != nil {
		d.cancel()
	}
	d.channel.Wipe()
}

func (d *device) linkUp() {
	if d.channel != nil {
		d.channel.LinkUp()
	}
}

func (d *device) linkDown() {
	if d.channel != nil {
		d.channel.LinkDown()
	}
}

func (d *device) receive(record []byte) {
	if d.channel != nil {
		d.channel.Receive(record)
	}
}

// loadDevices takes the connected devices from the store. One that cannot be verified is left out, and said; it comes back when the
// reason is gone.
func (g *Gateway) loadDevices(ctx context.Context) error {
	records, err := g.memory.connected(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for id, r := range records {
		used[r.Own] = true
		d, err := g.newDevice(id, r)
		clear(r.PSK)
		switch {
		case errors.Is(err, identity.ErrRevoked) || errors.Is(err, identity.ErrExpired) || errors.Is(err, identity.ErrUntrusted):
			g.log.Error("device is left out", "device", id, "err", err)
		case err != nil:
			return fmt.Errorf("device %s: %w", id, err)
		default:
			g.devices[id] = d
		}
	}
	return g.pruneOwn(ctx, used)
}

// dropRevoked takes out the devices that a list names by now, as loadDevices leaves them out. Their connections end with the
// platform's order, or by Disconnect.
func (g *Gateway) dropRevoked() {
	g.orders.Lock()
	defer g.orders.Unlock()
	g.mu.Lock()
	var gone []*device
	for _, d := range g.devices {
		if g.verifier.CheckRevocation(identity.Credential{Chain: d.chain}) != nil {
			gone = append(gone, d)
			g.takeOut(d)
		}
	}
	g.mu.Unlock()
	for _, d := range gone {
		g.log.Warn("device is revoked, its connection is suspended", "device", d.id)
		d.stop()
	}
}

func (g *Gateway) device(id identity.DeviceID) (*device, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.devices[id]
	if d == nil {
		return nil, fmt.Errorf("%s: %w", id, ErrUnknownDevice)
	}
	return d, nil
}

// usable tells whether Run can still come, or runs.
func (g *Gateway) usable() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return ErrNotRunning
	}
	return nil
}

// open is device for those who want to talk with it.
func (g *Gateway) open(id identity.DeviceID) (*delivery.Channel, error) {
	if err := g.usable(); err != nil {
		return nil, err
	}
	d, err := g.device(id)
	if err != nil {
		return nil, err
	}
	if d.channel == nil {
		return nil, fmt.Errorf("%s: %w: call Connect with the whole sticker", id, ErrClaimCode)
	}
	return d.channel, nil
}
