package e2e_test

import (
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/e2e/internal/adversary"
	"github.com/stretchr/testify/require"
)

func seedRecords(f *testing.F) {
	vs := load(f)
	for _, v := range vs.Positive {
		f.Add([]byte(v.Init))
		f.Add([]byte(v.Resp))
		for _, m := range v.Messages {
			f.Add([]byte(m.Record))
		}
	}
	for _, n := range vs.Negative {
		f.Add([]byte(n.Record))
	}
	for _, c := range vs.Challenges {
		f.Add([]byte(c.Record))
	}
	f.Add([]byte{})
	f.Add([]byte{0x11, 1, 4, 0})
	f.Add(append([]byte{0x11, 3, 0, 0, 24: 0, 25: 5}, make([]byte, 1184+100)...))
}

// The decoders neither panic nor lose or invent a byte.
func FuzzParse(f *testing.F) {
	seedRecords(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, err := e2e.TypeOf(b)
		_, isHandshake := e2e.HintOf(b)
		if err != nil {
			require.Equal(t, e2e.ErrUnauthentic, err)
			require.False(t, isHandshake)
		} else {
			require.Equal(t, typ != e2e.TypeData && typ != e2e.TypeClose, isHandshake)
			require.Equal(t, b[:16], e2e.RebuildHeader(b))
		}
		if whole, ok := e2e.RebuildInit(b); ok {
			require.Equal(t, b, whole)
			require.Equal(t, e2e.TypeInit, typ)
		}
		if whole, ok := e2e.RebuildChallenge(b); ok {
			require.Equal(t, b, whole)
			require.Equal(t, e2e.TypeChallenge, typ)
		}
		if whole, ok := e2e.RebuildResp(b); ok {
			require.Equal(t, b, whole)
			require.Equal(t, e2e.TypeResp, typ)
		}
	})
}

// Whatever comes from the transport, in whatever state: no panic, and one error, unless it is a vector's genuine record.
func FuzzReceive(f *testing.F) {
	seedRecords(f)
	vs := load(f).Positive
	genuine := map[string]bool{}
	for _, v := range vs {
		genuine[string(v.Init)], genuine[string(v.Resp)] = true, true
		for _, m := range v.Messages {
			genuine[string(m.Record)] = true
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if genuine[string(b)] {
			t.Skip()
		}
		dev, app := vectorPeers(t, vs[0])
		for _, p := range []*e2e.Peer{dev, app} {
			ev, err := p.Receive(start, b)
			require.Equal(t, e2e.ErrUnauthentic, err)
			require.Equal(t, e2e.Event{}, ev)
		}
		establishVector(t, vs[0], dev, app)
		_, err := dev.Initiate(start, nil)
		require.NoError(t, err)
		for _, p := range []*e2e.Peer{dev, app} {
			_, err := p.Receive(start, b)
			require.Error(t, err)
		}
		gw, plat := vectorPeers(t, vs[2])
		x, err := gw.Begin(start)
		require.NoError(t, err)
		_, err = x.Init(nil)
		require.NoError(t, err)
		_, err = plat.OpenRequest(b)
		require.Equal(t, e2e.ErrUnauthentic, err)
		_, err = x.Open(b)
		require.Equal(t, e2e.ErrUnauthentic, err)
	})
}

func FuzzParseEpochWindow(f *testing.F) {
	f.Add(e2e.EpochWindow{}.Marshal())
	f.Add(e2e.EpochWindow{Highest: 5, Bits: 0b10011}.Marshal())
	f.Add(e2e.EpochWindow{Highest: 1 << 40, Bits: 1<<63 | 1}.Marshal())
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := e2e.ParseEpochWindow(b)
		if err != nil {
			require.Zero(t, w)
			return
		}
		require.Equal(t, b, w.Marshal())
		next := w.Highest + 1
		if next == 0 {
			require.ErrorIs(t, w.Accept(next), e2e.ErrStaleEpoch, "after the last number there is none")
			return
		}
		require.NoError(t, w.Accept(next))
		require.ErrorIs(t, w.Accept(next), e2e.ErrReplay)
	})
}

// bytesChooser lets the fuzzer's bytes decide, and counts how many it has.
type bytesChooser struct{ script []byte }

func (c *bytesChooser) Choose(n int) int {
	if len(c.script) == 0 {
		return 0
	}
	v := int(c.script[0])
	c.script = c.script[1:]
	if n > 256 && len(c.script) > 0 {
		v = v<<8 | int(c.script[0])
		c.script = c.script[1:]
	}
	return v % n
}

// The adversary of e2e/internal/adversary, led by the fuzzer. The command beside it plays the same game with pseudo-random numbers.
func FuzzAdversary(f *testing.F) {
	cast, err := adversary.NewCast()
	require.NoError(f, err)
	for stream := range uint64(8) {
		script, r := make([]byte, 600), adversary.NewRandom(1, stream)
		for i := range script {
			script[i] = byte(r.Choose(256))
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		c := &bytesChooser{script[:min(len(script), 1500)]}
		w, err := adversary.NewWorld(cast, c, adversary.Faults{})
		require.NoError(t, err)
		defer w.Close()
		for len(c.script) > 0 {
			require.NoError(t, w.Step())
		}
		require.NoError(t, w.Rest())
	})
}
