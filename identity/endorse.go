package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

const endorsementV1 = 1

// noExpiry is what RFC 5280, 4.1.2.5 writes for a certificate without an end.
var noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// EndorseOptions are the choices of [Endorse]. The zero value is generation 0, valid as long as the certificate.
type EndorseOptions struct {
	// Generation counts the credentials of a peer: a renewed one has a higher generation.
	Generation uint32
	// NotBefore and NotAfter bound the validity, both inclusive, in whole seconds. Zero: as in the certificate.
	NotBefore, NotAfter time.Time
}

// Endorse has the signing key of a certificate vouch for the agreement key of the same peer. A peer has two keys because one key shall not both
// sign and agree; the CA certifies the first, which vouches for the second.
//
// leafDER is the peer's certificate, signer its private key. The result is at most 195 bytes (integers big-endian):
//
//	version u8 = 1 ‖ role u8 ‖ length u8 ‖ name ‖ agreement key, compressed, 33 ‖ SHA-256 of the certificate, 32 ‖
//	generation u32 ‖ not before u64 ‖ not after u64 (Unix seconds) ‖ length u8 ‖ signature
//
// The signature is that of [Sign] with [ContextEndorsement] over everything before its length.
//
// An endorsement does not prove that the endorser has the agreement key: a peer may endorse the point of another. A protocol that
// agrees on keys with it must therefore bind both names and certificates into its transcript, as package e2e does.
func Endorse(signer crypto.Signer, leafDER []byte, agreement *ecdh.PublicKey, o EndorseOptions) ([]byte, error) {
	leaf, err := parseCertificate(leafDER)
	if err != nil {
		return nil, fmt.Errorf("endorse: %w", err)
	}
	id, instance, err := clientProfile(leaf)
	if err != nil {
		return nil, fmt.Errorf("endorse: %w", err)
	}
	if instance != "" {
		return nil, fmt.Errorf("endorse: %w: the certificate is of instance %q, want that of %s itself", ErrProfile, instance, id)
	}
	pub, err := signerKey(signer)
	if err != nil {
		return nil, fmt.Errorf("endorse: %w", err)
	}
	if !pub.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("endorse: %w: the certificate is for another key than the signer's", ErrEndorsement)
	}
	if agreement == nil || agreement.Curve() != ecdh.P256() {
		return nil, fmt.Errorf("endorse: %w", ErrKey)
	}
	if sameKey(pub, agreement) {
		return nil, fmt.Errorf("endorse: %w: the signing key may not be the agreement key too; derive a second one", ErrEndorsement)
	}
	e := endorsement{
		id: id, agreement: agreement, certificate: sha256.Sum256(leafDER), generation: o.Generation,
		notBefore: leaf.NotBefore, notAfter: leaf.NotAfter,
	}
	if !o.NotBefore.IsZero() {
		e.notBefore = o.NotBefore
	}
	if !o.NotAfter.IsZero() {
		e.notAfter = o.NotAfter
	}
	body, err := e.body()
	if err != nil {
		return nil, fmt.Errorf("endorse: %w", err)
	}
	sig, err := Sign(signer, ContextEndorsement, body)
	if err != nil {
		return nil, fmt.Errorf("endorse: %w", err)
	}
	return append(append(body, byte(len(sig))), sig...), nil
}

type endorsement struct {
	id                  ID
	agreement           *ecdh.PublicKey
	certificate         [sha256.Size]byte
	generation          uint32
	notBefore, notAfter time.Time
}

func (e endorsement) body() ([]byte, error) {
	from, to := e.notBefore.Unix(), e.notAfter.Unix()
	if from < 0 || to < from || to > noExpiry.Unix() {
		return nil, fmt.Errorf("%w: validity %s to %s, want it in order and between 1970 and 9999", ErrEndorsement,
			e.notBefore.UTC().Format(time.RFC3339), e.notAfter.UTC().Format(time.RFC3339))
	}
	var b cryptobyte.Builder
	b.AddUint8(endorsementV1)
	b.AddUint8(uint8(e.id.Role()))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(e.id.name)) })
	b.AddBytes(compress(e.agreement.Bytes()))
	b.AddBytes(e.certificate[:])
	b.AddUint32(e.generation)
	b.AddUint64(uint64(from))
	b.AddUint64(uint64(to))
	return b.Bytes()
}

// parseEndorsement splits b into what it says, the bytes that are signed and the signature, which is not verified here.
func parseEndorsement(b []byte) (e endorsement, body, sig []byte, err error) {
	fail := func(why string) (endorsement, []byte, []byte, error) {
		return endorsement{}, nil, nil, fmt.Errorf("%w: %s", ErrEndorsement, why)
	}
	if len(b) > maxEndorsement {
		return fail("too long")
	}
	s := cryptobyte.String(b)
	var version, role uint8
	if !s.ReadUint8(&version) || version != endorsementV1 {
		return fail("missing, or of an unknown version")
	}
	var name, rawSig cryptobyte.String
	var point, cert []byte
	var from, to uint64
	if !s.ReadUint8(&role) || !s.ReadUint8LengthPrefixed(&name) || !s.ReadBytes(&point, PublicKeySize) ||
		!s.ReadBytes(&cert, sha256.Size) || !s.ReadUint32(&e.generation) || !s.ReadUint64(&from) || !s.ReadUint64(&to) {
		return fail("truncated")
	}
	body = b[:len(b)-len(s)]
	if !s.ReadUint8LengthPrefixed(&rawSig) || !s.Empty() {
		return fail("truncated, or bytes after the end")
	}
	if e.id, err = ParseID(string(name)); err != nil {
		return endorsement{}, nil, nil, fmt.Errorf("%w: %w", ErrEndorsement, err)
	}
	if Role(role) != e.id.Role() {
		return fail("role and name contradict each other")
	}
	u, err := decompress(point)
	if err != nil {
		return endorsement{}, nil, nil, fmt.Errorf("%w: agreement key: %w", ErrEndorsement, err)
	}
	if e.agreement, err = ecdh.P256().NewPublicKey(u); err != nil {
		return fail("the agreement key is not on the curve")
	}
	if to > uint64(noExpiry.Unix()) || from > to {
		return fail("validity out of order or after the year 9999")
	}
	copy(e.certificate[:], cert)
	e.notBefore, e.notAfter = time.Unix(int64(from), 0).UTC(), time.Unix(int64(to), 0).UTC()
	return e, body, bytes.Clone(rawSig), nil
}

// verifyEndorsement checks everything of b against leaf but its validity in time.
func verifyEndorsement(b []byte, leaf *x509.Certificate, id ID) (endorsement, error) {
	e, body, sig, err := parseEndorsement(b)
	if err != nil {
		return endorsement{}, err
	}
	pub := leaf.PublicKey.(*ecdsa.PublicKey) // the profile wants it
	switch {
	case e.id != id:
		return endorsement{}, fmt.Errorf("%w: it is of %s, the certificate of %s", ErrEndorsement, e.id, id)
	case e.certificate != sha256.Sum256(leaf.Raw):
		return endorsement{}, fmt.Errorf("%w: it is for another certificate of %s", ErrEndorsement, id)
	case sameKey(pub, e.agreement):
		return endorsement{}, fmt.Errorf("%w: the signing key is the agreement key too", ErrEndorsement)
	}
	if err := VerifySignature(pub, ContextEndorsement, body, sig); err != nil {
		return endorsement{}, fmt.Errorf("%w: %w", ErrEndorsement, err)
	}
	return e, nil
}
