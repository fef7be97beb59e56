package identity

import (
	"crypto/x509"
	"fmt"
	"time"
)

// VerifyLapsed is [Verifier.Verify] for a credential that was good: the end of its validity, or of its CA's, and that its CA has been revoked since,
// do not count. A list that names the certificate itself does, [ErrRevoked]. A good credential is accepted too.
//
// It is for whoever has the credential already and must understand its owner, who comes to renew it. What it accepts is nobody's
// proof: with the key of a revoked CA such credentials can be made for any name.
func (v *Verifier) VerifyLapsed(c Credential, want Role) (*Verified, error) {
	fail := func(err error) (*Verified, error) { return nil, fmt.Errorf("verify lapsed credential: %w", err) }
	chain, err := c.parse()
	if err != nil {
		return fail(err)
	}
	from, to := v.valid(chain)
	if e, _, _, err := parseEndorsement(c.Endorsement); err == nil {
		from, to = later(from, e.notBefore), earlier(to, e.notAfter)
	}
	p, err := v.past(from, to).verify(c, want)
	if err != nil {
		return fail(err)
	}
	if v.Revoked(p.leaf) {
		return fail(fmt.Errorf("%w: %s", ErrRevoked, p.id))
	}
	return p, nil
}

// VerifyClientLapsed is [Verifier.VerifyClient] with the rules of [Verifier.VerifyLapsed]. The caller compares the certificate with the one
// that he knows. That of an instance is refused.
func (v *Verifier) VerifyClientLapsed(chain []*x509.Certificate) (ID, error) {
	fail := func(err error) (ID, error) { return ID{}, fmt.Errorf("verify lapsed client: %w", err) }
	if err := tlsChain(chain); err != nil {
		return fail(err)
	}
	id, instance, err := v.past(v.valid(chain)).VerifyClient(chain)
	if err != nil {
		return fail(err)
	}
	if instance != "" {
		return fail(fmt.Errorf("%w: the certificate is of instance %q of %s, whose operator renews it", ErrProfile, instance, id))
	}
	if v.Revoked(chain[0]) {
		return fail(fmt.Errorf("%w: %s", ErrRevoked, id))
	}
	return id, nil
}

// past is v without revocation lists, at the last moment until now at which everything that is valid between from and to was.
func (v *Verifier) past(from, to time.Time) *Verifier {
	at := v.clock()
	if v.floor != nil {
		at = later(at, from) // a floor that is behind, see begun
	}
	at = earlier(at, to)
	return &Verifier{roots: v.roots, pool: v.pool, clock: func() time.Time { return at }}
}

// valid is when all certificates were valid on the way from chain[0] to a root, which may be shorter than the chain.
func (v *Verifier) valid(chain []*x509.Certificate) (from, to time.Time) {
	path, err := v.everTrusted(chain, func([]*x509.Certificate) error { return nil })
	if err != nil {
		path = chain // to be refused
	}
	return common(path)
}

// common is when all certificates of a chain are valid.
func common(chain []*x509.Certificate) (from, to time.Time) {
	from, to = chain[0].NotBefore, chain[0].NotAfter
	for _, c := range chain[1:] {
		from, to = later(from, c.NotBefore), earlier(to, c.NotAfter)
	}
	return from, to
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
