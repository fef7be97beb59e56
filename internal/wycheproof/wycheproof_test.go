package wycheproof_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/hkdf"
	"github.com/semio-iot/semio/internal/keywrap"
)

// vector has the fields of all kinds of vectors.
type vector struct {
	ID                              int `json:"tcId"`
	Comment, Result                 string
	Flags                           []string
	Key, Msg, CT, Sig, Tag, IV, AAD unhex
	IKM, Salt, Info, OKM            unhex
	Public, Private, Shared         unhex
	Seed, EK, DK, C, M              unhex
	Size                            int
	SharedKey                       unhex `json:"K"`
	group                           *group
}

type group struct {
	KeySize, TagSize, IVSize int
	PublicKey                struct{ Uncompressed unhex }
	Tests                    []vector
}

type unhex []byte

func (u *unhex) UnmarshalText(b []byte) (err error) {
	*u, err = hex.DecodeString(string(b))
	return err
}

// each runs f for every vector of a file that want takes, and fails if there are fewer than least.
func each(t *testing.T, file string, least int, want func(*vector) bool, f func(t *testing.T, v *vector)) {
	t.Helper()
	b, err := fs.ReadFile(wycheproof.TestVectors, file+"_test.json")
	require.NoError(t, err)
	var all struct{ TestGroups []group }
	require.NoError(t, json.Unmarshal(b, &all))
	n := 0
	for i := range all.TestGroups {
		g := &all.TestGroups[i]
		for j := range g.Tests {
			v := &g.Tests[j]
			v.group = g
			if want != nil && !want(v) {
				continue
			}
			n++
			t.Run(fmt.Sprint(v.ID), func(t *testing.T) { f(t, v) })
		}
	}
	require.GreaterOrEqual(t, n, least, "vectors of %s", file)
}

// judge compares what we make of a vector with what it says.
func (v *vector) judge(t *testing.T, accepted bool) {
	t.Helper()
	require.Equal(t, v.Result == "valid", accepted, "%s %v: %s", v.Result, v.Flags, v.Comment)
}

func TestECDSA(t *testing.T) {
	each(t, "ecdsa_secp256r1_sha256", 480, nil, func(t *testing.T, v *vector) {
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), v.group.PublicKey.Uncompressed)
		require.NoError(t, err)
		digest := sha256.Sum256(v.Msg)
		v.judge(t, ecdsa.VerifyASN1(key, digest[:], v.Sig))
	})
}

// Points travel compressed; the vectors have both forms, and "acceptable" means compressed.
func TestECDH(t *testing.T) {
	each(t, "ecdh_secp256r1_ecpoint", 350, nil, func(t *testing.T, v *vector) {
		scalar := bytes.TrimLeft(v.Private, "\x00")
		key, err := ecdh.P256().NewPrivateKey(append(make([]byte, 32-len(scalar)), scalar...))
		require.NoError(t, err)
		public, err := ecdh.P256().NewPublicKey(v.Public)
		if len(v.Public) == 33 {
			var p *ecdsa.PublicKey
			if p, err = identity.ParsePublicKey(v.Public); err == nil {
				public, err = p.ECDH()
			}
		}
		if err != nil {
			require.Equal(t, "invalid", v.Result, "%v: %s: %v", v.Flags, v.Comment, err)
			return
		}
		shared, err := key.ECDH(public)
		require.NoError(t, err)
		require.NotEqual(t, "invalid", v.Result, "%v: %s", v.Flags, v.Comment)
		require.Equal(t, []byte(v.Shared), shared)
	})
}

func TestGCM(t *testing.T) {
	ours := func(v *vector) bool { return v.group.KeySize == 256 && v.group.IVSize == 96 && v.group.TagSize == 128 }
	each(t, "aes_gcm", 60, ours, func(t *testing.T, v *vector) {
		block, err := aes.NewCipher(v.Key)
		require.NoError(t, err)
		a, err := cipher.NewGCM(block)
		require.NoError(t, err)
		got, err := a.Open(nil, v.IV, append(bytes.Clone(v.CT), v.Tag...), v.AAD)
		v.judge(t, err == nil)
		if err == nil {
			require.True(t, bytes.Equal(v.Msg, got))
			require.Equal(t, append(bytes.Clone(v.CT), v.Tag...), a.Seal(nil, v.IV, v.Msg, v.AAD))
		}
	})
}

func TestHMAC(t *testing.T) {
	each(t, "hmac_sha256", 170, nil, func(t *testing.T, v *vector) {
		h := hmac.New(sha256.New, v.Key)
		h.Write(v.Msg)
		v.judge(t, hmac.Equal(h.Sum(nil)[:v.group.TagSize/8], v.Tag))
	})
}

func TestHKDF(t *testing.T) {
	each(t, "hkdf_sha256", 80, nil, func(t *testing.T, v *vector) {
		got, err := hkdf.Key(v.IKM, v.Salt, string(v.Info), v.Size)
		v.judge(t, err == nil)
		if err == nil {
			require.True(t, bytes.Equal(v.OKM, got))
		}
	})
}

func TestKeyWrap(t *testing.T) {
	each(t, "aes_kwp", 250, nil, func(t *testing.T, v *vector) {
		got, err := keywrap.Unwrap(v.Key, v.CT)
		v.judge(t, err == nil)
		if err == nil {
			require.Equal(t, []byte(v.Msg), got)
			wrapped, err := keywrap.Wrap(v.Key, v.Msg)
			require.NoError(t, err)
			require.Equal(t, []byte(v.CT), wrapped)
		}
	})
}

func TestMLKEM(t *testing.T) {
	each(t, "mlkem_768", 200, nil, func(t *testing.T, v *vector) {
		key, err := mlkem.NewDecapsulationKey768(v.Seed)
		var shared []byte
		if err == nil {
			shared, err = key.Decapsulate(v.C)
		}
		v.judge(t, err == nil && bytes.Equal(shared, v.SharedKey))
		if v.Result == "valid" && v.EK != nil {
			require.Equal(t, []byte(v.EK), key.EncapsulationKey().Bytes())
		}
	})
	each(t, "mlkem_768_keygen_seed", 100, nil, func(t *testing.T, v *vector) {
		key, err := mlkem.NewDecapsulationKey768(v.Seed)
		require.NoError(t, err)
		require.Equal(t, []byte(v.EK), key.EncapsulationKey().Bytes())
	})
	each(t, "mlkem_768_encaps", 250, nil, func(t *testing.T, v *vector) {
		key, err := mlkem.NewEncapsulationKey768(v.EK)
		v.judge(t, err == nil)
		if err == nil {
			shared, ciphertext, err := mlkemtest.Encapsulate768(key, v.M)
			require.NoError(t, err)
			require.Equal(t, []byte(v.SharedKey), shared)
			require.Equal(t, []byte(v.C), ciphertext)
		}
	})
}
