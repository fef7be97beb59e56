package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/semio-iot/semio/identity"
)

// generation is what an authority is under one of its keys. The newest one issues; earlier ones are what it has rolled over from.
type generation struct {
	cert   *x509.Certificate   // of this key: self-signed, or by the CA above
	chain  []*x509.Certificate // what follows a certificate that this key has signed, without the root
	root   *x509.Certificate   // that chain leads to; cert itself for a root
	cross  []*x509.Certificate // of a root: those that it has issued for the generations before
	signer crypto.Signer       // nil: an earlier key that is gone
}

// isRoot tells a root from an issuing CA. A root's chain is empty, or its certificates by other roots.
func (g *generation) isRoot() bool { return g.cert == g.root || bytes.Equal(g.cert.Raw, g.root.Raw) }

// check wants each certificate of the chain signed by the next one, and a way to the root. A root's chain leads to other roots than its own.
func (g *generation) check() error {
	if len(g.chain) >= identity.MaxChain {
		return fmt.Errorf("a chain of %d certificates, at most %d leave room for one that the authority issues", len(g.chain), identity.MaxChain-1)
	}
	for _, c := range g.cross {
		if err := c.CheckSignatureFrom(g.cert); err != nil {
			return fmt.Errorf("cross certificate: %w", err)
		}
	}
	if slices.ContainsFunc(g.chain, func(c *x509.Certificate) bool { return c.CheckSignatureFrom(c) == nil }) {
		return errors.New("a root is among the certificates of the chain; it goes without")
	}
	if len(g.chain) > 0 && !sameAuthority(g.chain[0], g.cert) {
		return fmt.Errorf("the chain does not begin with a certificate of %q under this key", g.cert.Subject.CommonName)
	}
	for i := 1; i < len(g.chain); i++ {
		if err := g.chain[i-1].CheckSignatureFrom(g.chain[i]); err != nil {
			return fmt.Errorf("certificate %d of the chain is not signed by the next one: %w", i, err)
		}
	}
	if g.isRoot() {
		if err := g.cert.CheckSignatureFrom(g.cert); err != nil {
			return fmt.Errorf("root: %w", err)
		}
		return nil
	}
	// Behind the root there may be others, which vouch for it.
	if !slices.ContainsFunc(g.chain, func(c *x509.Certificate) bool { return c.CheckSignatureFrom(g.root) == nil }) {
		return errors.New("the chain does not lead to the root")
	}
	return nil
}

func sameAuthority(a, b *x509.Certificate) bool {
	return identity.AuthorityOf(a) == identity.AuthorityOf(b)
}

// after returns the chain of a certificate that this key has signed.
func (g *generation) after(leaf []byte) [][]byte {
	return slices.Insert(ders(g.chain), 0, bytes.Clone(leaf))
}

func ders(certs []*x509.Certificate) [][]byte {
	var out [][]byte
	for _, c := range certs {
		out = append(out, bytes.Clone(c.Raw))
	}
	return out
}

// self is the generation that issues.
func (a *Authority) self() *generation { return a.gens[len(a.gens)-1] }

// issuerOf returns the generation that signed a certificate, nil if none has.
func (a *Authority) issuerOf(c *x509.Certificate) *generation {
	for _, g := range slices.Backward(a.gens) {
		if bytes.Equal(c.RawIssuer, g.cert.RawSubject) && c.CheckSignatureFrom(g.cert) == nil {
			return g
		}
	}
	return nil
}

// signers gives each generation its key.
func (a *Authority) signers() error {
	rest := slices.Clone(a.cfg.Earlier)
	for _, g := range a.gens[:len(a.gens)-1] {
		i := slices.IndexFunc(rest, func(s crypto.Signer) bool { return isKeyOf(s, g.cert) })
		if i >= 0 {
			g.signer = rest[i]
			rest = slices.Delete(rest, i, i+1)
		}
	}
	if len(rest) > 0 {
		return errors.New("an earlier key is given that this authority has never had")
	}
	a.self().signer = a.cfg.Signer
	return nil
}

func isKeyOf(s crypto.Signer, c *x509.Certificate) bool {
	pub, ok := s.Public().(*ecdsa.PublicKey)
	return ok && pub.Equal(c.PublicKey)
}

// parseChain returns the certificates of Config.Chain.
func (c *Config) parseChain() ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, der := range c.Chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("chain: %w", err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}
