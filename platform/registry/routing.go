package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// Action is what a client of the broker wants to do with a topic.
type Action byte

// The actions. A subscription names a filter, the others a topic.
const (
	ActionPublish Action = iota + 1
	ActionSubscribe
	ActionReceive
)

func (a Action) String() string {
	switch a {
	case ActionPublish:
		return "publish"
	case ActionSubscribe:
		return "subscribe"
	case ActionReceive:
		return "receive"
	}
	return fmt.Sprintf("action %d", byte(a))
}

// ErrNotAllowed reports a client that may not be connected at all.
var ErrNotAllowed = errors.New("registry: not allowed to connect")

// Routing says who may use which topic. It is pure and safe for concurrent use. What it does not allow is forbidden:
//
//	device       publish Up of its application and ToPlatform; subscribe and receive Down of its application and ToPeer
//	application  subscribe to its own Up filter; receive Up from, and publish Down to, devices connected with it; publish ToPlatform; subscribe
//	             and receive ToPeer
//	platform     subscribe to and receive everything to the platform; publish to any peer
//
// A revoked application and whoever is not registered may do nothing. A retired device is not let in any more; a connection that it
// still has serves it to fetch its last orders, on the control topics alone, and for nothing once there are none.
type Routing struct {
	topics   control.Topics
	platform identity.PlatformID
}

// NewRouting returns the routing of one deployment. The empty prefix is the default one.
func NewRouting(prefix string, platform identity.PlatformID) (Routing, error) {
	r := Routing{platform: platform}
	if prefix == "" {
		return r, nil
	}
	var err error
	r.topics, err = control.ParsePrefix(prefix)
	return r, err
}

// Authenticate returns nil when the holder of id's certificate may be connected under clientID: its own name or, for an application
// or the platform, an instance of it. The error is [ErrNotAllowed].
func (r Routing) Authenticate(s State, id identity.ID, clientID string) error {
	if !isClient(id, clientID) {
		return fmt.Errorf("%w: certificate of %s under client ID %.64q", ErrNotAllowed, id, clientID)
	}
	dev, _ := id.Device()
	if d, ok := s.Device(dev); ok && d.Status == Retired {
		return fmt.Errorf("%w: %s is retired", ErrNotAllowed, id)
	}
	if !r.speaks(s, id) {
		return fmt.Errorf("%w: %s is not registered here, or its certificate is revoked", ErrNotAllowed, id)
	}
	return nil
}

func isClient(id identity.ID, clientID string) bool {
	name, _, err := identity.ParseClientID(clientID)
	return err == nil && name == id && !id.IsZero()
}

// speaks says whether id may use the control topics.
func (r Routing) speaks(s State, id identity.ID) bool {
	if dev, ok := id.Device(); ok {
		d, ok := s.Device(dev)
		return ok && !d.Finished()
	}
	if app, ok := id.App(); ok {
		a, ok := s.Application(app)
		return ok && !a.Revoked
	}
	return !id.IsZero() && id == r.platform.ID
}

// Allow reports whether id, connected under clientID, may. It agrees with [Routing.Grants].
func (r Routing) Allow(s State, id identity.ID, clientID string, a Action, topic string) bool {
	if !isClient(id, clientID) || !r.speaks(s, id) {
		return false
	}
	if a == ActionSubscribe {
		return r.maySubscribe(s, id, topic)
	}
	t, ok := r.topics.Parse(topic)
	if !ok || a != ActionPublish && a != ActionReceive {
		return false
	}
	if id == r.platform.ID {
		return t.Kind == control.TopicToPeer && a == ActionPublish || t.Kind == control.TopicToPlatform && a == ActionReceive
	}
	switch t.Kind {
	case control.TopicToPlatform:
		return a == ActionPublish && t.Peer == id
	case control.TopicToPeer:
		return a == ActionReceive && t.Peer == id
	}
	d, ok := s.Device(t.Device)
	if !ok || d.Status != Connected || d.App != t.App {
		return false
	}
	switch id {
	case d.ID.ID:
		return (t.Kind == control.TopicUp) == (a == ActionPublish)
	case d.App.ID:
		return (t.Kind == control.TopicDown) == (a == ActionPublish)
	}
	return false
}

func (r Routing) maySubscribe(s State, id identity.ID, filter string) bool {
	if id == r.platform.ID {
		return covers(r.topics.PlatformFilter(), filter)
	}
	if filter == r.topics.ToPeer(id) {
		return true
	}
	if app, ok := id.App(); ok {
		return covers(r.topics.AppFilter(app), filter)
	}
	dev, _ := id.Device()
	d, _ := s.Device(dev)
	return d.Status == Connected && filter == r.topics.Down(d.App, d.ID)
}

// covers says whether every topic that filter matches is one that wide, which has no '#', matches. Several instances of an application share its
// filter by shards.
func covers(wide, filter string) bool {
	w, f := strings.Split(wide, "/"), strings.Split(filter, "/")
	if len(w) != len(f) {
		return false
	}
	for i := range w {
		if f[i] == "" || f[i] != w[i] && (w[i] != "+" || strings.ContainsAny(f[i], "#+") && f[i] != "+") {
			return false
		}
	}
	return true
}

// Grant is one permission, for brokers that keep a list of them. Filter is an MQTT topic filter.
type Grant struct {
	Principal identity.ID
	Action    Action
	Filter    string
}

// Grants returns all permissions that Allow gives. It costs a pass over all records.
func (r Routing) Grants(s State) []Grant {
	out := []Grant{
		{r.platform.ID, ActionSubscribe, r.topics.PlatformFilter()},
		{r.platform.ID, ActionReceive, r.topics.PlatformFilter()},
		{r.platform.ID, ActionPublish, r.topics.ToPeer(identity.ID{}) + "+"},
	}
	for a := range s.Applications() {
		out = append(out, r.ApplicationGrants(a)...)
	}
	for d := range s.Devices() {
		out = append(out, r.DeviceGrants(s, d)...)
	}
	return out
}

// ApplicationGrants are the permissions of an application that do not depend on its devices.
func (r Routing) ApplicationGrants(a Application) []Grant {
	if a.Revoked {
		return nil
	}
	return append(r.peerGrants(a.ID.ID), Grant{a.ID.ID, ActionSubscribe, r.topics.AppFilter(a.ID)})
}

// DeviceGrants are the permissions that the record of a device gives, to the device and to its application.
func (r Routing) DeviceGrants(s State, d Device) []Grant {
	if d.Finished() {
		return nil
	}
	out := r.peerGrants(d.ID.ID)
	if d.Status != Connected {
		return out
	}
	up, down := r.topics.Up(d.App, d.ID), r.topics.Down(d.App, d.ID)
	out = append(out, Grant{d.ID.ID, ActionPublish, up}, Grant{d.ID.ID, ActionSubscribe, down}, Grant{d.ID.ID, ActionReceive, down})
	if a, ok := s.Application(d.App); ok && !a.Revoked {
		out = append(out, Grant{d.App.ID, ActionReceive, up}, Grant{d.App.ID, ActionPublish, down})
	}
	return out
}

func (r Routing) peerGrants(id identity.ID) []Grant {
	return []Grant{
		{id, ActionPublish, r.topics.ToPlatform(id)},
		{id, ActionSubscribe, r.topics.ToPeer(id)},
		{id, ActionReceive, r.topics.ToPeer(id)},
	}
}
