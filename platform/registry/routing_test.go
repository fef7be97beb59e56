package registry_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

func TestRouting(t *testing.T) {
	w, d, a, b := newWorld(t)
	other := dev(t, "D-2")
	w.do(registry.Register{Device: device(other), Evidence: ev})
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	platform, err := identity.ParsePlatformID("P-1")
	require.NoError(t, err)
	r, err := registry.NewRouting("", platform)
	require.NoError(t, err)
	_, err = registry.NewRouting("a/+", platform)
	require.Error(t, err)
	var topics control.Topics
	const pub, sub, rcv = registry.ActionPublish, registry.ActionSubscribe, registry.ActionReceive

	cases := []struct {
		name  string
		id    identity.ID
		as    string
		a     registry.Action
		topic string
		want  bool
	}{
		{"device sends", d.ID, "D-1", pub, topics.Up(a, d), true},
		{"device subscribes", d.ID, "D-1", sub, topics.Down(a, d), true},
		{"device receives", d.ID, "D-1", rcv, topics.Down(a, d), true},
		{"device asks", d.ID, "D-1", pub, topics.ToPlatform(d.ID), true},
		{"device hears", d.ID, "D-1", rcv, topics.ToPeer(d.ID), true},
		{"application subscribes to all", a.ID, "A-WATER", sub, topics.AppFilter(a), true},
		{"application subscribes to one", a.ID, "A-WATER", sub, topics.Up(a, d), true},
		{"an instance", a.ID, "A-WATER--2", sub, topics.AppFilter(a), true},
		{"application receives", a.ID, "A-WATER", rcv, topics.Up(a, d), true},
		{"application commands", a.ID, "A-WATER", pub, topics.Down(a, d), true},
		{"platform subscribes", platform.ID, "P-1", sub, topics.PlatformFilter(), true},
		{"platform answers", platform.ID, "P-1--X", pub, topics.ToPeer(d.ID), true},

		{"device listens to itself", d.ID, "D-1", sub, topics.Up(a, d), false},
		{"device with a wildcard", d.ID, "D-1", sub, topics.AppFilter(a), false},
		{"device to another application", d.ID, "D-1", pub, topics.Up(b, d), false},
		{"device as another", d.ID, "D-1", pub, topics.Up(a, other), false},
		{"device asks as another", d.ID, "D-1", pub, topics.ToPlatform(other.ID), false},
		{"device reads another's replies", d.ID, "D-1", sub, topics.ToPeer(other.ID), false},
		{"device plays the platform", d.ID, "D-1", pub, topics.ToPeer(d.ID), false},
		{"device's down", d.ID, "D-1", pub, topics.Down(a, d), false},
		{"foreign client ID", d.ID, "D-2", pub, topics.Up(a, d), false},
		{"device's instance", d.ID, "D-1--2", pub, topics.Up(a, d), false},
		{"not connected device", other.ID, "D-2", pub, topics.Up(a, other), false},
		{"application's other device", a.ID, "A-WATER", pub, topics.Down(a, other), false},
		{"application's neighbour", b.ID, "A-GAS", sub, topics.AppFilter(a), false},
		{"application's neighbour's device", b.ID, "A-GAS", rcv, topics.Up(a, d), false},
		{"application takes all", a.ID, "A-WATER", sub, "#", false},
		{"application takes all below", a.ID, "A-WATER", sub, "semio/1/app/A-WATER/#", false},
		{"shared subscription", a.ID, "A-WATER", sub, "$share/g/" + topics.AppFilter(a), false},
		{"application listens to down", a.ID, "A-WATER", sub, topics.Down(a, d), false},
		{"publish to a filter", platform.ID, "P-1", pub, "semio/1/ctl/peer/+", false},
		{"platform reads sessions", platform.ID, "P-1", sub, topics.AppFilter(a), false},
		{"platform sends as application", platform.ID, "P-1", pub, topics.Down(a, d), false},
		{"no action", d.ID, "D-1", 0, topics.Up(a, d), false},
		{"wrong shard", d.ID, "D-1", pub, "semio/1/app/A-WATER/zz/D-1/up", false},
		{"zero identity", identity.ID{}, "", pub, topics.Up(a, d), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, r.Allow(w.s, c.id, c.as, c.a, c.topic))
		})
	}

	require.NoError(t, r.Authenticate(w.s, d.ID, "D-1"))
	w.do(registry.Retire{Device: d})
	require.ErrorIs(t, r.Authenticate(w.s, d.ID, "D-1"), registry.ErrNotAllowed)
	for _, c := range cases {
		if c.id == d.ID {
			parsed, _ := topics.Parse(c.topic)
			control := parsed.Kind == control.TopicToPlatform || parsed.Kind == control.TopicToPeer
			require.Equal(t, c.want && control, r.Allow(w.s, c.id, c.as, c.a, c.topic), "retired: %s", c.name)
		}
	}
	w.do(registry.DeviceRevoked{Device: d, Evidence: crl})
	require.True(t, r.Allow(w.s, d.ID, "D-1", rcv, topics.ToPeer(d.ID)), "the wipe order must still arrive")
	w.sendAll(d)
	for _, o := range w.device(d).Pending(d.ID) {
		w.do(registry.Acked{Device: d, From: d.ID, Number: o.Number, Result: control.AckDone, Evidence: ev})
	}
	w.do(registry.ApplicationRevoked{App: a, Evidence: crl})
	for _, c := range cases {
		if c.id == d.ID || c.id == a.ID {
			require.False(t, r.Allow(w.s, c.id, c.as, c.a, c.topic), "after the end: %s", c.name)
			require.ErrorIs(t, r.Authenticate(w.s, c.id, c.as), registry.ErrNotAllowed)
		}
	}
}
