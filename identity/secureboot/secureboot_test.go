package secureboot_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/secureboot"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

var image = bytes.Repeat([]byte("instructions "), 1000)

// signed gives a manifest of image, after edit, and what trusts it.
func signed(t testing.TB, edit func(*secureboot.Manifest)) ([]byte, secureboot.Trust) {
	t.Helper()
	key := newKey(t)
	m := secureboot.Describe("thermostat", 2, 7, image)
	m.Next = []*ecdsa.PublicKey{&newKey(t).PublicKey, &newKey(t).PublicKey}
	if edit != nil {
		edit(&m)
	}
	b, err := m.Sign(key)
	require.NoError(t, err)
	return b, secureboot.Trust{Product: "thermostat", Stage: 2, Keys: []*ecdsa.PublicKey{&newKey(t).PublicKey, &key.PublicKey}, Floor: 7}
}

func TestVerifyImage(t *testing.T) {
	manifest, trust := signed(t, nil)
	s, err := secureboot.VerifyImage(manifest, bytes.NewReader(image), trust)
	require.NoError(t, err)
	require.EqualValues(t, 7, s.Version)
	next := s.Trust(3)
	require.Equal(t, secureboot.Trust{Product: "thermostat", Stage: 3, Keys: s.Next, Floor: 3}, next)
	require.Len(t, next.Keys, 2)
	require.LessOrEqual(t, len(manifest), secureboot.MaxManifest)

	_, err = secureboot.VerifyImage(manifest, iotest.OneByteReader(bytes.NewReader(image)), trust)
	require.NoError(t, err)
}

func TestVerifyImageRefuses(t *testing.T) {
	broken := errors.New("flash broken")
	changed := bytes.Clone(image)
	changed[len(changed)-1] ^= 1
	for name, c := range map[string]struct {
		edit  func(*secureboot.Manifest)
		trust func(*secureboot.Trust)
		image io.Reader
		want  error
	}{
		"no key":                  {trust: func(t *secureboot.Trust) { t.Keys = nil }, want: secureboot.ErrSignature},
		"another key":             {trust: func(t *secureboot.Trust) { t.Keys = t.Keys[:1] }, want: secureboot.ErrSignature},
		"another product":         {trust: func(t *secureboot.Trust) { t.Product = "door" }, want: secureboot.ErrWrongImage},
		"another stage":           {edit: func(m *secureboot.Manifest) { m.Stage = 3 }, want: secureboot.ErrWrongImage},
		"older":                   {edit: func(m *secureboot.Manifest) { m.Version = 6 }, want: secureboot.ErrRollback},
		"changed image":           {image: bytes.NewReader(changed), want: secureboot.ErrImage},
		"short image":             {image: bytes.NewReader(image[:100]), want: secureboot.ErrImage},
		"long image":              {image: io.MultiReader(bytes.NewReader(image), bytes.NewReader([]byte{0})), want: secureboot.ErrImage},
		"no image":                {image: bytes.NewReader(nil), want: secureboot.ErrImage},
		"unreadable image":        {image: io.MultiReader(bytes.NewReader(image[:10]), iotest.ErrReader(broken)), want: broken},
		"unreadable behind image": {image: io.MultiReader(bytes.NewReader(image), iotest.ErrReader(broken)), want: broken},
		"impossible size":         {edit: func(m *secureboot.Manifest) { m.Size = 1 << 63 }, want: secureboot.ErrManifest},
	} {
		t.Run(name, func(t *testing.T) {
			manifest, trust := signed(t, c.edit)
			if c.trust != nil {
				c.trust(&trust)
			}
			if c.image == nil {
				c.image = bytes.NewReader(image)
			}
			s, err := secureboot.VerifyImage(manifest, c.image, trust)
			require.ErrorIs(t, err, c.want)
			require.Nil(t, s)
		})
	}
}

func TestVerifyImageNoticesEveryChange(t *testing.T) {
	manifest, trust := signed(t, nil)
	for i := range 8 * len(manifest) {
		bad := bytes.Clone(manifest)
		bad[i/8] ^= 1 << (i % 8)
		_, err := secureboot.VerifyImage(bad, bytes.NewReader(image), trust)
		require.Error(t, err, "bit %d", i)
	}
	for n := range len(manifest) {
		_, err := secureboot.VerifyImage(manifest[:n], bytes.NewReader(image), trust)
		require.Error(t, err, "cut to %d", n)
	}
	_, err := secureboot.VerifyImage(append(bytes.Clone(manifest), 0), bytes.NewReader(image), trust)
	require.ErrorIs(t, err, secureboot.ErrManifest)
	_, err = secureboot.VerifyImage(make([]byte, secureboot.MaxManifest+1), bytes.NewReader(image), trust)
	require.ErrorIs(t, err, secureboot.ErrManifest)
}

func TestSignRefuses(t *testing.T) {
	key := newKey(t)
	for name, edit := range map[string]func(*secureboot.Manifest){
		"no product":       func(m *secureboot.Manifest) { m.Product = "" },
		"long product":     func(m *secureboot.Manifest) { m.Product = string(make([]byte, 65)) },
		"product in ☃":     func(m *secureboot.Manifest) { m.Product = "☃" },
		"ROM":              func(m *secureboot.Manifest) { m.Stage = 1 },
		"too many keys":    func(m *secureboot.Manifest) { m.Next = make([]*ecdsa.PublicKey, 9) },
		"a key that is no": func(m *secureboot.Manifest) { m.Next = []*ecdsa.PublicKey{nil} },
	} {
		m := secureboot.Describe("thermostat", 2, 7, image)
		edit(&m)
		_, err := m.Sign(key)
		require.Error(t, err, name)
	}
}

// A signature of the same key for another purpose is none for an image.
func TestContextsAreApart(t *testing.T) {
	key := newKey(t)
	m := secureboot.Describe("thermostat", 2, 7, image)
	manifest, err := m.Sign(key)
	require.NoError(t, err)
	body := manifest[:len(manifest)-1-int(manifest[56+len("thermostat")])]
	sig, err := identity.Sign(key, identity.ContextOrder, body)
	require.NoError(t, err)
	_, err = secureboot.VerifyImage(append(append(bytes.Clone(body), byte(len(sig))), sig...), bytes.NewReader(image),
		secureboot.Trust{Product: "thermostat", Stage: 2, Keys: []*ecdsa.PublicKey{&key.PublicKey}})
	require.ErrorIs(t, err, secureboot.ErrSignature)
}

func TestChain(t *testing.T) {
	stage := func(version uint64) *secureboot.Stage {
		manifest, trust := signed(t, func(m *secureboot.Manifest) { m.Version = version })
		trust.Floor = 0
		s, err := secureboot.VerifyImage(manifest, bytes.NewReader(image), trust)
		require.NoError(t, err)
		if version == 1 {
			body := manifest[:55+len("thermostat")+1+2*33]
			h := sha256.Sum256(body)
			require.Equal(t, secureboot.Chain(sha256.Sum256(append(make([]byte, 32), h[:]...))), secureboot.Chain{}.Extend(s))
		}
		return s
	}
	a, b := stage(1), stage(2)
	require.NotEqual(t, secureboot.Chain{}.Extend(a).Extend(b), secureboot.Chain{}.Extend(b).Extend(a))
	require.NotEqual(t, secureboot.Chain{}.Extend(a), secureboot.Chain{}.Extend(b))
}

func FuzzVerifyImage(f *testing.F) {
	manifest, trust := signed(f, nil)
	f.Add(manifest)
	f.Add([]byte{})
	f.Add(manifest[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := secureboot.VerifyImage(b, bytes.NewReader(image), trust)
		require.Equal(t, bytes.Equal(b, manifest), err == nil)
	})
}
