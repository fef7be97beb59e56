package ca

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/semio-iot/semio/identity"
)

// ServiceValidity is how long a certificate of [Authority.IssueService] is good.
const ServiceValidity = 7 * 24 * time.Hour

// IssueService returns the certificate chain of the authority's own TLS server, where parties ask for certificates and lists (package
// cahttp), under the given hosts. Its common name is the authority's and it names no peer, so that no verifier of package identity takes it
// for a platform's; clients check it as crypto/tls does, against the root and the host. The caller has made the key, a new one for each
// process: the certificate is short-lived and not recorded, and whoever could steal its key could steal the authority's.
func (a *Authority) IssueService(pub *ecdsa.PublicKey, hosts []string) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fail := func(err error) ([][]byte, error) {
		return nil, fmt.Errorf("issue certificate of the authority's server: %w", err)
	}
	if _, err := identity.MarshalPublicKey(pub); err != nil {
		return fail(err)
	}
	if err := a.checkKey(pub, identity.ID{}); err != nil {
		return fail(err)
	}
	t := leaf(a.cfg.Name, x509.ExtKeyUsageServerAuth)
	if err := addHosts(t, hosts); err != nil {
		return fail(err)
	}
	var err error
	if t.SerialNumber, err = newSerial(); err != nil {
		return fail(err)
	}
	g := a.self()
	t.NotBefore, t.NotAfter = a.begin(g), a.end(g, ServiceValidity)
	der, err := x509.CreateCertificate(rand.Reader, t, g.cert, pub, g.signer)
	if err != nil {
		return fail(err)
	}
	return g.after(der), nil
}
