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
	// Roots are the certificates of the CAs that are trusted, at least one. Chains and revocation lists bring the certificates of
	// issuing CAs themselves.
	Roots []*x509.Certificate
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Floor, instead of Now, is for devices without a clock. The verifier raises it with what it verifies.
	Floor *TimeFloor
}

// Verifier decides who is who. It is safe for concurrent use.
type Verifier struct {
	roots []*x509.Certificate
	pool  *x509.CertPool // roots
	clock func() time.Time
	floor *TimeFloor

	mu      sync.RWMutex      // guards the rest
	lists   []*revocationList // one for each CA, in the order in which the first was added; not changed in place
	changed chan struct{}     // closed when lists changes; nil: nobody has asked
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
	for _, ca := range cfg.Roots {
		if ca == nil {
			return nil, errors.New("new verifier: a CA certificate is nil")
		}
		if err := caProfile(ca); err != nil {
			return nil, fmt.Errorf("new verifier: %w", err)
		}
	}
	v.roots = slices.Clone(cfg.Roots)
	for _, r := range v.roots {
		v.pool.AddCert(r)
	}
	return v, nil
}

// Roots returns the trusted CAs. The certificates are shared: do not change them.
func (v *Verifier) Roots() []*x509.Certificate { return slices.Clone(v.roots) }

// Now returns the time that validity is checked against.
func (v *Verifier) Now() time.Time { return v.clock() }

// Changed returns a channel that is closed when a list is kept next, with the list in force. It is for whoever lives on what was verified before,
// such as a connection: he asks for the channel first, and verifies again when it is closed.
func (v *Verifier) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	return v.changed
}

// Verify makes a [Verified] of c: the certificate follows the profile of its role, leads to a root through the certificates of the
// chain, is valid now and not revoked, and its key endorses the agreement key. The chain may go on behind a root that is trusted by itself: the certificate
// of a new root by an old one, for those who trust the old one alone. want is the role that the caller
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
	chain, err := parseChain(c.Chain)
	if err != nil {
		return nil, err
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
	if err := tail(chain, len(path)-1); err != nil {
		return nil, err
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

// tail checks what stands in a chain behind the first n certificates, which lead to a root: further ways, for those who do not trust that one. Each
// certificate is that of the CA before it, and none is a root's, so that nothing else is carried along.
func tail(chain []*x509.Certificate, n int) error {
	for i := n; i < len(chain); i++ {
		if chain[i-1].CheckSignatureFrom(chain[i]) != nil || chain[i].CheckSignatureFrom(chain[i]) == nil {
			return fmt.Errorf("%w: the chain is not the way from the certificate to a root, in order and without the root", ErrCredential)
		}
	}
	return nil
}

// path returns the way from chain[0] to a root, root last, and the time that it is valid at. With a floor that is the latest beginning on the way,
// if it lies ahead of the floor.
func (v *Verifier) path(chain []*x509.Certificate, usage x509.ExtKeyUsage) (path []*x509.Certificate, at time.Time, err error) {
	return v.pathThat(chain, usage, v.checkPath)
}

// pathThat is path with another check.
func (v *Verifier) pathThat(chain []*x509.Certificate, usage x509.ExtKeyUsage, check func([]*x509.Certificate) error) (path []*x509.Certificate, at time.Time, err error) {
	for n := 1; n <= len(chain); n++ {
		now := v.clock()
		if v.floor != nil {
			now = v.begun(chain[:n], now)
		}
		p, e := v.pathThrough(chain[:n], usage, now, check)
		if e == nil {
			return p, now, nil
		}
		err = clearer(err, e)
	}
	return nil, at, err
}

// everTrusted returns the way from chain[0] to a root at a time when all of it was valid, if it passes check.
func (v *Verifier) everTrusted(chain []*x509.Certificate, check func([]*x509.Certificate) error) ([]*x509.Certificate, error) {
	var err error
	for n := 1; n <= len(chain); n++ {
		p, e := v.pathThrough(chain[:n], x509.ExtKeyUsageAny, v.begun(chain[:n], time.Time{}), check)
		if e == nil {
			return p, nil
		}
		err = clearer(err, e)
	}
	return nil, err
}

// clearer returns the error that says more. That the first certificates of a chain lead to no root says nothing if more come.
func clearer(a, b error) error {
	if a == nil || errors.Is(a, ErrUntrusted) {
		return b
	}
	return a
}

// pathThrough returns the way from chain[0] through all of chain to a root.
func (v *Verifier) pathThrough(chain []*x509.Certificate, usage x509.ExtKeyUsage, at time.Time, check func([]*x509.Certificate) error) ([]*x509.Certificate, error) {
	inter := x509.NewCertPool()
	for _, ca := range chain[1:] {
		inter.AddCert(ca)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots: v.pool, Intermediates: inter, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, pathError(err, chain[0], at)
	}
	// Two roots may share a key, and there may be ways round; one good path is enough.
	err = fmt.Errorf("%w: the chain is not the way from the certificate to a root, in order and without the root", ErrCredential)
	for _, path := range paths {
		if len(path) != len(chain)+1 || !slices.EqualFunc(path[:len(chain)], chain, equalDER) {
			continue
		}
		if err = check(path); err == nil {
			return path, nil
		}
	}
	return nil, err
}

// checkPath is for the way of a peer's certificate: the profiles of the CAs, and the revocation lists.
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

// checkCAs is for the way of a CA's certificate: path[0] is one too, which x509 does not count in path lengths.
func checkCAs(path []*x509.Certificate) error {
	for below, ca := range path {
		if err := caProfile(ca); err != nil {
			return err
		}
		if ca.MaxPathLen >= 0 && below > ca.MaxPathLen {
			return fmt.Errorf("%w: %q may have %d CAs below it, not %d", ErrUntrusted, ca.Subject.CommonName, ca.MaxPathLen, below)
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
	for _, ca := range v.roots {
		if string(ca.RawSubject) == string(top.RawIssuer) {
			at = later(at, ca.NotBefore)
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
