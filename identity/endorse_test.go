package identity_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

// endorsementBody writes the layout out a second time.
func endorsementBody(name string, agreement []byte, cert []byte, generation uint32, from, to int64) []byte {
	b := []byte{1, name[0], byte(len(name))}
	b = append(b, name...)
	b = append(b, agreement...)
	h := sha256.Sum256(cert)
	b = append(b, h[:]...)
	b = binary.BigEndian.AppendUint32(b, generation)
	b = binary.BigEndian.AppendUint64(b, uint64(from))
	return binary.BigEndian.AppendUint64(b, uint64(to))
}

func compressed(t testing.TB, k *ecdh.PublicKey) []byte {
	t.Helper()
	u := k.Bytes()
	return append([]byte{2 + u[64]%2}, u[1:33]...)
}

func signEndorsement(t testing.TB, k *ecdsa.PrivateKey, body []byte) []byte {
	t.Helper()
	sig, err := identity.Sign(k, identity.ContextEndorsement, body)
	require.NoError(t, err)
	return append(append(body, byte(len(sig))), sig...)
}

func TestEndorseLayout(t *testing.T) {
	p := newPKI(t)
	k, dh := newKey(t), newAgreement(t)
	leaf := p.leaf(t, "D-1", k)
	from, to := testNow.Add(-time.Hour), testNow.Add(time.Hour)
	e, err := identity.Endorse(k, leaf, dh.PublicKey(), identity.EndorseOptions{Generation: 0x01020304, NotBefore: from, NotAfter: to})
	require.NoError(t, err)
	require.Equal(t, signEndorsement(t, k, endorsementBody("D-1", compressed(t, dh.PublicKey()), leaf, 0x01020304, from.Unix(), to.Unix())), e)
	require.LessOrEqual(t, len(e), 195)

	// Without options: as long as the certificate.
	e, err = identity.Endorse(k, leaf, dh.PublicKey(), identity.EndorseOptions{})
	require.NoError(t, err)
	c := parseCert(t, leaf)
	require.Equal(t, signEndorsement(t, k, endorsementBody("D-1", compressed(t, dh.PublicKey()), leaf, 0, c.NotBefore.Unix(), c.NotAfter.Unix())), e)
}

func TestVerifyRefusesEndorsements(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	k, other, dh := newKey(t), newKey(t), newAgreement(t)
	leaf, renewed, foreign := p.leaf(t, "D-1", k), p.leaf(t, "D-1", k), p.leaf(t, "D-2", k)
	point := compressed(t, dh.PublicKey())
	own, err := identity.MarshalPublicKey(&k.PublicKey)
	require.NoError(t, err)
	now := testNow.Unix()
	body := func() []byte { return endorsementBody("D-1", point, leaf, 0, now-1, now+1) }
	good := signEndorsement(t, k, body())
	_, err = v.Verify(identity.Credential{Chain: [][]byte{leaf}, Endorsement: good}, 0)
	require.NoError(t, err)
	with := func(i int, x byte) []byte { b := body(); b[i] = x; return b }
	notOnCurve := bytes.Clone(point)
	for notOnCurve[1] = 0; ; notOnCurve[1]++ {
		if _, err := identity.ParsePublicKey(notOnCurve); err != nil {
			break
		}
	}
	for name, d := range map[string]struct {
		e    []byte
		want error
	}{
		"none":                    {nil, identity.ErrEndorsement},
		"another name":            {signEndorsement(t, k, endorsementBody("D-2", point, leaf, 0, now-1, now+1)), identity.ErrEndorsement},
		"another role":            {signEndorsement(t, k, endorsementBody("A-1", point, leaf, 0, now-1, now+1)), identity.ErrEndorsement},
		"role against name":       {signEndorsement(t, k, with(1, 'A')), identity.ErrEndorsement},
		"another certificate":     {signEndorsement(t, k, endorsementBody("D-1", point, renewed, 0, now-1, now+1)), identity.ErrEndorsement},
		"certificate of another":  {signEndorsement(t, k, endorsementBody("D-1", point, foreign, 0, now-1, now+1)), identity.ErrEndorsement},
		"by another key":          {signEndorsement(t, other, body()), identity.ErrEndorsement},
		"by the CA":               {signEndorsement(t, p.key.(*ecdsa.PrivateKey), body()), identity.ErrEndorsement},
		"over since a second":     {signEndorsement(t, k, endorsementBody("D-1", point, leaf, 0, now-9, now-1)), identity.ErrExpired},
		"begins in a second":      {signEndorsement(t, k, endorsementBody("D-1", point, leaf, 0, now+1, now+9)), identity.ErrNotYetValid},
		"out of order":            {signEndorsement(t, k, endorsementBody("D-1", point, leaf, 0, now+1, now-1)), identity.ErrEndorsement},
		"after the year 9999":     {signEndorsement(t, k, endorsementBody("D-1", point, leaf, 0, now-1, 253402300800)), identity.ErrEndorsement},
		"validity wraps":          {signEndorsement(t, k, endorsementBody("D-1", point, leaf, 0, -1, -1)), identity.ErrEndorsement},
		"agreement = signing key": {signEndorsement(t, k, endorsementBody("D-1", own, leaf, 0, now-1, now+1)), identity.ErrEndorsement},
		"point not on the curve":  {signEndorsement(t, k, endorsementBody("D-1", notOnCurve, leaf, 0, now-1, now+1)), identity.ErrEndorsement},
		"hybrid point":            {signEndorsement(t, k, with(6, point[0]+4)), identity.ErrEndorsement},
		"unknown version":         {signEndorsement(t, k, with(0, 2)), identity.ErrEndorsement},
		"name too long":           {signEndorsement(t, k, with(2, 200)), identity.ErrEndorsement},
		"name cut":                {signEndorsement(t, k, with(2, 2)), identity.ErrEndorsement},
		"more at the end":         {append(bytes.Clone(good), 0), identity.ErrEndorsement},
		"no signature":            {append(body(), 0), identity.ErrEndorsement},
		"much too long":           {make([]byte, 257), identity.ErrCredential},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(identity.Credential{Chain: [][]byte{leaf}, Endorsement: d.e}, 0)
			require.ErrorIs(t, err, d.want)
		})
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		_, err := v.Verify(identity.Credential{Chain: [][]byte{leaf}, Endorsement: bad}, 0)
		require.Error(t, err, "byte %d", i)
		_, err = v.Verify(identity.Credential{Chain: [][]byte{leaf}, Endorsement: good[:i]}, 0)
		require.ErrorIs(t, err, identity.ErrEndorsement, "cut at %d", i)
	}
	// Signed for another purpose.
	sig, err := identity.Sign(k, identity.ContextChallenge, body())
	require.NoError(t, err)
	_, err = v.Verify(identity.Credential{Chain: [][]byte{leaf}, Endorsement: append(append(body(), byte(len(sig))), sig...)}, 0)
	require.ErrorIs(t, err, identity.ErrSignature)
	// Of another peer, whole.
	c2, _, _ := p.peer(t, "D-1")
	_, err = v.Verify(identity.Credential{Chain: [][]byte{leaf}, Endorsement: c2.Endorsement}, 0)
	require.ErrorIs(t, err, identity.ErrEndorsement)
}

// Unknown key share: an endorsement does not prove possession. Mallory, who has a certificate, endorses Alice's agreement key,
// and a verifier cannot but accept it. Two peers that agreed on a key from the points alone would then think to speak with two
// different peers. So names and certificate hashes, which differ, must be part of every key: e2e has them in TH0.
func TestEndorsementDoesNotProvePossession(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	alice, _, dh := p.peer(t, "D-ALICE")
	mallory := newKey(t)
	forged := p.credential(t, p.leaf(t, "D-MALLORY", mallory), mallory, dh)
	a, err := v.Verify(alice, identity.RoleDevice)
	require.NoError(t, err)
	m, err := v.Verify(forged, identity.RoleDevice)
	require.NoError(t, err, "an endorsement cannot prove possession; if this fails, the documentation is wrong")
	require.True(t, a.Agreement().Equal(m.Agreement()))
	require.NotEqual(t, a.ID(), m.ID())
	require.NotEqual(t, a.CertificateHash(), m.CertificateHash())
}

func TestEndorseRefuses(t *testing.T) {
	p := newPKI(t)
	k, dh := newKey(t), newAgreement(t)
	leaf := p.leaf(t, "A-1", k)
	own, err := k.PublicKey.ECDH()
	require.NoError(t, err)
	p384, err := ecdh.P384().GenerateKey(rand.Reader)
	require.NoError(t, err)
	server := leafTemplate("A-1")
	server.ExtKeyUsage = nil
	for name, d := range map[string]struct {
		k    *ecdsa.PrivateKey
		leaf []byte
		dh   *ecdh.PublicKey
		o    identity.EndorseOptions
		want error
	}{
		"another's certificate": {newKey(t), leaf, dh.PublicKey(), identity.EndorseOptions{}, identity.ErrEndorsement},
		"no agreement key":      {k, leaf, nil, identity.EndorseOptions{}, identity.ErrKey},
		"P-384":                 {k, leaf, p384.PublicKey(), identity.EndorseOptions{}, identity.ErrKey},
		"one key for both":      {k, leaf, own, identity.EndorseOptions{}, identity.ErrEndorsement},
		"no certificate":        {k, nil, dh.PublicKey(), identity.EndorseOptions{}, identity.ErrCredential},
		"certificate of a CA":   {k, p.root.Raw, dh.PublicKey(), identity.EndorseOptions{}, identity.ErrProfile},
		"bad certificate":       {k, p.sign(t, server, k.Public()), dh.PublicKey(), identity.EndorseOptions{}, identity.ErrProfile},
		"of an instance":        {k, p.leaf(t, "A-1--2", k), dh.PublicKey(), identity.EndorseOptions{}, identity.ErrProfile},
		"validity out of order": {k, leaf, dh.PublicKey(), identity.EndorseOptions{NotBefore: testNow, NotAfter: testNow.Add(-time.Second)}, identity.ErrEndorsement},
		"before 1970":           {k, leaf, dh.PublicKey(), identity.EndorseOptions{NotBefore: time.Unix(-1, 0)}, identity.ErrEndorsement},
		"after 9999":            {k, leaf, dh.PublicKey(), identity.EndorseOptions{NotAfter: time.Unix(253402300800, 0)}, identity.ErrEndorsement},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := identity.Endorse(d.k, d.leaf, d.dh, d.o)
			require.ErrorIs(t, err, d.want)
			require.Nil(t, e)
		})
	}
	// The TLS certificate of an instance is not good for a credential.
	inst := identity.Credential{Chain: [][]byte{p.leaf(t, "A-1--2", k)}, Endorsement: []byte{1}}
	_, err = p.verifier(t).Verify(inst, 0)
	require.ErrorIs(t, err, identity.ErrProfile)
}
