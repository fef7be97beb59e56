package identity

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// VerifierConfig is what a [Verifier] trusts.
type VerifierConfig struct {
	// Roots are the certificates of the CAs that are trusted. At least one.
	Roots []*x509.Certificate
	// Issuers are issuing CAs under the roots whose revocation lists are to be accepted. They are not trusted by being here;
	// a chain brings its own. None is needed where the roots issue.
	Issuers []*x509.Certificate
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Floor, instead of Now, is for devices without a clock. The verifier raises it with what it verifies.
	Floor *TimeFloor
}

// Verifier decides who is who. It is safe for concurrent use.
type Verifier struct {
	roots   []*x509.Certificate
	issuers []*x509.Certificate // roots first
	pool    *x509.CertPool
	clock   func() time.Time
	floor   *TimeFloor

	mu    sync.RWMutex      // guards lists
	lists []*revocationList // at most one for each of issuers
}

// NewVerifier returns a Verifier with no revocation lists; [Verifier.AddCRL] adds those that were kept. Every root must be
// a P-256 CA certificate.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	if len(cfg.Roots) == 0 {
		return nil, errors.New("new verifier: no root given; nothing could be verified")
	}
	if cfg.Now != nil && cfg.Floor != nil {
		return nil, errors.New("new verifier: Now and Floor exclude each other; a device with a clock needs no floor")
	}
	v := &Verifier{pool: x509.NewCertPool(), clock: cfg.Now, floor: cfg.Floor}
	if v.clock == nil {
		v.clock = time.Now
	}
	if v.floor != nil {
		v.clock = v.floor.Now
	}
	for _, ca := range slices.Concat(cfg.Roots, cfg.Issuers) {
		if ca == nil {
			return nil, errors.New("new verifier: a CA certificate is nil")
		}
		if err := caProfile(ca); err != nil {
			return nil, fmt.Errorf("new verifier: %w", err)
		}
	}
	v.roots = slices.Clone(cfg.Roots)
	v.issuers = slices.Concat(cfg.Roots, cfg.Issuers)
	for _, r := range v.roots {
		v.pool.AddCert(r)
	}
	for _, ca := range cfg.Issuers {
		if _, _, err := v.path([]*x509.Certificate{ca}, x509.ExtKeyUsageAny); err != nil {
			return nil, fmt.Errorf("new verifier: issuing CA %q: %w", ca.Subject.CommonName, err)
		}
	}
	return v, nil
}

// Roots returns the trusted CAs. The certificates are shared: do not change them.
func (v *Verifier) Roots() []*x509.Certificate { return slices.Clone(v.roots) }

// Now returns the time that validity is checked against.
func (v *Verifier) Now() time.Time { return v.clock() }

// Verify makes a [Verified] of c: the certificate follows the profile of its role, leads to a root through exactly the
// certificates of the chain, is valid now and not revoked, and its key endorses the agreement key. want is the role that the caller
// expects, or 0 for any: [ErrRole] reports another. The other errors are the sentinels of this package.
//
// Verify shows that the CA knows the peer, not that the sender of c is the peer: a credential is public.
func (v *Verifier) Verify(c Credential, want Role) (*Verified, error) {
	p, err := v.verify(c, want)
	if err != nil {
		return nil, fmt.Errorf("verify credential: %w", err)
	}
	return p, nil
}

func (v *Verifier) verify(c Credential, want Role) (*Verified, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c = c.clone()
	chain := make([]*x509.Certificate, len(c.Chain))
	for i, der := range c.Chain {
		var err error
		if chain[i], err = parseCertificate(der); err != nil {
			return nil, err
		}
	}
	leaf := chain[0]
	id, instance, err := clientProfile(leaf)
	if err != nil {
		return nil, err
	}
	if instance != "" {
		return nil, fmt.Errorf("%w: the certificate is for TLS of instance %q; a credential has that of %s itself", ErrProfile, instance, id)
	}
	if want != 0 && id.Role() != want {
		return nil, fmt.Errorf("%w: %s is a %s, want a %s", ErrRole, id, id.Role(), want)
	}
	path, at, err := v.path(chain, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	if len(path) != len(chain)+1 || !slices.EqualFunc(path[:len(chain)], chain, equalDER) {
		return nil, fmt.Errorf("%w: the chain is not the path from the certificate to the root, in order and without the root", ErrCredential)
	}
	p := &Verified{id: id, leaf: leaf, hash: sha256.Sum256(leaf.Raw), credential: c}
	_, p.notAfter = common(path)
	if len(c.Endorsement) > 0 || id.Role().needsAgreement() {
		e, err := verifyEndorsement(c.Endorsement, leaf, id)
		if err != nil {
			return nil, err
		}
		begun := at
		if v.floor != nil {
			// As with a certificate, a beginning that is ahead cannot be told from a floor that is behind. But the peer dated this one, not
			// the CA, so it does not raise the floor: a peer could make every other certificate look expired, for good.
			begun = later(at, e.notBefore)
		}
		if err := within(begun, e.notBefore, e.notAfter, "endorsement of "+id.name); err != nil {
			return nil, err
		}
		p.agreement, p.generation = e.agreement, e.generation
		p.notAfter = earlier(p.notAfter, e.notAfter)
	}
	if p.helper, p.hasHelper, err = HelperHash(leaf); err != nil {
		return nil, err
	}
	v.passed(path, at)
	return p, nil
}

// path returns the way from chain[0] to a root, root last, and the time that it is valid at.
func (v *Verifier) path(chain []*x509.Certificate, usage x509.ExtKeyUsage) ([]*x509.Certificate, time.Time, error) {
	at := v.clock()
	if v.floor != nil {
		at = v.begun(chain, at)
	}
	inter := x509.NewCertPool()
	for _, ca := range chain[1:] {
		inter.AddCert(ca)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots: v.pool, Intermediates: inter, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, at, pathError(err, chain[0], at)
	}
	// Two roots may share a key; one good path is enough.
	for _, path := range paths {
		if err = v.checkPath(path); err == nil {
			return path, at, nil
		}
	}
	return nil, at, err
}

func (v *Verifier) checkPath(path []*x509.Certificate) error {
	for i, cert := range path[:len(path)-1] {
		if i > 0 {
			if err := caProfile(cert); err != nil {
				return err
			}
		}
		if v.listed(cert, path[i+1]) {
			return fmt.Errorf("%w: serial %x of %q", ErrRevoked, cert.SerialNumber, cert.Subject.CommonName)
		}
	}
	return nil
}

// begun returns the latest beginning of a validity on the way to a root, if that is after at.
func (v *Verifier) begun(chain []*x509.Certificate, at time.Time) time.Time {
	for _, c := range chain {
		at = later(at, c.NotBefore)
	}
	top := chain[len(chain)-1]
	for _, r := range v.roots {
		if string(r.RawSubject) == string(top.RawIssuer) {
			at = later(at, r.NotBefore)
		}
	}
	return at
}

// passed raises the floor by what a path that verified at time at shows.
func (v *Verifier) passed(path []*x509.Certificate, at time.Time) {
	if v.floor == nil {
		return
	}
	for _, c := range path {
		at = later(at, c.NotBefore)
	}
	v.floor.Advance(at)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func pathError(err error, leaf *x509.Certificate, at time.Time) error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if e := within(at, invalid.Cert.NotBefore, invalid.Cert.NotAfter, "certificate of "+invalid.Cert.Subject.CommonName); e != nil {
			return e
		}
		return fmt.Errorf("%w: %w", ErrExpired, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: %q, issued by %q; is the CA among the roots?", ErrUntrusted, leaf.Subject.CommonName, leaf.Issuer.CommonName)
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, err)
}

// within compares in whole seconds, both ends inclusive.
func within(at, from, to time.Time, what string) error {
	switch t := at.Unix(); {
	case t < from.Unix():
		return fmt.Errorf("%w: %s begins %s, now %s; is the clock right?", ErrNotYetValid, what, stamp(from), stamp(at))
	case t > to.Unix():
		return fmt.Errorf("%w: %s ended %s, now %s; issue a new one", ErrExpired, what, stamp(to), stamp(at))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// key returns the signing key of a certificate whose profile was checked.
func key(leaf *x509.Certificate) *ecdsa.PublicKey { return leaf.PublicKey.(*ecdsa.PublicKey) }
