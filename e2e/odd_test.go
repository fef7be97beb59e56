package e2e_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

// Records from the true peer with all keys and tags right, that break a rule of the format all the same. Only the rule itself
// refuses them, so the test notices when it is gone.
func TestAuthenticButAgainstTheRules(t *testing.T) {
	set := func(i int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[i] |= v; return b }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		count  func(e2e.Stats) uint64
	}{
		{"the flag of a prekey and none", set(2, 1<<3), unsupported},
		{"prekey 0", func(b []byte) []byte { b[2] |= 1 << 3; return slices.Insert(b, 26, 0, 0, 0, 0) }, malformed},
		{"a prekey where there are none", func(b []byte) []byte { b[2] |= 1 << 3; return slices.Insert(b, 26, 0, 0, 0, 1) }, unsupported},
		{"reserved flag b6", set(2, 1<<6), malformed},
		{"reserved flag b7", set(2, 1<<7), malformed},
		{"renew-please", set(2, 1<<1), malformed},
		{"generation", set(3, 1), malformed},
		{"counter", set(15, 1), malformed},
		{"counter and generation", func(b []byte) []byte { b[3], b[13] = 1, 1; return b }, malformed},
		{"profile 1", set(2, 1<<4), unsupported},
		{"profile 2", set(2, 1<<5), unsupported},
		{"unknown offer", set(25, 1<<4), malformed},
		{"suite not offered", func(b []byte) []byte { b[25] = 2; return b }, malformed},
		{"nothing offered", func(b []byte) []byte { b[25] = 0; return b }, malformed},
	} {
		t.Run("INIT with "+c.name, func(t *testing.T) {
			v := *positive()[0]
			v.oddInit = c.change
			v.compute()
			_, app := vectorPeers(t, &v)
			refused(t, start, app, v.Init)
			require.Equal(t, uint64(1), c.count(app.Stats()))
		})
	}
	t.Run("INIT that also offers a suite of a later version is taken, ML-KEM key and all", func(t *testing.T) {
		for _, offered := range []uint16{0x0001, 0x0003, 0x000f} {
			v := *positive()[0]
			v.oddInit = func(b []byte) []byte {
				binary.BigEndian.PutUint16(b[24:], offered)
				if offered&0xc != 0 {
					b = append(b, bytes.Repeat([]byte{7}, 1184)...)
				}
				return b
			}
			v.compute()
			_, app := vectorPeers(t, &v)
			ev, err := app.Receive(start, v.Init)
			require.NoError(t, err)
			require.Equal(t, string(v.Early), string(ev.Payload))
			require.Equal(t, []byte(v.Resp), ev.Reply, "suite 0x01 is chosen")
		}
	})
	t.Run("INIT with an echo that nobody asked for is taken as one without", func(t *testing.T) {
		v := *positive()[0]
		v.oddInit = func(b []byte) []byte { b[2] |= 1 << 2; return slices.Insert(b, 26, make([]byte, 16)...) }
		v.compute()
		_, app := vectorPeers(t, &v)
		ev, err := app.Receive(start, v.Init)
		require.NoError(t, err)
		require.Equal(t, []byte(v.Resp), ev.Reply)
		_, app = vectorPeers(t, &v, func(c *e2e.Config) { c.Epochs = &memEpochs{seen: 1} })
		_, err = app.Receive(start, v.Init)
		require.ErrorIs(t, err, e2e.ErrStaleEpoch)
	})
	for name, change := range map[string]func([]byte) []byte{
		"reserved flag": set(2, 1<<3), "echo flag": set(2, 1<<2), "profile 1": set(2, 1<<4), "generation": set(3, 1), "counter": set(15, 1),
		"own direction": func(b []byte) []byte { b[2] &^= 1; return b },
		"suite 0x03":    set(1, 2),
		"another hint":  set(4, 0xff),
	} {
		t.Run("RESP with "+name, func(t *testing.T) {
			v := *positive()[0]
			v.oddResp = change
			v.compute()
			dev, _ := vectorPeers(t, &v)
			_, err := dev.Initiate(start, v.Early)
			require.NoError(t, err)
			require.NotNil(t, dev.Pending())
			refused(t, start, dev, v.Resp)
		})
	}
	for name, change := range map[string]func([]byte) []byte{
		"reserved flag": set(2, 1<<3), "echo flag": set(2, 1<<2), "profile 1": set(2, 1<<4), "generation": set(3, 1),
		"own direction": set(2, 1), "suite 0x03": set(1, 2), "type RESP": set(0, 2), "type CHALLENGE": set(0, 4),
	} {
		t.Run("DATA with "+name, func(t *testing.T) {
			v := *positive()[0]
			v.compute()
			dev, app := vectorPeers(t, &v)
			establishVector(t, &v, dev, app)
			m := refMessage{From: "A", Counter: 1, Plain: []byte("odd"), odd: change}
			v.seal(&m)
			refused(t, start, app, m.Record)
			m.odd = nil
			v.seal(&m)
			_, err := app.Receive(start, m.Record)
			require.NoError(t, err)
		})
	}
}

func malformed(s e2e.Stats) uint64   { return s.Malformed }
func unsupported(s e2e.Stats) uint64 { return s.Unsupported }

// lenientEpochs takes everything: the peer still knows what it has seen itself.
type lenientEpochs struct{ memEpochs }

func (*lenientEpochs) AcceptEpoch(uint64) error { return nil }

func TestEpochIsCheckedBeforeTheStore(t *testing.T) {
	x := newPair(t)
	lenient := func(c *e2e.Config, _ *[]byte) { c.Epochs = &lenientEpochs{} }
	x.app = x.appSide.open(t, x.devSide, lenient)
	old, err := x.dev.Initiate(x.now, []byte("old"))
	require.NoError(t, err)
	x.establish(t)
	_, err = x.app.Receive(x.now, old)
	require.ErrorIs(t, err, e2e.ErrStaleEpoch)
}

// Forward secrecy within a session: what the ratchet leaves behind is overwritten.
func TestRatchetWipesTheOldKey(t *testing.T) {
	x := newPair(t).establish(t)
	out, in := e2e.ChainKeys(x.dev)[0], e2e.ChainKeys(x.app)[1]
	require.Equal(t, out, in)
	require.NotEqual(t, make([]byte, 32), out)
	e2e.SetSent(x.dev, 3<<16)
	deliver(t, x.now, x.dev, x.app, "three generations on")
	require.Equal(t, make([]byte, 32), out)
	require.Equal(t, make([]byte, 32), in)

	live := append(e2e.ChainKeys(x.dev), e2e.ChainKeys(x.app)...)
	_, err := x.dev.CloseSession(0)
	require.NoError(t, err)
	x.app.Wipe()
	for i, k := range live {
		require.Equal(t, make([]byte, 32), k, "chain key %d", i)
	}
}
