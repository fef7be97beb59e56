package ca

import (
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"

	"github.com/semio-iot/semio/identity"
)

const maxServerRequest = 4 << 10

// ServerRequest is a request for a server's certificate whose sender has shown that he has the key.
type ServerRequest struct {
	ID        identity.PlatformID
	PublicKey *ecdsa.PublicKey
	Hosts     []string // DNS names, then IP addresses
}

// ParseServerRequest reads what party.Party.ServerRequest makes: PKCS #10, the platform's name as common name, hosts as alternative
// names. Errors are identity.ErrCSR.
func ParseServerRequest(der []byte) (ServerRequest, error) {
	fail := func(format string, a ...any) (ServerRequest, error) {
		return ServerRequest{}, fmt.Errorf("%w: server: "+format, append([]any{identity.ErrCSR}, a...)...)
	}
	if len(der) > maxServerRequest {
		return fail("%d bytes, want at most %d", len(der), maxServerRequest)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return fail("%w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return fail("%w", err)
	}
	id, err := identity.ParsePlatformID(req.Subject.CommonName)
	if err != nil {
		return fail("common name: %w", err)
	}
	pub, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fail("%w", identity.ErrKey)
	}
	r := ServerRequest{ID: id, PublicKey: pub, Hosts: req.DNSNames}
	for _, ip := range req.IPAddresses {
		r.Hosts = append(r.Hosts, ip.String())
	}
	if len(r.Hosts) == 0 || len(req.EmailAddresses)+len(req.URIs) > 0 {
		return fail("want DNS names and IP addresses as hosts")
	}
	return r, nil
}
