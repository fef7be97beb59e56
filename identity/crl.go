package identity

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// revocationList is a list that its issuer signed.
type revocationList struct {
	CRLBundle
	issuer   *x509.Certificate
	ways     [][]*x509.Certificate // Issuer, parsed
	number   uint64
	thisDate time.Time
	serials  map[string]struct{} // big-endian bytes
}

// AddCRL takes revocation lists (RFC 5280), each in DER and followed by the certificates of its issuer if that is no root ([CRLBundle]), and
// keeps each in place of the list of that CA that it had. A list must be signed by a CA under the roots. The CA may have expired or be revoked
// itself: what it revoked stays revoked. The list that is kept already is no error. An older number is [ErrCRLOlder] and changes nothing,
// so nobody takes a revocation back by sending an old list. A list that has passed its next update stays in force until a newer one comes: a device that
// was long without connection must not take that for amnesty. Anything else is [ErrCRL]. Of several lists, those that can be taken are taken; what is
// wrong with the others is told together with [ErrSomeCRLs], except that they are older.
//
// Lists of 16 CAs are kept. Then that of an issuing CA whose ways to the roots are all over or revoked, so that nothing it issued is accepted anyway, makes
// room for another one; if there is none, a further CA's list is refused.
func (v *Verifier) AddCRL(crls []byte) error {
	bundles, err := ParseCRLs(crls)
	if err != nil {
		return fmt.Errorf("add revocation list: %w", err)
	}
	taken := 0
	var older error
	var refused []error
	for _, b := range bundles {
		l, err := v.parseCRL(b, nil)
		if err == nil {
			err = v.keep(l)
		}
		switch {
		case err == nil:
			taken++
		case errors.Is(err, ErrCRLOlder):
			older = err
		default:
			refused = append(refused, err)
		}
	}
	err = errors.Join(refused...)
	switch {
	case err != nil && taken > 0:
		err = fmt.Errorf("%w, %d of %d: %w", ErrSomeCRLs, len(refused), len(bundles), err)
	case err == nil && taken == 0:
		err = older
	}
	if err != nil {
		return fmt.Errorf("add revocation list: %w", err)
	}
	return nil
}

// keep puts a list where that of its CA stood, so that nobody's place changes, or behind the others.
func (v *Verifier) keep(l *revocationList) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	i, err := v.place(l)
	switch {
	case err != nil:
		return err
	case i == len(v.lists):
		v.lists = append(v.lists, l)
	default:
		v.lists[i] = l
	}
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
	if v.floor != nil {
		v.floor.Advance(l.thisDate)
	}
	return nil
}

// place returns where a list belongs. The caller holds mu.
func (v *Verifier) place(l *revocationList) (int, error) {
	i := slices.IndexFunc(v.lists, func(k *revocationList) bool { return sameAuthority(k.issuer, l.issuer) })
	if i < 0 {
		if len(v.lists) < maxLists {
			return len(v.lists), nil
		}
		i = slices.IndexFunc(v.lists, func(k *revocationList) bool { return v.over(k) })
		if i < 0 || v.over(l) {
			return 0, fmt.Errorf("%w: lists of %d authorities are kept already", ErrCRL, maxLists)
		}
		return i, nil
	}
	switch old := v.lists[i]; {
	case l.number < old.number:
		return 0, fmt.Errorf("%w: number %d, have %d", ErrCRLOlder, l.number, old.number)
	case l.number > old.number:
	case !bytes.Equal(l.List, old.List):
		return 0, fmt.Errorf("%w: a second list with number %d; the CA has a fault", ErrCRL, l.number)
	default:
		v.join(l, old)
	}
	return i, nil
}

// join gives l the ways of old too: more of them reach more roots, and each tells whether the CA is over. If that is more than goes with a list, those that
// lead nowhere now are left out first, then the newest. The caller holds mu.
func (v *Verifier) join(l, old *revocationList) {
	ways := slices.Clone(old.ways)
	n := 0
	for _, way := range l.ways {
		if !slices.ContainsFunc(ways, func(w []*x509.Certificate) bool { return slices.EqualFunc(w, way, equalDER) }) {
			ways = append(ways, way)
		}
	}
	for _, way := range ways {
		n += len(way)
	}
	if n > maxIssuer {
		var astray [][]*x509.Certificate
		ways = slices.DeleteFunc(ways, func(way []*x509.Certificate) bool {
			if v.leads(way) {
				return false
			}
			astray = append(astray, way)
			return true
		})
		ways = append(ways, astray...)
	}
	n = 0
	l.ways = slices.DeleteFunc(ways, func(way []*x509.Certificate) bool {
		if n+len(way) > maxIssuer {
			return true
		}
		n += len(way)
		return false
	})
	l.setIssuer()
}

// over reports that nothing which the CA of l issued is accepted any more: it is no root, and no way leads to one. The caller holds mu.
func (v *Verifier) over(l *revocationList) bool {
	return !v.isRoot(l.issuer) && !slices.ContainsFunc(l.ways, v.leads)
}

func (v *Verifier) isRoot(ca *x509.Certificate) bool {
	return slices.ContainsFunc(v.roots, func(r *x509.Certificate) bool { return sameAuthority(r, ca) })
}

// leads reports that a way leads from a CA to a root now, through CAs that are not revoked. The caller holds mu.
func (v *Verifier) leads(way []*x509.Certificate) bool {
	_, _, err := v.pathThat(way, x509.ExtKeyUsageAny, checkIssuer(func(cert, issuer *x509.Certificate) bool { return listedBy(v.lists, cert, issuer) }))
	return err == nil
}

// CRLs returns the lists that are kept, as [CRLBundle] encodes them, each CA's in the place where the first of it was added.
func (v *Verifier) CRLs() [][]byte {
	var all [][]byte
	for _, l := range v.Newer(nil) {
		all = append(all, l.Bundle)
	}
	return all
}

// Newer returns the lists, of those that are kept, of which somebody who has others has an older number or none.
func (v *Verifier) Newer(have []CRLNumber) []KeptCRL {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var out []KeptCRL
	for _, l := range v.lists {
		n := CRLNumber{AuthorityOf(l.issuer), l.number}
		if !slices.ContainsFunc(have, func(h CRLNumber) bool { return h.Authority == n.Authority && h.Number >= n.Number }) {
			out = append(out, KeptCRL{n, l.bytes()})
		}
	}
	return out
}

// CRLNumbers returns the numbers of the lists that are kept, in ascending order of the authorities, each once.
func (v *Verifier) CRLNumbers() []CRLNumber {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var out []CRLNumber
	for _, l := range v.lists {
		out = append(out, CRLNumber{AuthorityOf(l.issuer), l.number})
	}
	slices.SortFunc(out, func(a, b CRLNumber) int {
		return cmp.Or(bytes.Compare(a.Authority[:], b.Authority[:]), cmp.Compare(a.Number, b.Number))
	})
	return slices.CompactFunc(out, func(a, b CRLNumber) bool { return a.Authority == b.Authority })
}

// Revoked reports whether a list that is kept names cert itself. It does not verify cert, nor look at who issued it.
func (v *Verifier) Revoked(cert *x509.Certificate) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.ContainsFunc(v.lists, func(l *revocationList) bool { return l.names(cert) && cert.CheckSignatureFrom(l.issuer) == nil })
}

// CheckRevocation is for what was verified before: it returns [ErrRevoked] if a list that is kept names the certificate of c or a CA on its way to a root,
// and there is no other way. Validity in time plays no part.
func (v *Verifier) CheckRevocation(c Credential) error {
	chain, err := c.parse()
	if err == nil && v.named(chain) {
		_, err = v.everTrusted(chain, v.checkPath)
	}
	if err != nil {
		return fmt.Errorf("check revocation: %w", err)
	}
	return nil
}

// named tells quickly whether a list may speak of one of certs. It is asked about everybody whenever there is a new list.
func (v *Verifier) named(certs []*x509.Certificate) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.ContainsFunc(v.lists, func(l *revocationList) bool { return slices.ContainsFunc(certs, l.names) })
}

// listed is Revoked for a certificate that is known to be signed by issuer.
func (v *Verifier) listed(cert, issuer *x509.Certificate) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return listedBy(v.lists, cert, issuer)
}

func listedBy(lists []*revocationList, cert, issuer *x509.Certificate) bool {
	// The same CA may have several certificates under one key, renewed or by several roots; its list counts for all.
	return slices.ContainsFunc(lists, func(l *revocationList) bool { return l.names(cert) && sameAuthority(l.issuer, issuer) })
}

func (l *revocationList) names(cert *x509.Certificate) bool {
	if !bytes.Equal(l.issuer.RawSubject, cert.RawIssuer) {
		return false
	}
	_, ok := l.serials[string(cert.SerialNumber.Bytes())]
	return ok
}

// VerifyRevoked returns nil if crl, one [CRLBundle] which a CA under the roots signed, names the certificate of c, which the same CA signed: then
// the CA has revoked it, whoever shows the list. The list need not be the newest, and is not kept; its issuer may be known by the chain of c as
// well. [ErrNotRevoked] says that the list is good but does not name the certificate. Validity in time plays no part. The word of a CA that is known
// to be revoked itself is no evidence, [ErrRevoked]: somebody else may have its key, and what rests on evidence cannot be undone.
func (v *Verifier) VerifyRevoked(crl []byte, c Credential) error {
	if err := v.verifyRevoked(crl, c); err != nil {
		return fmt.Errorf("verify revocation: %w", err)
	}
	return nil
}

func (v *Verifier) verifyRevoked(crl []byte, c Credential) error {
	bundles, err := ParseCRLs(crl)
	if err != nil {
		return err
	}
	if len(bundles) != 1 {
		return fmt.Errorf("%w: %d lists, want one", ErrCRL, len(bundles))
	}
	chain, err := c.parse()
	if err != nil {
		return err
	}
	id, _, err := clientProfile(chain[0])
	if err != nil {
		return err
	}
	l, err := v.parseCRL(bundles[0], chain[1:])
	if err != nil {
		return err
	}
	// Without the signature anybody could make a certificate with a revoked serial number and have it wiped.
	if err := chain[0].CheckSignatureFrom(l.issuer); err != nil || !bytes.Equal(chain[0].RawIssuer, l.issuer.RawSubject) {
		return fmt.Errorf("%w: the certificate of %s is not signed by the CA of the list", ErrUntrusted, id)
	}
	if !l.names(chain[0]) {
		return fmt.Errorf("%w: %s, list number %d", ErrNotRevoked, id, l.number)
	}
	if v.isRoot(l.issuer) {
		return nil
	}
	for _, way := range l.ways {
		if _, err = v.everTrusted(way, checkIssuer(v.listed)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("CA of the list: %w", err)
}

// parseCRL accepts a complete list for everything that its CA issued, the only kind with one meaning. hints are certificates that its issuer may have
// besides those of the bundle.
func (v *Verifier) parseCRL(b CRLBundle, hints []*x509.Certificate) (*revocationList, error) {
	fail := func(format string, a ...any) (*revocationList, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrCRL}, a...)...)
	}
	list, err := x509.ParseRevocationList(b.List)
	if err != nil {
		return fail("%w", err)
	}
	if list.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fail("signed with %s, want ECDSA with SHA-256", list.SignatureAlgorithm)
	}
	l := &revocationList{CRLBundle: b, thisDate: list.ThisUpdate, serials: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
	if err := v.findIssuer(l, list, hints); err != nil {
		return fail("%w", err)
	}
	if list.Number == nil || !list.Number.IsUint64() || list.Number.Sign() <= 0 || list.Number.Uint64() > math.MaxInt64 {
		return fail("no number, or one outside 1 to 2^63-1")
	}
	l.number = list.Number.Uint64()
	for _, e := range list.Extensions {
		if e.Critical { // a delta or partial list says so in a critical extension
			return fail("critical extension %s is unknown", e.Id)
		}
	}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical { // an indirect list names another CA's certificates in one
				return fail("critical extension %s of an entry is unknown", x.Id)
			}
		}
		if e.SerialNumber.Sign() <= 0 {
			return fail("an entry without a positive serial number")
		}
		l.serials[string(e.SerialNumber.Bytes())] = struct{}{}
	}
	return l, nil
}

// findIssuer sets the issuer of l: a CA that the verifier knows, or one whose certificates lead to a root. They need not be valid now.
func (v *Verifier) findIssuer(l *revocationList, list *x509.RevocationList, hints []*x509.Certificate) error {
	signed := func(ca *x509.Certificate) bool {
		return bytes.Equal(ca.RawSubject, list.RawIssuer) && ca.KeyUsage&x509.KeyUsageCRLSign != 0 && list.CheckSignatureFrom(ca) == nil
	}
	ways, err := waysOf(l.Issuer)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ways, func(way []*x509.Certificate) bool { return !signed(way[0]) }) {
		// What goes with a list is passed on with it, so it has to belong there even where it is not needed.
		return errors.New("the certificates behind it are not those of its issuer")
	}
	l.ways = ways
	v.prune(l)
	if i := slices.IndexFunc(v.roots, signed); i >= 0 {
		l.issuer = v.roots[i]
		return nil
	}
	if i := slices.IndexFunc(hints, signed); len(l.ways) == 0 && i >= 0 {
		l.ways = append(l.ways, hints[i:])
	}
	err = fmt.Errorf("issued by %q, signed by no root; the certificates of an issuing CA go with its list", list.Issuer.CommonName)
	for _, way := range l.ways {
		if _, err = v.everTrusted(way, checkCAs); err == nil {
			l.issuer = way[0]
			return nil
		}
		err = fmt.Errorf("its CA %q: %w", way[0].Subject.CommonName, err)
	}
	return err
}

// checkIssuer is for the way of a CA's certificate, with the lists.
func checkIssuer(listed func(cert, issuer *x509.Certificate) bool) func(path []*x509.Certificate) error {
	return func(path []*x509.Certificate) error {
		for i, cert := range path[:len(path)-1] {
			if listed(cert, path[i+1]) {
				return fmt.Errorf("%w: serial %x of %q", ErrRevoked, cert.SerialNumber, cert.Subject.CommonName)
			}
		}
		return checkCAs(path)
	}
}

// prune cuts ways where they go on behind all roots that are known here with a certificate that is large. What it says nobody has vouched for: whoever passes
// the list on can make one up for a CA's key. It is kept for those with other roots, and has no need of room.
func (v *Verifier) prune(l *revocationList) {
	for i, way := range l.ways {
		n := len(way)
		for n > 0 {
			if _, err := v.pathThrough(way[:n], x509.ExtKeyUsageAny, v.begun(way[:n], time.Time{}), checkCAs); err == nil {
				break
			}
			n--
		}
		if large := slices.IndexFunc(way[n:], func(c *x509.Certificate) bool { return len(c.Raw) > maxUnknown }); large >= 0 {
			l.ways[i] = way[:n+large]
		}
	}
	l.ways = slices.DeleteFunc(l.ways, func(way []*x509.Certificate) bool { return len(way) == 0 })
	l.setIssuer()
}

// setIssuer has Issuer follow ways.
func (l *revocationList) setIssuer() {
	l.Issuer = nil
	for _, way := range l.ways {
		for _, c := range way {
			l.Issuer = append(l.Issuer, c.Raw)
		}
	}
}

// waysOf parses the certificates behind a list: ways from its issuer upwards, each certificate that of a CA and signed by the next one.
func waysOf(ders [][]byte) (ways [][]*x509.Certificate, err error) {
	certs, err := parseChain(ders)
	if err != nil {
		return nil, err
	}
	for i, c := range certs {
		if err := caProfile(c); err != nil {
			return nil, fmt.Errorf("a certificate behind it: %w", err)
		}
		last := len(ways) - 1
		switch {
		case i == 0 || sameAuthority(c, certs[0]):
			ways = append(ways, []*x509.Certificate{c})
		case len(ways[last]) == MaxChain-1 || certs[i-1].CheckSignatureFrom(c) != nil:
			return nil, errors.New("the certificates behind it do not lead upwards from its issuer")
		default:
			ways[last] = append(ways[last], c)
		}
	}
	return ways, nil
}
