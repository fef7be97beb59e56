package keyvault_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/secret/secrettest"
	"github.com/semio-iot/semio/keyvault"
)

func info(typ keyvault.KeyType, usage keyvault.Usage) keyvault.KeyInfo {
	return keyvault.KeyInfo{Type: typ, Usage: usage, Index: 7, Version: 3, Label: "test"}
}

func generate(t testing.TB, v *keyvault.Vault, typ keyvault.KeyType, usage keyvault.Usage) *keyvault.Key {
	t.Helper()
	code, err := v.GenerateKey(info(typ, usage))
	require.NoError(t, err)
	return openKey(t, v, code)
}

func openKey(t testing.TB, v *keyvault.Vault, code []byte) *keyvault.Key {
	t.Helper()
	k, err := v.OpenKey(t.Context(), code, nil)
	require.NoError(t, err)
	return k
}

func imported(t testing.TB, v *keyvault.Vault, typ keyvault.KeyType, usage keyvault.Usage, key []byte) *keyvault.Key {
	t.Helper()
	code, err := v.ImportKey(info(typ, usage), key)
	require.NoError(t, err)
	return openKey(t, v, code)
}

func TestKeyCodeLayout(t *testing.T) {
	v, _, _ := enroll(t, 1)
	code, err := v.ImportKey(keyvault.KeyInfo{Type: keyvault.TypeMAC, Usage: keyvault.UsageSign | keyvault.UsageExport, Index: 0x01020304,
		Version: 0x1112131415161718, Label: "meter"}, bytes.Repeat([]byte{9}, 40))
	require.NoError(t, err)
	require.Equal(t, unhex(t, "53454d4b"+"01"+"02"+"0011"+"01020304"+"1112131415161718"+"05"+"6d65746572"), code[:26])
	require.Len(t, code, 26+12+40+16)
}

// Every use of every type, with the keys opened after another power-up.
func TestKeysWork(t *testing.T) {
	v, c, store := enroll(t, 1)
	codes := map[keyvault.KeyType][]byte{}
	for typ, usage := range map[keyvault.KeyType]keyvault.Usage{
		keyvault.TypeAES: keyvault.UsageEncrypt, keyvault.TypeMAC: keyvault.UsageSign | keyvault.UsageDerive, keyvault.TypeSign: keyvault.UsageSign,
		keyvault.TypeAgree: keyvault.UsageDerive, keyvault.TypeMLKEM: keyvault.UsageDerive,
	} {
		code, err := v.GenerateKey(info(typ, usage))
		require.NoError(t, err)
		codes[typ] = code
	}
	again := open(t, c, store)
	key := func(typ keyvault.KeyType) *keyvault.Key {
		k := openKey(t, again, codes[typ])
		require.Equal(t, info(typ, k.Info().Usage), k.Info())
		return k
	}

	sealed, err := key(keyvault.TypeAES).Seal([]byte("x"), []byte("hello"), []byte("data"))
	require.NoError(t, err)
	require.Len(t, sealed, 1+12+5+16)
	plain, err := openKey(t, v, codes[keyvault.TypeAES]).Open([]byte("y"), sealed[1:], []byte("data"))
	require.NoError(t, err)
	require.Equal(t, "yhello", string(plain))
	for _, bad := range [][]byte{nil, sealed, sealed[1:20], append(bytes.Clone(sealed[1:]), 0)} {
		_, err := key(keyvault.TypeAES).Open(nil, bad, []byte("data"))
		require.ErrorIs(t, err, keyvault.ErrUnlock)
	}

	tag, err := key(keyvault.TypeMAC).MAC([]byte("m"))
	require.NoError(t, err)
	require.NoError(t, openKey(t, v, codes[keyvault.TypeMAC]).VerifyMAC([]byte("m"), tag))
	require.ErrorIs(t, key(keyvault.TypeMAC).VerifyMAC([]byte("n"), tag), keyvault.ErrUnlock)
	require.ErrorIs(t, key(keyvault.TypeMAC).VerifyMAC([]byte("m"), nil), keyvault.ErrUnlock)
	derived := map[string]bool{}
	for _, a := range []struct {
		label, context string
		n              int
	}{{"a", "", 32}, {"b", "", 32}, {"a", "b", 32}, {"ab", "", 32}, {"a", "", 33}} {
		out, err := key(keyvault.TypeMAC).Derive(a.label, []byte(a.context), a.n)
		require.NoError(t, err)
		require.Len(t, out, a.n)
		derived[string(out[:32])] = true
	}
	require.Len(t, derived, 5)
	_, err = key(keyvault.TypeMAC).Derive("", nil, 32)
	require.ErrorIs(t, err, keyvault.ErrArgument)

	signer, err := key(keyvault.TypeSign).Signer()
	require.NoError(t, err)
	digest := sha256.Sum256([]byte("m"))
	signature, err := signer.Sign(nil, digest[:], crypto.SHA256)
	require.NoError(t, err)
	require.True(t, ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], signature))
	require.False(t, signer.Public().(*ecdsa.PublicKey).Equal(v.Signer().Public()))

	x, err := key(keyvault.TypeAgree).KeyExchanger()
	require.NoError(t, err)
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	mine, err := x.ECDH(peer.PublicKey())
	require.NoError(t, err)
	theirs, err := peer.ECDH(x.PublicKey())
	require.NoError(t, err)
	require.Equal(t, theirs, mine)

	d, err := key(keyvault.TypeMLKEM).Decapsulator()
	require.NoError(t, err)
	encapsulates(t, d)
}

func encapsulates(t *testing.T, d crypto.Decapsulator) {
	t.Helper()
	shared, ciphertext := d.Encapsulator().Encapsulate()
	got, err := d.Decapsulate(ciphertext)
	require.NoError(t, err)
	require.Equal(t, shared, got)
	for _, bad := range [][]byte{nil, ciphertext[1:], append(bytes.Clone(ciphertext), 0)} {
		_, err := d.Decapsulate(bad)
		require.ErrorIs(t, err, keyvault.ErrArgument)
	}
}

func TestImportedKeysAreTheCallers(t *testing.T) {
	v, _, _ := enroll(t, 1)
	raw := bytes.Repeat([]byte{5}, 64)
	k := imported(t, v, keyvault.TypeMAC, keyvault.UsageSign, raw)
	h := hmac.New(sha256.New, raw)
	h.Write([]byte("m"))
	tag, err := k.MAC([]byte("m"))
	require.NoError(t, err)
	require.Equal(t, h.Sum(nil), tag)

	seed, err := mlkem.NewDecapsulationKey768(raw)
	require.NoError(t, err)
	d, err := imported(t, v, keyvault.TypeMLKEM, keyvault.UsageDerive, raw).Decapsulator()
	require.NoError(t, err)
	require.Equal(t, seed.EncapsulationKey().Bytes(), d.Encapsulator().Bytes())

	order := unhex(t, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
	for _, c := range []struct {
		typ keyvault.KeyType
		key []byte
	}{
		{keyvault.TypeAES, nil}, {keyvault.TypeAES, raw[:16]}, {keyvault.TypeAES, raw[:33]}, {keyvault.TypeMAC, raw[:31]}, {keyvault.TypeMAC, append(raw, 0)},
		{keyvault.TypeSign, make([]byte, 32)}, {keyvault.TypeSign, order}, {keyvault.TypeAgree, order}, {keyvault.TypeAgree, raw}, {keyvault.TypeMLKEM, raw[:32]},
	} {
		_, err := v.ImportKey(info(c.typ, map[keyvault.KeyType]keyvault.Usage{
			keyvault.TypeAES: keyvault.UsageEncrypt, keyvault.TypeMAC: keyvault.UsageSign, keyvault.TypeSign: keyvault.UsageSign,
			keyvault.TypeAgree: keyvault.UsageDerive, keyvault.TypeMLKEM: keyvault.UsageDerive,
		}[c.typ]), c.key)
		require.ErrorIs(t, err, keyvault.ErrArgument, "%v %x", c.typ, c.key)
	}
}

func TestKeyInfoIsChecked(t *testing.T) {
	v, _, _ := enroll(t, 1)
	for name, change := range map[string]func(*keyvault.KeyInfo){
		"no type":          func(k *keyvault.KeyInfo) { k.Type = 0 },
		"unknown type":     func(k *keyvault.KeyInfo) { k.Type = 6 },
		"no use":           func(k *keyvault.KeyInfo) { k.Usage = 0 },
		"export alone":     func(k *keyvault.KeyInfo) { k.Usage = keyvault.UsageExport },
		"another's use":    func(k *keyvault.KeyInfo) { k.Usage |= keyvault.UsageSign },
		"unknown use":      func(k *keyvault.KeyInfo) { k.Usage |= 1 << 9 },
		"no label":         func(k *keyvault.KeyInfo) { k.Label = "" },
		"too long a label": func(k *keyvault.KeyInfo) { k.Label = string(make([]byte, 256)) },
	} {
		k := info(keyvault.TypeAES, keyvault.UsageEncrypt)
		change(&k)
		_, err := v.GenerateKey(k)
		require.ErrorIs(t, err, keyvault.ErrArgument, name)
		_, err = v.ImportKey(k, make([]byte, 32))
		require.ErrorIs(t, err, keyvault.ErrArgument, name)
	}
}

// What a key is not for it does not do, whatever it could.
func TestUsageIsEnforced(t *testing.T) {
	v, _, _ := enroll(t, 1)
	all := map[keyvault.KeyType]keyvault.Usage{
		keyvault.TypeAES: keyvault.UsageEncrypt | keyvault.UsageWrap, keyvault.TypeMAC: keyvault.UsageSign | keyvault.UsageDerive,
		keyvault.TypeSign: keyvault.UsageSign, keyvault.TypeAgree: keyvault.UsageDerive, keyvault.TypeMLKEM: keyvault.UsageDerive,
	}
	wrapping := generate(t, v, keyvault.TypeAES, keyvault.UsageWrap)
	uses := map[string]struct {
		typ keyvault.KeyType
		use keyvault.Usage
		do  func(k *keyvault.Key) error
	}{
		"Signer":       {keyvault.TypeSign, keyvault.UsageSign, func(k *keyvault.Key) error { _, err := k.Signer(); return err }},
		"KeyExchanger": {keyvault.TypeAgree, keyvault.UsageDerive, func(k *keyvault.Key) error { _, err := k.KeyExchanger(); return err }},
		"Decapsulator": {keyvault.TypeMLKEM, keyvault.UsageDerive, func(k *keyvault.Key) error { _, err := k.Decapsulator(); return err }},
		"Seal":         {keyvault.TypeAES, keyvault.UsageEncrypt, func(k *keyvault.Key) error { _, err := k.Seal(nil, nil, nil); return err }},
		"MAC":          {keyvault.TypeMAC, keyvault.UsageSign, func(k *keyvault.Key) error { _, err := k.MAC(nil); return err }},
		"Derive":       {keyvault.TypeMAC, keyvault.UsageDerive, func(k *keyvault.Key) error { _, err := k.Derive("l", nil, 16); return err }},
		"Wrap": {keyvault.TypeAES, keyvault.UsageWrap, func(k *keyvault.Key) error {
			_, err := k.Wrap(generate(t, v, keyvault.TypeSign, keyvault.UsageSign|keyvault.UsageExport))
			return err
		}},
	}
	for name, u := range uses {
		for typ, usage := range all {
			for _, usage := range []keyvault.Usage{usage, usage &^ u.use} {
				if usage == 0 {
					continue
				}
				k := generate(t, v, typ, usage)
				if typ == u.typ && usage&u.use != 0 {
					require.NoError(t, u.do(k), "%s of %v", name, k.Info())
				} else {
					require.ErrorIs(t, u.do(k), keyvault.ErrUsage, "%s of %v", name, k.Info())
				}
				require.ErrorIs(t, k.Export(func([]byte) error { return nil }), keyvault.ErrUsage)
				_, err := wrapping.Wrap(k)
				require.ErrorIs(t, err, keyvault.ErrUsage, "a key without export does not come out wrapped either")
			}
		}
	}
	aes := generate(t, v, keyvault.TypeAES, keyvault.UsageWrap)
	_, err := aes.Open(nil, make([]byte, 40), nil)
	require.ErrorIs(t, err, keyvault.ErrUsage)
	_, err = generate(t, v, keyvault.TypeAES, keyvault.UsageEncrypt).Unwrap(info(keyvault.TypeAES, keyvault.UsageWrap), make([]byte, 40))
	require.ErrorIs(t, err, keyvault.ErrUsage)
}

// A key travels from one device to another under a key that both have.
func TestWrapAndUnwrap(t *testing.T) {
	from, _, _ := enroll(t, 1)
	to, _, _ := enroll(t, 2)
	shared := bytes.Repeat([]byte{7}, 32)
	here := imported(t, from, keyvault.TypeAES, keyvault.UsageWrap, shared)
	there := imported(t, to, keyvault.TypeAES, keyvault.UsageWrap, shared)
	k := generate(t, from, keyvault.TypeSign, keyvault.UsageSign|keyvault.UsageExport)
	wrapped, err := here.Wrap(k)
	require.NoError(t, err)
	code, err := there.Unwrap(info(keyvault.TypeSign, keyvault.UsageSign), wrapped)
	require.NoError(t, err)
	a, err := k.Signer()
	require.NoError(t, err)
	b, err := openKey(t, to, code).Signer()
	require.NoError(t, err)
	require.Equal(t, a.Public(), b.Public())

	wrapped[3] ^= 1
	_, err = there.Unwrap(info(keyvault.TypeSign, keyvault.UsageSign), wrapped)
	require.ErrorIs(t, err, keyvault.ErrUnlock)
	wrapped[3] ^= 1
	_, err = there.Unwrap(info(keyvault.TypeMLKEM, keyvault.UsageDerive), wrapped)
	require.ErrorIs(t, err, keyvault.ErrArgument, "a key of another type")
	_, err = there.Wrap(k)
	require.ErrorIs(t, err, keyvault.ErrArgument, "a key of another vault")

	var out []byte
	require.NoError(t, k.Export(func(key []byte) error { out = key; require.NotEqual(t, make([]byte, 32), key); return nil }))
	require.Equal(t, make([]byte, 32), out, "cleared after the callback")
	require.ErrorIs(t, k.Export(func([]byte) error { return errBroken }), errBroken)
}

func TestOpenKeyRefuses(t *testing.T) {
	v, _, _ := enroll(t, 1)
	other, _, _ := enroll(t, 2)
	code, err := v.GenerateKey(info(keyvault.TypeAES, keyvault.UsageEncrypt))
	require.NoError(t, err)
	refused := func(code []byte, why string, args ...any) {
		t.Helper()
		k, err := v.OpenKey(t.Context(), code, nil)
		require.ErrorIs(t, err, keyvault.ErrKeyCode, why, args)
		require.Equal(t, "open key: "+keyvault.ErrKeyCode.Error(), err.Error(), "the error must not tell why")
		require.Nil(t, k)
	}
	for i := range 8 * len(code) {
		bad := bytes.Clone(code)
		bad[i/8] ^= 1 << (i % 8)
		refused(bad, "bit %d", i)
	}
	for n := range len(code) {
		refused(code[:n], "cut to %d", n)
	}
	refused(append(bytes.Clone(code), 0), "lengthened")
	foreign, err := other.GenerateKey(info(keyvault.TypeAES, keyvault.UsageEncrypt))
	require.NoError(t, err)
	refused(foreign, "another device")
	blob, err := v.Lock("test", make([]byte, 32))
	require.NoError(t, err)
	refused(blob, "a locked blob")
	refused(append(bytes.Clone(code[:25]), foreign[25:]...), "another device's key under our header")
	openKey(t, v, code)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// counter is a MonotonicCounter.
type counter struct {
	value uint64
	fail  error
}

func (c *counter) Value(context.Context) (uint64, error) { return c.value, c.fail }

func (c *counter) Advance(_ context.Context, n uint64) error {
	c.value = max(c.value, n)
	return c.fail
}

func TestRollback(t *testing.T) {
	v, _, _ := enroll(t, 1)
	code := func(version uint64) []byte {
		k := info(keyvault.TypeAES, keyvault.UsageEncrypt)
		k.Version = version
		b, err := v.GenerateKey(k)
		require.NoError(t, err)
		return b
	}
	c := &counter{value: 4}
	opts := &keyvault.KeyOptions{Counter: c}
	one, four, five := code(1), code(4), code(5)
	_, err := v.OpenKey(t.Context(), one, opts)
	require.ErrorIs(t, err, keyvault.ErrRollback)
	require.ErrorContains(t, err, "version 1, the counter is at 4")
	_, err = v.OpenKey(t.Context(), four, opts)
	require.NoError(t, err)
	require.EqualValues(t, 4, c.value)
	forged := bytes.Clone(five)
	forged[19]++ // the version
	_, err = v.OpenKey(t.Context(), forged, opts)
	require.ErrorIs(t, err, keyvault.ErrKeyCode)
	require.EqualValues(t, 4, c.value, "a forged code must not move the counter")
	_, err = v.OpenKey(t.Context(), five, opts)
	require.NoError(t, err)
	require.EqualValues(t, 5, c.value)
	_, err = v.OpenKey(t.Context(), four, opts)
	require.ErrorIs(t, err, keyvault.ErrRollback)
	openKey(t, v, four) // without a counter nothing is refused

	c.fail = errBroken
	_, err = v.OpenKey(t.Context(), five, opts)
	require.ErrorIs(t, err, errBroken)
	c.fail = nil
}

func TestKeysEndWithTheVault(t *testing.T) {
	v, _, _ := enroll(t, 1)
	k := generate(t, v, keyvault.TypeSign, keyvault.UsageSign|keyvault.UsageExport)
	s, err := k.Signer()
	require.NoError(t, err)
	d, err := v.Decapsulator()
	require.NoError(t, err)
	encapsulates(t, d)
	_, ciphertext := d.Encapsulator().Encapsulate()
	require.NoError(t, v.Close())
	_, err = s.Sign(nil, make([]byte, 32), crypto.SHA256)
	require.ErrorIs(t, err, keyvault.ErrClosed)
	require.ErrorIs(t, k.Export(func([]byte) error { return nil }), keyvault.ErrClosed)
	_, err = d.Decapsulate(ciphertext)
	require.ErrorIs(t, err, keyvault.ErrClosed)
	_, err = v.GenerateKey(info(keyvault.TypeAES, keyvault.UsageEncrypt))
	require.ErrorIs(t, err, keyvault.ErrClosed)
	_, err = v.Decapsulator()
	require.ErrorIs(t, err, keyvault.ErrClosed)
	require.ErrorIs(t, new(keyvault.Key).Export(nil), keyvault.ErrUsage)
}

func TestDecapsulatorIsTheChips(t *testing.T) {
	v, c, store := enroll(t, 1)
	other, _, _ := enroll(t, 2)
	public := func(v *keyvault.Vault) []byte {
		d, err := v.Decapsulator()
		require.NoError(t, err)
		return d.Encapsulator().Bytes()
	}
	require.Equal(t, public(v), public(open(t, c, store)))
	require.NotEqual(t, public(v), public(other))
}

// No verb and no encoder shows a key.
func TestKeysDoNotPrint(t *testing.T) {
	v, _, _ := enroll(t, 1)
	raw := []byte("0123456789abcdef0123456789abcdef")
	k := imported(t, v, keyvault.TypeMAC, keyvault.UsageSign, raw)
	sealer, err := keyvault.NewPassphrase(raw)
	require.NoError(t, err)
	d, err := v.Decapsulator()
	require.NoError(t, err)
	for _, value := range []any{k, *k, sealer, d} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d", "%p"} {
			text := fmt.Sprintf(verb, value)
			require.NotContains(t, text, string(raw[:8]))
			require.NotContains(t, text, fmt.Sprintf("%x", raw[:8]))
		}
		b, err := json.Marshal(value)
		require.NoError(t, err)
		require.Equal(t, `"[redacted]"`, string(b))
		secrettest.Hides(t, value, raw)
	}
	require.Equal(t, `ECDSA P-256 key 7 "test" version 3 for sign+export`, info(keyvault.TypeSign, keyvault.UsageSign|keyvault.UsageExport).String())
	require.Equal(t, "KeyType(9) none 0x8000", fmt.Sprint(keyvault.KeyType(9), keyvault.Usage(0), keyvault.Usage(1<<15)))
}

func FuzzOpenKey(f *testing.F) {
	v, _, _ := enroll(f, 1)
	code, err := v.GenerateKey(info(keyvault.TypeSign, keyvault.UsageSign))
	require.NoError(f, err)
	f.Add(code)
	f.Add([]byte{})
	f.Add(code[:21])
	f.Add(append(bytes.Clone(code), 0))
	f.Fuzz(func(t *testing.T, junk []byte) {
		k, err := v.OpenKey(context.Background(), junk, nil)
		if bytes.Equal(junk, code) {
			require.NoError(t, err)
			return
		}
		require.Nil(t, k)
		require.True(t, errors.Is(err, keyvault.ErrKeyCode), "%v", err)
	})
}
