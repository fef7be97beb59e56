package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
)

// MaxCSR is the longest certificate request in bytes.
const MaxCSR = 4 << 10

// CSROptions are the choices of [NewCSR].
type CSROptions struct {
	// HelperHash is the SHA-256 of a device's helper data; zero: none, for a root of trust without any.
	HelperHash [sha256.Size]byte
	// Instance asks for the TLS certificate of one of several instances of an application or platform, "2" for
	// "A-WATER--2"; "": for the name itself.
	Instance string
}

// CSR is a certificate request whose sender has shown that he has the key.
type CSR struct {
	ID         ID
	Instance   string            // "" for the name itself
	PublicKey  *ecdsa.PublicKey  // P-256
	HelperHash [sha256.Size]byte // zero: none
	DER        []byte
}

// NewCSR returns a PKCS #10 request (RFC 2986, DER) for the certificate of id with the public key of signer: common name
// and DNS name are the name, the helper data hash stands in the extension [OIDHelperHash]. The same arguments give the same bytes
// where the signer is deterministic.
func NewCSR(signer crypto.Signer, id ID, o CSROptions) ([]byte, error) {
	if _, err := signerKey(signer); err != nil {
		return nil, fmt.Errorf("new certificate request: %w", err)
	}
	if id.IsZero() {
		return nil, fmt.Errorf("new certificate request: %w: no name given", ErrName)
	}
	if o.Instance != "" {
		if err := checkInstance(id, o.Instance); err != nil {
			return nil, fmt.Errorf("new certificate request: %w: %w", ErrName, err)
		}
	}
	name := clientID(id, o.Instance)
	t := &x509.CertificateRequest{
		Subject:            pkix.Name{CommonName: name},
		DNSNames:           []string{name},
		SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	if o.HelperHash != ([sha256.Size]byte{}) {
		if id.Role() != RoleDevice {
			return nil, fmt.Errorf("new certificate request: %w: a %s has no helper data", ErrCSR, id.Role())
		}
		t.ExtraExtensions = []pkix.Extension{{Id: OIDHelperHash(), Value: MarshalHelperHash(o.HelperHash)}}
	}
	// No randomness, as in Sign: a deterministic signer returns the same request to a production step that is repeated.
	der, err := x509.CreateCertificateRequest(nil, t, signer)
	if err != nil {
		return nil, fmt.Errorf("new certificate request: %w", err)
	}
	if _, err := ParseCSR(der); err != nil {
		return nil, fmt.Errorf("new certificate request: the signer returned a bad signature: %w", err)
	}
	return der, nil
}

// ParseCSR accepts what [NewCSR] makes: a request of at most 4 KiB with one name that is a peer's, a P-256 key, and the
// signature by that key. Requested extensions that are not ours are refused rather than left out. Errors are [ErrCSR].
func ParseCSR(der []byte) (*CSR, error) {
	fail := func(format string, a ...any) (*CSR, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrCSR}, a...)...)
	}
	if len(der) > MaxCSR {
		return fail("%d bytes, want at most %d", len(der), MaxCSR)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return fail("%w", err)
	}
	pub, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || !isP256(pub) {
		return fail("%w", ErrKey)
	}
	if req.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fail("signed with %s, want ECDSA with SHA-256", req.SignatureAlgorithm)
	}
	if err := req.CheckSignature(); err != nil {
		return fail("the sender does not have the key: %w", err)
	}
	cn, err := commonName(req.Subject.Names)
	if err != nil || len(req.Subject.Names) != 1 {
		return fail("want a subject of one common name")
	}
	c := &CSR{PublicKey: pub, DER: bytes.Clone(der)}
	if c.ID, c.Instance, err = ParseClientID(cn); err != nil {
		return fail("common name: %w", err)
	}
	san := false
	for _, e := range req.Extensions {
		switch {
		case e.Id.Equal(oidSAN):
			san = true
			if countNames(e.Value) != 1 || len(req.DNSNames) != 1 || req.DNSNames[0] != cn {
				return fail("want the DNS name %s as the only alternative name", cn)
			}
		case e.Id.Equal(OIDHelperHash()):
			if c.HelperHash, err = parseHelperHash(e.Value); err != nil {
				return fail("%w", err)
			}
			if c.ID.Role() != RoleDevice {
				return fail("a %s has no helper data", c.ID.Role())
			}
		default:
			return fail("extension %s was asked for; the CA alone decides on others than names and helper data", e.Id)
		}
	}
	if !san {
		return fail("want the DNS name %s as the only alternative name", cn)
	}
	return c, nil
}

// ClientID returns the name that the certificate is asked for: the ID, with "--" and the instance if there is one.
func (c *CSR) ClientID() string { return clientID(c.ID, c.Instance) }
