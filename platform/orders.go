package platform

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// ordersPerReply is what control.Reply takes.
const ordersPerReply = 16

// signedAck is an acknowledgement whose signature was verified.
type signedAck struct {
	control.Ack
	raw []byte
}

func (s *Service) openAcks(p *peer, raw [][]byte) []signedAck {
	var out []signedAck
	for _, b := range raw {
		a, err := control.OpenAck(b, p.self)
		if err != nil {
			s.log.Warn("acknowledgement refused", "peer", p.id, "err", err)
			continue
		}
		out = append(out, signedAck{a, b})
	}
	return out
}

// acked takes an order out of its queue. An acknowledgement of what is not there, or is another order, changes nothing.
func (t *txn) acked(p *peer, a signedAck) error {
	raw, err := t.tx.Get(orderKey(p.id, a.Number))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	q, err := parseQueued(raw)
	if err != nil {
		return err
	}
	if q.signed == nil || sha256.Sum256(q.signed) != a.Order {
		t.s.log.Warn("acknowledgement of another order", "peer", p.id, "number", a.Number)
		return nil
	}
	eff, err := t.apply(registry.Acked{Device: q.device, From: p.id, Number: a.Number, Result: a.Result, Evidence: sha256.Sum256(a.raw)})
	if err != nil {
		return fmt.Errorf("platform: state and store disagree: %w", err)
	}
	d, _ := t.state.Device(q.device)
	t.after = append(t.after, func() {
		if a.Result == control.AckRefused {
			t.s.log.Error("a peer refused an order for good", "peer", p.id, "device", q.device, "number", a.Number)
		}
		if f := t.s.cfg.Observer.Acked; f != nil {
			f(p.id, eff.Audit[0].Kind, len(d.Orders))
		}
	})
	return t.keep(a.raw)
}

// handOut returns the oldest orders for a peer, signed. An order is signed when it first goes out and stays these bytes until it
// is acknowledged. room is what they may take, and what is left.
func (t *txn) handOut(p *peer, room *int) (orders [][]byte, more bool, err error) {
	type item struct {
		number uint64
		queued
	}
	var items []item
	waiting := 0
	for key, raw := range t.tx.List(prefixOrder + p.id.String() + "/") {
		var n uint64
		if _, err := fmt.Sscanf(key[len(key)-16:], "%016x", &n); err != nil {
			return nil, false, fmt.Errorf("read %s: %w", key, err)
		}
		q, err := parseQueued(raw)
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", key, err)
		}
		if q.signed != nil && t.mayWait(p.id, q.device, n) {
			if waiting++; waiting > ordersPerReply/2 {
				continue // lest those keep away what comes behind them
			}
		}
		if items = append(items, item{n, q}); len(items) > ordersPerReply {
			break
		}
	}
	for i, it := range items {
		if i == ordersPerReply {
			return orders, true, nil
		}
		signed := it.signed
		if _, err := control.OpenOrder(signed, t.s.self); signed != nil && err != nil {
			signed = nil // by an earlier key of the platform, which the peer has no use for any more
		}
		fresh := signed == nil
		if fresh {
			if signed, err = t.sign(p, it.device, it.number); err != nil {
				return nil, false, err
			}
		}
		if len(signed) > *room {
			if len(orders) > 0 {
				return orders, true, nil
			}
			t.s.log.Error("an order does not fit into a reply, because its evidence is too long", "peer", p.id, "device", it.device, "bytes", len(signed), "limit", *room)
			return nil, false, nil
		}
		if fresh {
			v, err := queued{it.device, signed}.marshal()
			if err != nil {
				return nil, false, err
			}
			if err := t.tx.Put(orderKey(p.id, it.number), v); err != nil {
				return nil, false, err
			}
			if err := t.must(registry.Sent{Device: it.device, To: p.id, Number: it.number}); err != nil {
				return nil, false, err
			}
		}
		*room -= len(signed)
		orders = append(orders, signed)
	}
	return orders, false, nil
}

// mayWait says that an order tells of a renewal: an application whose clock or roots are not right leaves it until they are. What comes
// behind it may overtake it, because applications judge by the number of the life cycle.
func (t *txn) mayWait(to identity.ID, device identity.DeviceID, number uint64) bool {
	d, _ := t.state.Device(device)
	o, ok := d.Order(to, number)
	return ok && o.Again
}

func (t *txn) sign(p *peer, device identity.DeviceID, number uint64) ([]byte, error) {
	d, _ := t.state.Device(device)
	o, ok := d.Order(p.id, number)
	if !ok {
		return nil, fmt.Errorf("platform: state and store disagree: %w", registry.ErrUnknownOrder)
	}
	out := control.Order{
		Number: number, Platform: t.s.id, To: p.id, Device: device, Lifecycle: o.Lifecycle, Op: o.Op,
		PlatformBinding: p.binding, Binding: o.Binding, Peer: o.Peer,
	}
	if o.Op == registry.Install {
		out.Credential = d.Credential
		if app, ok := o.Peer.App(); ok {
			a, _ := t.state.Application(app)
			out.Credential = a.Credential
		}
	} else {
		var err error
		if out.Evidence, err = t.tx.Get(evidenceKey(o.Evidence.Hash)); err != nil {
			return nil, fmt.Errorf("evidence for order %d to %s: %w", number, p.id, err)
		}
	}
	return out.Sign(t.s.cfg.Signer)
}
