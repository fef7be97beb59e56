// Package roottest shows whether an implementation of devicegw.Root keeps its contract: call [TestRoot] from a test of
// yours. It also has a root for tests that need one and no chip: [NewKeyRoot].
package roottest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
)

// Harness is one root of trust, ready for use, and another one.
type Harness struct {
	// Open opens the root again, as after a power-up: same chip, same helper data. After Destroy it is not called.
	Open func(t *testing.T) devicegw.Root
	// Other opens the root of another chip.
	Other func(t *testing.T) devicegw.Root
}

// TestRoot runs the suite. fresh is called for each part; making a chip may be slow, so there are few parts.
func TestRoot(t *testing.T, fresh func(t *testing.T) Harness) {
	t.Helper()
	t.Run("keys", func(t *testing.T) { testKeys(t, fresh(t)) })
	t.Run("derive", func(t *testing.T) { testDerive(t, fresh(t)) })
	t.Run("lock", func(t *testing.T) { testLock(t, fresh(t)) })
	t.Run("destroy", func(t *testing.T) { testDestroy(t, fresh(t)) })
}

func signing(t *testing.T, r devicegw.Root) *ecdsa.PublicKey {
	t.Helper()
	pub, ok := r.Signer().Public().(*ecdsa.PublicKey)
	require.True(t, ok, "the signing key is a %T, want ECDSA", r.Signer().Public())
	require.Equal(t, elliptic.P256(), pub.Curve)
	return pub
}

func testKeys(t *testing.T, h Harness) {
	r, again, other := h.Open(t), h.Open(t), h.Other(t)
	require.True(t, signing(t, r).Equal(signing(t, again)), "the signing key changed with a power-up")
	require.False(t, signing(t, r).Equal(signing(t, other)), "two chips have one signing key")
	digest := sha256.Sum256([]byte("message"))
	for _, random := range []bool{true, false} {
		var sig []byte
		var err error
		if random {
			sig, err = r.Signer().Sign(rand.Reader, digest[:], crypto.SHA256)
		} else {
			sig, err = r.Signer().Sign(nil, digest[:], crypto.SHA256) // deterministic
		}
		require.NoError(t, err)
		require.True(t, ecdsa.VerifyASN1(signing(t, again), digest[:], sig))
		require.False(t, ecdsa.VerifyASN1(signing(t, other), digest[:], sig))
	}

	x := r.KeyExchanger()
	require.Equal(t, ecdh.P256(), x.Curve())
	require.True(t, x.PublicKey().Equal(again.KeyExchanger().PublicKey()), "the agreement key changed with a power-up")
	require.False(t, x.PublicKey().Equal(other.KeyExchanger().PublicKey()))
	mine, err := x.ECDH(other.KeyExchanger().PublicKey())
	require.NoError(t, err)
	theirs, err := other.KeyExchanger().ECDH(x.PublicKey())
	require.NoError(t, err)
	require.Equal(t, mine, theirs)
	own, err := signing(t, r).ECDH()
	require.NoError(t, err)
	require.False(t, own.Equal(x.PublicKey()), "one key signs and agrees")
	require.Equal(t, r.HelperHash(), again.HelperHash())
	if r.HelperHash() != ([32]byte{}) {
		require.NotEqual(t, r.HelperHash(), other.HelperHash())
	}
}

func testDerive(t *testing.T, h Harness) {
	r, again, other := h.Open(t), h.Open(t), h.Other(t)
	get := func(r devicegw.Root, label, context string, n int) []byte {
		b, err := r.Derive(label, []byte(context), n)
		require.NoError(t, err)
		require.Len(t, b, n)
		return b
	}
	base := get(r, "claim code", "D-1", 32)
	require.Equal(t, base, get(again, "claim code", "D-1", 32))
	seen := map[string]string{string(base): "claim code, D-1"}
	for _, c := range []struct {
		r              devicegw.Root
		label, context string
	}{
		{other, "claim code", "D-1"}, {r, "claim code", "D-2"}, {r, "claim codeD", "-1"}, {r, "claim cod", "eD-1"},
		{r, "other", "D-1"}, {r, "claim code", ""},
	} {
		b := string(get(c.r, c.label, c.context, 32))
		require.Empty(t, seen[b], "%s, %s gives the same", c.label, c.context)
		seen[b] = c.label + ", " + c.context
	}
	require.Len(t, get(r, "claim code", "D-1", 15), 15)
	require.Len(t, get(r, "long", "", 255*32), 255*32)
	for _, n := range []int{-1, 255*32 + 1} {
		_, err := r.Derive("claim code", nil, n)
		require.Error(t, err, "derive %d bytes", n)
	}
	first := get(r, "claim code", "D-1", 32)
	clear(first)
	require.Equal(t, base, get(r, "claim code", "D-1", 32), "the result is shared")
}

func testLock(t *testing.T, h Harness) {
	r, again, other := h.Open(t), h.Open(t), h.Other(t)
	for _, size := range []int{0, 1, 100, 70_000} {
		plain := bytes.Repeat([]byte("secret! "), size/8+1)[:size]
		blob, err := r.Lock("label", plain)
		require.NoError(t, err)
		require.True(t, size == 0 || !bytes.Contains(blob, plain[:min(size, 8)]) || size < 8, "plaintext in the blob")
		got, err := again.Unlock("label", blob)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, got))
	}
	blob, err := r.Lock("label", []byte("a secret"))
	require.NoError(t, err)
	second, err := r.Lock("label", []byte("a secret"))
	require.NoError(t, err)
	require.NotEqual(t, blob, second, "the same plaintext shows as the same blob")
	refused := func(r devicegw.Root, label string, blob []byte, why string, args ...any) {
		got, err := r.Unlock(label, blob)
		require.Error(t, err, why, args)
		require.Empty(t, got)
	}
	refused(other, "label", blob, "another chip")
	refused(r, "labe", blob, "another label")
	refused(r, "", blob, "no label")
	for i := range blob {
		changed := bytes.Clone(blob)
		changed[i] ^= 1
		refused(r, "label", changed, "byte %d changed", i)
	}
	for n := range len(blob) {
		refused(r, "label", blob[:n], "cut to %d", n)
	}
	refused(r, "label", append(bytes.Clone(blob), 0), "lengthened")

	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 8 {
		wg.Go(func() {
			text := fmt.Appendf(nil, "text %d", i)
			b, err := r.Lock("label", text)
			if err == nil {
				var got []byte
				if got, err = r.Unlock("label", b); err == nil && !bytes.Equal(got, text) {
					err = fmt.Errorf("goroutine %d got %q", i, got)
				}
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

func testDestroy(t *testing.T, h Harness) {
	r, other := h.Open(t), h.Other(t)
	blob, err := r.Lock("label", []byte("a secret"))
	require.NoError(t, err)
	signer, x := r.Signer(), r.KeyExchanger()
	require.NoError(t, r.Destroy(context.Background()))

	digest := sha256.Sum256(nil)
	_, err = signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	require.Error(t, err, "a signer outlived its root")
	_, err = x.ECDH(other.KeyExchanger().PublicKey())
	require.Error(t, err, "an agreement key outlived its root")
	_, err = r.Derive("label", nil, 16)
	require.Error(t, err)
	_, err = r.Lock("label", nil)
	require.Error(t, err)
	_, err = r.Unlock("label", blob)
	require.Error(t, err)
}
