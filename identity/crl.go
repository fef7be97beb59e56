package identity

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math"
	"slices"
)

// MaxCRL caps a revocation list, in bytes: about 25,000 certificates.
const MaxCRL = 1 << 20

// revocationList is a list that its issuer signed.
type revocationList struct {
	der     []byte
	issuer  *x509.Certificate
	number  uint64
	serials map[string]struct{} // big-endian bytes
}

// AddCRL takes a revocation list (RFC 5280, DER), if a CA of the verifier signed it, and keeps it in place of the list of that
// CA that it had. The list that is kept already is no error. An older number is [ErrCRLOlder] and changes nothing, so nobody takes a
// revocation back by sending an old list. A list that has passed its next update stays in force until a newer one comes: a
// device that was long without connection must not take that for amnesty. Anything else is [ErrCRL].
func (v *Verifier) AddCRL(der []byte) error {
	l, list, err := v.parseCRL(der)
	if err != nil {
		return fmt.Errorf("add revocation list: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.lists, func(k *revocationList) bool { return equalDER(k.issuer, l.issuer) })
	if i < 0 {
		v.lists = append(v.lists, l)
	} else {
		switch old := v.lists[i]; {
		case l.number < old.number:
			return fmt.Errorf("add revocation list: %w: number %d, have %d", ErrCRLOlder, l.number, old.number)
		case l.number == old.number && !bytes.Equal(l.der, old.der):
			return fmt.Errorf("add revocation list: %w: a second list with number %d; the CA has a fault", ErrCRL, l.number)
		}
		v.lists[i] = l
	}
	if v.floor != nil {
		v.floor.Advance(list.ThisUpdate)
	}
	return nil
}

// CRL returns a copy of the list that is kept of the first root that has one, nil if none has.
func (v *Verifier) CRL() []byte {
	if l := v.first(); l != nil {
		return bytes.Clone(l.der)
	}
	return nil
}

// CRLNumber returns the number of the list that [Verifier.CRL] returns, 0 for none.
func (v *Verifier) CRLNumber() uint64 {
	if l := v.first(); l != nil {
		return l.number
	}
	return 0
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

// CRLNumber says which list of an authority somebody has.
type CRLNumber struct {
	Authority AuthorityID
	Number    uint64
}

// CRLNumbers returns what is kept, in ascending order of the authorities, each once.
func (v *Verifier) CRLNumbers() []CRLNumber {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var out []CRLNumber
	for _, l := range v.lists {
		out = append(out, CRLNumber{AuthorityOf(l.issuer), l.number})
	}
	slices.SortFunc(out, func(a, b CRLNumber) int {
		return cmp.Or(bytes.Compare(a.Authority[:], b.Authority[:]), cmp.Compare(a.Number, b.Number))
	})
	return slices.CompactFunc(out, func(a, b CRLNumber) bool { return a.Authority == b.Authority })
}

// KeptCRL is a list that a verifier keeps.
type KeptCRL struct {
	CRLNumber
	Bundle []byte // for AddCRL
}

// Newer returns the lists, of those that are kept, of which somebody who has others has an older number or none.
func (v *Verifier) Newer(have []CRLNumber) []KeptCRL {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var out []KeptCRL
	for _, l := range v.lists {
		kept := KeptCRL{CRLNumber{AuthorityOf(l.issuer), l.number}, bytes.Clone(l.der)}
		if !slices.ContainsFunc(have, func(n CRLNumber) bool { return n.Authority == kept.Authority && n.Number >= kept.Number }) {
			out = append(out, kept)
		}
	}
	return out
}

// CRLs returns copies of the lists of all CAs, in the order of VerifierConfig.
func (v *Verifier) CRLs() [][]byte {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var all [][]byte
	for _, ca := range v.issuers {
		for _, l := range v.lists {
			if equalDER(l.issuer, ca) {
				all = append(all, bytes.Clone(l.der))
			}
		}
	}
	return all
}

func (v *Verifier) first() *revocationList {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, root := range v.roots {
		for _, l := range v.lists {
			if equalDER(l.issuer, root) {
				return l
			}
		}
	}
	return nil
}

// Revoked reports whether a list that is kept names leaf. It does not verify leaf.
func (v *Verifier) Revoked(leaf *x509.Certificate) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, l := range v.lists {
		if l.names(leaf) && leaf.CheckSignatureFrom(l.issuer) == nil {
			return true
		}
	}
	return false
}

// listed is Revoked for a certificate that is known to be signed by issuer.
func (v *Verifier) listed(cert, issuer *x509.Certificate) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, l := range v.lists {
		// The same CA may have two certificates, renewed under one key; its list counts for both.
		if l.names(cert) && bytes.Equal(l.issuer.RawSubjectPublicKeyInfo, issuer.RawSubjectPublicKeyInfo) {
			return true
		}
	}
	return false
}

func (l *revocationList) names(cert *x509.Certificate) bool {
	if !bytes.Equal(l.issuer.RawSubject, cert.RawIssuer) {
		return false
	}
	_, ok := l.serials[string(cert.SerialNumber.Bytes())]
	return ok
}

// VerifyRevoked returns nil if crl, which a CA of the verifier signed, names the certificate of c, which the same CA signed: then
// the CA has revoked it, whoever shows the list. The list need not be the newest, and is not kept. [ErrNotRevoked] says that the list is good
// but does not name the certificate. Validity in time plays no part.
func (v *Verifier) VerifyRevoked(crl []byte, c Credential) error {
	l, _, err := v.parseCRL(crl)
	if err != nil {
		return fmt.Errorf("verify revocation: %w", err)
	}
	if err := c.check(); err != nil {
		return fmt.Errorf("verify revocation: %w", err)
	}
	leaf, err := parseCertificate(c.Chain[0])
	if err != nil {
		return fmt.Errorf("verify revocation: %w", err)
	}
	id, _, err := clientProfile(leaf)
	if err != nil {
		return fmt.Errorf("verify revocation: %w", err)
	}
	// Without the signature anybody could make a certificate with a revoked serial number and have it wiped.
	if err := leaf.CheckSignatureFrom(l.issuer); err != nil || !bytes.Equal(leaf.RawIssuer, l.issuer.RawSubject) {
		return fmt.Errorf("verify revocation: %w: the certificate of %s is not signed by the CA of the list", ErrUntrusted, id)
	}
	if !l.names(leaf) {
		return fmt.Errorf("verify revocation: %w: %s, list number %d", ErrNotRevoked, id, l.number)
	}
	return nil
}

// parseCRL accepts a complete list for everything that its CA issued, the only kind with one meaning.
func (v *Verifier) parseCRL(der []byte) (*revocationList, *x509.RevocationList, error) {
	fail := func(format string, a ...any) (*revocationList, *x509.RevocationList, error) {
		return nil, nil, fmt.Errorf("%w: "+format, append([]any{ErrCRL}, a...)...)
	}
	if len(der) > MaxCRL {
		return fail("%d bytes, want at most %d", len(der), MaxCRL)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fail("%w", err)
	}
	if len(list.Raw) != len(der) {
		return fail("bytes after the end")
	}
	if list.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fail("signed with %s, want ECDSA with SHA-256", list.SignatureAlgorithm)
	}
	issuer := v.issuerOf(list)
	if issuer == nil {
		return fail("issued by %q, signed by no CA that is trusted here", list.Issuer.CommonName)
	}
	if list.Number == nil || !list.Number.IsUint64() || list.Number.Sign() <= 0 || list.Number.Uint64() > math.MaxInt64 {
		return fail("no number, or one outside 1 to 2^63-1")
	}
	for _, e := range list.Extensions {
		if e.Critical { // a delta or partial list says so in a critical extension
			return fail("critical extension %s is unknown", e.Id)
		}
	}
	l := &revocationList{
		der: bytes.Clone(der), issuer: issuer, number: list.Number.Uint64(),
		serials: make(map[string]struct{}, len(list.RevokedCertificateEntries)),
	}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical { // an indirect list names another CA's certificates in one
				return fail("critical extension %s of an entry is unknown", x.Id)
			}
		}
		if e.SerialNumber.Sign() <= 0 {
			return fail("an entry without a positive serial number")
		}
		l.serials[string(e.SerialNumber.Bytes())] = struct{}{}
	}
	return l, list, nil
}

func (v *Verifier) issuerOf(list *x509.RevocationList) *x509.Certificate {
	for _, ca := range v.issuers {
		if bytes.Equal(ca.RawSubject, list.RawIssuer) && ca.KeyUsage&x509.KeyUsageCRLSign != 0 && list.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}
