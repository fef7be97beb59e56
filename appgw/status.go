package appgw

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// DeviceStatus is a snapshot of a device that is connected with this application.
type DeviceStatus struct {
	Device  identity.DeviceID
	Binding e2e.BindingID // of the connection

	Suspended bool // the device cannot be trusted now: its certificate is revoked or expired
	NoClaim   bool // the claim code is missing: Connect with the whole sticker
	Session   bool // there is a session, in which messages are sealed
	Outdated  bool // it has not been heard under this application's newest credential
	Queued    int  // events that wait for the device
}

// Devices lists the devices that are connected with this application, by name.
func (g *Gateway) Devices(ctx context.Context) ([]DeviceStatus, error) {
	records, err := g.memory.connected(ctx)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	used := g.current().hash()
	var out []DeviceStatus
	for id, r := range records {
		clear(r.PSK)
		b, err := r.binding()
		if err != nil {
			return nil, fmt.Errorf("list devices: %s: %w", id, err)
		}
		s := DeviceStatus{Device: id, Binding: b, Outdated: r.Own != used}
		switch d, err := g.device(id); {
		case err != nil || d.binding != b:
			s.Suspended = true
		case d.channel == nil:
			s.NoClaim = true
		default:
			stats := d.channel.Stats()
			s.Session, s.Queued = stats.Ready, stats.Queued
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b DeviceStatus) int { return cmp.Compare(a.Device.String(), b.Device.String()) })
	return out, nil
}
