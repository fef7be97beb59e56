package e2e_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/sha256"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

// Every byte of every kind of record counts, and so does every length.
func TestFlippedAndTruncated(t *testing.T) {
	x := newPair(t)
	init, err := x.dev.Initiate(x.now, []byte("early"))
	require.NoError(t, err)
	damaged(t, x, x.app, init)
	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err, "the untouched one still counts")

	resp := ev.Reply
	damaged(t, x, x.dev, resp)
	ev, err = x.dev.Receive(x.now, resp)
	require.NoError(t, err)

	confirm := ev.Reply
	damaged(t, x, x.app, confirm)
	_, err = x.app.Receive(x.now, confirm)
	require.NoError(t, err)

	data := seal(t, x.now, x.app, "close the valve")
	damaged(t, x, x.dev, data)
	ev, err = x.dev.Receive(x.now, data)
	require.NoError(t, err)
	require.Equal(t, "close the valve", string(ev.Payload))
}

func damaged(t *testing.T, x *pair, to *e2e.Peer, record []byte) {
	t.Helper()
	for i := range record {
		for bit := range 8 {
			bad := bytes.Clone(record)
			bad[i] ^= 1 << bit
			refused(t, x.now, to, bad)
		}
		refused(t, x.now, to, record[:i])
	}
	refused(t, x.now, to, append(bytes.Clone(record), 0))
	refused(t, x.now, to, nil)
	refused(t, x.now, to, make([]byte, e2e.MaxRecord+1))
}

func TestReplayAndReorder(t *testing.T) {
	x := newPair(t).establish(t)
	var rec [4][]byte
	for i := range rec {
		rec[i] = seal(t, x.now, x.dev, string(rune('a'+i)))
	}
	for _, step := range []struct {
		i   int
		err error
	}{
		{0, nil}, {0, e2e.ErrReplay}, {2, nil}, {1, e2e.ErrReplay}, {2, e2e.ErrReplay}, {3, nil}, {0, e2e.ErrReplay},
	} {
		ev, err := x.app.Receive(x.now, rec[step.i])
		if step.err != nil {
			require.Equal(t, step.err, err)
			require.Equal(t, e2e.Event{}, ev)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, string(rune('a'+step.i)), string(ev.Payload))
	}
	require.Equal(t, uint64(4), x.app.Stats().Replayed)
}

func TestReflection(t *testing.T) {
	x := newPair(t)
	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	refused(t, x.now, x.dev, init)
	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	refused(t, x.now, x.app, ev.Reply)
	ev, err = x.dev.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	refused(t, x.now, x.dev, ev.Reply)
	_, err = x.app.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	data := seal(t, x.now, x.dev, "reflected")
	refused(t, x.now, x.dev, data)
	require.Equal(t, uint64(3), x.dev.Stats().OwnDirection)
	require.Equal(t, uint64(1), x.app.Stats().OwnDirection)

	turned := bytes.Clone(data)
	turned[2] ^= 1 // as if the other side had sent it
	refused(t, x.now, x.dev, turned)
	require.Equal(t, uint64(1), x.dev.Stats().BadTag)
}

func TestSplice(t *testing.T) {
	t.Run("record under another session", func(t *testing.T) {
		x := newPair(t).establish(t)
		old := seal(t, x.now, x.dev, "old session")
		x.establish(t)
		id, _ := x.app.Session()
		copy(old[4:12], id[:])
		refused(t, x.now, x.app, old)
	})
	t.Run("record of another binding of the same pair", func(t *testing.T) {
		x := newPair(t).establish(t)
		other := func(c *e2e.Config, _ *[]byte) { c.Binding[15]++ }
		y := &pair{dev: x.devSide.open(t, x.appSide, other), app: x.appSide.open(t, x.devSide, other), now: x.now}
		y.establish(t)
		rec := seal(t, y.now, y.dev, "other binding")
		refused(t, x.now, x.app, rec)
		id, _ := x.app.Session()
		copy(rec[4:12], id[:])
		refused(t, x.now, x.app, rec)

		init, err := y.dev.Initiate(y.now, nil)
		require.NoError(t, err)
		refused(t, x.now, x.app, init)
		require.Equal(t, uint64(1), x.app.Stats().WrongBinding)
		hint := x.app.Hint()
		copy(init[4:12], hint[:])
		refused(t, x.now, x.app, init)
		require.Equal(t, uint64(1), x.app.Stats().BadMAC)
	})
	t.Run("payload of one INIT under the header of another", func(t *testing.T) {
		x := newPair(t)
		one, err := x.dev.Initiate(x.now, []byte("one"))
		require.NoError(t, err)
		two, err := x.dev.Initiate(x.now, []byte("two"))
		require.NoError(t, err)
		refused(t, x.now, x.app, append(bytes.Clone(two[:59]), one[59:]...))
	})
	t.Run("RESP to another INIT", func(t *testing.T) {
		x := newPair(t)
		one, err := x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		ev, err := x.app.Receive(x.now, one)
		require.NoError(t, err)
		_, err = x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		refused(t, x.now, x.dev, ev.Reply)
		require.Equal(t, uint64(1), x.dev.Stats().BadTag)
	})
	t.Run("DATA as CLOSE", func(t *testing.T) {
		x := newPair(t).establish(t)
		rec := seal(t, x.now, x.dev, "x")
		rec[0] = rec[0]&0xf0 | 3
		refused(t, x.now, x.app, rec)
		require.True(t, x.app.Ready())
	})
}

// What the two sides do not have in common, they have no key for.
func TestDisagreement(t *testing.T) {
	wrong := sha256.Sum256([]byte("another psk"))
	dev, app := newSide('D', "D-METER-1"), newSide('A', "A-WATER")
	none := func(c *e2e.Config, psk *[]byte) { *psk, c.RequirePSK = nil, false }
	for _, c := range []struct {
		name     string
		dev, app *e2e.Peer
		reason   func(e2e.Stats) uint64
	}{
		{"wrong PSK", dev.open(t, app), app.open(t, dev, func(_ *e2e.Config, psk *[]byte) { *psk = wrong[:] }),
			func(s e2e.Stats) uint64 { return s.BadMAC }},
		{"no PSK where one is required", dev.open(t, app), app.open(t, dev, none),
			func(s e2e.Stats) uint64 { return s.WrongBinding }},
		{"PSK in use but not required", dev.open(t, app), app.open(t, dev, func(c *e2e.Config, _ *[]byte) { c.RequirePSK = false }),
			func(s e2e.Stats) uint64 { return s.WrongBinding }},
		{"another binding", dev.open(t, app), app.open(t, dev, func(c *e2e.Config, _ *[]byte) { c.Binding[0]++ }),
			func(s e2e.Stats) uint64 { return s.WrongBinding }},
		{"another certificate of the device", dev.open(t, app), app.open(t, &side{'D', dev.name, dev.key, [32]byte{1}, nil}),
			func(s e2e.Stats) uint64 { return s.WrongBinding }},
		{"another certificate of the application", dev.open(t, &side{'A', app.name, app.key, [32]byte{1}, nil}), app.open(t, dev),
			func(s e2e.Stats) uint64 { return s.WrongBinding }},
		{"another name", dev.open(t, app), app.open(t, &side{'D', "D-METER-2", dev.key, dev.cert, nil}),
			func(s e2e.Stats) uint64 { return s.WrongBinding }},
		// An endorsement does not prove possession: somebody may have a stranger's point endorsed. The name keeps them apart.
		{"the agreement key under another's name", dev.open(t, &side{'A', "A-GAS", app.key, sha256.Sum256([]byte("gas")), nil}), app.open(t, dev),
			func(s e2e.Stats) uint64 { return s.WrongBinding }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, d := range []struct{ from, to *e2e.Peer }{{c.dev, c.app}, {c.app, c.dev}} {
				init, err := d.from.Initiate(start, []byte("early data"))
				require.NoError(t, err)
				refused(t, start, d.to, init)
				require.Equal(t, uint64(1), c.reason(d.to.Stats()))
				hint := d.to.Hint()
				copy(init[4:12], hint[:])
				refused(t, start, d.to, init)
			}
		})
	}
}

func TestNewPeerRefuses(t *testing.T) {
	dev, app, plat := newSide('D', "D-METER-1"), newSide('A', "A-WATER"), newSide('P', "P-CITY")
	ok := func(s *side) e2e.Config {
		return e2e.Config{Key: s.key, Binding: testBinding, Epochs: s.epochs}
	}
	change := func(s *side, f func(*e2e.Config)) e2e.Config {
		c := ok(s)
		f(&c)
		return c
	}
	p384, err := ecdh.P384().NewPrivateKey(bytes.Repeat([]byte{1}, 48))
	require.NoError(t, err)
	for _, c := range []struct {
		name     string
		cfg      e2e.Config
		self, to e2e.PlainParty
		want     string
	}{
		{"no key", change(dev, func(c *e2e.Config) { c.Key = nil }), dev.plain(), app.plain(), "needs Key"},
		{"another key", ok(app), dev.plain(), app.plain(), "not the agreement key"},
		{"no store", change(dev, func(c *e2e.Config) { c.Epochs = nil }), dev.plain(), app.plain(), "needs Key and Epochs"},
		{"no binding", change(dev, func(c *e2e.Config) { c.Binding = e2e.BindingID{} }), dev.plain(), app.plain(), "binding"},
		{"unknown profile", change(dev, func(c *e2e.Config) { c.Profile = 2 }), dev.plain(), app.plain(), "profile 2"},
		{"unknown suite", change(dev, func(c *e2e.Config) { c.Suites = []e2e.Suite{e2e.SuiteCTRHMAC, 0x77} }), dev.plain(), app.plain(), "suite 0x77"},
		{"suite 0", change(dev, func(c *e2e.Config) { c.Suites = []e2e.Suite{0} }), dev.plain(), app.plain(), "suite 0x00"},
		{"two devices", ok(dev), dev.plain(), newSide('D', "D-METER-2").plain(), "cannot be peers"},
		{"two platforms", ok(plat), plat.plain(), newSide('P', "P-OTHER").plain(), "cannot be peers"},
		{"a registrar", ok(dev), dev.plain(), newSide('R', "R-FACTORY").plain(), "cannot be peers"},
		{"no role", ok(dev), dev.plain(), newSide(0, "X").plain(), "cannot be peers"},
		{"our own name", ok(dev), dev.plain(), newSide('A', "D-METER-1").plain(), "own name"},
		{"our own agreement key", ok(dev), dev.plain(), (&side{'A', "A-WATER", dev.key, app.cert, nil}).plain(), "own agreement key"},
		{"another curve", ok(dev), dev.plain(), e2e.PlainParty{Role: 'A', Name: "A-WATER", Agree: p384.PublicKey()}, "P-256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := e2e.NewPlainPeer(c.cfg, c.self, c.to, nil)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "e2e: ")
		})
	}
	_, err = e2e.NewPeer(e2e.Config{})
	require.ErrorContains(t, err, "Self and Remote")
}

// Records of kinds, profiles and suites that this version does not speak are refused, also by their true authors: the
// test rebuilds what an honest sender of a later version could send, MAC included.
func TestUnsupported(t *testing.T) {
	x := newPair(t)
	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
	}{
		{"suite 0x02", func(b []byte) []byte { b[1] = 2; b[25] |= 2; return b }},
		{"suite 0x02 alone", func(b []byte) []byte { b[1] = 2; b[25] = 2; return b }},
		{"suite 0x05", func(b []byte) []byte { b[1] = 5; b[25] = 0x10; return b }},
		{"suite not offered", func(b []byte) []byte { b[25] = 2; return b }},
		{"nothing offered", func(b []byte) []byte { b[25] = 0; return b }},
		{"unknown offer", func(b []byte) []byte { b[24] = 1; return b }},
		{"static profile", func(b []byte) []byte { b[2] |= 1 << 4; return b }},
		{"profile 3", func(b []byte) []byte { b[2] |= 3 << 4; return b }},
		{"reserved flag", func(b []byte) []byte { b[2] |= 1 << 3; return b }},
		{"renew-please in INIT", func(b []byte) []byte { b[2] |= 1 << 1; return b }},
		{"echo", func(b []byte) []byte {
			b[2] |= 1 << 2
			return append(append(bytes.Clone(b[:26]), make([]byte, 16)...), b[26:]...)
		}},
		{"generation in INIT", func(b []byte) []byte { b[3] = 1; return b }},
		{"counter in INIT", func(b []byte) []byte { b[15] = 1; return b }},
		{"version 2", func(b []byte) []byte { b[0] = 0x21; return b }},
		{"type 5", func(b []byte) []byte { b[0] = 0x15; return b }},
		{"infinity", func(b []byte) []byte { copy(b[26:59], make([]byte, 33)); return b }},
		{"not on the curve", func(b []byte) []byte { copy(b[27:59], bytes.Repeat([]byte{0xff}, 32)); return b }},
		{"uncompressed prefix", func(b []byte) []byte { b[26] = 4; return b }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.change(bytes.Clone(init))
			refused(t, x.now, x.app, e2e.Remac(x.dev, b))
		})
	}
	ev, err := x.app.Receive(x.now, e2e.Remac(x.dev, bytes.Clone(init)))
	require.NoError(t, err, "Remac itself does no harm")
	require.NotNil(t, ev.Reply)
	require.Equal(t, uint64(3), x.app.Stats().BadPoint)

	challenge := append([]byte{0x14, 1, 1, 0}, make([]byte, 12+16+16+8+16)...)
	refused(t, x.now, x.dev, challenge)
	require.Equal(t, uint64(1), x.dev.Stats().WrongBinding)
}

func TestEpochs(t *testing.T) {
	t.Run("store without a number", func(t *testing.T) {
		x := newPair(t)
		x.devSide.epochs.fail = errDisk
		_, err := x.dev.Initiate(x.now, nil)
		require.ErrorIs(t, err, errDisk)
		require.Nil(t, x.dev.Pending())
	})
	t.Run("store that repeats itself", func(t *testing.T) {
		x := newPair(t)
		_, err := x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		x.devSide.epochs.next = 0
		_, err = x.dev.Initiate(x.now, nil)
		require.ErrorContains(t, err, "the store gave 1 after 1")
	})
	t.Run("store that cannot keep: nothing is accepted, the same INIT may come again", func(t *testing.T) {
		x := newPair(t)
		init, err := x.dev.Initiate(x.now, []byte("early"))
		require.NoError(t, err)
		x.appSide.epochs.fail = errDisk
		ev, err := x.app.Receive(x.now, init)
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, e2e.Event{}, ev)
		x.appSide.epochs.fail = nil
		ev, err = x.app.Receive(x.now, init)
		require.NoError(t, err)
		require.Equal(t, "early", string(ev.Payload))
	})
	t.Run("older than seen", func(t *testing.T) {
		x := newPair(t)
		old, err := x.dev.Initiate(x.now, []byte("old"))
		require.NoError(t, err)
		x.establish(t)
		_, err = x.app.Receive(x.now, old)
		require.ErrorIs(t, err, e2e.ErrStaleEpoch)
		app := x.appSide.open(t, x.devSide) // knows it from the store alone
		_, err = app.Receive(x.now, old)
		require.ErrorIs(t, err, e2e.ErrStaleEpoch)
	})
	t.Run("jump", func(t *testing.T) {
		x := newPair(t).establish(t)
		x.devSide.epochs.next = 1<<32 + 1
		init, err := x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		_, err = x.app.Receive(x.now, init)
		require.ErrorIs(t, err, e2e.ErrEpochJump)
		x.devSide.epochs.next = 1 << 32
		x.dev = x.devSide.open(t, x.appSide)
		x.establish(t)
	})
}
