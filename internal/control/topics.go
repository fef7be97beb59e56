package control

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/semio-iot/semio/identity"
)

// DefaultPrefix is the topic prefix where the configuration names none.
const DefaultPrefix = "semio/1"

// Topics names the MQTT topics of one deployment. The zero value uses [DefaultPrefix].
//
//	<p>/app/<app>/<shard>/<device>/up      device → application: e2e records
//	<p>/app/<app>/<shard>/<device>/down    application → device
//	<p>/ctl/platform/<shard>/<peer>        requests to the platform
//	<p>/ctl/peer/<peer>                    nudges and replies from the platform
//
// shard is [Shard] of the device or peer, so that several instances of an application or platform can divide the work.
type Topics struct{ prefix string }

// ParsePrefix checks a topic prefix: 1 to 64 bytes, levels of letters, digits, '_' and '-', divided by '/'.
func ParsePrefix(s string) (Topics, error) {
	if len(s) > 64 || !prefixForm(s) {
		return Topics{}, fmt.Errorf("control: topic prefix %.80q: want 1 to 64 bytes of levels of [0-9A-Za-z_-] divided by single slashes, for example %q", s, DefaultPrefix)
	}
	return Topics{s}, nil
}

// prefixForm takes only what every broker passes through unchanged: RabbitMQ turns '/' to '.' inside and knows '*' and '#'.
func prefixForm(s string) bool {
	for level := range strings.SplitSeq(s, "/") {
		if level == "" {
			return false
		}
		for _, c := range []byte(level) {
			if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c == '-') {
				return false
			}
		}
	}
	return true
}

// Prefix returns the prefix without a trailing slash.
func (t Topics) Prefix() string {
	if t.prefix == "" {
		return DefaultPrefix
	}
	return t.prefix
}

// Up is the topic on which device d sends to application a.
func (t Topics) Up(a identity.AppID, d identity.DeviceID) string { return t.app(a, d, "up") }

// Down is the topic on which application a sends to device d.
func (t Topics) Down(a identity.AppID, d identity.DeviceID) string { return t.app(a, d, "down") }

func (t Topics) app(a identity.AppID, d identity.DeviceID, direction string) string {
	return t.Prefix() + "/app/" + a.String() + "/" + Shard(d.ID) + "/" + d.String() + "/" + direction
}

// AppFilter is the filter with which application a receives from all its devices.
func (t Topics) AppFilter(a identity.AppID) string {
	return t.Prefix() + "/app/" + a.String() + "/+/+/up"
}

// ToPlatform is the topic on which peer asks the platform.
func (t Topics) ToPlatform(peer identity.ID) string {
	return t.Prefix() + "/ctl/platform/" + Shard(peer) + "/" + peer.String()
}

// PlatformFilter is the filter with which the platform receives all requests.
func (t Topics) PlatformFilter() string { return t.Prefix() + "/ctl/platform/+/+" }

// ToPeer is the topic on which the platform answers and nudges peer.
func (t Topics) ToPeer(peer identity.ID) string { return t.Prefix() + "/ctl/peer/" + peer.String() }

// Shard is the first byte of SHA-256(name) in lower-case hexadecimal.
func Shard(id identity.ID) string {
	h := sha256.Sum256([]byte(id.String()))
	return hex.EncodeToString(h[:1])
}

// TopicKind says which of the four topics a name is.
type TopicKind int

// The kinds of topics, as drawn at [Topics].
const (
	TopicUp TopicKind = iota + 1
	TopicDown
	TopicToPlatform
	TopicToPeer
)

// Topic is a parsed topic name. App and Device are set for up and down, Peer for the other two.
type Topic struct {
	Kind   TopicKind
	App    identity.AppID
	Device identity.DeviceID
	Peer   identity.ID
}

// Parse takes a topic name apart. It accepts exactly the names that the other methods make: no filter, no foreign prefix, no
// shard that is not the name's own.
func (t Topics) Parse(topic string) (Topic, bool) {
	rest, ok := strings.CutPrefix(topic, t.Prefix()+"/")
	if !ok || len(rest) > 128 {
		return Topic{}, false
	}
	levels := strings.Split(rest, "/")
	var out Topic
	var name string
	switch {
	case len(levels) == 5 && levels[0] == "app" && (levels[4] == "up" || levels[4] == "down"):
		a, errA := identity.ParseAppID(levels[1])
		d, errD := identity.ParseDeviceID(levels[3])
		if errA != nil || errD != nil {
			return Topic{}, false
		}
		out = Topic{Kind: TopicUp, App: a, Device: d}
		name = t.Up(a, d)
		if levels[4] == "down" {
			out.Kind, name = TopicDown, t.Down(a, d)
		}
	case len(levels) == 4 && levels[0] == "ctl" && levels[1] == "platform":
		id, err := identity.ParseID(levels[3])
		if err != nil {
			return Topic{}, false
		}
		out, name = Topic{Kind: TopicToPlatform, Peer: id}, t.ToPlatform(id)
	case len(levels) == 3 && levels[0] == "ctl" && levels[1] == "peer":
		id, err := identity.ParseID(levels[2])
		if err != nil {
			return Topic{}, false
		}
		out, name = Topic{Kind: TopicToPeer, Peer: id}, t.ToPeer(id)
	default:
		return Topic{}, false
	}
	return out, name == topic
}
