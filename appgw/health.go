package appgw

import (
	"errors"
	"fmt"
)

// Health is a snapshot for a host's health endpoint and metrics. [Gateway.Devices] has the single devices.
type Health struct {
	Running   bool  // Run runs
	Online    bool  // connected to the broker and subscribed
	LastError error // of the link, or of a subscription that the broker refused; nil while online

	Devices int // connected with this application and trusted
	Queued  int // events for devices that they have not acknowledged

	Counters Counters
}

// Counters count what happened since Open, over all devices. They only grow.
type Counters struct {
	EventsHandled  uint64 // of devices, done
	EventsRepeated uint64 // of devices, came again and were not handled again
	EventsFailed   uint64 // errors of OnEvent; these come again
	EventsSent     uint64 // to devices, repetitions included
	CallsServed    uint64 // of devices
	Sessions       uint64 // begun with devices
	RecordsRefused uint64 // forged, seen before, or of a session that is over
	RecordsDropped uint64 // found the queue of a slow handler full; these come again
	StoreErrors    uint64
	PublishErrors  uint64
}

// Err is nil while messages can flow, and otherwise says why not. Nothing is lost meanwhile: what devices send waits with them, and what
// is sent to them waits in the store.
func (h Health) Err() error {
	switch {
	case !h.Running:
		return ErrNotRunning
	case !h.Online && h.LastError != nil:
		return fmt.Errorf("%w: %w", errOffline, h.LastError)
	case !h.Online:
		return errOffline
	}
	return nil
}

var errOffline = errors.New("appgw: not connected to the broker")

// Health reports the state of now. It asks no store and waits for nobody.
func (g *Gateway) Health() Health {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := Health{Running: g.running != nil, Online: g.up, Devices: len(g.devices), Counters: g.before}
	for _, d := range g.devices {
		h.Queued += d.count(&h.Counters)
	}
	if h.Online {
		return h
	}
	h.LastError = g.lastErr
	// A link may know more: why it has not come up at all.
	if l, ok := g.link.(interface{ LastError() error }); ok && h.LastError == nil {
		h.LastError = l.LastError()
	}
	return h
}

// count adds the device's counters and returns how many events wait for it.
func (d *device) count(c *Counters) (queued int) {
	if d.channel == nil {
		return 0
	}
	s := d.channel.Stats()
	c.EventsHandled += s.Handled
	c.EventsRepeated += s.Repeated
	c.EventsFailed += s.Failures
	c.EventsSent += s.Sent
	c.CallsServed += s.CallsRun
	c.Sessions += s.Sessions
	c.RecordsRefused += s.RecordsRefused
	c.RecordsDropped += s.RecordsDropped + s.NoRoom
	c.StoreErrors += s.StoreErrors
	c.PublishErrors += s.PublishErrors
	return s.Queued
}

// takeOut removes a device from the table, if it is there. The caller holds mu, and stops it.
func (g *Gateway) takeOut(d *device) {
	if d == nil || g.devices[d.id] != d {
		return
	}
	delete(g.devices, d.id)
	d.count(&g.before)
}
