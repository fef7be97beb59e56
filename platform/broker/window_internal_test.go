package broker

import (
	"bytes"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"
)

func encode(t testing.TB, id uint16, qos byte, topic string, payload []byte) []byte {
	var b bytes.Buffer
	p := &packets.Publish{Topic: topic, QoS: qos, PacketID: id, Payload: payload, Properties: &packets.Properties{}}
	_, err := p.WriteTo(&b)
	require.NoError(t, err)
	return b.Bytes()
}

func TestMessageID(t *testing.T) {
	for _, size := range []int{0, 1, 100, 127, 128, 16383, 16384, 100_000} {
		got, ok := messageID(encode(t, 0x1234, 1, "topic", make([]byte, size)))
		require.True(t, ok)
		require.Equal(t, uint16(0x1234), got, "%d bytes", size)
	}
	for name, p := range map[string][]byte{
		"QoS 0": encode(t, 0, 0, "t", nil), "empty": nil, "PUBACK": {0x40, 2, 0, 1}, "cut after type": {0x32}, "cut in length": {0x32, 0x80},
		"cut in topic": {0x32, 9, 0, 9, 'a'}, "cut in ID": {0x32, 4, 0, 1, 'a', 1},
	} {
		_, ok := messageID(p)
		require.False(t, ok, name)
	}
}

func FuzzMessageID(f *testing.F) {
	f.Add([]byte{0x32, 5, 0, 1, 'a', 1, 2})
	f.Add([]byte{0x32, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := messageID(b)
		cp, err := packets.ReadPacket(bytes.NewReader(b))
		if err != nil || cp.Type != packets.PUBLISH {
			return
		}
		if p := cp.Content.(*packets.Publish); p.QoS == 1 {
			require.True(t, ok)
			require.Equal(t, p.PacketID, got)
		}
	})
}

func TestWindow(t *testing.T) {
	w := newWindow()
	w.size = 2
	send := func(id uint16) bool { return w.enter(id, encode(t, id, 1, "t", []byte{byte(id)})) }
	require.True(t, send(1))
	require.True(t, send(2))
	require.False(t, send(3))
	require.False(t, send(4))
	require.Equal(t, 4, w.pending())
	require.Empty(t, w.leave(9, nil), "never sent")
	require.Empty(t, w.leave(3, nil), "not sent yet")
	require.Equal(t, encode(t, 3, 1, "t", []byte{3}), w.leave(2, nil))
	require.Empty(t, w.leave(2, nil), "twice")
	require.False(t, send(5), "does not overtake")
	require.Equal(t, encode(t, 4, 1, "t", []byte{4}), w.leave(3, nil))
	require.Equal(t, encode(t, 5, 1, "t", []byte{5}), w.leave(1, nil))
	require.Empty(t, w.leave(4, nil))
	require.Empty(t, w.leave(5, nil))
	require.Zero(t, w.pending())
	require.Zero(t, w.bytes)
	require.True(t, send(6))
	w.reset()
	require.Zero(t, w.pending())
	require.Equal(t, 2, w.size)
}
