package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// OIDHelperHash names the private extension of a device's certificate and request: a DER OCTET STRING of 32 bytes, the
// SHA-256 of the device's helper data, never critical. The arc is 2.25 with the first 31 bits of SHA-256("semio helper data
// hash"), in place of a registered enterprise number.
func OIDHelperHash() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 25, helperArc} }

const helperArc = 742546152

var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// MarshalHelperHash returns the value of the extension [OIDHelperHash].
func MarshalHelperHash(h [sha256.Size]byte) []byte {
	return append([]byte{byte(cbasn1.OCTET_STRING), sha256.Size}, h[:]...)
}

func parseHelperHash(b []byte) (h [sha256.Size]byte, err error) {
	s := cryptobyte.String(b)
	var v cryptobyte.String
	if !s.ReadASN1(&v, cbasn1.OCTET_STRING) || !s.Empty() || len(v) != sha256.Size {
		return h, fmt.Errorf("%w: helper data hash, want an OCTET STRING of %d bytes", ErrProfile, sha256.Size)
	}
	copy(h[:], v)
	if h == ([sha256.Size]byte{}) {
		return h, fmt.Errorf("%w: helper data hash of zeros", ErrProfile)
	}
	return h, nil
}

// commonName returns the one common name of a subject. Other attributes name nobody here and may be there.
func commonName(subject []pkix.AttributeTypeAndValue) (string, error) {
	cn, n := "", 0
	for _, a := range subject {
		if a.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			cn, _ = a.Value.(string)
			n++
		}
	}
	if n != 1 || cn == "" {
		return "", fmt.Errorf("%w: %d common names, want one", ErrProfile, n)
	}
	return cn, nil
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("%w: certificate of %d bytes, want at most %d", ErrCredential, len(der), maxCertificate)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredential, err)
	}
	return cert, nil
}

// clientProfile checks that leaf is a peer's certificate, as far as the certificate alone can tell, and returns whose.
func clientProfile(leaf *x509.Certificate) (ID, string, error) {
	if err := leafProfile(leaf, x509.ExtKeyUsageClientAuth); err != nil {
		return ID{}, "", err
	}
	cn, err := commonName(leaf.Subject.Names)
	if err != nil {
		return ID{}, "", err
	}
	id, instance, err := ParseClientID(cn)
	if err != nil {
		return ID{}, "", fmt.Errorf("%w: common name: %w", ErrProfile, err)
	}
	if n := countSANs(leaf); n != 1 || len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != cn {
		return ID{}, "", fmt.Errorf("%w: %d alternative names, want the DNS name %s alone", ErrProfile, n, cn)
	}
	if err := helperProfile(leaf, id); err != nil {
		return ID{}, "", err
	}
	return id, instance, nil
}

// serverProfile checks that leaf is a TLS server certificate of a platform.
func serverProfile(leaf *x509.Certificate) (PlatformID, error) {
	if err := leafProfile(leaf, x509.ExtKeyUsageServerAuth); err != nil {
		return PlatformID{}, err
	}
	cn, err := commonName(leaf.Subject.Names)
	if err != nil {
		return PlatformID{}, err
	}
	id, err := ParsePlatformID(cn)
	if err != nil {
		return PlatformID{}, fmt.Errorf("%w: common name: %w", ErrProfile, err)
	}
	if len(leaf.DNSNames) == 0 || leaf.DNSNames[0] != cn {
		return PlatformID{}, fmt.Errorf("%w: the first DNS name is not the common name %s", ErrProfile, cn)
	}
	for _, host := range leaf.DNSNames[1:] {
		if _, _, err := ParseClientID(strings.ToUpper(host)); err == nil {
			return PlatformID{}, fmt.Errorf("%w: the host name %q is the name of a peer", ErrProfile, host)
		}
	}
	if n := countSANs(leaf); n != len(leaf.DNSNames)+len(leaf.IPAddresses) {
		return PlatformID{}, fmt.Errorf("%w: a server certificate has DNS names and IP addresses only", ErrProfile)
	}
	return id, helperProfile(leaf, id.ID)
}

// serviceProfile checks that leaf is the certificate of a TLS server that is no peer.
func serviceProfile(leaf *x509.Certificate) error {
	if err := leafProfile(leaf, x509.ExtKeyUsageServerAuth); err != nil {
		return err
	}
	cn, err := commonName(leaf.Subject.Names)
	if err != nil {
		return err
	}
	for _, name := range append([]string{cn}, leaf.DNSNames...) {
		if _, _, err := ParseClientID(strings.ToUpper(name)); err == nil {
			return fmt.Errorf("%w: it is the certificate of the peer %q, want that of an authority's server", ErrProfile, name)
		}
	}
	return nil
}

// leafProfile checks what every certificate has in common that is no CA's.
func leafProfile(leaf *x509.Certificate, usage x509.ExtKeyUsage) error {
	fail := func(format string, a ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrProfile}, a...)...)
	}
	if err := keyProfile(leaf); err != nil {
		return err
	}
	switch {
	case leaf.Version != 3:
		return fail("X.509 version %d, want 3", leaf.Version)
	case leaf.IsCA:
		return fail("it is a CA's")
	case leaf.KeyUsage != x509.KeyUsageDigitalSignature:
		return fail("key usage, want digitalSignature alone")
	case len(leaf.UnknownExtKeyUsage) != 0 || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != usage:
		if usage == x509.ExtKeyUsageServerAuth {
			return fail("extended key usage, want serverAuth alone")
		}
		return fail("extended key usage, want clientAuth alone")
	case len(leaf.UnhandledCriticalExtensions) != 0:
		return fail("critical extension %s is unknown", leaf.UnhandledCriticalExtensions[0])
	case leaf.SerialNumber.Sign() <= 0:
		return fail("serial number, want a positive one")
	}
	return nil
}

// keyProfile checks the algorithms of a certificate, leaf or CA.
func keyProfile(cert *x509.Certificate) error {
	if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !isP256(pub) {
		return fmt.Errorf("%w: %w", ErrProfile, ErrKey)
	}
	if cert.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fmt.Errorf("%w: signed with %s, want ECDSA with SHA-256", ErrProfile, cert.SignatureAlgorithm)
	}
	return nil
}

// caProfile checks a root or an issuing CA.
func caProfile(ca *x509.Certificate) error {
	if err := keyProfile(ca); err != nil {
		return err
	}
	if ca.Version != 3 || !ca.BasicConstraintsValid || !ca.IsCA || ca.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%w: %q is not a CA's (basicConstraints CA, keyCertSign)", ErrProfile, ca.Subject.CommonName)
	}
	return nil
}

func helperProfile(leaf *x509.Certificate, id ID) error {
	_, present, err := HelperHash(leaf)
	if err != nil {
		return err
	}
	if present && id.Role() != RoleDevice {
		return fmt.Errorf("%w: a %s has no helper data", ErrProfile, id.Role())
	}
	return nil
}

// HelperHash returns the SHA-256 of helper data that a certificate states, and whether it does.
func HelperHash(cert *x509.Certificate) (h [sha256.Size]byte, present bool, err error) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(OIDHelperHash()) { // x509 refuses an extension that comes twice
			h, err = parseHelperHash(e.Value)
			return h, true, err
		}
	}
	return h, false, nil
}

// sameHost reports whether leaf is for host, a name or an IP address.
func sameHost(leaf *x509.Certificate, host string) bool {
	if ip := net.ParseIP(strings.Trim(host, "[]")); ip != nil {
		for _, a := range leaf.IPAddresses {
			if a.Equal(ip) {
				return true
			}
		}
		return false
	}
	return leaf.VerifyHostname(host) == nil
}

// countSANs counts the alternative names of every kind, also those that x509 leaves out (otherName, directoryName, …).
func countSANs(cert *x509.Certificate) int {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidSAN) {
			return countNames(e.Value)
		}
	}
	return 0
}

func countNames(san []byte) int {
	s := cryptobyte.String(san)
	var names cryptobyte.String
	if !s.ReadASN1(&names, cbasn1.SEQUENCE) {
		return -1
	}
	n := 0
	for !names.Empty() {
		var v cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1(&v, &tag) {
			return -1
		}
		n++
	}
	return n
}

func equalDER(a, b *x509.Certificate) bool { return bytes.Equal(a.Raw, b.Raw) }
