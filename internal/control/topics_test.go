package control_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

func names(t testing.TB) (identity.AppID, identity.DeviceID) {
	a, err := identity.ParseAppID("A-WATER")
	require.NoError(t, err)
	d, err := identity.ParseDeviceID("D-7F3K2")
	require.NoError(t, err)
	return a, d
}

func TestTopics(t *testing.T) {
	a, d := names(t)
	topics, err := control.ParsePrefix("factory/line-1")
	require.NoError(t, err)
	shard := control.Shard(d.ID)
	require.Regexp(t, "^[0-9a-f]{2}$", shard)

	for topic, want := range map[string]control.Topic{
		topics.Up(a, d):         {Kind: control.TopicUp, App: a, Device: d},
		topics.Down(a, d):       {Kind: control.TopicDown, App: a, Device: d},
		topics.ToPlatform(d.ID): {Kind: control.TopicToPlatform, Peer: d.ID},
		topics.ToPeer(a.ID):     {Kind: control.TopicToPeer, Peer: a.ID},
	} {
		got, ok := topics.Parse(topic)
		require.True(t, ok, topic)
		require.Equal(t, want, got, topic)
		_, ok = control.Topics{}.Parse(topic)
		require.False(t, ok, "%s has a foreign prefix", topic)
	}
	require.Equal(t, "factory/line-1/app/A-WATER/"+shard+"/D-7F3K2/up", topics.Up(a, d))
	require.Equal(t, "semio/1/ctl/peer/A-WATER", control.Topics{}.ToPeer(a.ID))

	other := "00"
	if shard == other {
		other = "01"
	}
	for _, bad := range []string{
		"", "semio/1", "semio/1/", "semio/1/app/A-WATER", topics.AppFilter(a), topics.PlatformFilter(),
		strings.Replace(topics.Up(a, d), "/"+shard+"/", "/"+other+"/", 1),
		strings.Replace(topics.Up(a, d), "/up", "/sideways", 1),
		topics.Up(a, d) + "/", "/" + topics.Up(a, d),
		strings.Replace(topics.Up(a, d), "A-WATER", "D-WATER", 1),
		strings.Replace(topics.Up(a, d), "D-7F3K2", "D-7f3k2", 1),
		"factory/line-1/ctl/peer/nobody", "factory/line-1/ctl/platform/" + other + "/D-7F3K2",
	} {
		_, ok := topics.Parse(bad)
		require.False(t, ok, "%q", bad)
	}
}

func TestParsePrefix(t *testing.T) {
	for _, good := range []string{"a", "semio/1", "A_b-9/c", strings.Repeat("x", 64)} {
		p, err := control.ParsePrefix(good)
		require.NoError(t, err, good)
		require.Equal(t, good, p.Prefix())
	}
	for _, bad := range []string{"", "/", "/a", "a/", "a//b", "a/+/b", "#", "$SYS", "a b", "ä", "a.b", strings.Repeat("x", 65)} {
		_, err := control.ParsePrefix(bad)
		require.Error(t, err, "%q", bad)
	}
}

func FuzzParseTopic(f *testing.F) {
	a, d := names(f)
	f.Add(control.Topics{}.Up(a, d))
	f.Add(control.Topics{}.ToPlatform(a.ID))
	f.Add(control.Topics{}.ToPeer(d.ID))
	f.Fuzz(func(t *testing.T, topic string) {
		topics := control.Topics{}
		p, ok := topics.Parse(topic)
		if !ok {
			return
		}
		again := map[control.TopicKind]func() string{
			control.TopicUp:         func() string { return topics.Up(p.App, p.Device) },
			control.TopicDown:       func() string { return topics.Down(p.App, p.Device) },
			control.TopicToPlatform: func() string { return topics.ToPlatform(p.Peer) },
			control.TopicToPeer:     func() string { return topics.ToPeer(p.Peer) },
		}
		require.Equal(t, topic, again[p.Kind](), "a parsed topic is the one that is made")
	})
}
