package identity_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestClaimCode(t *testing.T) {
	c, d := newClaim(t, stickerCodes[0]), parseDevice(t, "D-1")
	k, err := c.ProofKey(d)
	require.NoError(t, err)
	public, err := c.ProofPublic(d)
	require.NoError(t, err)
	require.Len(t, public, identity.PublicKeySize)
	pub, err := identity.ParsePublicKey(public)
	require.NoError(t, err)
	require.True(t, pub.Equal(k.Public()))

	sig, err := identity.Sign(k, identity.ContextClaim, []byte("request"))
	require.NoError(t, err)
	require.NoError(t, identity.VerifySignature(pub, identity.ContextClaim, []byte("request"), sig))

	// Another device or code gives other keys.
	psk, err := c.PSK(d)
	require.NoError(t, err)
	for name, o := range map[string]struct {
		c identity.ClaimCode
		d identity.DeviceID
	}{
		"device": {c, parseDevice(t, "D-2")},
		"code":   {newClaim(t, stickerCodes[1]), d},
	} {
		p, err := o.c.ProofPublic(o.d)
		require.NoError(t, err)
		require.NotEqual(t, public, p, name)
		s, err := o.c.PSK(o.d)
		require.NoError(t, err)
		require.False(t, psk.Equal(s), name)
	}
	again, err := newClaim(t, stickerCodes[0]).PSK(d)
	require.NoError(t, err)
	require.True(t, psk.Equal(again))
	require.NotContains(t, string(public), string(psk.Bytes()))
}

func TestClaimCodeRefused(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 14), make([]byte, 15), make([]byte, 16), bytes.Repeat([]byte{1}, 16)} {
		c, err := identity.NewClaimCode(b)
		require.ErrorIs(t, err, identity.ErrClaimCode, "%x", b)
		require.True(t, c.IsZero())
	}
	for _, n := range []int{0, 31, 33} {
		k, err := identity.NewPSK(make([]byte, n))
		require.ErrorIs(t, err, identity.ErrClaimCode)
		require.True(t, k.IsZero())
	}
	d, c := parseDevice(t, "D-1"), newClaim(t, stickerCodes[0])
	use := func(c identity.ClaimCode, d identity.DeviceID, want error) {
		t.Helper()
		_, err := c.ProofKey(d)
		require.ErrorIs(t, err, want)
		_, err = c.ProofPublic(d)
		require.ErrorIs(t, err, want)
		_, err = c.PSK(d)
		require.ErrorIs(t, err, want)
	}
	use(identity.ClaimCode{}, d, identity.ErrClaimCode)
	use(c, identity.DeviceID{}, identity.ErrName)
	use(c, identity.DeviceID{ID: parseID(t, "A-1")}, identity.ErrName)
	dup := c
	c.Wipe()
	require.True(t, dup.IsZero())
	use(dup, d, identity.ErrClaimCode)
}

func TestPSK(t *testing.T) {
	b := bytes.Repeat([]byte{7}, identity.PSKSize)
	k, err := identity.NewPSK(b)
	require.NoError(t, err)
	clear(b)
	require.Equal(t, bytes.Repeat([]byte{7}, identity.PSKSize), k.Bytes())
	clear(k.Bytes())
	require.Equal(t, bytes.Repeat([]byte{7}, identity.PSKSize), k.Bytes(), "Bytes is a copy")
	require.Nil(t, identity.PSK{}.Bytes())
	k.Wipe()
	require.True(t, k.IsZero())
}

// No way of printing or encoding that the standard library has may show a claim code, a key from it, or a sticker's code.
func TestRedaction(t *testing.T) {
	code := []byte("THIS-IS-THE-KEY") // printable, so that %s would show it
	c, d := newClaim(t, code), parseDevice(t, "D-1")
	s := identity.Sticker{Device: d, Claim: c}
	psk, err := c.PSK(d)
	require.NoError(t, err)
	key, err := identity.NewPSK([]byte("THIS-IS-THE-KEY-OF-32-BYTES-LONG"))
	require.NoError(t, err)
	proof, err := c.ProofKey(d)
	require.NoError(t, err)
	type hidden struct{ v any }
	type unexported struct {
		code    identity.ClaimCode
		psk     identity.PSK
		sticker identity.Sticker
	}
	u := unexported{c, key, s}

	var out strings.Builder
	values := []any{c, &c, s, &s, psk, key, &key, proof, hidden{c}, hidden{proof}, &hidden{s}, u, &u, []identity.ClaimCode{c}, map[string]any{"k": s, "p": proof}}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%e"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		if b, err := xml.Marshal(v); err == nil {
			out.Write(b)
		}
		var g bytes.Buffer
		_ = gob.NewEncoder(&g).Encode(v)
		fmt.Fprintf(&out, "%q\n", g.String())
	}
	low := strings.ToLower(out.String())
	text := strings.Split(s.Encode(), ":")[2]
	pskBytes := psk.Bytes()
	for what, secret := range map[string]string{
		"text": string(code), "hex": hex.EncodeToString(code), "decimal": strings.Trim(fmt.Sprint(code), "[]"),
		"go": strings.Trim(fmt.Sprintf("%#v", code), "[]byte{}"), "base32": text, "psk": hex.EncodeToString(pskBytes),
		"psk decimal": strings.Trim(fmt.Sprint(pskBytes), "[]"), "octal": strings.Trim(fmt.Sprintf("%o", code), "[]"),
		"binary": strings.Trim(fmt.Sprintf("%b", code), "[]"), "scalar": proofScalar(t, c, d),
	} {
		require.NotContains(t, low, strings.ToLower(secret[:min(12, len(secret))]), what)
	}
	require.Contains(t, low, "[redacted]")
}

// proofScalar is the private key of the claim code as fmt prints it, from a second derivation (see vectors_test.go).
func proofScalar(t testing.TB, c identity.ClaimCode, d identity.DeviceID) string {
	t.Helper()
	k := deriveClaimKey(t, strings.Split(identity.Sticker{Device: d, Claim: c}.Encode(), ":")[2], d.String())
	pub, err := c.ProofPublic(d)
	require.NoError(t, err)
	mine, err := identity.MarshalPublicKey(&k.PublicKey)
	require.NoError(t, err)
	require.Equal(t, mine, pub, "the second derivation gives another key")
	d32, err := k.Bytes()
	require.NoError(t, err)
	return new(big.Int).SetBytes(d32).String()
}
