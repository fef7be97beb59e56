package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Caps of revocation lists. They are checked before anything is copied.
const (
	// MaxCRL caps one revocation list, in bytes: about 25,000 certificates.
	MaxCRL = 1 << 20
	// MaxCRLBundle caps a list with the certificates of its issuer.
	MaxCRLBundle = MaxCRL + maxIssuer*maxCertificate
	// MaxCRLs caps what [Verifier.AddCRL] takes at once.
	MaxCRLs = maxLists * MaxCRLBundle
	// maxLists is how many lists a verifier keeps, one each of as many CAs.
	maxLists = 16
	// maxIssuer is how many certificates may go with a list: two ways to different roots.
	maxIssuer = 2 * (MaxChain - 1)
	// maxUnknown caps each of those that no root of the verifier vouches for, in bytes. Ours have about 500.
	maxUnknown = 2 << 10
)

// CRLBundle is a revocation list and what it takes to know its issuer.
//
// Encoded it is DER after DER, so that the list of a root is encoded as itself: the list, then the certificates. A sequence of bundles tells
// them apart by what each of them begins with, a CertificateList (version 2) or a Certificate (version 3).
type CRLBundle struct {
	// List is the revocation list, DER.
	List []byte
	// Issuer is how the CA that signed List is known: its certificate, then those of the CAs above it, without the root. There may be another way
	// to other roots behind it, which begins with a certificate of the CA again. Empty where a root signed that everybody trusts.
	Issuer [][]byte
}

// Marshal returns the one encoding of b.
func (b CRLBundle) Marshal() ([]byte, error) {
	out := bytes.Clone(b.List)
	for _, der := range b.Issuer {
		out = append(out, der...)
	}
	again, err := ParseCRLs(out)
	if err != nil {
		return nil, fmt.Errorf("marshal revocation list: %w", err)
	}
	if len(again) != 1 || !bytes.Equal(again[0].List, b.List) || len(again[0].Issuer) != len(b.Issuer) {
		return nil, fmt.Errorf("marshal revocation list: %w: it is not one list and the certificates of its issuer", ErrCRL)
	}
	return out, nil
}

// ParseCRLs parses bundles that follow each other, at least one. It checks the frame only. The result shares no memory with b.
func ParseCRLs(b []byte) ([]CRLBundle, error) {
	if len(b) > MaxCRLs {
		return nil, fmt.Errorf("%w: %d bytes, want at most %d", ErrCRL, len(b), MaxCRLs)
	}
	var out []CRLBundle
	for s := cryptobyte.String(b); !s.Empty(); {
		var der cryptobyte.String
		if !s.ReadASN1Element(&der, cbasn1.SEQUENCE) {
			return nil, fmt.Errorf("%w: truncated, or no DER", ErrCRL)
		}
		switch last := len(out) - 1; {
		case isList(der):
			if len(der) > MaxCRL {
				return nil, fmt.Errorf("%w: list of %d bytes, want at most %d", ErrCRL, len(der), MaxCRL)
			}
			if len(out) == maxLists {
				return nil, fmt.Errorf("%w: more than %d lists at once", ErrCRL, maxLists)
			}
			out = append(out, CRLBundle{List: bytes.Clone(der)})
		case last < 0:
			return nil, fmt.Errorf("%w: it does not begin with a list", ErrCRL)
		case len(der) > maxCertificate:
			return nil, fmt.Errorf("%w: certificate of %d bytes, want at most %d", ErrCRL, len(der), maxCertificate)
		case len(out[last].Issuer) == maxIssuer:
			return nil, fmt.Errorf("%w: more than %d certificates of an issuer", ErrCRL, maxIssuer)
		default:
			out[last].Issuer = append(out[last].Issuer, bytes.Clone(der))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no list", ErrCRL)
	}
	return out, nil
}

// isList tells a list from a certificate: its signed part begins with a version, 1 for v2, and a certificate's with one in a tag [0].
func isList(der cryptobyte.String) bool {
	var outer, signed cryptobyte.String
	return der.ReadASN1(&outer, cbasn1.SEQUENCE) && outer.ReadASN1(&signed, cbasn1.SEQUENCE) && signed.PeekASN1Tag(cbasn1.INTEGER)
}

func (b CRLBundle) size() int {
	n := len(b.List)
	for _, der := range b.Issuer {
		n += len(der)
	}
	return n
}

func (b CRLBundle) bytes() []byte {
	out := make([]byte, 0, b.size())
	for _, der := range append([][]byte{b.List}, b.Issuer...) {
		out = append(out, der...)
	}
	return out
}

// AuthorityID tells authorities apart where lists are spoken of: the first 8 bytes of SHA-256 over the DER of the subject and of
// SubjectPublicKeyInfo. It is the same in every certificate that a CA has for one key: self-signed, renewed, or by another root.
type AuthorityID [8]byte

// AuthorityOf returns the ID of the CA whose certificate cert is.
func AuthorityOf(cert *x509.Certificate) (id AuthorityID) {
	h := sha256.New()
	h.Write(cert.RawSubject)
	h.Write(cert.RawSubjectPublicKeyInfo)
	copy(id[:], h.Sum(nil))
	return id
}

// sameAuthority reports whether two certificates are of one CA under one key.
func sameAuthority(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubject, b.RawSubject) && bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

// CRLNumber says which list of an authority somebody has.
type CRLNumber struct {
	Authority AuthorityID
	Number    uint64
}

// KeptCRL is a list that a verifier keeps.
type KeptCRL struct {
	CRLNumber
	Bundle []byte // an encoded [CRLBundle]
}
