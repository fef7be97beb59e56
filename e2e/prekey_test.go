package e2e_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/stretchr/testify/require"
)

// memPrekeys holds private halves; deleting one erases it.
type memPrekeys map[uint32]*ecdh.PrivateKey

func (m memPrekeys) Prekey(number uint32) (ecdh.KeyExchanger, error) {
	if k, ok := m[number]; ok {
		return k, nil
	}
	return nil, e2e.ErrUnknownPrekey
}

var prekey7 = fixedKey("prekey 7")

// prekeyed is a pair with a prekey in use, which both sides require.
func prekeyed(t *testing.T, change ...func(*e2e.Config, *[]byte)) (*pair, memPrekeys) {
	t.Helper()
	keys := memPrekeys{7: prekey7}
	with := func(c *e2e.Config, _ *[]byte) { c.Prekeys, c.RequirePrekey = keys, true }
	x := newPair(t, append(change, with)...)
	require.NoError(t, x.dev.UsePrekey(prekeyOf(x, 7, prekey7)))
	return x, keys
}

func prekeyOf(x *pair, number uint32, k *ecdh.PrivateKey) *e2e.Prekey {
	return e2e.PlainPrekey(x.appSide.plain(), number, start.Add(time.Hour), k.PublicKey())
}

func TestEarlyDataUnderAPrekey(t *testing.T) {
	for _, s := range suites() {
		x, _ := prekeyed(t, withSuites(s))
		init, err := x.dev.Initiate(x.now, []byte("21.5 degrees"))
		require.NoError(t, err)
		require.Equal(t, byte(8), init[2]&8)
		require.Equal(t, uint32(7), binary.BigEndian.Uint32(init[26:]))
		damagedAt(t, x, x.app, init)
		ev, err := x.app.Receive(x.now, init)
		require.NoError(t, err)
		require.Equal(t, e2e.KindEarlyData, ev.Kind)
		require.Equal(t, "21.5 degrees", string(ev.Payload))
		require.Equal(t, uint32(7), ev.Prekey)
		want := 168
		if s == e2e.SuiteCTRHMACKEM || s == e2e.SuiteGCMKEM {
			want = 2440
		}
		require.Equal(t, want, len(init)-len("21.5 degrees")+len(ev.Reply))
		ev, err = x.dev.Receive(x.now, ev.Reply)
		require.NoError(t, err)
		_, err = x.app.Receive(x.now, ev.Reply)
		require.NoError(t, err)
		deliver(t, x.now, x.dev, x.app, "m")
		deliver(t, x.now, x.app, x.dev, "m")

		init, err = x.dev.Initiate(x.now, nil)
		require.NoError(t, err)
		require.Zero(t, init[2]&8, "nothing to protect, nothing spent")
	}
}

// Forward secrecy of the first message: once the prekey is erased, all that is left (both agreement keys, the PSK) does not open what
// was recorded. Without a prekey it does.
func TestErasedPrekeyKeepsEarlyDataSecret(t *testing.T) {
	x, _ := prekeyed(t)
	recorded, err := x.dev.Initiate(x.now, []byte("21.5 degrees"))
	require.NoError(t, err)
	stolen := func(k memPrekeys) *e2e.Peer {
		return x.appSide.open(t, x.devSide, func(c *e2e.Config, _ *[]byte) { c.Epochs, c.Prekeys = &memEpochs{}, k })
	}
	guess := stolen(memPrekeys{7: fixedKey("a guess")})
	refused(t, x.now, guess, recorded)
	require.Equal(t, uint64(1), guess.Stats().BadTag, "all else was right")
	ev, err := stolen(memPrekeys{7: prekey7}).Receive(x.now, recorded)
	require.NoError(t, err, "before it is erased")
	require.Equal(t, "21.5 degrees", string(ev.Payload))

	plain := x.devSide.open(t, x.appSide)
	recorded, err = plain.Initiate(x.now, []byte("21.5 degrees"))
	require.NoError(t, err)
	ev, err = stolen(nil).Receive(x.now, recorded)
	require.NoError(t, err)
	require.Equal(t, "21.5 degrees", string(ev.Payload), "the documented limit without one")
}

// Key-compromise impersonation with the first message: who stole the application's agreement key, and knows the PSK, cannot pose as the
// device, neither under the prekey nor without one.
func TestPrekeyResistsKCI(t *testing.T) {
	x, _ := prekeyed(t)
	falseDev, err := e2e.NewPlainPeer(e2e.Config{
		Key: thief{x.appSide.key, x.devSide.key.PublicKey()}, Binding: testBinding, RequirePSK: true, Epochs: &memEpochs{},
	}, x.devSide.plain(), x.appSide.plain(), testPSK[:])
	require.NoError(t, err)

	init, err := falseDev.Initiate(x.now, []byte("alarm"))
	require.NoError(t, err)
	challenge := challenged(t, x.now, x.app, init, e2e.ErrPrekeyRequired)
	ev := answer(t, x.now, falseDev, challenge)
	ev, err = x.app.Receive(x.now, ev.Reply)
	require.NoError(t, err)
	require.Equal(t, e2e.KindNone, ev.Kind)
	refused(t, x.now, falseDev, ev.Reply)
	require.False(t, x.app.Ready())

	require.NoError(t, falseDev.UsePrekey(prekeyOf(x, 7, prekey7)))
	init, err = falseDev.Initiate(x.now, []byte("alarm"))
	require.NoError(t, err)
	refused(t, x.now, x.app, init)
	require.Equal(t, uint64(1), x.app.Stats().BadTag)

	lax := x.appSide.open(t, x.devSide, func(c *e2e.Config, _ *[]byte) { c.Epochs = &memEpochs{} })
	falseDev, err = e2e.NewPlainPeer(e2e.Config{
		Key: thief{x.appSide.key, x.devSide.key.PublicKey()}, Binding: testBinding, RequirePSK: true, Epochs: &memEpochs{},
	}, x.devSide.plain(), x.appSide.plain(), testPSK[:])
	require.NoError(t, err)
	init, err = falseDev.Initiate(x.now, []byte("alarm"))
	require.NoError(t, err)
	ev, err = lax.Receive(x.now, init)
	require.NoError(t, err)
	require.Equal(t, "alarm", string(ev.Payload), "the documented limit where no prekey is required")
	require.Zero(t, ev.Prekey)
}

// A device that slept longer than its prekey lived: one round trip more, and nothing is lost.
func TestPrekeyWasErased(t *testing.T) {
	x, keys := prekeyed(t)
	delete(keys, 7)
	init, err := x.dev.Initiate(x.now, []byte("21.5 degrees"))
	require.NoError(t, err)
	ev := answer(t, x.now, x.dev, challenged(t, x.now, x.app, init, e2e.ErrUnknownPrekey))
	require.Equal(t, "21.5 degrees", string(ev.Returned))
	require.Zero(t, ev.Reply[2]&8)
	finish(t, x.now, x.dev, x.app, ev.Reply)
}

type brokenPrekeys struct{}

func (brokenPrekeys) Prekey(uint32) (ecdh.KeyExchanger, error) { return nil, errDisk }

func TestUsePrekey(t *testing.T) {
	x, keys := prekeyed(t)
	_, err := x.app.Initiate(x.now, []byte("early data"))
	require.ErrorIs(t, err, e2e.ErrNoPrekey, "devices hand out none")
	require.False(t, x.app.EarlyDataReady(x.now))
	_, err = x.app.Initiate(x.now, nil)
	require.NoError(t, err)
	x.app = x.appSide.open(t, x.devSide, func(c *e2e.Config, _ *[]byte) { c.Prekeys = keys })
	require.True(t, x.app.EarlyDataReady(x.now), "where none is required")

	number := func() uint32 {
		t.Helper()
		init, err := x.dev.Initiate(x.now, []byte("early data"))
		require.NoError(t, err)
		return binary.BigEndian.Uint32(init[26:])
	}
	require.NoError(t, x.dev.UsePrekey(prekeyOf(x, 6, fixedKey("prekey 6"))))
	require.Equal(t, uint32(7), number(), "an older one changes nothing")
	require.NoError(t, x.dev.UsePrekey(prekeyOf(x, 9, fixedKey("prekey 9"))))
	require.Equal(t, uint32(9), number())
	require.True(t, x.dev.EarlyDataReady(start.Add(time.Hour-1)))
	require.False(t, x.dev.EarlyDataReady(start.Add(time.Hour)))
	_, err = x.dev.Initiate(start.Add(time.Hour), []byte("early data"))
	require.ErrorIs(t, err, e2e.ErrNoPrekey)
	lax := x.devSide.open(t, x.appSide)
	require.NoError(t, lax.UsePrekey(prekeyOf(x, 7, prekey7)))
	init, err := lax.Initiate(start.Add(time.Hour), []byte("early data"))
	require.NoError(t, err)
	require.Zero(t, init[2]&8)

	require.ErrorIs(t, x.app.UsePrekey(prekeyOf(x, 7, prekey7)), e2e.ErrWrongUse)
	p, _, _ := platformPair(t, newSide('D', "D-METER-2"))
	require.ErrorIs(t, p.UsePrekey(prekeyOf(x, 7, prekey7)), e2e.ErrWrongUse)
	require.ErrorIs(t, x.devSide.open(t, x.appSide, asStatic).UsePrekey(prekeyOf(x, 7, prekey7)), e2e.ErrWrongUse)
	other := e2e.PlainPrekey(newSide('A', "A-GAS").plain(), 10, start.Add(time.Hour), prekey7.PublicKey())
	require.ErrorIs(t, x.dev.UsePrekey(other), e2e.ErrPrekey)
	require.ErrorIs(t, x.dev.UsePrekey(prekeyOf(x, 10, x.devSide.key)), e2e.ErrPrekey)

	broken := x.appSide.open(t, x.devSide, func(c *e2e.Config, _ *[]byte) { c.Prekeys = brokenPrekeys{} })
	init, err = x.dev.Initiate(x.now, []byte("early data"))
	require.NoError(t, err)
	_, err = broken.Receive(x.now, init)
	require.ErrorIs(t, err, errDisk, "the same INIT may come again")
	x.dev.Wipe()
	require.ErrorIs(t, x.dev.UsePrekey(prekeyOf(x, 11, prekey7)), e2e.ErrWiped)
}

func TestSignPrekey(t *testing.T) {
	all := enlist("A-WATER", "A-GAS", "D-METER-1")
	app, other, dev := all[0], all[1], all[2]
	key := must(ecdh.P256().GenerateKey(rand.Reader))
	expires := start.Add(28 * 24 * time.Hour)
	b := must(e2e.SignPrekey(app.signer, app.verified, 7, expires, key.PublicKey()))
	require.Less(t, len(b), 170)
	k, err := e2e.OpenPrekey(b, app.verified)
	require.NoError(t, err)
	require.Equal(t, uint32(7), k.Number)
	require.True(t, expires.Equal(k.Expires))

	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		_, err := e2e.OpenPrekey(bad, app.verified)
		require.ErrorIs(t, err, e2e.ErrPrekey, "byte %d", i)
		_, err = e2e.OpenPrekey(b[:i], app.verified)
		require.ErrorIs(t, err, e2e.ErrPrekey, "length %d", i)
	}
	for _, v := range []*identity.Verified{other.verified, dev.verified} {
		_, err = e2e.OpenPrekey(b, v)
		require.ErrorIs(t, err, e2e.ErrPrekey)
	}
	renewed := enlist("A-WATER")[0] // the same name, another certificate
	_, err = e2e.OpenPrekey(b, renewed.verified)
	require.ErrorIs(t, err, e2e.ErrPrekey)

	_, err = e2e.SignPrekey(other.signer, app.verified, 7, expires, key.PublicKey())
	require.Error(t, err, "another's signer")
	_, err = e2e.SignPrekey(app.signer, app.verified, 0, expires, key.PublicKey())
	require.ErrorContains(t, err, "numbered from 1")
	_, err = e2e.SignPrekey(dev.signer, dev.verified, 1, expires, key.PublicKey())
	require.ErrorContains(t, err, "only applications")
	_, err = e2e.SignPrekey(app.signer, app.verified, 1, expires, app.key.PublicKey())
	require.ErrorIs(t, err, e2e.ErrPrekey, "the agreement key is no prekey")
	p384 := must(ecdh.P384().GenerateKey(rand.Reader))
	_, err = e2e.SignPrekey(app.signer, app.verified, 1, expires, p384.PublicKey())
	require.ErrorContains(t, err, "P-256")

	psk := must(identity.NewPSK(testPSK[:]))
	open := func(self, remote member, keys e2e.Prekeys) *e2e.Peer {
		return must(e2e.NewPeer(e2e.Config{
			Self: self.verified, Key: self.key, Remote: remote.verified, Binding: testBinding, PSK: psk, Epochs: &memEpochs{}, Prekeys: keys, RequirePrekey: true,
		}))
	}
	d, a := open(dev, app, nil), open(app, dev, memPrekeys{7: key})
	require.NoError(t, d.UsePrekey(k))
	init := must(d.Initiate(start, []byte("21.5 degrees")))
	require.Equal(t, "21.5 degrees", string(must(a.Receive(start, init)).Payload))
}

func TestPrekeyVector(t *testing.T) {
	for _, v := range load(t).Prekeys {
		key := refKey(v.Private).PublicKey()
		body := e2e.PrekeyBody(v.Number, time.Unix(int64(v.Expires), 0), [32]byte(v.CertHash), key, v.ID)
		require.Equal(t, []byte(v.Signed), append(append(bytes.Repeat([]byte{' '}, 64), "semio/1 prekey\x00"...), body...))
		require.Equal(t, body, []byte(v.Bundle[:len(body)]))
		signer, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), v.SigningKey)
		require.NoError(t, err)
		require.NoError(t, identity.VerifySignature(&signer.PublicKey, identity.ContextPrekey, body, v.Bundle[len(body):]))
		digest := sha256.Sum256(v.Signed)
		require.True(t, ecdsa.VerifyASN1(&signer.PublicKey, digest[:], v.Bundle[len(body):]))
	}
}

func FuzzOpenPrekey(f *testing.F) {
	app := enlist("A-WATER")[0]
	key := fixedKey("prekey")
	good := must(e2e.SignPrekey(app.signer, app.verified, 1, start, key.PublicKey()))
	f.Add(good)
	f.Add(good[:90])
	f.Add([]byte{1})
	for _, v := range load(f).Prekeys {
		f.Add([]byte(v.Bundle))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := e2e.OpenPrekey(b, app.verified)
		if err != nil {
			require.ErrorIs(t, err, e2e.ErrPrekey)
			require.Nil(t, k)
			return
		}
		require.Equal(t, good[:80], b[:80], "only what was signed")
	})
}
