package identity_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/semio-iot/semio/identity"
)

// Whatever stands in subject and alternative names of a certificate that the CA signed: a verifier takes it for a peer's or a server's only
// if the names are the one spelling of one name, and never panics.
func FuzzCertificateNames(f *testing.F) {
	p := newPKI(f)
	v := p.verifier(f)
	leaf, server := newKey(f), newKey(f)
	for _, der := range [][]byte{
		p.leaf(f, "D-1", leaf), p.leaf(f, "A-WATER--2", leaf), p.leaf(f, "d-1", leaf), p.leaf(f, "P-1.example.org", leaf),
		p.sign(f, serverTemplate(), server.Public()),
	} {
		c := parseCert(f, der)
		for _, e := range c.Extensions {
			if e.Id.Equal(sanOID) {
				f.Add(c.RawSubject, e.Value)
			}
		}
	}
	f.Add([]byte{0x30, 0x00}, []byte{0x30, 0x00})
	f.Fuzz(func(t *testing.T, subject, san []byte) {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			tmpl := leafTemplate("D-1")
			tmpl.RawSubject, tmpl.DNSNames = subject, nil
			tmpl.ExtKeyUsage = []x509.ExtKeyUsage{usage}
			tmpl.ExtraExtensions = []pkix.Extension{{Id: sanOID, Value: san}}
			der, err := p.signed(tmpl, leaf.Public())
			if err != nil {
				continue // subject is no DER at all
			}
			c, err := x509.ParseCertificate(der)
			if err != nil {
				continue
			}
			chain := []*x509.Certificate{c}
			if id, instance, err := v.VerifyClient(chain); err == nil {
				name := id.String()
				if instance != "" {
					name += "--" + instance
				}
				again, inst, err := identity.ParseClientID(c.Subject.CommonName)
				if usage != x509.ExtKeyUsageClientAuth || c.Subject.CommonName != name || err != nil || again != id || inst != instance ||
					len(c.DNSNames) != 1 || c.DNSNames[0] != name || len(c.IPAddresses)+len(c.URIs)+len(c.EmailAddresses) > 0 {
					t.Fatalf("subject %x, alternative names %x pass for %s", subject, san, name)
				}
			}
			if len(c.DNSNames) == 0 {
				continue
			}
			if id, err := v.VerifyServer(chain, c.DNSNames[len(c.DNSNames)-1]); err == nil {
				if usage != x509.ExtKeyUsageServerAuth || id.Role() != identity.RolePlatform || c.DNSNames[0] != id.String() || c.Subject.CommonName != id.String() {
					t.Fatalf("subject %x, alternative names %x pass for a server of %s", subject, san, id)
				}
			}
		}
	})
}

var sanOID = asn1.ObjectIdentifier{2, 5, 29, 17}
