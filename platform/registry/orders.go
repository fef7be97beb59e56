package registry

import (
	"slices"
)

// maxPending is how many orders about one device may wait for one peer before a further connection is refused. Only a peer that
// takes orders and acknowledges none gets there, and it harms itself alone: ending a connection is never refused.
const maxPending = 32

// order queues o at its receiver, unless that would undo what the receiver never heard of.
//
// Supersession follows from what the receiver may have seen. An install that was never handed out and is to be removed
// disappears with its removal; so however often a device that is offline changes hands, at most one removal and one
// install wait for it. What was handed out may have been applied without our knowing, so it stays until it is acknowledged, and
// the removal comes after it. A wipe leaves nothing to do and replaces everything. Numbers of dropped orders are not used again:
// to the receiver they only grow. An install that tells of a renewal is not the first of its binding: the removal takes its place.
func (c *change) order(d *Device, o Order) {
	switch o.Op {
	case Install:
		if o.Again && d.unsentInstall(o) >= 0 {
			return // it carries the credential of the moment when it goes out
		}
	case Remove:
		if i := d.unsentInstall(o); i >= 0 {
			again := d.Orders[i].Again
			c.drop(d, i)
			if !again {
				return
			}
		}
	case Wipe:
		for i := len(d.Orders) - 1; i >= 0; i-- {
			if d.Orders[i].To == o.To {
				c.drop(d, i)
			}
		}
	}
	if o.To == d.ID.ID {
		d.LastOrder++
		o.Number = d.LastOrder
	} else {
		id, _ := o.To.App()
		a, _ := c.s.Application(id) // whoever was connected was admitted
		a.LastOrder++
		o.Number = a.LastOrder
		c.putApp(a)
	}
	o.Lifecycle = d.Lifecycle
	d.Orders = append(slices.Clip(d.Orders), o)
	c.effects.Queued = append(c.effects.Queued, QueuedOrder{d.ID, o})
	if !slices.Contains(c.effects.Nudge, o.To) {
		c.effects.Nudge = append(c.effects.Nudge, o.To)
	}
}

// unsentInstall finds the install of o's binding that waits for o's receiver and was never handed out; there is one at most.
func (d *Device) unsentInstall(o Order) int {
	return slices.IndexFunc(d.Orders, func(p Order) bool { return p.To == o.To && p.Op == Install && p.Binding == o.Binding && !p.Sent })
}

func (c *change) drop(d *Device, i int) {
	c.effects.Dropped = append(c.effects.Dropped, QueuedOrder{d.ID, d.Orders[i]})
	d.Orders = slices.Concat(d.Orders[:i], d.Orders[i+1:])
}
