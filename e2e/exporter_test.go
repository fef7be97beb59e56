package e2e_test

import (
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

func TestExport(t *testing.T) {
	x := newPair(t, withLimits(e2e.Limits{Linger: time.Minute}))
	_, err := x.dev.Export(e2e.SessionID{}, "label", 32)
	require.ErrorIs(t, err, e2e.ErrNoSession)
	export := func(p *e2e.Peer, id e2e.SessionID, label string, n int) []byte {
		t.Helper()
		b, err := p.Export(id, label, n)
		require.NoError(t, err)
		require.Len(t, b, n)
		return b
	}
	x.establish(t)
	first, _ := x.dev.Session()
	key := export(x.dev, first, "label", 32)
	require.Equal(t, key, export(x.app, first, "label", 32), "both sides have the same")
	require.Equal(t, key, export(x.dev, first, "label", 8160)[:32])
	require.NotEqual(t, key, export(x.dev, first, "label ", 32))
	export(x.dev, first, "", 1)

	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	_, err = x.app.Export(ev.Session, "label", 32)
	require.ErrorIs(t, err, e2e.ErrNoSession, "the initiator has proved nothing yet")
	second := ev.Session
	ev, err = x.dev.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	_, err = x.app.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	require.NotEqual(t, key, export(x.app, second, "label", 32))
	require.Equal(t, export(x.dev, second, "label", 32), export(x.app, second, "label", 32))
	require.Equal(t, key, export(x.app, first, "label", 32), "the session before is still received on")

	deliver(t, x.now.Add(time.Minute), x.dev, x.app, "m")
	deliver(t, x.now.Add(time.Minute), x.dev, x.app, "m")
	_, err = x.app.Export(first, "label", 32)
	require.ErrorIs(t, err, e2e.ErrNoSession)
	for _, n := range []int{-1, 0, 8161} {
		_, err = x.app.Export(second, "label", n)
		require.ErrorContains(t, err, "choose from 1 to 8160")
	}
	x.app.Wipe()
	_, err = x.app.Export(second, "label", 32)
	require.ErrorIs(t, err, e2e.ErrWiped)
}

func TestCapabilities(t *testing.T) {
	x := newPair(t)
	with := func(caps uint32) func(*e2e.Config, *[]byte) {
		return func(c *e2e.Config, _ *[]byte) { c.Capabilities = caps }
	}
	x.dev, x.app = x.devSide.open(t, x.appSide, with(0x10000)), x.appSide.open(t, x.devSide, with(0x80000000))
	_, ok := x.dev.RemoteCapabilities()
	require.False(t, ok)
	x.establish(t)
	caps, ok := x.dev.RemoteCapabilities()
	require.True(t, ok)
	require.Equal(t, uint32(0x80000000), caps)
	caps, _ = x.app.RemoteCapabilities()
	require.Equal(t, uint32(0x10000), caps)

	cfg := e2e.Config{Key: x.devSide.key, Binding: testBinding, Epochs: x.devSide.epochs, Capabilities: 0x10001}
	_, err := e2e.NewPlainPeer(cfg, x.devSide.plain(), x.appSide.plain(), nil)
	require.ErrorContains(t, err, "low 16 bits belong to the protocol")
}
