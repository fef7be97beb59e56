package identity_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

// octets is hex in JSON.
type octets []byte

func (o *octets) UnmarshalText(b []byte) (err error) {
	*o, err = hex.DecodeString(string(b))
	return err
}

// vectors is testdata/vectors.json, which testdata/gen_vectors.py wrote without any code of ours.
type vectors struct {
	Signatures []struct {
		Key       octets           `json:"key"`
		Context   identity.Context `json:"context"`
		Body      octets           `json:"body"`
		Signature octets           `json:"signature"`
	} `json:"signatures"`
	Stickers []struct {
		Device      identity.DeviceID `json:"device"`
		Code        octets            `json:"code"`
		Text        string            `json:"text"`
		ProofKey    octets            `json:"proof_key"`
		ProofPublic octets            `json:"proof_public"`
		PSK         octets            `json:"psk"`
		ProofOfBody octets            `json:"proof_of_body"`
	} `json:"stickers"`
	Peer struct {
		ID           identity.DeviceID `json:"id"`
		HelperHash   octets            `json:"helper_hash"`
		SigningKey   octets            `json:"signing_key"`
		AgreementKey octets            `json:"agreement_key"`
		Generation   uint32            `json:"generation"`
		Root         octets            `json:"root"`
		Certificate  octets            `json:"certificate"`
		CSR          octets            `json:"csr"`
		Endorsement  octets            `json:"endorsement"`
		Credential   octets            `json:"credential"`
		CRL          octets            `json:"crl"`
		CRLNumber    uint64            `json:"crl_number"`
	} `json:"peer"`
	Issuing struct {
		Certificate octets `json:"certificate"`
		Credential  octets `json:"credential"`
		CRL         octets `json:"crl"`
		CRLNumber   uint64 `json:"crl_number"`
		Authority   octets `json:"authority"`
		RootCRL     octets `json:"root_crl"`
	} `json:"issuing"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var v vectors
	require.NoError(t, json.Unmarshal(b, &v))
	require.NotEmpty(t, v.Signatures)
	require.NotEmpty(t, v.Stickers)
	return v
}

func privateKey(t testing.TB, d []byte) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	require.NoError(t, err)
	return k
}

func TestVectorSignatures(t *testing.T) {
	for _, s := range readVectors(t).Signatures {
		k := privateKey(t, s.Key)
		sig, err := identity.Sign(k, s.Context, s.Body)
		require.NoError(t, err)
		require.Equal(t, []byte(s.Signature), sig, "%s over %q", s.Context, s.Body)
	}
}

func TestVectorStickers(t *testing.T) {
	for _, s := range readVectors(t).Stickers {
		want := identity.Sticker{Device: s.Device}
		if len(s.Code) > 0 {
			want.Claim = newClaim(t, s.Code)
		}
		require.Equal(t, s.Text, want.Encode())
		got, err := identity.ParseSticker(s.Text)
		require.NoError(t, err)
		require.True(t, sameSticker(want, got))
		if !want.HasClaim() {
			continue
		}
		public, err := got.Claim.ProofPublic(s.Device)
		require.NoError(t, err)
		require.Equal(t, []byte(s.ProofPublic), public)
		psk, err := got.Claim.PSK(s.Device)
		require.NoError(t, err)
		require.Equal(t, []byte(s.PSK), psk.Bytes())
		k, err := got.Claim.ProofKey(s.Device)
		require.NoError(t, err)
		sig, err := identity.Sign(k, identity.ContextClaim, []byte("body"))
		require.NoError(t, err)
		require.Equal(t, []byte(s.ProofOfBody), sig)
		require.True(t, privateKey(t, s.ProofKey).PublicKey.Equal(k.Public()))
	}
}

func TestVectorPeer(t *testing.T) {
	p := readVectors(t).Peer
	k := privateKey(t, p.SigningKey)
	dh, err := ecdh.P256().NewPrivateKey(p.AgreementKey)
	require.NoError(t, err)

	csr, err := identity.NewCSR(k, p.ID.ID, identity.CSROptions{HelperHash: [32]byte(p.HelperHash)})
	require.NoError(t, err)
	require.Equal(t, []byte(p.CSR), csr)
	c, err := identity.ParseCSR(p.CSR)
	require.NoError(t, err)
	require.Equal(t, []byte(p.HelperHash), c.HelperHash[:])

	e, err := identity.Endorse(k, p.Certificate, dh.PublicKey(), identity.EndorseOptions{Generation: p.Generation})
	require.NoError(t, err)
	require.Equal(t, []byte(p.Endorsement), e)
	cred, err := identity.Credential{Chain: [][]byte{p.Certificate}, Endorsement: e}.Marshal()
	require.NoError(t, err)
	require.Equal(t, []byte(p.Credential), cred)

	// Long after everything but what has no expiry: the year 2200.
	v, err := identity.NewVerifier(identity.VerifierConfig{
		Roots: []*x509.Certificate{parseCert(t, p.Root)},
		Now:   func() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) },
	})
	require.NoError(t, err)
	parsed, err := identity.ParseCredential(p.Credential)
	require.NoError(t, err)
	peer, err := v.Verify(parsed, identity.RoleDevice)
	require.NoError(t, err)
	require.Equal(t, p.ID.ID, peer.ID())
	require.Equal(t, p.Generation, peer.Generation())
	h, ok := peer.HelperHash()
	require.True(t, ok)
	require.Equal(t, []byte(p.HelperHash), h[:])

	require.NoError(t, v.VerifyRevoked(p.CRL, parsed))
	require.NoError(t, v.AddCRL(p.CRL))
	require.Equal(t, p.CRLNumber, v.CRLNumbers()[0].Number)
	_, err = v.Verify(parsed, 0)
	require.ErrorIs(t, err, identity.ErrRevoked)
}

// deriveClaimKey derives the proof key a second time, from the text of the claim code.
func deriveClaimKey(t testing.TB, code, device string) *ecdsa.PrivateKey {
	t.Helper()
	x := new(big.Int)
	for _, c := range code {
		i := strings.IndexRune("0123456789ABCDEFGHJKMNPQRSTVWXYZ", c)
		require.GreaterOrEqual(t, i, 0)
		x.Add(x.Lsh(x, 5), big.NewInt(int64(i)))
	}
	d, err := hkdf.Key(sha256.New, x.FillBytes(make([]byte, 15)), []byte(device), "semio-identity/1 claim\x00", 32)
	require.NoError(t, err)
	return privateKey(t, d)
}

// An issuing CA: its certificate, a chain through it, its list with it, and the root's list that ends it.
func TestVectorIssuing(t *testing.T) {
	all := readVectors(t)
	p := all.Issuing
	v, err := identity.NewVerifier(identity.VerifierConfig{
		Roots: []*x509.Certificate{parseCert(t, all.Peer.Root)},
		Now:   func() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) },
	})
	require.NoError(t, err)
	c, err := identity.ParseCredential(p.Credential)
	require.NoError(t, err)
	require.Equal(t, []byte(p.Certificate), c.Chain[1])
	_, err = v.Verify(c, identity.RoleDevice)
	require.NoError(t, err)

	bundles, err := identity.ParseCRLs(p.CRL)
	require.NoError(t, err)
	require.Equal(t, [][]byte{p.Certificate}, bundles[0].Issuer)
	require.NoError(t, v.VerifyRevoked(p.CRL, c))
	w, err := identity.NewVerifier(identity.VerifierConfig{Roots: v.Roots(), Now: v.Now})
	require.NoError(t, err)
	require.NoError(t, w.AddCRL(p.CRL))
	require.Equal(t, []identity.CRLNumber{{Authority: identity.AuthorityID(p.Authority), Number: p.CRLNumber}}, w.CRLNumbers())
	require.NoError(t, v.AddCRL(p.RootCRL))
	for _, v := range []*identity.Verifier{v, w} {
		_, err = v.Verify(c, 0)
		require.ErrorIs(t, err, identity.ErrRevoked)
	}
	require.ErrorIs(t, v.VerifyRevoked(p.CRL, c), identity.ErrRevoked)
}
