package serialpuf_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf/hw/serialpuf"
)

// FuzzScan: whatever comes before a frame and however the bytes are cut, the frame is found, and every frame found is one that
// stands in the stream.
func FuzzScan(f *testing.F) {
	good := encode(1, []byte("0123456789"))
	f.Add([]byte{}, []byte{}, []byte("reading"), uint16(1))
	f.Add([]byte("PUF1"), []byte{0}, []byte{}, uint16(0))
	f.Add([]byte("PUF1\xff\xff\x00\x01"), []byte{0, 3}, []byte("PUF1"), uint16(3))
	f.Add(good[:len(good)-1], []byte{7}, good, uint16(1))
	f.Add(append(bytes.Clone(good[:20]), 'P', 'U', 'F'), []byte{255}, good[1:], uint16(0xffff))
	f.Add(bytes.Repeat([]byte("PUF1\x00\x10"), 30), []byte{1, 2}, []byte("x"), uint16(1))
	f.Fuzz(func(t *testing.T, before, cuts, data []byte, flags uint16) {
		data = data[:min(len(data), math.MaxUint16)]
		frame := encode(flags, data)
		stream := append(bytes.Clone(before), frame...)
		found, skipped := serialpuf.Scan(stream, cuts)
		seen, total := false, 0
		for _, got := range found {
			whole := encode(got.Flags, got.Data)
			require.True(t, bytes.Contains(stream, whole), "frame %x does not stand in %x", whole, stream)
			seen = seen || bytes.Equal(whole, frame)
			total += len(whole)
		}
		require.True(t, seen, "frame %x not found in %x", frame, stream)
		require.Equal(t, len(stream), total+skipped, "each byte is either a frame's or skipped")
	})
}

func TestScanLongStream(t *testing.T) {
	// More than the buffer holds, with every frame at another place of it.
	var stream []byte
	var want []serialpuf.Found
	for i := range 300 {
		data := bytes.Repeat([]byte{byte(i)}, 7*i)
		stream = append(append(stream, "PUFPUF1\x00\x01"[:i%10]...), encode(1, data)...)
		want = append(want, serialpuf.Found{Flags: 1, Data: data})
	}
	for _, cuts := range [][]byte{nil, {0}, {255}, {3, 90, 200}} {
		found, _ := serialpuf.Scan(stream, cuts)
		require.Len(t, found, len(want))
		for i := range want {
			require.True(t, bytes.Equal(want[i].Data, found[i].Data), "frame %d", i)
		}
	}
}
