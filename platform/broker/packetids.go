package broker

import mqtt "github.com/mochi-mqtt/server/v2"

// packetIDs keeps the packet IDs that a client chose apart from those that the broker chose. They are two sets of numbers
// (MQTT 5, 2.2.1), but mochi has one map for both: a SUBSCRIBE is refused with 0x91 when a message to that client happens to
// wait for its PUBACK under the same number, and a PUBLISH makes it forget that message.
//
// Each request of a client gets, while it is dealt with, a number half the range away from those that the broker gives out; the
// answer gets the client's number back. One request is dealt with at a time, on the goroutine that reads.
type packetIDs struct {
	client, ours uint16
}

func (p *packetIDs) replace(cl *mqtt.Client, lastOut uint16, id uint16) uint16 {
	if id == 0 {
		return 0 // refused by mochi's validation
	}
	ours := lastOut + 1<<15
	for {
		if _, used := cl.State.Inflight.Get(ours); ours != 0 && !used {
			p.client, p.ours = id, ours
			return ours
		}
		ours++ // ends: Limits.Pending keeps half of the numbers free
	}
}

func (p *packetIDs) restore(id uint16) uint16 {
	if id != 0 && id == p.ours {
		return p.client
	}
	return id
}
