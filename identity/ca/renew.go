package ca

import (
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/semio-iot/semio/identity"
)

// Renew returns the certificate chain for a request of identity.NewCSR by the key that the name is certified with, whether the
// last certificate is still valid or has ended years ago: the request proves the key, and a certificate is of use to its holder alone, so
// it does not matter who brings it. The new certificate is good for as long as the last one was. As long as a third of the last one's
// validity is left, that one is returned again. Errors besides those of [Authority.Issue]: [ErrUnknown], for a name that has no
// certificate yet, which is not for a network to give.
func (a *Authority) Renew(csrDER []byte) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	chain, err := a.renew(csrDER)
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	return chain, nil
}

func (a *Authority) renew(csrDER []byte) ([][]byte, error) {
	csr, err := identity.ParseCSR(csrDER)
	if err != nil {
		return nil, err
	}
	issued, err := a.certified(csr)
	if err != nil {
		return nil, err
	}
	last := issued[len(issued)-1]
	if !csr.PublicKey.Equal(last.PublicKey) {
		return nil, fmt.Errorf("%w: %s", ErrOtherKey, csr.ClientID())
	}
	return a.issue(csrDER, IssueOptions{Validity: a.lifetime(last)})
}

// Rekey returns the certificate chain for a request of identity.NewRekey: the key that the name is certified with, valid or ended, vouches
// for a new one. The same request again gets the certificate again, until yet another key has followed. The old key's
// certificates stay valid until they end or are revoked: whoever fears that the old key is known revokes them, once the new one is in use.
// Errors besides those of [Authority.Renew]: [ErrOften]; identity.ErrSignature, when another key than the last one vouches, as in a request from before the
// last change; identity.ErrRole for devices.
func (a *Authority) Rekey(request []byte) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	chain, err := a.rekey(request)
	if err != nil {
		return nil, fmt.Errorf("rekey: %w", err)
	}
	return chain, nil
}

// maxRekeyed is how often a name may change its key by itself. It leaves room in the name's record for an operator to certify yet another
// one, after a thief of a key has changed it as often as he could.
const maxRekeyed = 64

func (a *Authority) rekey(request []byte) ([][]byte, error) {
	r, err := identity.ParseRekey(request)
	if err != nil {
		return nil, err
	}
	issued, err := a.certified(r.CSR)
	if err != nil {
		return nil, err
	}
	name, last := r.ClientID(), issued[len(issued)-1]
	if r.PublicKey.Equal(last.PublicKey) {
		return a.renew(r.DER) // the answer of the first time was lost
	}
	if err := r.Verify(last.PublicKey.(*ecdsa.PublicKey)); err != nil {
		return nil, fmt.Errorf("%s: it has to be signed by the key that is certified now: %w", name, err)
	}
	revoked, err := a.revoked(issued)
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for i, c := range issued {
		keys[string(c.RawSubjectPublicKeyInfo)] = true
		switch {
		case revoked[i] && last.PublicKey.(*ecdsa.PublicKey).Equal(c.PublicKey):
			return nil, fmt.Errorf("%w: %s; a revoked key vouches for nobody", ErrRevoked, name)
		case r.PublicKey.Equal(c.PublicKey):
			return nil, fmt.Errorf("%w: %s had this one before; a key that was replaced does not come back", ErrOtherKey, name)
		}
	}
	if len(keys) > maxRekeyed {
		return nil, fmt.Errorf("%w: %s has had %d; an operator can issue a certificate for a new one", ErrOften, name, len(keys))
	}
	return a.issue(r.DER, IssueOptions{NewKey: true, Validity: a.lifetime(last)})
}

// certified returns what was issued to the name of a request, at least one.
func (a *Authority) certified(csr *identity.CSR) ([]*x509.Certificate, error) {
	issued, err := a.load(recordPeer + csr.ClientID())
	if err == nil && len(issued) == 0 {
		err = fmt.Errorf("%w: %s; its first certificate comes from an operator", ErrUnknown, csr.ClientID())
	}
	return issued, err
}

// lifetime is for how long a certificate was issued, 0 where the end of its CA has cut it short: the next CA need not keep to that.
func (a *Authority) lifetime(c *x509.Certificate) time.Duration {
	if g := a.issuerOf(c); g != nil && c.NotAfter.Equal(g.cert.NotAfter) {
		return 0
	}
	return max(0, c.NotAfter.Sub(c.NotBefore)-backdate)
}
