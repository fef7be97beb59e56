package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/semio-iot/semio/identity"
)

const maxRequest = 4 << 10

// NewCARequest returns the request of a CA for a certificate by another one, PKCS #10 in DER.
func NewCARequest(signer crypto.Signer, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("request of a CA: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, SignatureAlgorithm: x509.ECDSAWithSHA256,
	}, signer)
	if err != nil {
		return nil, fmt.Errorf("request of a CA: %w", err)
	}
	return der, nil
}

// CAOptions are the choices of [Authority.CertifyCA].
type CAOptions struct {
	// Validity of the certificate from now, 0: DefaultCAValidity. NoExpiry: as long as that of the authority itself.
	Validity time.Duration
	NoExpiry bool
	// Root says that the other CA is a root too, so that it may have issuing CAs under it: a cross certificate, with which those who trust this
	// authority alone also trust the other one, without any limit.
	Root bool
}

// CertifyCA returns the chain of another CA for its request, [NewCARequest] or one of openssl: its certificate, and those above it without the
// root. The operator vouches for whose request it is. The same request again gets the same certificate as long as a third of its validity is left. An issuing CA
// may have a new key at any time, under the same name. [Authority.RevokeCertificate] ends one.
func (a *Authority) CertifyCA(request []byte, o CAOptions) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fail := func(err error) ([][]byte, error) { return nil, fmt.Errorf("certify CA: %w", err) }
	subject, err := parseCARequest(request)
	if err != nil {
		return fail(err)
	}
	g := a.self()
	if g.cert.MaxPathLen == 0 && g.cert.MaxPathLenZero {
		return fail(fmt.Errorf("%w: %q is an issuing CA, whose own certificate allows it none below", ErrNotRoot, a.cfg.Name))
	}
	if !o.Root && bytes.Equal(subject.RawSubject, g.cert.RawSubject) {
		return fail(fmt.Errorf("%w: an issuing CA has a name of its own, not %q", identity.ErrCSR, a.cfg.Name))
	}
	cert, err := a.issueCA(g, subject, o)
	if err != nil {
		return fail(err)
	}
	return g.after(cert.Raw), nil
}

func (a *Authority) issueCA(g *generation, subject *x509.Certificate, o CAOptions) (*x509.Certificate, error) {
	pub, name := subject.PublicKey.(*ecdsa.PublicKey), subject.Subject.CommonName
	record := caRecord(name)
	issued, err := a.load(record)
	if err != nil {
		return nil, err
	}
	if err := a.checkCAKey(pub, name); err != nil {
		return nil, err
	}
	revoked, err := a.revoked(issued)
	if err != nil {
		return nil, err
	}
	for i, c := range issued {
		if revoked[i] && pub.Equal(c.PublicKey) { // whoever signed it: a roll-over of this authority is no amnesty
			return nil, fmt.Errorf("%w: the key of %q; make a new one", ErrRevoked, name)
		}
	}
	for _, c := range issued {
		if pub.Equal(c.PublicKey) && bytes.Equal(c.RawSubject, subject.RawSubject) && a.issuerOf(c) == g && a.fresh(c) && (c.MaxPathLen != 0) == o.Root {
			return c, nil
		}
	}
	cert, err := a.certify(g, subject, o)
	if err != nil {
		return nil, err
	}
	key, err := keyRecord(pub)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Store.Put(key, []byte(holderCA(name))); err != nil {
		return nil, err
	}
	return cert, a.save(record, append(issued, cert))
}

var oidBasicConstraints, oidKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 19}, asn1.ObjectIdentifier{2, 5, 29, 15}

// parseCARequest returns name and key of a request as those of a certificate. What its profile is the authority says.
func parseCARequest(der []byte) (*x509.Certificate, error) {
	fail := func(format string, args ...any) (*x509.Certificate, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{identity.ErrCSR}, args...)...)
	}
	if len(der) > maxRequest {
		return fail("%d bytes, want at most %d", len(der), maxRequest)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return fail("%w", err)
	}
	pub, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fail("%w", identity.ErrKey)
	}
	if _, err := identity.MarshalPublicKey(pub); err != nil {
		return fail("%w", err)
	}
	if r.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fail("signed with %s, want ECDSA with SHA-256", r.SignatureAlgorithm)
	}
	if err := r.CheckSignature(); err != nil {
		return fail("who asks does not have the key: %w", err)
	}
	if len(r.Subject.Names) != 1 {
		return fail("%d attributes of the subject, want a common name alone", len(r.Subject.Names))
	}
	if err := checkName(r.Subject.CommonName); err != nil {
		return fail("%w", err)
	}
	for _, e := range r.Extensions {
		if !e.Id.Equal(oidBasicConstraints) && !e.Id.Equal(oidKeyUsage) {
			return fail("extension %s: want none but basicConstraints and keyUsage", e.Id)
		}
	}
	return &x509.Certificate{Subject: r.Subject, RawSubject: r.RawSubject, PublicKey: pub}, nil
}

// certify signs the certificate of another CA, or of another generation of this one. Of subject it takes name and key.
func (a *Authority) certify(g *generation, subject *x509.Certificate, o CAOptions) (*x509.Certificate, error) {
	if o.Validity < 0 || o.Validity > 0 && o.NoExpiry {
		return nil, errors.New("a validity is negative, or given together with none")
	}
	t := &x509.Certificate{
		RawSubject:            subject.RawSubject,
		SubjectKeyId:          subject.SubjectKeyId,
		AuthorityKeyId:        g.cert.SubjectKeyId, // x509 leaves it out where subject and issuer have one name, as after a roll-over
		NotBefore:             a.begin(g),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: !o.Root,
		SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	validity := o.Validity
	if validity == 0 {
		validity = DefaultCAValidity
	}
	t.NotAfter = a.end(g, validity)
	if o.NoExpiry {
		t.NotAfter = g.cert.NotAfter
	}
	var err error
	if t.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, g.cert, subject.PublicKey, g.signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// checkCAKey refuses the key of a peer, or of another CA.
func (a *Authority) checkCAKey(pub *ecdsa.PublicKey, name string) error {
	for _, g := range a.gens {
		if pub.Equal(g.cert.PublicKey) && name != a.cfg.Name {
			return fmt.Errorf("%w: it is the CA's", ErrKeyInUse)
		}
	}
	return a.checkHolder(pub, holderCA(name))
}

// holderCA is no peer's name.
func holderCA(name string) string { return "CA " + name }

// CrossCertificates returns the certificates that a root has issued for what it was before a roll-over, the oldest first: behind the chain of a
// certificate of that time they lead whoever trusts only the new root to it.
func (a *Authority) CrossCertificates() []*x509.Certificate { return slices.Clone(a.self().cross) }
