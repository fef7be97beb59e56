package identity_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

// side is a peer who may authenticate.
func (p *pki) side(t testing.TB, name string) identity.AuthConfig {
	t.Helper()
	c, k, _ := p.peer(t, name)
	v := p.verifier(t)
	self, err := v.Verify(c, 0)
	require.NoError(t, err)
	return identity.AuthConfig{Self: self, Signer: k, Verifier: v}
}

func TestChallenge(t *testing.T) {
	p := newPKI(t)
	device, app := p.side(t, "D-1"), p.side(t, "A-1")
	device.Want, app.Want = identity.RoleApplication, identity.RoleDevice
	device.Binding, app.Binding = []byte("channel"), []byte("channel")
	c, challenge, err := identity.Challenge(device)
	require.NoError(t, err)
	a, answer, err := identity.Answer(app, challenge)
	require.NoError(t, err)
	peer, proof, err := c.Finish(answer)
	require.NoError(t, err)
	require.Equal(t, "A-1", peer.ID().String())
	peer, err = a.Finish(proof)
	require.NoError(t, err)
	require.Equal(t, "D-1", peer.ID().String())

	// The bytes of docs/identity.md, written out a second time.
	body := []byte{1}
	body = append(body, challenge[2:34]...)
	body = append(body, answer[2:34]...)
	for _, s := range []identity.AuthConfig{device, app} {
		h := sha256.Sum256(s.Self.Certificate().Raw)
		body = append(body, h[:]...)
	}
	body = append(body, "channel"...)
	n := 34 + 2 + int(answer[34])<<8 + int(answer[35])
	require.NoError(t, identity.VerifySignature(app.Self.SigningKey(), identity.ContextAnswer, body, answer[n+1:]))
	require.NoError(t, identity.VerifySignature(device.Self.SigningKey(), identity.ContextChallenge, body, proof[3:]))
	require.Equal(t, []byte{1, 3, byte(len(proof) - 3)}, proof[:3])

	_, _, err = c.Finish(answer)
	require.ErrorIs(t, err, identity.ErrChallenge, "once")
	_, err = a.Finish(proof)
	require.ErrorIs(t, err, identity.ErrChallenge, "once")
}

func TestChallengeRefuses(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	device, app := p.side(t, "D-1"), p.side(t, "A-1")
	begin := func(cfg identity.AuthConfig) (*identity.Challenger, []byte) {
		c, challenge, err := identity.Challenge(cfg)
		require.NoError(t, err)
		return c, challenge
	}

	t.Run("another channel", func(t *testing.T) {
		there := app
		there.Binding = []byte("the channel of somebody between")
		c, challenge := begin(device)
		_, answer, err := identity.Answer(there, challenge)
		require.NoError(t, err)
		_, _, err = c.Finish(answer)
		require.ErrorIs(t, err, identity.ErrSignature)
	})
	t.Run("an answer to another challenge", func(t *testing.T) {
		c, _ := begin(device)
		_, challenge := begin(device)
		_, answer, err := identity.Answer(app, challenge)
		require.NoError(t, err)
		_, _, err = c.Finish(answer)
		require.ErrorIs(t, err, identity.ErrSignature)
	})
	t.Run("a proof of another run", func(t *testing.T) {
		c, challenge := begin(device)
		_, answer, err := identity.Answer(app, challenge)
		require.NoError(t, err)
		_, proof, err := c.Finish(answer)
		require.NoError(t, err)
		_, challenge = begin(device)
		a, _, err := identity.Answer(app, challenge)
		require.NoError(t, err)
		_, err = a.Finish(proof)
		require.ErrorIs(t, err, identity.ErrSignature)
	})
	t.Run("somebody with our credential", func(t *testing.T) {
		thief := app
		thief.Signer = newKey(t)
		_, _, err := identity.Challenge(thief)
		require.ErrorIs(t, err, identity.ErrKey)
		c, challenge := begin(device)
		_, answer, err := identity.Answer(app, challenge)
		require.NoError(t, err)
		n := 36 + int(answer[34])<<8 + int(answer[35])
		forged, err := identity.Sign(thief.Signer, identity.ContextAnswer, []byte("whatever"))
		require.NoError(t, err)
		_, _, err = c.Finish(append(append(answer[:n:n], byte(len(forged))), forged...))
		require.ErrorIs(t, err, identity.ErrSignature)
	})
	t.Run("reflection", func(t *testing.T) {
		c, challenge := begin(device)
		_, _, err := identity.Answer(device, challenge)
		require.ErrorIs(t, err, identity.ErrChallenge, "our own name")
		_, _, err = c.Finish(challenge)
		require.ErrorIs(t, err, identity.ErrChallenge, "our own message")
		// The answer's signature is no proof: its context is another.
		c, challenge = begin(device)
		a, answer, err := identity.Answer(app, challenge)
		require.NoError(t, err)
		n := 36 + int(answer[34])<<8 + int(answer[35])
		_, err = a.Finish(append([]byte{1, 3}, answer[n:]...))
		require.ErrorIs(t, err, identity.ErrSignature)
		_ = c
	})
	t.Run("another role", func(t *testing.T) {
		picky := app
		picky.Want = identity.RolePlatform
		_, challenge := begin(device)
		_, _, err := identity.Answer(picky, challenge)
		require.ErrorIs(t, err, identity.ErrRole)
	})
	t.Run("another authority, and a revoked peer", func(t *testing.T) {
		_, challenge := begin(other.side(t, "D-1"))
		_, _, err := identity.Answer(app, challenge)
		require.ErrorIs(t, err, identity.ErrUntrusted)
		_, challenge = begin(device)
		strict := app
		strict.Verifier = p.verifier(t)
		require.NoError(t, strict.Verifier.AddCRL(p.crl(t, 1, device.Self.Certificate())))
		_, _, err = identity.Answer(strict, challenge)
		require.ErrorIs(t, err, identity.ErrRevoked)
	})
	t.Run("incomplete configuration", func(t *testing.T) {
		for _, cfg := range []identity.AuthConfig{{}, {Self: device.Self, Signer: device.Signer}, {Self: device.Self, Verifier: device.Verifier},
			{Self: device.Self, Signer: device.Signer, Verifier: device.Verifier, Binding: make([]byte, 1025)}} {
			_, _, err := identity.Challenge(cfg)
			require.Error(t, err)
			_, _, err = identity.Answer(cfg, nil)
			require.Error(t, err)
		}
	})
}

// Every changed byte and every cut of every message is refused by whoever gets it.
func TestChallengeNoticesEveryChange(t *testing.T) {
	p := newPKI(t)
	device, app := p.side(t, "D-1"), p.side(t, "A-1")
	_, challenge, err := identity.Challenge(device)
	require.NoError(t, err)
	for n := range len(challenge) {
		_, _, err := identity.Answer(app, challenge[:n])
		require.Error(t, err)
	}
	_, _, err = identity.Answer(app, append(bytes.Clone(challenge), 0))
	require.ErrorIs(t, err, identity.ErrChallenge)
	for i := 0; i < len(challenge); i += 7 {
		bad := bytes.Clone(challenge)
		bad[i] ^= 1
		c, _, err := identity.Challenge(device)
		require.NoError(t, err)
		if _, answer, err := identity.Answer(app, bad); err == nil { // the random number, or the endorsement's signature in another form
			_, _, err = c.Finish(answer)
			require.Error(t, err)
		}
	}
	for i := 0; ; i++ {
		c, challenge, err := identity.Challenge(device)
		require.NoError(t, err)
		_, answer, err := identity.Answer(app, challenge)
		require.NoError(t, err)
		if i >= len(answer) {
			break
		}
		answer[i] ^= 1
		_, _, err = c.Finish(answer)
		require.Error(t, err, "byte %d", i)
	}
	for i := 0; ; i++ {
		c, challenge, err := identity.Challenge(device)
		require.NoError(t, err)
		a, answer, err := identity.Answer(app, challenge)
		require.NoError(t, err)
		_, proof, err := c.Finish(answer)
		require.NoError(t, err)
		if i >= len(proof) {
			break
		}
		proof[i] ^= 1
		_, err = a.Finish(proof)
		require.Error(t, err, "byte %d", i)
	}
}

func FuzzChallenge(f *testing.F) {
	p := newPKI(f)
	device, app := p.side(f, "D-1"), p.side(f, "A-1")
	_, challenge, err := identity.Challenge(device)
	require.NoError(f, err)
	_, answer, err := identity.Answer(app, challenge)
	require.NoError(f, err)
	for _, seed := range [][]byte{nil, challenge, answer, {1, 3, 0}, challenge[:36]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		c, _, err := identity.Challenge(device)
		require.NoError(t, err)
		_, _, err = c.Finish(message)
		require.Error(t, err, "no message made without the random number is an answer")
		if a, _, err := identity.Answer(app, message); err == nil {
			_, err = a.Finish(message)
			require.Error(t, err)
		}
	})
}
