package ca

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/semio-iot/semio/identity"
)

// IssueOptions are the choices of [Authority.Issue].
type IssueOptions struct {
	// Validity of the certificate from now, 0: that of Config. That of a device is Config.DeviceValidity, whatever stands here.
	Validity time.Duration
	// NewKey lets a name that is no device's change its key: the operator vouches that the holder of the name asks for it. The
	// certificates of the old key stay valid until they end or are revoked.
	NewKey bool
}

// Issue returns the certificate chain, leaf first and without the root, for a request of identity.NewCSR. A request for the
// key that the name is certified with gets the last certificate again, as long as a third of its validity is left, else a fresh one. See
// the package's rules for what is refused.
func (a *Authority) Issue(csrDER []byte, o IssueOptions) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	chain, err := a.issue(csrDER, o)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return chain, nil
}

func (a *Authority) issue(csrDER []byte, o IssueOptions) ([][]byte, error) {
	csr, err := identity.ParseCSR(csrDER)
	if err != nil {
		return nil, err
	}
	name, device := csr.ClientID(), csr.ID.Role() == identity.RoleDevice
	if o.Validity < 0 {
		return nil, errors.New("a validity is negative")
	}
	if device && o.NewKey {
		return nil, fmt.Errorf("%w: a device keeps its key; NewKey is for other roles", ErrOtherKey)
	}
	record := recordPeer + name
	issued, err := a.load(record)
	if err != nil {
		return nil, err
	}
	if err := a.checkKey(csr.PublicKey, csr.ID); err != nil {
		return nil, err
	}
	revoked, err := a.revoked(issued)
	if err != nil {
		return nil, err
	}
	for i, c := range issued {
		if revoked[i] && (device || csr.PublicKey.Equal(c.PublicKey)) {
			return nil, fmt.Errorf("%w: %s", ErrRevoked, name)
		}
	}
	if n := len(issued); n > 0 && !csr.PublicKey.Equal(issued[n-1].PublicKey) && !o.NewKey {
		return nil, fmt.Errorf("%w: %s", ErrOtherKey, name)
	}
	if device && len(issued) > 0 {
		if have, _, err := identity.HelperHash(issued[len(issued)-1]); err != nil || have != csr.HelperHash {
			return nil, fmt.Errorf("%w: %s", ErrOtherHelper, name)
		}
	}
	if a.cfg.Policy != nil {
		if err := a.cfg.Policy(csr); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrPolicy, name, err)
		}
	}
	if n := len(issued); n > 0 && csr.PublicKey.Equal(issued[n-1].PublicKey) && a.current(issued[n-1]) {
		return a.self().after(issued[n-1].Raw), nil
	}
	t := leaf(name, x509.ExtKeyUsageClientAuth)
	t.DNSNames = []string{name}
	validity := cmp.Or(o.Validity, a.cfg.Validity)
	if device {
		validity = a.cfg.DeviceValidity
	}
	t.NotAfter = a.self().cert.NotAfter
	if validity != 0 {
		t.NotAfter = a.end(a.self(), validity)
	}
	if csr.HelperHash != [sha256.Size]byte{} {
		t.ExtraExtensions = []pkix.Extension{{Id: identity.OIDHelperHash(), Value: identity.MarshalHelperHash(csr.HelperHash)}}
	}
	return a.sign(t, csr.PublicKey, csr.ID, record, issued, func(v *identity.Verifier, chain []*x509.Certificate) error {
		_, err := v.VerifyChain(chain)
		return err
	})
}

// IssueServer returns the certificate chain of a TLS server of platform id under the given hosts, DNS names and IP addresses. The caller
// vouches that pub is the server's key. The same arguments again get the same certificate, as for Issue; the key may be another at any time.
func (a *Authority) IssueServer(pub crypto.PublicKey, id identity.ID, hosts []string) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	chain, err := a.issueServer(pub, id, hosts)
	if err != nil {
		return nil, fmt.Errorf("issue server certificate: %w", err)
	}
	return chain, nil
}

func (a *Authority) issueServer(pub crypto.PublicKey, id identity.ID, hosts []string) ([][]byte, error) {
	if id.Role() != identity.RolePlatform {
		return nil, fmt.Errorf("%w: %q; servers have the name of a platform", identity.ErrRole, id)
	}
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: %T", identity.ErrKey, pub)
	}
	if _, err := identity.MarshalPublicKey(key); err != nil {
		return nil, err
	}
	if err := a.checkKey(key, id); err != nil {
		return nil, err
	}
	t := leaf(id.String(), x509.ExtKeyUsageServerAuth)
	t.DNSNames = []string{id.String()}
	if err := addHosts(t, hosts); err != nil {
		return nil, err
	}
	t.NotAfter = a.end(a.self(), a.cfg.ServerValidity)
	record := recordServer + id.String()
	issued, err := a.load(record)
	if err != nil {
		return nil, err
	}
	revoked, err := a.revoked(issued)
	if err != nil {
		return nil, err
	}
	for i, c := range issued {
		if !key.Equal(c.PublicKey) {
			continue
		}
		if revoked[i] {
			return nil, fmt.Errorf("%w: the key of a server of %s; make a new one", ErrRevoked, id)
		}
		if a.current(c) && slices.Equal(c.DNSNames, t.DNSNames) && slices.EqualFunc(c.IPAddresses, t.IPAddresses, net.IP.Equal) {
			return a.self().after(c.Raw), nil
		}
	}
	return a.sign(t, key, id, record, issued, func(v *identity.Verifier, chain []*x509.Certificate) error {
		_, err := v.VerifyServer(chain, hosts[0])
		return err
	})
}

// addHosts adds the names that clients dial to a server's certificate.
func addHosts(t *x509.Certificate, hosts []string) error {
	if len(hosts) == 0 || len(hosts) > 32 {
		return fmt.Errorf("%d hosts, want 1 to 32", len(hosts))
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if validHost(h) {
			t.DNSNames = append(t.DNSNames, h)
		} else {
			return fmt.Errorf("host %q is neither a DNS name (without wildcard) nor an IP address", h)
		}
	}
	return nil
}

func validHost(h string) bool {
	if len(h) > 253 {
		return false
	}
	for label := range strings.SplitSeq(h, ".") {
		if len(label) < 1 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '-') {
				return false
			}
		}
	}
	return true
}

func leaf(name string, usage x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{usage},
		BasicConstraintsValid: true,
		SignatureAlgorithm:    x509.ECDSAWithSHA256,
	}
}

// sign completes t, signs it, has check look at it as a peer would, and hands it out only when the store has it: a
// certificate that the CA does not know could not be revoked by name.
func (a *Authority) sign(t *x509.Certificate, pub *ecdsa.PublicKey, id identity.ID, record string, issued []*x509.Certificate,
	check func(*identity.Verifier, []*x509.Certificate) error) ([][]byte, error) {
	g := a.self()
	var err error
	if t.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	t.NotBefore = a.begin(g)
	der, err := x509.CreateCertificate(rand.Reader, t, g.cert, pub, g.signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{g.root}, Now: a.cfg.Now})
	if err != nil {
		return nil, err
	}
	if err := check(v, append([]*x509.Certificate{cert}, g.chain...)); err != nil {
		return nil, fmt.Errorf("the certificate would be refused: %w", err)
	}
	// The key's entry first: with it alone nothing is handed out, without it the key could get a second name.
	key, err := keyRecord(pub)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Store.Put(key, []byte(id.String())); err != nil {
		return nil, err
	}
	if err := a.save(record, append(issued, cert)); err != nil {
		return nil, err
	}
	return g.after(der), nil
}

// begin is when a certificate of now begins to be valid.
func (a *Authority) begin(g *generation) time.Time {
	if t := a.cfg.Now().Add(-backdate); t.After(g.cert.NotBefore) {
		return t
	}
	return g.cert.NotBefore
}

// end is when a certificate of now ends: not after that of its CA, with which it would be worth nothing anyway.
func (a *Authority) end(g *generation, validity time.Duration) time.Time {
	if t := a.cfg.Now().Add(validity); t.Before(g.cert.NotAfter) {
		return t
	}
	return g.cert.NotAfter
}

// current reports whether a certificate is worth handing out again: fresh, and of the key that issues now.
func (a *Authority) current(c *x509.Certificate) bool { return a.fresh(c) && a.issuerOf(c) == a.self() }

// fresh reports whether more than a third of a certificate's validity is left.
func (a *Authority) fresh(c *x509.Certificate) bool {
	left := c.NotAfter.Sub(a.cfg.Now()) // saturates for certificates without expiry
	return left > c.NotAfter.Sub(c.NotBefore)/3
}

func (a *Authority) checkKey(pub *ecdsa.PublicKey, id identity.ID) error {
	for _, g := range a.gens {
		if pub.Equal(g.cert.PublicKey) {
			return fmt.Errorf("%w: it is the CA's", ErrKeyInUse)
		}
	}
	return a.checkHolder(pub, id.String())
}

// checkHolder refuses a key that somebody else has.
func (a *Authority) checkHolder(pub *ecdsa.PublicKey, holder string) error {
	key, err := keyRecord(pub)
	if err != nil {
		return err
	}
	name, err := a.cfg.Store.Get(key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case string(name) != holder:
		return fmt.Errorf("%w: %s; it cannot be that of %s too", ErrKeyInUse, name, holder)
	}
	return nil
}

func keyRecord(pub *ecdsa.PublicKey) (string, error) {
	b, err := identity.MarshalPublicKey(pub)
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(b)
	return recordKey + hex.EncodeToString(h[:]), nil
}
