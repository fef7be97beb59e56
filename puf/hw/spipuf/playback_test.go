package spipuf_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3/conntest"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/conn/v3/spi/spitest"

	"github.com/semio-iot/semio/puf/hw/spipuf"
)

type (
	spiMode = spi.Mode
	spiConn = spi.Conn
)

// Every byte on the bus, as the data sheets have it.
func TestPlayback(t *testing.T) {
	for _, c := range []struct {
		kind   spipuf.Chip
		offset int
		ops    []conntest.IO
	}{
		{spipuf.Chip23LC1024, 0x1a2b3, []conntest.IO{
			{W: []byte{0x01, 0x80}, R: []byte{0xff, 0xff}}, // mark
			{W: []byte{0x05, 0}, R: []byte{0xff, 0x80}},
			{W: []byte{0x05, 0}, R: []byte{0xff, 0x40}}, // sequential after power-up
			{W: []byte{0x01, 0x40}, R: []byte{0xff, 0xff}},
			{W: []byte{0x05, 0}, R: []byte{0xff, 0x40}},
			{W: []byte{0x03, 0x01, 0xa2, 0xb3, 0, 0, 0}, R: []byte{0xff, 0xff, 0xff, 0xff, 0xca, 0xfe, 0x42}},
			{W: []byte{0x01, 0x80}, R: []byte{0xff, 0xff}}, // mark
			{W: []byte{0x05, 0}, R: []byte{0xff, 0x80}},
		}},
		{spipuf.Chip23K256, 0x7ff0, []conntest.IO{
			{W: []byte{0x01, 0x80}, R: []byte{0, 0}},
			{W: []byte{0x05, 0}, R: []byte{0, 0x80}},
			{W: []byte{0x05, 0}, R: []byte{0, 0x00}}, // byte mode after power-up
			{W: []byte{0x01, 0x40}, R: []byte{0, 0}},
			{W: []byte{0x05, 0}, R: []byte{0, 0x40}},
			{W: []byte{0x03, 0x7f, 0xf0, 0, 0, 0}, R: []byte{0, 0, 0, 0xca, 0xfe, 0x42}},
			{W: []byte{0x01, 0x80}, R: []byte{0, 0}},
			{W: []byte{0x05, 0}, R: []byte{0, 0x80}},
		}},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pin := func(name string) *gpiotest.Pin { return &gpiotest.Pin{N: name, L: gpio.High} }
				power, cs, sck, mosi := pin("POWER"), pin("CS"), pin("SCK"), pin("MOSI")
				port := &spitest.Playback{
					Playback: conntest.Playback{Ops: c.ops, DontPanic: true}, CLKPin: sck, MOSIPin: mosi, CSPin: cs,
				}
				src, err := spipuf.Open(spipuf.Config{Chip: c.kind, Port: port, Power: power, Offset: c.offset, Size: 3})
				require.NoError(t, err)
				off := func() {
					for _, p := range []*gpiotest.Pin{power, cs, sck, mosi} {
						require.Equal(t, gpio.Low, p.Read(), p.N)
					}
				}
				off()
				got := make([]byte, 3)
				require.NoError(t, src.Measure(t.Context(), got))
				require.Equal(t, []byte{0xca, 0xfe, 0x42}, got)
				off()
				require.NoError(t, src.Close())
				require.NoError(t, port.Close(), "transfers that did not come")
			})
		})
	}
}

// Playback reports no pins: they must be given.
func TestPlaybackWithoutPins(t *testing.T) {
	_, err := spipuf.Open(spipuf.Config{
		Chip: spipuf.Chip23K256, Port: &spitest.Playback{}, Power: &gpiotest.Pin{N: "POWER"}, CS: &gpiotest.Pin{N: "CS"},
	})
	require.ErrorIs(t, err, spipuf.ErrLine)
}
