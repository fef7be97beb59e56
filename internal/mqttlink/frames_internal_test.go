package mqttlink

import (
	"bytes"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"
)

func TestFrames(t *testing.T) {
	long := append([]byte{0x30, 0xc8, 0x01}, make([]byte, 200)...)
	for name, c := range map[string]struct {
		stream []byte
		refuse bool
		code   int // of a DISCONNECT, -1 for none
	}{
		"empty":                    {nil, false, -1},
		"pings":                    {[]byte{0xd0, 0, 0xd0, 0}, false, -1},
		"at the limit":             {long, false, -1},
		"above the limit":          {[]byte{0x30, 0xc9, 0x01}, true, -1},
		"far above the limit":      {[]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, true, -1},
		"length without end":       {[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x00}, true, -1},
		"length in surplus bytes":  {[]byte{0xd0, 0x80, 0x00, 0xd0, 0x00}, false, -1},
		"disconnect":               {[]byte{0xe0, 1, 0x8e}, false, 0x8e},
		"disconnect without code":  {[]byte{0xe0, 0}, false, 0},
		"disconnect after message": {append(bytes.Clone(long), 0xe0, 2, 0x98, 0), false, 0x98},
		"its code in a message":    {[]byte{0x30, 3, 0xe0, 1, 0x8e}, false, -1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1, 2, 3, 1000} {
				f := frames{max: 200}
				var err error
				for rest := c.stream; len(rest) > 0 && err == nil; rest = rest[min(step, len(rest)):] {
					err = f.scan(rest[:min(step, len(rest))])
				}
				require.Equal(t, c.refuse, err != nil, "%v", err)
				code, ok := f.disconnect()
				require.Equal(t, c.code >= 0, ok)
				if ok {
					require.EqualValues(t, c.code, code)
				}
			}
		})
	}
}

// FuzzFrames holds frames against the client's own reader: what passes has only packets within the limit, and cutting the
// stream differently changes nothing.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0xd0, 0, 0x30, 3, 0, 1, 'a', 0xe0, 1, 0x8e}, uint8(3))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		const limit = 100
		whole, parts := frames{max: limit}, frames{max: limit}
		err := whole.scan(b)
		n := min(int(cut), len(b))
		err2 := parts.scan(b[:n])
		if err2 == nil {
			err2 = parts.scan(b[n:])
		}
		require.Equal(t, err == nil, err2 == nil)
		if err != nil {
			return
		}
		require.Equal(t, whole, parts)
		for r := bytes.NewReader(b); ; {
			before := r.Len()
			p, err := packets.ReadPacket(r)
			if err != nil || p == nil {
				return
			}
			require.LessOrEqual(t, before-r.Len(), limit+5)
		}
	})
}
