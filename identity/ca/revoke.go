package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"time"

	"github.com/semio-iot/semio/identity"
)

// Revoke revokes every certificate of id, those of its instances and servers excepted where they have another name, and returns the
// revocation lists that name them, as identity.Verifier.AddCRL takes them: one, or after a [RollOver] one for each key that certified id. What is revoked
// already stays so, without a new list. [ErrUnknown]: nothing was issued to id. [ErrEarlierKey]: some of it is on no list, because the key that signs it is
// gone. It gets no certificate again all the same, and the lists that name the rest are returned with the error.
func (a *Authority) Revoke(id identity.ID) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	peers, err := a.load(recordPeer + id.String())
	if err != nil {
		return nil, fmt.Errorf("revoke %s: %w", id, err)
	}
	servers, err := a.load(recordServer + id.String())
	if err != nil {
		return nil, fmt.Errorf("revoke %s: %w", id, err)
	}
	all := slices.Concat(peers, servers)
	if len(all) == 0 {
		return nil, fmt.Errorf("revoke %s: %w", id, ErrUnknown)
	}
	crl, err := a.revoke(all)
	if err != nil {
		return crl, fmt.Errorf("revoke %s: %w", id, err)
	}
	return crl, nil
}

// RevokeCertificate revokes one certificate, also that of an instance ("A-WATER--2"), and returns the lists that name it. With the certificate of another CA
// every one goes that this authority has issued for the same key: each of them is good for what the key signs. [ErrUnknown]: this CA did not issue it.
// [ErrEarlierKey]: as for [Authority.Revoke].
func (a *Authority) RevokeCertificate(cert *x509.Certificate) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("revoke certificate: %w", err) }
	if cert == nil || a.issuerOf(cert) == nil {
		return fail(ErrUnknown)
	}
	if slices.ContainsFunc(a.gens, func(g *generation) bool { return g.cert.Equal(cert) }) {
		return fail(fmt.Errorf("%w: a root cannot revoke itself; have everybody remove it from the roots", ErrUnknown))
	}
	certs, err := a.sameCA(cert)
	if err != nil {
		return fail(err)
	}
	crl, err := a.revoke(certs)
	if err != nil {
		_, err = fail(err)
	}
	return crl, err
}

// sameCA returns cert and, if it is a CA's, all others of its key.
func (a *Authority) sameCA(cert *x509.Certificate) ([]*x509.Certificate, error) {
	out := []*x509.Certificate{cert}
	pub, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !cert.IsCA || !ok {
		return out, nil
	}
	issued, err := a.load(caRecord(cert.Subject.CommonName))
	if err != nil {
		return nil, err
	}
	for _, c := range issued {
		if pub.Equal(c.PublicKey) && !c.Equal(cert) {
			out = append(out, c)
		}
	}
	return out, nil
}

// revoke puts certificates on the lists of the keys that signed them, and returns those lists, together with an error those that there are.
func (a *Authority) revoke(certs []*x509.Certificate) ([]byte, error) {
	var out []byte
	var failed error
	for _, g := range a.gens {
		own := slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return a.issuerOf(c) != g })
		if len(own) == 0 {
			continue
		}
		list, err := a.revokeUnder(g, own)
		if errors.Is(err, ErrEarlierKey) {
			if failed, err = err, a.block(own); err != nil {
				return out, err
			}
			continue
		}
		if err == nil {
			list, err = a.bundle(g, list)
		}
		if err != nil {
			return out, err
		}
		out = append(out, list...)
	}
	return out, failed
}

// block notes certificates that no list can name: for this authority they are revoked.
func (a *Authority) block(certs []*x509.Certificate) error {
	for _, c := range certs {
		if err := a.cfg.Store.Put(blockedRecord(c), []byte(c.Subject.CommonName)); err != nil {
			return err
		}
	}
	return nil
}

func (a *Authority) blocked(c *x509.Certificate) (bool, error) {
	_, err := a.cfg.Store.Get(blockedRecord(c))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (a *Authority) revokeUnder(g *generation, certs []*x509.Certificate) ([]byte, error) {
	list, err := a.list(g)
	if err != nil {
		return nil, err
	}
	entries, n := slices.Clone(list.RevokedCertificateEntries), 0
	for _, c := range certs {
		if !names(entries, c.SerialNumber) {
			entries = append(entries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: a.cfg.Now()})
			n++
		}
	}
	if n == 0 {
		return a.newest(g, list)
	}
	return a.signList(g, list.Number.Uint64()+1, entries)
}

// CRL returns the newest revocation list under each of the authority's keys, the present one first, as identity.Verifier.AddCRL takes them: DER, followed by
// the chain of the CA where it has one. Half its validity gone, a list is signed anew under the next number.
func (a *Authority) CRL() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []byte
	for _, g := range slices.Backward(a.gens) {
		b, err := a.newestBundle(g)
		if err != nil {
			return nil, fmt.Errorf("revocation list: %w", err)
		}
		out = append(out, b...)
	}
	return out, nil
}

func (a *Authority) newestBundle(g *generation) ([]byte, error) {
	list, err := a.list(g)
	if err != nil {
		return nil, err
	}
	der, err := a.newest(g, list)
	if err != nil {
		return nil, err
	}
	return a.bundle(g, der)
}

// bundle adds to a list how verifiers know its issuer: by the roots before it, and by those after it.
func (a *Authority) bundle(g *generation, list []byte) ([]byte, error) {
	var certs []*x509.Certificate
	for _, c := range a.self().cross {
		if !sameAuthority(c, g.cert) {
			continue
		}
		certs = append(certs, c)
		for _, up := range a.self().chain {
			if up.CheckSignatureFrom(g.cert) == nil {
				break // there it came from
			}
			certs = append(certs, up)
		}
		certs = certs[:min(len(certs), identity.MaxChain-1)]
	}
	return identity.CRLBundle{List: list, Issuer: ders(append(certs, g.chain...))}.Marshal()
}

func (a *Authority) newest(g *generation, list *x509.RevocationList) ([]byte, error) {
	half := list.ThisUpdate.Add(list.NextUpdate.Sub(list.ThisUpdate) / 2)
	if g.signer == nil || a.cfg.Now().Before(half) {
		return bytes.Clone(list.Raw), nil
	}
	return a.signList(g, list.Number.Uint64()+1, list.RevokedCertificateEntries)
}

// list reads the newest list from the store. It is not cached: after a Put that failed, the store knows which list stands.
func (a *Authority) list(g *generation) (*x509.RevocationList, error) {
	der, err := a.cfg.Store.Get(listRecord(g.cert))
	if err != nil {
		return nil, fmt.Errorf("%w: the revocation list is missing: %w", ErrStore, err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("%w: revocation list: %w", ErrStore, err)
	}
	if err := list.CheckSignatureFrom(g.cert); err != nil {
		return nil, fmt.Errorf("%w: revocation list: %w", ErrStore, err)
	}
	return list, nil
}

func (a *Authority) signList(g *generation, number uint64, entries []x509.RevocationListEntry) ([]byte, error) {
	der, err := a.makeList(g, number, entries)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Store.Put(listRecord(g.cert), der); err != nil {
		return nil, err
	}
	return der, nil
}

func (a *Authority) makeList(g *generation, number uint64, entries []x509.RevocationListEntry) ([]byte, error) {
	if g.signer == nil {
		return nil, fmt.Errorf("%w: have the CA above revoke the certificate of %q from %s", ErrEarlierKey, a.cfg.Name, g.cert.NotBefore.Format(time.DateOnly))
	}
	clean := make([]x509.RevocationListEntry, len(entries))
	for i, e := range entries {
		clean[i] = x509.RevocationListEntry{SerialNumber: e.SerialNumber, RevocationTime: e.RevocationTime}
	}
	now := a.cfg.Now().Truncate(time.Second)
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number:                    new(big.Int).SetUint64(number),
		ThisUpdate:                now,
		NextUpdate:                now.Add(a.cfg.CRLValidity),
		RevokedCertificateEntries: clean,
		SignatureAlgorithm:        x509.ECDSAWithSHA256,
	}, g.cert, g.signer)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	if len(der) > identity.MaxCRL {
		return nil, fmt.Errorf("revocation list of %d bytes, verifiers take at most %d; roll over to a new key", len(der), identity.MaxCRL)
	}
	return der, nil
}

// revoked tells which of certs the newest lists name, or would if the key were at hand that signs them.
func (a *Authority) revoked(certs []*x509.Certificate) ([]bool, error) {
	lists := map[*generation]*x509.RevocationList{}
	r := make([]bool, len(certs))
	for i, c := range certs {
		g := a.issuerOf(c) // load has refused what nobody signed
		if lists[g] == nil {
			list, err := a.list(g)
			if err != nil {
				return nil, err
			}
			lists[g] = list
		}
		r[i] = names(lists[g].RevokedCertificateEntries, c.SerialNumber)
		if !r[i] && g != a.self() {
			var err error
			if r[i], err = a.blocked(c); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

func names(entries []x509.RevocationListEntry, serial *big.Int) bool {
	return slices.ContainsFunc(entries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 })
}
