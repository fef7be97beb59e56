package e2e_test

import (
	"crypto/ecdh"
	"crypto/sha256"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

// thief owns the victim's agreement key and pretends to be somebody else towards the victim. It can compute what the
// victim could, and nothing that needs the other's key.
type thief struct {
	victim *ecdh.PrivateKey
	poses  *ecdh.PublicKey
}

func (k thief) PublicKey() *ecdh.PublicKey { return k.poses }
func (k thief) Curve() ecdh.Curve          { return ecdh.P256() }

func (k thief) ECDH(pub *ecdh.PublicKey) ([]byte, error) {
	if pub.Equal(k.victim.PublicKey()) {
		return k.victim.ECDH(k.poses) // static-static, from the other end
	}
	guess := sha256.Sum256([]byte("a guess"))
	return guess[:], nil
}

// Key-compromise impersonation: who stole the device's agreement key, and knows the PSK, cannot be the application.
func TestKeyCompromiseImpersonation(t *testing.T) {
	x := newPair(t)
	falseApp, err := e2e.NewPlainPeer(e2e.Config{
		Key: thief{x.devSide.key, x.appSide.key.PublicKey()}, Binding: testBinding, RequirePSK: true, Epochs: &memEpochs{},
	}, x.appSide.plain(), x.devSide.plain(), testPSK[:])
	require.NoError(t, err)
	require.Equal(t, x.app.Hint(), falseApp.Hint())

	t.Run("as responder", func(t *testing.T) {
		init, err := x.dev.Initiate(x.now, []byte("21.5 degrees"))
		require.NoError(t, err)
		refused(t, x.now, falseApp, init)
		require.Equal(t, uint64(1), falseApp.Stats().BadTag, "the master key is common, the ephemeral secret is not")
		require.False(t, x.dev.Ready())
		x.dev = x.devSide.open(t, x.appSide)
	})
	t.Run("as initiator", func(t *testing.T) {
		init, err := falseApp.Initiate(x.now, []byte("open the valve"))
		require.NoError(t, err)
		ev, err := x.dev.Receive(x.now, init)
		require.NoError(t, err)
		require.Equal(t, e2e.KindEarlyData, ev.Kind, "the documented limit of early data")
		refused(t, x.now, falseApp, ev.Reply)
		require.Equal(t, uint64(2), falseApp.Stats().BadTag)
		require.False(t, falseApp.Ready())
		require.False(t, x.dev.Ready())
	})
	t.Run("without the PSK not even early data", func(t *testing.T) {
		other := sha256.Sum256([]byte("a guess"))
		p, err := e2e.NewPlainPeer(e2e.Config{
			Key: thief{x.devSide.key, x.appSide.key.PublicKey()}, Binding: testBinding, RequirePSK: true, Epochs: &memEpochs{},
		}, x.appSide.plain(), x.devSide.plain(), other[:])
		require.NoError(t, err)
		init, err := p.Initiate(x.now, []byte("open the valve"))
		require.NoError(t, err)
		refused(t, x.now, x.dev, init)
	})
}

// A platform that abuses the CA certifies a false application and has the device install it. The device does, and yet the
// false application gets nowhere without the claim code: it reads nothing and says nothing.
func TestFalsePeerWithCertificate(t *testing.T) {
	dev, truth, impostor := newSide('D', "D-METER-1"), newSide('A', "A-WATER"), newSide('A', "A-WATER")
	impostor.key = fixedKey("the platform's own")
	impostor.cert = sha256.Sum256([]byte("false certificate"))
	guess := sha256.Sum256([]byte("a guess"))
	d := dev.open(t, impostor)
	f := impostor.open(t, dev, func(_ *e2e.Config, psk *[]byte) { *psk = guess[:] })
	require.Equal(t, d.Hint(), f.Hint(), "all that is public fits")

	init, err := f.Initiate(start, []byte("open the valve"))
	require.NoError(t, err)
	refused(t, start, d, init)
	init, err = d.Initiate(start, []byte("21.5 degrees"))
	require.NoError(t, err)
	refused(t, start, f, init)
	require.Equal(t, uint64(1), d.Stats().BadMAC)
	require.Equal(t, uint64(1), f.Stats().BadMAC)
	require.False(t, d.Ready())

	// The same with the truth and the code: it works.
	handshake(t, start, dev.open(t, truth), truth.open(t, dev))
}
