package devicegw

import (
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// Status is a snapshot for people and for tests.
type Status struct {
	Device      identity.DeviceID
	Platform    identity.PlatformID
	Application identity.AppID // zero: connected with none
	Binding     e2e.BindingID  // of the connection; zero: none
	Suspended   error          // not nil: the connection's application is not trusted now
	Retired     bool           // the device is being wiped

	Generation uint32    // of the device's credential: 1, and one more with each renewal
	Certified  time.Time // end of its validity

	Online  bool // connected to the broker
	Session bool // a session with the application exists, in which messages are sealed

	Queued   int    // events that the application has not acknowledged
	Damaged  int    // queued events that the memory has lost since Open
	Revision uint64 // life-cycle number of the last change of the connection
	Order    uint64 // number of the platform's last order

	Records   e2e.Stats // of the device-application peer: what was refused, and why
	LastError error     // of the link, or of a subscription that the broker refused
}

// Status reports the state of now.
func (g *Gateway) Status() Status {
	g.mu.Lock()
	conn := g.conn
	s := Status{
		Device: g.id, Suspended: g.suspended, Retired: g.retiring, Online: g.up != 0,
		Revision: g.state.Lifecycle, Order: g.state.LastOrder, LastError: g.lastErr,
	}
	if g.state.Peer != nil {
		s.Application, s.Binding = g.state.Peer.app, g.state.Peer.Binding
	}
	s.Platform, _ = g.platform.ID().Platform()
	s.Generation, s.Certified = g.self.Generation(), g.self.NotAfter()
	g.mu.Unlock()
	if conn != nil {
		peer := conn.peer.Load()
		_, s.Session = peer.Session()
		s.Queued = conn.channel.Stats().Queued
		s.Damaged = conn.box.lost()
		s.Records = peer.Stats()
	}
	return s
}
