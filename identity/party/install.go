package party

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"

	"github.com/semio-iot/semio/identity"
)

// Install takes the certificate chain that the authority issued for the party's request, or for that of [Party.Rekey], leaf first, and
// the roots to trust; nil keeps those of before. Nothing is written unless the chain is this party's and leads to one of the roots.
//
// A renewed certificate comes with an endorsement of the next generation. The credential before it stays as one of [Party.Previous].
func (p *Party) Install(chain [][]byte, roots []*x509.Certificate) error {
	return p.installAfter(-1, chain, roots)
}

// InstallAfter is [Party.Install] for a party that others know under a later generation than its folder does, so that they refuse what Install makes
// ([identity.ErrGeneration]; the platform's log says which one it knows): the folder was lost, or comes from a backup, or a thief of the keys
// has used them for a renewal.
func (p *Party) InstallAfter(generation uint32, chain [][]byte, roots []*x509.Certificate) error {
	return p.installAfter(int64(generation), chain, roots)
}

func (p *Party) installAfter(generation int64, chain [][]byte, roots []*x509.Certificate) error {
	if err := p.install(generation, chain, roots); err != nil {
		return fmt.Errorf("install certificate of %s: %w", p.id, err)
	}
	return nil
}

func (p *Party) install(after int64, chain [][]byte, roots []*x509.Certificate) error {
	if len(roots) == 0 {
		roots = p.roots
	}
	if len(roots) == 0 {
		return errors.New("party: no roots; name the authority's root certificate")
	}
	if len(chain) == 0 {
		return errors.New("party: no certificate in the chain")
	}
	if err := p.tidy(); err != nil {
		return err
	}
	c, k, err := p.endorsed(after, chain)
	if err != nil {
		return err
	}
	if err := p.check(c, k, roots); err != nil {
		return err
	}
	if err := p.keepPrevious(c, k); err != nil {
		return err
	}
	var pem []block
	for _, r := range roots {
		pem = append(pem, block{typeCertificate, r.Raw})
	}
	if err := p.write(fileRoots, encode(pem...), 0o644); err != nil {
		return err
	}
	p.roots = roots
	// From this file on the party is the new one.
	if err := p.write(fileCredential, encodeCredential(c), 0o644); err != nil {
		return err
	}
	p.cred = c
	if k.signing == p.keys.signing {
		return nil
	}
	p.untidy = true
	if err := p.use(k); err != nil {
		return err
	}
	return p.tidy()
}

// endorsed lets the certified key vouch for the agreement key that goes with it. The same certificate gives the same bytes.
func (p *Party) endorsed(after int64, chain [][]byte) (identity.Credential, keys, error) {
	c := identity.Credential{Chain: chain}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return c, keys{}, fmt.Errorf("%w: %w", identity.ErrCredential, err)
	}
	k := p.keys
	if p.next != nil && p.next.signing.PublicKey.Equal(leaf.PublicKey) {
		k = *p.next
	}
	if k.agreement == nil {
		return c, k, nil
	}
	if !k.signing.PublicKey.Equal(leaf.PublicKey) {
		return c, k, fmt.Errorf("%w: it is for another key", ErrForeign)
	}
	agreement, err := k.agreement.PublicKey.ECDH()
	if err != nil {
		return c, k, err
	}
	if len(p.cred.Chain) > 0 && bytes.Equal(p.cred.Chain[0], chain[0]) {
		after = int64(p.cred.Generation()) - 1
	} else if len(p.cred.Chain) > 0 {
		after = max(after, int64(p.cred.Generation()))
	}
	if after >= math.MaxUint32 {
		return c, k, errors.New("party: no generation is left; create the party anew")
	}
	c.Endorsement, err = identity.Endorse(k.signing, chain[0], agreement, identity.EndorseOptions{Generation: uint32(after + 1)})
	return c, k, err
}

// InstallAdmission keeps what the platform returned when it admitted the application.
func (p *Party) InstallAdmission(admission []byte) error {
	if p.id.Role() != identity.RoleApplication {
		return fmt.Errorf("install admission: %w: %s is no application", identity.ErrRole, p.id)
	}
	if len(admission) == 0 {
		return fmt.Errorf("install admission: %w: it is empty", ErrFile)
	}
	return p.write(fileAdmission, EncodeAdmission(admission), 0o644)
}

// ServerRequest returns the request (PKCS #10, DER) for the certificate of the platform's TLS server under hosts, DNS names and IP
// addresses. The server has a key of its own, which the first call makes.
func (p *Party) ServerRequest(hosts []string) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("server request of %s: %w", p.id, err) }
	if p.id.Role() != identity.RolePlatform {
		return fail(fmt.Errorf("%w: servers have the name of a platform", identity.ErrRole))
	}
	if len(hosts) == 0 {
		return fail(errors.New("party: no host; name what clients dial"))
	}
	key, err := p.signingKey(fileServerKey)
	if err != nil {
		return fail(err)
	}
	t := &x509.CertificateRequest{Subject: pkix.Name{CommonName: p.id.String()}, SignatureAlgorithm: x509.ECDSAWithSHA256}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, t, key)
	if err != nil {
		return fail(err)
	}
	return der, nil
}

// InstallServer keeps the certificate chain of the party's TLS server. Nothing is written unless it is for the server's key and leads to
// one of the party's roots.
func (p *Party) InstallServer(chain [][]byte) error {
	fail := func(err error) error { return fmt.Errorf("install server certificate of %s: %w", p.id, err) }
	key, err := p.readKey(fileServerKey)
	if err != nil {
		return fail(err)
	}
	if err := p.checkServer(chain, key); err != nil {
		return fail(err)
	}
	var pem []block
	for _, der := range chain {
		pem = append(pem, block{typeCertificate, der})
	}
	if err := p.write(fileServer, encode(pem...), 0o644); err != nil {
		return fail(err)
	}
	return nil
}

// Server returns the certificate of the party's TLS server, [ErrNoServer] if none was installed.
func (p *Party) Server() (tls.Certificate, error) {
	certs, err := ReadCertificates(p.path(fileServer))
	if errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, fmt.Errorf("%s: %w", p.path(fileServer), ErrNoServer)
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := p.readKey(fileServerKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, cert := range certs {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	if err := p.checkServer(c.Certificate, key); err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %w", p.path(fileServer), err)
	}
	return c, nil
}

func (p *Party) checkServer(chain [][]byte, key *ecdsa.PrivateKey) error {
	v, err := p.Verifier()
	if err != nil {
		return err
	}
	var certs []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("%w: %w", identity.ErrCredential, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return errors.New("party: no certificate in the chain")
	}
	id, err := v.VerifyServer(certs, certs[0].Subject.CommonName) // its own name is among its hosts
	if err != nil {
		return err
	}
	if id.ID != p.id || !key.PublicKey.Equal(certs[0].PublicKey) {
		return fmt.Errorf("%w: it is for another name or key", ErrForeign)
	}
	return nil
}
