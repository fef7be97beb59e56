package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

var contexts = []identity.Context{
	identity.ContextEndorsement, identity.ContextRegistration, identity.ContextAdmission, identity.ContextRequest,
	identity.ContextClaim, identity.ContextOrder, identity.ContextAck, identity.ContextPrekey, identity.ContextAnswer, identity.ContextChallenge, identity.ContextRekey, identity.ContextImage,
}

func TestSign(t *testing.T) {
	k, body := newKey(t), []byte("body")
	for _, c := range contexts {
		sig, err := identity.Sign(k, c, body)
		require.NoError(t, err)
		require.NoError(t, identity.VerifySignature(&k.PublicKey, c, body, sig))
		again, err := identity.Sign(k, c, body)
		require.NoError(t, err)
		require.Equal(t, sig, again, "not deterministic")
		for _, other := range contexts {
			if other != c {
				require.ErrorIs(t, identity.VerifySignature(&k.PublicKey, other, body, sig), identity.ErrSignature, "%s as %s", c, other)
			}
		}
	}
}

// The layout, written out a second time.
func TestSignedBytes(t *testing.T) {
	k := newKey(t)
	h := sha256.Sum256([]byte(strings.Repeat("\x20", 64) + "semio/1 request\x00body"))
	sig, err := ecdsa.SignASN1(rand.Reader, k, h[:])
	require.NoError(t, err)
	require.NoError(t, identity.VerifySignature(&k.PublicKey, identity.ContextRequest, []byte("body"), sig))
}

func TestVerifySignatureRefuses(t *testing.T) {
	k, other, body := newKey(t), newKey(t), []byte("body")
	sig, err := identity.Sign(k, identity.ContextOrder, body)
	require.NoError(t, err)
	verify := func(sig []byte) error {
		return identity.VerifySignature(&k.PublicKey, identity.ContextOrder, body, sig)
	}
	require.NoError(t, verify(sig))

	var rs struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(sig, &rs)
	require.NoError(t, err)
	der := func(r, s *big.Int) []byte {
		b, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		require.NoError(t, err)
		return b
	}
	n := elliptic.P256().Params().N
	rBytes, sBytes := rs.R.FillBytes(make([]byte, 33)), rs.S.FillBytes(make([]byte, 33)) // a leading zero: mostly not minimal
	padded := func(r, s []byte) []byte {
		b := append([]byte{2, byte(len(r))}, r...)
		b = append(append(b, 2, byte(len(s))), s...)
		return append([]byte{0x30, byte(len(b))}, b...)
	}
	for name, bad := range map[string][]byte{
		"empty":            {},
		"nil":              nil,
		"truncated":        sig[:len(sig)-1],
		"trailing":         append(append([]byte{}, sig...), 0),
		"long length form": append([]byte{0x30, 0x81, sig[1]}, sig[2:]...),
		"indefinite":       append(append([]byte{0x30, 0x80}, sig[2:]...), 0, 0),
		"padded integers":  padded(append([]byte{0}, rBytes...), append([]byte{0}, sBytes...)),
		"raw r s":          append(rBytes[1:], sBytes[1:]...),
		"zero r":           der(big.NewInt(0), rs.S),
		"zero s":           der(rs.R, big.NewInt(0)),
		"r plus n":         der(new(big.Int).Add(rs.R, n), rs.S),
		"s plus n":         der(rs.R, new(big.Int).Add(rs.S, n)),
		"negative s":       der(rs.R, new(big.Int).Neg(rs.S)),
		"exchanged":        der(rs.S, rs.R),
		"zeros":            make([]byte, len(sig)),
		"too long":         make([]byte, 1<<16),
	} {
		require.ErrorIs(t, verify(bad), identity.ErrSignature, name)
	}
	for i := range sig {
		bad := append([]byte{}, sig...)
		bad[i] ^= 1
		require.ErrorIs(t, verify(bad), identity.ErrSignature, "byte %d", i)
	}
	require.ErrorIs(t, identity.VerifySignature(&other.PublicKey, identity.ContextOrder, body, sig), identity.ErrSignature)
	require.ErrorIs(t, identity.VerifySignature(&k.PublicKey, identity.ContextOrder, append(body, 0), sig), identity.ErrSignature)
	require.ErrorIs(t, identity.VerifySignature(&k.PublicKey, "", body, sig), identity.ErrSignature)
	require.ErrorIs(t, identity.VerifySignature(nil, identity.ContextOrder, body, sig), identity.ErrKey)
}

// The context must not run over into the body.
func TestContextsDoNotRunOver(t *testing.T) {
	k := newKey(t)
	for _, c := range []identity.Context{"", "Order", "order\x00", "order 1", identity.Context(strings.Repeat("a", 33))} {
		_, err := identity.Sign(k, c, nil)
		require.Error(t, err, "%q", c)
	}
	seen := map[identity.Context]bool{}
	for _, c := range contexts {
		require.False(t, seen[c], "%s stands for two purposes", c)
		seen[c] = true
	}
}

type badSigner struct {
	*ecdsa.PrivateKey
	flip bool
}

func (b badSigner) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	sig, err := b.PrivateKey.Sign(nil, digest, o)
	if b.flip {
		sig[len(sig)-1] ^= 1
	}
	return sig, err
}

func TestSignRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, k := range map[string]crypto.Signer{"P-384": p384, "Ed25519": ed, "none": nil} {
		_, err := identity.Sign(k, identity.ContextOrder, nil)
		require.ErrorIs(t, err, identity.ErrKey, name)
	}
	require.ErrorIs(t, identity.VerifySignature(&p384.PublicKey, identity.ContextOrder, nil, nil), identity.ErrKey)
	k := newKey(t)
	_, err = identity.Sign(badSigner{k, false}, identity.ContextOrder, nil)
	require.NoError(t, err)
	_, err = identity.Sign(badSigner{k, true}, identity.ContextOrder, nil)
	require.ErrorIs(t, err, identity.ErrSignature, "a faulty signature left the function")
}

func TestPublicKey(t *testing.T) {
	for range 20 {
		k := newKey(t)
		b, err := identity.MarshalPublicKey(&k.PublicKey)
		require.NoError(t, err)
		u, err := k.PublicKey.Bytes()
		require.NoError(t, err)
		require.Equal(t, append([]byte{2 + u[64]%2}, u[1:33]...), b)
		p, err := identity.ParsePublicKey(b)
		require.NoError(t, err)
		require.True(t, p.Equal(&k.PublicKey))
	}
	k := newKey(t)
	good, err := identity.MarshalPublicKey(&k.PublicKey)
	require.NoError(t, err)
	u, err := k.PublicKey.Bytes()
	require.NoError(t, err)
	off := append([]byte{}, good...) // an x without a point
	for off[1] = 0; ; off[1]++ {
		if x, _ := elliptic.UnmarshalCompressed(elliptic.P256(), off); x == nil {
			break
		}
	}
	for name, bad := range map[string][]byte{
		"nil": nil, "short": good[:32], "long": append(append([]byte{}, good...), 0), "uncompressed": u, "infinity": {0},
		"hybrid": append([]byte{6}, good[1:]...), "not on curve": off, "x above p": append([]byte{2}, []byte(strings.Repeat("\xff", 32))...),
	} {
		_, err := identity.ParsePublicKey(bad)
		require.ErrorIs(t, err, identity.ErrKey, name)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, err = identity.MarshalPublicKey(&p384.PublicKey)
	require.ErrorIs(t, err, identity.ErrKey)
	_, err = identity.MarshalPublicKey(nil)
	require.ErrorIs(t, err, identity.ErrKey)
}
