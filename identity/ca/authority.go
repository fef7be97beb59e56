package ca

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
)

// Defaults of [Config] and [CAOptions].
const (
	DefaultValidity       = 365 * 24 * time.Hour
	DefaultServerValidity = 90 * 24 * time.Hour
	DefaultCRLValidity    = 30 * 24 * time.Hour
	DefaultCAValidity     = 10 * 365 * 24 * time.Hour
)

// Config describes an authority.
type Config struct {
	Name   string        // common name of the CA, 1 to 64 characters, not the name of a peer; required
	Signer crypto.Signer // its key, P-256; required
	Store  Store         // required

	// Root makes it an issuing CA under that root. Chain is then what [Authority.CertifyCA] of the CA above has returned: its own certificate,
	// and those above it, without the root. A root, without Root, may have a Chain too: its certificates by other roots, which go with what it issues
	// for those who trust the others alone. Both are needed once; given later, they take the place of those that the store has.
	Root  *x509.Certificate
	Chain [][]byte
	// DropEarlier lets Chain take the place of the certificates that a root has by itself as it was before a [RollOver]. Who trusts that one alone refuses
	// what is issued from then on; without DropEarlier such a Chain is refused.
	DropEarlier bool

	// Earlier are keys that this authority had before a [RollOver]. They sign the lists of what they issued and nothing else. Without one of them its
	// last list stays as it is: what it issued can then be revoked as a whole only, by the CA above.
	Earlier []crypto.Signer

	// Policy is asked before a peer certificate is signed; an error refuses the request and is wrapped in what Issue returns. It runs
	// under the lock of the authority and must not call it. nil: every well-formed request is granted.
	Policy func(*identity.CSR) error
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Validity, ServerValidity and CRLValidity replace the defaults where they are not 0. Nothing that the authority signs outlives its own
	// certificate.
	Validity, ServerValidity, CRLValidity time.Duration
	// DeviceValidity gives devices an expiry, for an authority that wants them to come back for each certificate. 0: none, as IEEE 802.1AR
	// has them.
	DeviceValidity time.Duration
}

// Authority is a root or an issuing CA. It is safe for concurrent use.
type Authority struct {
	cfg  Config
	gens []*generation // oldest first; not changed after New

	mu sync.Mutex // makes each operation on the store one step
}

// noExpiry is the end that RFC 5280, 4.1.2.5 gives a certificate without one.
var noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

const backdate = 5 * time.Minute

// New returns the authority that the store holds. In an empty store it makes a new one: a root certificate, or the issuing CA that Config describes, and the
// first, empty revocation list. It is an error when the store holds an authority with another name, or with another key: see [RollOver].
func New(cfg Config) (*Authority, error) {
	a := &Authority{cfg: cfg}
	if err := a.open(false); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	return a, nil
}

// RollOver gives the authority that the store holds a new key: Config has that one as Signer, and for an issuing CA its new certificate. Names, keys
// and what was issued stay known, certificates of the earlier key stay valid until they end or are revoked, and the new key's revocation lists
// begin at number 1. From then on [New] opens the store with the new key.
//
// A root needs its last key among Config.Earlier, because the two certify each other (RFC 4210, 4.4): what the new one issues comes with its
// certificate by the old one, so that whoever has only the old root goes on; [Authority.CrossCertificates] is for those who have only the new
// one. It may be repeated after a power cut.
func RollOver(cfg Config) (*Authority, error) {
	a := &Authority{cfg: cfg}
	if err := a.open(true); err != nil {
		return nil, fmt.Errorf("roll CA over: %w", err)
	}
	return a, nil
}

func (cfg *Config) complete() error {
	if cfg.Signer == nil || cfg.Store == nil {
		return errors.New("signer and store are required")
	}
	if err := checkName(cfg.Name); err != nil {
		return err
	}
	if pub, ok := cfg.Signer.Public().(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return identity.ErrKey
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.DeviceValidity < 0 {
		return errors.New("a validity is negative")
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&cfg.Validity, DefaultValidity}, {&cfg.ServerValidity, DefaultServerValidity}, {&cfg.CRLValidity, DefaultCRLValidity}} {
		if *d.v < 0 {
			return errors.New("a validity is negative")
		}
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	return nil
}

func checkName(name string) error {
	if len(name) < 1 || len(name) > 64 {
		return errors.New("the name must have 1 to 64 characters")
	}
	if _, _, err := identity.ParseClientID(name); err == nil {
		return fmt.Errorf("%q is the name of a peer; name the authority otherwise", name)
	}
	return nil
}

func (a *Authority) open(rollOver bool) error {
	if err := a.cfg.complete(); err != nil {
		return err
	}
	b, err := a.cfg.Store.Get(recordSelf)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := a.checkEmpty(); err != nil {
			return err
		}
		if rollOver {
			return fmt.Errorf("%w: it is empty", ErrStore)
		}
		return a.found(nil)
	case err != nil:
		return err
	}
	if a.gens, err = parseGenerations(b); err != nil {
		return err
	}
	last := a.self().cert
	if last.Subject.CommonName != a.cfg.Name {
		return fmt.Errorf("%w: it holds the authority %q, not %q", ErrStore, last.Subject.CommonName, a.cfg.Name)
	}
	if !isKeyOf(a.cfg.Signer, last) {
		if !rollOver {
			return fmt.Errorf("%w: it holds the authority %q with another key than the configuration; a new key is for RollOver", ErrStore, a.cfg.Name)
		}
		return a.found(a.gens)
	}
	if err := a.signers(); err != nil {
		return err
	}
	for _, g := range a.gens {
		if _, err := a.list(g); err != nil {
			return err
		}
	}
	return a.takeChain()
}

// checkEmpty refuses a store without the record of an authority that has been one's all the same: a new authority in it would forget what was revoked.
func (a *Authority) checkEmpty() error {
	for _, record := range recordsBefore {
		switch _, err := a.cfg.Store.Get(record); {
		case err == nil:
			return fmt.Errorf("%w: it is of an earlier format, with a record %q, which this version does not read; use another store, or the earlier version",
				ErrStore, record)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// takeChain replaces the chain of the newest generation by that of Config, if there is one.
func (a *Authority) takeChain() error {
	chain, err := a.cfg.parseChain()
	if err != nil {
		return err
	}
	old := a.self()
	root := cmp.Or(a.cfg.Root, old.root)
	switch {
	case old.isRoot() && a.cfg.Root != nil:
		return fmt.Errorf("%w: %q is a root and cannot become an issuing CA", ErrStore, a.cfg.Name)
	case len(chain) == 0 && !root.Equal(old.root):
		return errors.New("another root, and no chain that leads to it")
	case len(chain) == 0 || slices.EqualFunc(chain, old.chain, (*x509.Certificate).Equal) && root.Equal(old.root):
		return nil
	}
	lost := func(c *x509.Certificate) bool { return a.issuerOf(c) != nil && !slices.ContainsFunc(chain, c.Equal) }
	if old.isRoot() && slices.ContainsFunc(old.chain, lost) && !a.cfg.DropEarlier {
		return fmt.Errorf("%w: %q goes with a certificate by its key of before the roll-over, which the new chain does not have: who trusts only that key would refuse "+
			"what is issued. When nobody does any more, say DropEarlier", ErrEarlierRoot, a.cfg.Name)
	}
	g := *old
	g.chain, g.root = chain, root
	if !old.isRoot() {
		g.cert = chain[0]
	}
	if err := a.try(&g); err != nil {
		return err
	}
	a.gens[len(a.gens)-1] = &g
	return a.saveSelf()
}

// try checks a generation as a verifier would that gets its list.
func (a *Authority) try(g *generation) error {
	if err := g.check(); err != nil {
		return err
	}
	if !isKeyOf(g.signer, g.cert) || g.cert.Subject.CommonName != a.cfg.Name {
		return fmt.Errorf("the certificate is for %q or for another key, the configuration for %q", g.cert.Subject.CommonName, a.cfg.Name)
	}
	if now := a.cfg.Now(); now.After(g.cert.NotAfter) {
		return fmt.Errorf("%w: the CA's own certificate ended %s", identity.ErrExpired, g.cert.NotAfter.Format(time.RFC3339))
	}
	if g.isRoot() {
		return nil
	}
	list, err := a.makeList(g, 1, nil)
	if err != nil {
		return err
	}
	b, err := identity.CRLBundle{List: list, Issuer: ders(g.chain)}.Marshal()
	if err != nil {
		return err
	}
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{g.root}})
	if err != nil {
		return err
	}
	if err := v.AddCRL(b); err != nil {
		return fmt.Errorf("its chain is not that of an issuing CA: %w", err)
	}
	return nil
}

// found makes a generation, the first or one more. The list is stored before it: an authority always has a list under each key, so one that got
// lost is found to be missing and is not begun again at number 1.
func (a *Authority) found(before []*generation) error {
	chain, err := a.cfg.parseChain()
	if err != nil {
		return err
	}
	g := &generation{chain: chain, root: a.cfg.Root, signer: a.cfg.Signer}
	if g.root == nil {
		if g.cert, err = a.newRoot(); err != nil {
			return err
		}
		g.root = g.cert
	} else if len(chain) == 0 {
		return errors.New("an issuing CA needs the chain that the CA above has issued for it")
	} else {
		g.cert = chain[0]
	}
	if err := a.try(g); err != nil {
		return err
	}
	if err := a.checkNewKey(before, g); err != nil {
		return err
	}
	a.gens = append(slices.Clone(before), g)
	if err := a.signers(); err != nil {
		return err
	}
	if err := a.checkCAKey(g.signer.Public().(*ecdsa.PublicKey), a.cfg.Name); err != nil {
		return err
	}
	if err := a.succeed(before, g); err != nil {
		return err
	}
	if _, err := a.signList(g, 1, nil); err != nil {
		return err
	}
	return a.saveSelf()
}

// checkNewKey refuses a key that the authority has had: its lists would begin at number 1 again, without what the key has revoked. The
// empty list number 1 is what a power cut leaves of the same step.
func (a *Authority) checkNewKey(before []*generation, g *generation) error {
	if slices.ContainsFunc(before, func(b *generation) bool { return isKeyOf(a.cfg.Signer, b.cert) }) {
		return fmt.Errorf("%w: %q has had this key before; roll over to a new one", ErrKeyInUse, a.cfg.Name)
	}
	switch _, err := a.cfg.Store.Get(listRecord(g.cert)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	list, err := a.list(g)
	if err != nil {
		return err
	}
	if list.Number.Cmp(big.NewInt(1)) != 0 || len(list.RevokedCertificateEntries) > 0 {
		return fmt.Errorf("%w: it has revocation list number %s of this key, and no record %s that says so", ErrStore, list.Number, recordSelf)
	}
	return nil
}

// succeed is what a roll-over needs besides the new generation.
func (a *Authority) succeed(before []*generation, g *generation) error {
	if len(before) == 0 {
		return nil
	}
	old := before[len(before)-1]
	switch {
	case old.isRoot() != g.isRoot():
		return fmt.Errorf("%w: a root does not become an issuing CA, nor the other way round", ErrStore)
	case !g.isRoot():
		return nil
	case old.signer == nil:
		return errors.New("a root rolls over with its last key among the earlier ones, which certifies the new one")
	}
	newByOld, err := a.certify(old, g.cert, CAOptions{NoExpiry: true, Root: true})
	if err != nil {
		return err
	}
	g.chain = append([]*x509.Certificate{newByOld}, old.chain...)
	g.chain = g.chain[:min(len(g.chain), identity.MaxChain-1)]
	for _, b := range before {
		c, err := a.certify(g, b.cert, CAOptions{NoExpiry: true, Root: true})
		if err != nil {
			return err
		}
		g.cross = append(g.cross, c)
	}
	return nil
}

func (a *Authority) newRoot() (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: a.cfg.Name},
		NotBefore:             a.cfg.Now().Add(-backdate),
		NotAfter:              noExpiry,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true,
		SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, a.cfg.Signer.Public(), a.cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign root: %w", err)
	}
	return x509.ParseCertificate(der)
}

func (a *Authority) saveSelf() error {
	b, err := marshalGenerations(a.gens)
	if err != nil {
		return err
	}
	return a.cfg.Store.Put(recordSelf, b)
}

// Certificate returns the authority's own certificate, self-signed if it is a root. It is shared: do not change it.
func (a *Authority) Certificate() *x509.Certificate { return a.self().cert }

// Chain returns what goes with every certificate that the authority issues: its own certificate if it is an issuing CA, and those above it or by
// other roots. DER, without the root.
func (a *Authority) Chain() [][]byte { return ders(a.self().chain) }

// Roots returns the roots under which what the authority has issued verifies, the newest first.
func (a *Authority) Roots() []*x509.Certificate {
	var out []*x509.Certificate
	for _, g := range slices.Backward(a.gens) {
		if !slices.ContainsFunc(out, g.root.Equal) {
			out = append(out, g.root)
		}
	}
	return out
}

// newSerial returns a random serial number (RFC 5280, 4.1.2.2: positive, at most 20 octets).
func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	n := new(big.Int).SetBytes(b)
	if n.Sign() == 0 {
		return nil, errors.New("draw serial number: zero; the machine's random numbers are broken")
	}
	return n, nil
}
