package keyvault_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/internal/secret/secrettest"
	"github.com/semio-iot/semio/keyvault"
)

var _ devicegw.Root = (*keyvault.Vault)(nil)

func TestIsARootOfTrust(t *testing.T) {
	seed := uint64(100)
	roottest.TestRoot(t, func(t *testing.T) roottest.Harness {
		seed += 2
		_, c, store := enroll(t, seed)
		_, other, otherStore := enroll(t, seed+1)
		return roottest.Harness{
			Open:  func(t *testing.T) devicegw.Root { return open(t, c, store) },
			Other: func(t *testing.T) devicegw.Root { return open(t, other, otherStore) },
		}
	})
}

func TestSameKeysAfterEveryPowerUp(t *testing.T) {
	v, c, store := enroll(t, 1)
	digest := sha256.Sum256([]byte("message"))
	signature, err := v.Signer().Sign(nil, digest[:], crypto.SHA256)
	require.NoError(t, err)
	derived, err := v.Derive("label", []byte("context"), 40)
	require.NoError(t, err)
	blob, err := v.Lock("label", []byte("secret"))
	require.NoError(t, err)
	for range 10 {
		again := open(t, c, store)
		require.Equal(t, v.Signer().Public(), again.Signer().Public())
		require.Equal(t, v.KeyExchanger().PublicKey(), again.KeyExchanger().PublicKey())
		s, err := again.Signer().Sign(rand.Reader, digest[:], crypto.SHA256)
		require.NoError(t, err)
		require.Equal(t, signature, s, "signatures are deterministic, whatever the reader")
		d, err := again.Derive("label", []byte("context"), 40)
		require.NoError(t, err)
		require.Equal(t, derived, d)
		plain, err := again.Unlock("label", blob)
		require.NoError(t, err)
		require.Equal(t, "secret", string(plain))
		require.Equal(t, v.HelperHash(), again.HelperHash())
		require.Positive(t, again.Report().Used)
		require.NoError(t, again.Close())
	}
}

func TestSigner(t *testing.T) {
	v, _, _ := enroll(t, 1)
	s := v.Signer()
	pub := s.Public().(*ecdsa.PublicKey)
	for h, digest := range map[crypto.Hash][]byte{
		crypto.SHA256: func() []byte { d := sha256.Sum256([]byte("m")); return d[:] }(),
		crypto.SHA384: func() []byte { d := sha512.Sum384([]byte("m")); return d[:] }(),
		crypto.SHA512: func() []byte { d := sha512.Sum512([]byte("m")); return d[:] }(),
	} {
		sig, err := s.Sign(nil, digest, h)
		require.NoError(t, err)
		require.True(t, ecdsa.VerifyASN1(pub, digest, sig))
		for _, bad := range [][]byte{nil, {}, digest[1:], append(bytes.Clone(digest), 0)} {
			_, err := s.Sign(nil, bad, h)
			require.ErrorIs(t, err, keyvault.ErrArgument)
		}
	}
	for _, h := range []crypto.SignerOpts{nil, crypto.Hash(0), crypto.SHA1, crypto.MD5, crypto.SHA224, crypto.Hash(9999)} {
		_, err := s.Sign(nil, make([]byte, 20), h)
		require.ErrorIs(t, err, keyvault.ErrArgument, "%v", h)
	}
	// What a caller does to the public key that it was given is its own business.
	changed, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), func() []byte { b, _ := pub.Bytes(); return b }())
	require.NoError(t, err)
	*pub = ecdsa.PublicKey{}
	require.True(t, changed.Equal(s.Public()))
}

func TestSignerServesX509(t *testing.T) {
	v, c, store := enroll(t, 1)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "D-1"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, v.Signer().Public(), v.Signer())
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature))
	require.True(t, open(t, c, store).Signer().Public().(*ecdsa.PublicKey).Equal(cert.PublicKey))
}

func TestKeyExchanger(t *testing.T) {
	v, _, _ := enroll(t, 1)
	x := v.KeyExchanger()
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	mine, err := x.ECDH(peer.PublicKey())
	require.NoError(t, err)
	theirs, err := peer.ECDH(x.PublicKey())
	require.NoError(t, err)
	require.Equal(t, theirs, mine)
}

func TestKeyExchangerRefuses(t *testing.T) {
	v, _, _ := enroll(t, 1)
	x := v.KeyExchanger()
	var x25519 *ecdh.PrivateKey
	var err error
	fips140.WithoutEnforcement(func() { x25519, err = ecdh.X25519().GenerateKey(rand.Reader) })
	require.NoError(t, err)
	p384, err := ecdh.P384().GenerateKey(rand.Reader)
	require.NoError(t, err)
	for _, remote := range []*ecdh.PublicKey{nil, x25519.PublicKey(), p384.PublicKey()} {
		shared, err := x.ECDH(remote)
		require.ErrorIs(t, err, keyvault.ErrArgument)
		require.Nil(t, shared)
	}
}

// Nothing that Derive gives is a key that the vault uses itself.
func TestDeriveCannotReachOtherKeys(t *testing.T) {
	v, _, _ := enroll(t, 1)
	signing := v.Signer().Public().(*ecdsa.PublicKey)
	own, err := signing.ECDH()
	require.NoError(t, err)
	taken := []*ecdh.PublicKey{own, v.KeyExchanger().PublicKey()}
	for _, label := range append(keyvault.Labels, "signing key", "semio-root/1 ", "\x00") {
		for _, context := range [][]byte{nil, {0}, {1}, []byte("label"), append([]byte{byte(len(label))}, label...)} {
			b, err := v.Derive(label, context, 32)
			require.NoError(t, err)
			key, err := ecdh.P256().NewPrivateKey(b)
			require.NoError(t, err)
			for _, p := range taken {
				require.False(t, p.Equal(key.PublicKey()), "label %q, context %x gives a key of the vault", label, context)
			}
		}
	}
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(keyvault.Labels))), len(keyvault.Labels), "two uses of one label")
}

func TestDeriveArguments(t *testing.T) {
	v, _, _ := enroll(t, 1)
	ok := func(label string, context []byte, n int) []byte {
		b, err := v.Derive(label, context, n)
		require.NoError(t, err)
		require.Len(t, b, n)
		return b
	}
	ok("l", nil, 1)
	ok(strings.Repeat("l", 255), make([]byte, 65279), 8160)
	require.Equal(t, ok("l", nil, 32), ok("l", []byte{}, 32))
	seen := map[string]string{}
	for _, c := range []struct{ label, context string }{{"a", ""}, {"a", "b"}, {"ab", ""}, {"b", "a"}, {"a", "bc"}, {"ab", "c"}, {"abc", ""}} {
		k := string(ok(c.label, []byte(c.context), 32))
		require.Empty(t, seen[k], "%v gives the same", c)
		seen[k] = c.label + "|" + c.context
	}
	require.NotEqual(t, ok("a", nil, 32), ok("a", nil, 64)[:32], "a longer output is another key")
	for _, c := range []struct {
		label   string
		context []byte
		n       int
	}{
		{"", nil, 32}, {strings.Repeat("l", 256), nil, 32}, {"l", make([]byte, 65280), 32}, {"l", nil, 0}, {"l", nil, -1}, {"l", nil, 8161},
	} {
		b, err := v.Derive(c.label, c.context, c.n)
		require.ErrorIs(t, err, keyvault.ErrArgument, "label of %d, context of %d, %d bytes", len(c.label), len(c.context), c.n)
		require.Nil(t, b)
	}
}

// FIPS 186-5, A.2.2: candidates out of [1, n-1] are passed over.
func TestScalar(t *testing.T) {
	n := elliptic.P256().Params().N
	num := func(add int64) []byte { return new(big.Int).Add(n, big.NewInt(add)).FillBytes(make([]byte, 32)) }
	zero, one, top := make([]byte, 32), append(make([]byte, 31), 1), bytes.Repeat([]byte{0xff}, 32)
	run := func(candidates ...[]byte) ([]byte, int, error) {
		calls := 0
		b, err := keyvault.Scalar(func(counter byte) ([]byte, error) {
			require.Equal(t, calls, int(counter))
			calls++
			if calls > len(candidates) {
				return nil, errBroken
			}
			return bytes.Clone(candidates[calls-1]), nil
		})
		return b, calls, err
	}
	for name, c := range map[string]struct {
		candidates [][]byte
		want       []byte
	}{
		"one":            {[][]byte{one}, one},
		"n-1":            {[][]byte{num(-1)}, num(-1)},
		"after zero":     {[][]byte{zero, one}, one},
		"after n":        {[][]byte{num(0), one}, one},
		"after n+1":      {[][]byte{num(1), one}, one},
		"after all ones": {[][]byte{top, zero, num(0), num(-2)}, num(-2)},
	} {
		t.Run(name, func(t *testing.T) {
			got, calls, err := run(c.candidates...)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.Equal(t, len(c.candidates), calls)
			// The libraries agree on what a scalar is.
			for i, b := range c.candidates {
				_, err := ecdh.P256().NewPrivateKey(b)
				require.Equal(t, i == len(c.candidates)-1, err == nil)
				_, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), b)
				require.Equal(t, i == len(c.candidates)-1, err == nil)
			}
		})
	}
	_, _, err := run(zero, zero, zero)
	require.ErrorIs(t, err, errBroken)
	_, calls, err := run(zero, top, zero, top, zero, top, zero, top, one)
	require.Error(t, err, "a derivation that is broken must not search for ever")
	require.Equal(t, 8, calls)
	_, _, err = run(one[1:], one[1:], one[1:], one[1:], one[1:], one[1:], one[1:], one[1:])
	require.Error(t, err)
}

func TestCloseWipes(t *testing.T) {
	v, c, store := enroll(t, 1)
	s, x := v.Signer(), v.KeyExchanger()
	pub, point := s.Public(), x.PublicKey()
	root := keyvault.RootKey(v)
	_, err := root.Derive("label", nil, 32)
	require.NoError(t, err, "the root key stands before")
	blob, err := v.Lock("label", []byte("secret"))
	require.NoError(t, err)

	for range 3 {
		require.NoError(t, v.Close())
		_, err = root.Derive("label", nil, 32)
		require.ErrorIs(t, err, fuzzy.ErrWiped)
		peer, err := ecdh.P256().GenerateKey(rand.Reader)
		require.NoError(t, err)
		digest := sha256.Sum256(nil)
		for name, use := range map[string]func() error{
			"sign":     func() error { _, err := s.Sign(nil, digest[:], crypto.SHA256); return err },
			"new sign": func() error { _, err := v.Signer().Sign(rand.Reader, digest[:], crypto.SHA256); return err },
			"agree":    func() error { _, err := x.ECDH(peer.PublicKey()); return err },
			"derive":   func() error { _, err := v.Derive("label", nil, 32); return err },
			"lock":     func() error { _, err := v.Lock("label", nil); return err },
			"unlock":   func() error { _, err := v.Unlock("label", blob); return err },
			"junk":     func() error { _, err := v.Unlock("label", nil); return err },
			"destroy":  func() error { return v.Destroy(context.Background()) },
		} {
			require.ErrorIs(t, use(), keyvault.ErrClosed, name)
		}
		require.Equal(t, pub, s.Public())
		require.Equal(t, point, x.PublicKey())
	}
	require.NotEmpty(t, store.values, "Close is not Destroy")
	again := open(t, c, store)
	plain, err := again.Unlock("label", blob)
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
}

func TestZeroVaultIsClosed(t *testing.T) {
	var v keyvault.Vault
	_, err := v.Derive("label", nil, 1)
	require.ErrorIs(t, err, keyvault.ErrClosed)
	_, err = v.Lock("label", nil)
	require.ErrorIs(t, err, keyvault.ErrClosed)
	require.ErrorIs(t, v.Destroy(t.Context()), keyvault.ErrClosed)
	require.Nil(t, v.Signer().Public())
	require.NoError(t, v.Close())
}

func TestDestroy(t *testing.T) {
	for _, strict := range []bool{false, true} {
		v, c, store := enroll(t, 1)
		store.strict = strict
		require.NoError(t, v.Destroy(t.Context()))
		require.Empty(t, store.values)
		_, err := v.Derive("label", nil, 1)
		require.ErrorIs(t, err, keyvault.ErrClosed)
		_, err = keyvault.Open(t.Context(), c, store, nil)
		require.ErrorIs(t, err, keyvault.ErrNotEnrolled)
	}
}

func TestDestroyAfterTheHelperDataIsGone(t *testing.T) {
	v, _, store := enroll(t, 1)
	clear(store.values)
	store.strict = true
	require.NoError(t, v.Destroy(t.Context()))
	_, err := v.Derive("label", nil, 1)
	require.ErrorIs(t, err, keyvault.ErrClosed)
}

func TestDestroyThatFailsCanBeRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(m *memory)
		want  error
	}{
		"delete fails": {func(m *memory) {
			m.fail = func(op, _ string) error { return map[string]error{"delete": errBroken}[op] }
		}, errBroken},
		"not deleted": {func(m *memory) { m.keep = true }, keyvault.ErrStore},
		"cannot tell": {func(m *memory) { m.fail = func(op, _ string) error { return map[string]error{"get": errBroken}[op] } }, errBroken},
	} {
		t.Run(name, func(t *testing.T) {
			v, _, store := enroll(t, 1)
			c.spoil(store)
			require.ErrorIs(t, v.Destroy(t.Context()), c.want)
			_, err := v.Derive("label", nil, 1)
			require.NoError(t, err, "a vault whose helper data may be there is not destroyed")
			store.fail, store.keep = nil, false
			require.NoError(t, v.Destroy(t.Context()))
			require.Empty(t, store.values)
		})
	}
}

func TestConcurrentUseAndClose(t *testing.T) {
	v, _, _ := enroll(t, 1)
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	digest := sha256.Sum256(nil)
	started := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				var err error
				switch i % 4 {
				case 0:
					_, err = v.Signer().Sign(nil, digest[:], crypto.SHA256)
				case 1:
					_, err = v.KeyExchanger().ECDH(peer.PublicKey())
				case 2:
					_, err = v.Derive("label", nil, 32)
				case 3:
					var blob []byte
					if blob, err = v.Lock("label", digest[:]); err == nil {
						_, err = v.Unlock("label", blob)
					}
				}
				if n == 0 {
					started <- struct{}{}
				}
				if err != nil {
					if !errors.Is(err, keyvault.ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	require.NoError(t, v.Close())
	wg.Wait()
}

// recorder takes what a failed assertion would print.
type recorder struct{ strings.Builder }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// Nothing that prints or encodes shows a key: not of the vault, nor of what it returns, nor of what holds it.
func TestNothingShows(t *testing.T) {
	v, _, _ := enroll(t, 1)
	t.Run("chip", func(t *testing.T) { nothingShows(t, v) })
	v = fromSecret(t, testSecret(1), newMemory())
	t.Run("secret", func(t *testing.T) { nothingShows(t, v, testSecret(1)) })
}

func nothingShows(t *testing.T, v *keyvault.Vault, keys ...[]byte) {
	known := len(keys)
	for _, label := range keyvault.Labels[:2] {
		b, err := keyvault.RootKey(v).Derive(label, []byte{0}, 32)
		require.NoError(t, err)
		keys = append(keys, b)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), keys[known])
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(v.Signer().Public()), "the test must know the right key")

	mustNotShow := func(t *testing.T, out string) {
		t.Helper()
		for _, k := range keys {
			decimal := strings.Trim(fmt.Sprint(k[:8]), "[]")
			number := new(big.Int).SetBytes(k)
			for _, form := range []string{
				string(k[:8]), hex.EncodeToString(k[:8]), decimal, strings.ReplaceAll(decimal, " ", ","), number.String()[:12],
				strings.Trim(fmt.Sprintf("%#v", k[:4]), "[]byte{}"),
			} {
				require.NotContains(t, strings.ToLower(out), strings.ToLower(form))
			}
		}
	}
	type holder struct {
		v *keyvault.Vault
		s crypto.Signer
		x ecdh.KeyExchanger
	}
	for name, x := range map[string]any{
		"vault": v, "signer": v.Signer(), "exchanger": v.KeyExchanger(), "holder": holder{v, v.Signer(), v.KeyExchanger()},
		"pointer": &holder{v, v.Signer(), v.KeyExchanger()}, "map": map[string]any{"v": v, "s": v.Signer()},
	} {
		t.Run(name, func(t *testing.T) {
			for _, verb := range "vsxXqdobctUpTeg" {
				for _, flag := range []string{"", "+", "#"} {
					mustNotShow(t, fmt.Sprintf("%"+flag+string(verb), x))
				}
			}
			var log bytes.Buffer
			slog.New(slog.NewTextHandler(&log, nil)).Info("m", "k", x)
			slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "k", x)
			out, err := json.Marshal(x)
			require.NoError(t, err)
			var stream bytes.Buffer
			gobErr := gob.NewEncoder(&stream).Encode(x)
			require.Error(t, gobErr)
			var r recorder
			assert.Equal(&r, x, "something else")
			require.NotEmpty(t, r.String())
			mustNotShow(t, log.String()+string(out)+stream.String()+gobErr.Error()+r.String())
			_, err = x509.MarshalPKCS8PrivateKey(x)
			require.Error(t, err)
			secrettest.Hides(t, x, keys...)
		})
	}
	require.Equal(t, "[redacted]", fmt.Sprint(v))
	require.Equal(t, "[redacted]", fmt.Sprintf("%+v", v.Signer()))
	require.Equal(t, "[redacted]", fmt.Sprintf("%#v", v.KeyExchanger()))
}

// The opaque keys are no more than their interfaces.
func TestKeysAreOpaque(t *testing.T) {
	v, _, _ := enroll(t, 1)
	for _, k := range []any{v.Signer(), v.KeyExchanger()} {
		_, ecdsaKey := k.(*ecdsa.PrivateKey)
		_, ecdhKey := k.(*ecdh.PrivateKey)
		_, edKey := k.(ed25519.PrivateKey)
		_, raw := k.(interface{ Bytes() []byte })
		_, raw2 := k.(interface{ Bytes() ([]byte, error) })
		require.False(t, ecdsaKey || ecdhKey || edKey || raw || raw2, "%T", k)
	}
}
