package registry

import (
	"iter"
	"maps"

	"github.com/semio-iot/semio/identity"
)

// State is an immutable snapshot of all records; the zero value is empty. Copies are cheap and share memory.
type State struct {
	devices table[identity.DeviceID, Device]
	apps    table[identity.AppID, Application]
}

// NewState returns the state of these records.
func NewState(devices []Device, apps []Application) State {
	s := State{devices: table[identity.DeviceID, Device]{new(shards[identity.DeviceID, Device])}, apps: table[identity.AppID, Application]{new(shards[identity.AppID, Application])}}
	for _, d := range devices {
		s.devices.set(d.ID, d.ID.ID, d)
	}
	for _, a := range apps {
		s.apps.set(a.ID, a.ID.ID, a)
	}
	return s
}

// Device returns a record.
func (s State) Device(id identity.DeviceID) (Device, bool) { return s.devices.get(id, id.ID) }

// Application returns a record.
func (s State) Application(id identity.AppID) (Application, bool) { return s.apps.get(id, id.ID) }

// Devices yields all devices, in no order.
func (s State) Devices() iter.Seq[Device] { return s.devices.all() }

// Applications yields all applications, in no order.
func (s State) Applications() iter.Seq[Application] { return s.apps.all() }

// WithDevice returns the state with this record in place of the one of its name. Apply makes all changes; this is for a store
// that knows better.
func (s State) WithDevice(d Device) State {
	s.devices = s.devices.with(d.ID, d.ID.ID, d)
	return s
}

// WithApplication is WithDevice for an application.
func (s State) WithApplication(a Application) State {
	s.apps = s.apps.with(a.ID, a.ID.ID, a)
	return s
}

// table is a map that is copied in one of 256 parts when it changes, so that a change among 100,000 devices copies 400.
type table[K comparable, V any] struct{ shards *shards[K, V] }

type shards[K comparable, V any] [256]map[K]V

// shardOf is FNV-1a folded to a byte.
func shardOf(id identity.ID) byte {
	h := uint32(2166136261)
	name := id.String()
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return byte(h>>24) ^ byte(h>>16) ^ byte(h>>8) ^ byte(h)
}

func (t table[K, V]) get(k K, id identity.ID) (V, bool) {
	if t.shards == nil {
		var none V
		return none, false
	}
	v, ok := t.shards[shardOf(id)][k]
	return v, ok
}

// set changes the table itself.
func (t table[K, V]) set(k K, id identity.ID, v V) {
	i := shardOf(id)
	if t.shards[i] == nil {
		t.shards[i] = map[K]V{}
	}
	t.shards[i][k] = v
}

func (t table[K, V]) with(k K, id identity.ID, v V) table[K, V] {
	next := table[K, V]{new(shards[K, V])}
	if t.shards != nil {
		*next.shards = *t.shards
	}
	i := shardOf(id)
	next.shards[i] = maps.Clone(next.shards[i])
	next.set(k, id, v)
	return next
}

func (t table[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		if t.shards == nil {
			return
		}
		for _, m := range t.shards {
			for _, v := range m {
				if !yield(v) {
					return
				}
			}
		}
	}
}
