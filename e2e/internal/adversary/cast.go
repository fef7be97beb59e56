package adversary

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// party is whom a binding can have at an end.
type party struct {
	verified *identity.Verified
	key      *ecdh.PrivateKey
	signer   *ecdsa.PrivateKey
}

// Cast is a device, an application and a platform, certified by one authority. It serves any number of worlds.
type Cast struct {
	device, app, platform party
}

// NewCast makes keys and certificates.
func NewCast() (*Cast, error) {
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	authority, err := ca.New(ca.Config{Name: "Adversary's CA", Signer: root, Store: &ca.MemStore{}})
	if err != nil {
		return nil, err
	}
	verifier, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{authority.Certificate()}})
	if err != nil {
		return nil, err
	}
	c := &Cast{}
	for name, p := range map[string]*party{"D-METER-1": &c.device, "A-WATER": &c.app, "P-CITY": &c.platform} {
		if *p, err = enlist(authority, verifier, name); err != nil {
			return nil, fmt.Errorf("enlist %s: %w", name, err)
		}
	}
	return c, nil
}

func enlist(authority *ca.Authority, verifier *identity.Verifier, name string) (p party, err error) {
	id, err := identity.ParseID(name)
	if err != nil {
		return p, err
	}
	if p.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return p, err
	}
	if p.key, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		return p, err
	}
	var options identity.CSROptions
	if id.Role() == identity.RoleDevice {
		options.HelperHash = [32]byte{1}
	}
	csr, err := identity.NewCSR(p.signer, id, options)
	if err != nil {
		return p, err
	}
	chain, err := authority.Issue(csr, ca.IssueOptions{})
	if err != nil {
		return p, err
	}
	endorsement, err := identity.Endorse(p.signer, chain[0], p.key.PublicKey(), identity.EndorseOptions{Generation: 1})
	if err != nil {
		return p, err
	}
	p.verified, err = verifier.Verify(identity.Credential{Chain: chain, Endorsement: endorsement}, id.Role())
	return p, err
}
