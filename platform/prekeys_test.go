package platform_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/control"
)

// The platform passes an application's newest prekey on to the devices that are connected with it, and to nobody else; what the
// application has not signed, or was earlier, it does not keep.
func TestPrekeysArePassedOn(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, other, app, stranger := w.device("D-1"), w.device("D-2"), w.app("A-WATER"), w.app("A-GAS")
		require.NoError(t, app.connect(dev).Err())
		for _, g := range []*gateway{dev, other, app, stranger} {
			g.link.SetOffline(true)
		}
		sign := func(g *gateway, number uint32) []byte {
			key, err := ecdh.P256().GenerateKey(rand.Reader)
			require.NoError(t, err)
			b, err := e2e.SignPrekey(g.signer, g.peerCfg.Self, number, time.Now().Add(time.Hour), key.PublicKey())
			require.NoError(t, err)
			return b
		}
		say := func(g *gateway, m control.Message) control.Reply {
			t.Helper()
			x, init := g.init(func([32]byte) control.Message { return m })
			answers := g.send(init)
			require.Len(t, answers, 1)
			return g.open(x, answers[0])
		}
		require.Empty(t, say(dev, control.Message{}).Prekey)

		three := sign(app, 3)
		require.Empty(t, say(app, control.Message{Prekey: three}).Prekey, "an application has no use for it")
		require.Equal(t, three, say(dev, control.Message{}).Prekey)
		require.Equal(t, three, say(dev, control.Message{PrekeyNumber: 2}).Prekey)
		require.Empty(t, say(dev, control.Message{PrekeyNumber: 3}).Prekey, "it has that one")
		require.Empty(t, say(other, control.Message{}).Prekey, "not connected with the application")

		bad := append([]byte(nil), sign(app, 9)...)
		bad[len(bad)-1] ^= 1
		for _, b := range [][]byte{bad, sign(stranger, 9), sign(app, 2), {1}} {
			say(app, control.Message{Prekey: b})
			require.Equal(t, three, say(dev, control.Message{}).Prekey)
		}
		say(dev, control.Message{Prekey: sign(app, 9)})
		require.Equal(t, three, say(dev, control.Message{}).Prekey, "a device has none")

		four := sign(app, 4)
		say(app, control.Message{Prekey: four})
		require.Equal(t, four, say(dev, control.Message{PrekeyNumber: 3}).Prekey)
	})
}
