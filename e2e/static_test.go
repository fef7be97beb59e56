package e2e_test

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

func asStatic(c *e2e.Config, _ *[]byte) { c.Profile = e2e.ProfileStatic }

func TestStaticProfile(t *testing.T) {
	for _, s := range suites() {
		t.Run(fmt.Sprintf("suite 0x%02x", byte(s)), func(t *testing.T) {
			x := newPair(t, asStatic, withSuites(s))
			init, err := x.dev.Initiate(x.now, []byte("early data"))
			require.NoError(t, err)
			damagedAt(t, x, x.app, init)
			ev, err := x.app.Receive(x.now, init)
			require.NoError(t, err)
			require.Equal(t, "early data", string(ev.Payload))
			want := 162 // nonces are shorter than points
			if s == e2e.SuiteCTRHMACKEM || s == e2e.SuiteGCMKEM {
				want += 1184 + 1088
			}
			require.Equal(t, want, len(init)-len("early data")+len(ev.Reply))
			resp := ev.Reply
			damagedAt(t, x, x.dev, resp)
			ev, err = x.dev.Receive(x.now, resp)
			require.NoError(t, err)
			first := ev.Session
			_, err = x.app.Receive(x.now, ev.Reply)
			require.NoError(t, err)
			deliver(t, x.now, x.dev, x.app, "21.5 degrees")
			deliver(t, x.now, x.app, x.dev, "close the valve")

			// One master key, and yet no two sessions have anything in common.
			keys := map[[32]byte]bool{}
			for range 3 {
				out, in := e2e.TrafficKeys(x.dev)
				require.False(t, keys[out] || keys[in] || out == in)
				keys[out], keys[in] = true, true
				handshake(t, x.now, x.app, x.dev)
			}
			second, _ := x.dev.Session()
			require.NotEqual(t, first, second)
		})
	}
}

// Both nonces count: a replayed RESP, or INIT, makes no session of before again.
func TestStaticReplay(t *testing.T) {
	x := newPair(t, asStatic)
	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	resp := ev.Reply
	_, err = x.dev.Receive(x.now, resp)
	require.NoError(t, err)
	old := seal(t, x.now, x.dev, "21.5 degrees")

	x.dev = x.devSide.open(t, x.appSide, asStatic)
	_, err = x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	refused(t, x.now, x.dev, resp)
	x.app = x.appSide.open(t, x.devSide, asStatic)
	_, err = x.app.Receive(x.now, init)
	require.ErrorIs(t, err, e2e.ErrStaleEpoch)
	refused(t, x.now, x.app, old)
}

// The two profiles of a pair have no key in common, whoever changes whichever bytes.
func TestProfileIsPinned(t *testing.T) {
	x := newPair(t)
	x.app = x.appSide.open(t, x.devSide, asStatic)
	for _, d := range []struct{ from, to *e2e.Peer }{{x.dev, x.app}, {x.app, x.dev}} {
		init, err := d.from.Initiate(x.now, []byte("early data"))
		require.NoError(t, err)
		refused(t, x.now, d.to, init)
		require.Equal(t, uint64(1), d.to.Stats().WrongBinding)
		hint := d.to.Hint()
		copy(init[4:12], hint[:])
		refused(t, x.now, d.to, init)
		require.Equal(t, uint64(1), d.to.Stats().Unsupported)
		init[2] ^= 0x10
		refused(t, x.now, d.to, init)
		require.Equal(t, uint64(1), d.to.Stats().BadMAC)
	}
}

// What the documentation says against the static profile is so: a key that is stolen later opens what was recorded.
func TestStaticHasNoForwardSecrecy(t *testing.T) {
	byName := map[string]*vector{}
	for _, v := range load(t).Positive {
		byName[v.Name] = v
	}
	open := func(v *vector, ck3 []byte) []byte { // with what was recorded, and ck3
		m := v.Messages[1]
		th1 := refHash(v.TH0, v.Init[:len(v.Init)-len(v.Early)-36])
		ct1 := v.Init[len(v.Init)-len(v.Early)-36 : len(v.Init)-16]
		th2 := refHash(th1, []byte{0, 0, 0, byte(len(ct1))}, ct1, v.Resp[:len(v.Resp)-20])
		th3 := refHash(th2, v.Resp[len(v.Resp)-20:])
		keys := refExpand(refExpand(ck3, "semio-e2e/1 dir A>B", th3, 32), "semio-e2e/1 keys", nil, 76)
		block, err := aes.NewCipher(keys[:32])
		require.NoError(t, err)
		nonce := append(append([]byte{}, keys[64:76]...), 0, 0, 0, 0)
		nonce[11] ^= 1 // counter 1
		plain := make([]byte, len(m.Record)-32)
		cipher.NewCTR(block, nonce).XORKeyStream(plain, m.Record[16:len(m.Record)-16])
		return plain
	}
	v := byName["static profile, suite 0x01"]
	stolen := refKey(v.A.Agreement)
	mk := refHMAC(v.TH0, refDH(stolen, refKey(v.B.Agreement)), v.PSK) // of B the thief knows the public key; refDH takes no other
	ck3 := refHMAC(refHMAC(mk, v.Init[26:58]), v.Resp[16:48])
	require.Equal(t, "21.5 degrees", string(open(v, ck3)))
}

// Nor does it resist key-compromise impersonation: who stole the device's key (and knows the PSK) is the application to it.
func TestStaticHasNoKCIResistance(t *testing.T) {
	x := newPair(t, asStatic)
	falseApp, err := e2e.NewPlainPeer(e2e.Config{
		Key: thief{x.devSide.key, x.appSide.key.PublicKey()}, Binding: testBinding, RequirePSK: true, Epochs: &memEpochs{}, Profile: e2e.ProfileStatic,
	}, x.appSide.plain(), x.devSide.plain(), testPSK[:])
	require.NoError(t, err)
	handshake(t, x.now, falseApp, x.dev)
	deliver(t, x.now, falseApp, x.dev, "open the valve")
}
