package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/semio-iot/semio/identity"
)

// Revoke revokes every certificate of id, those of its instances and servers excepted where they have another name, and returns the
// revocation list that names them. What is revoked already stays so, without a new list. [ErrUnknown]: nothing was issued to id.
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
		return nil, fmt.Errorf("revoke %s: %w", id, err)
	}
	return crl, nil
}

// RevokeCertificate revokes one certificate, also that of an instance ("A-WATER--2"), and returns the list that names it. [ErrUnknown]: this CA did not
// issue it.
func (a *Authority) RevokeCertificate(cert *x509.Certificate) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cert == nil || cert.CheckSignatureFrom(a.root) != nil || cert.IsCA {
		return nil, fmt.Errorf("revoke certificate: %w", ErrUnknown)
	}
	crl, err := a.revoke([]*x509.Certificate{cert})
	if err != nil {
		return nil, fmt.Errorf("revoke certificate: %w", err)
	}
	return crl, nil
}

func (a *Authority) revoke(certs []*x509.Certificate) ([]byte, error) {
	list, err := a.list()
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
		return a.current(list)
	}
	return a.signList(list.Number.Uint64()+1, entries)
}

// CRL returns the newest revocation list, DER. Half its validity gone, it is signed anew under the next number.
func (a *Authority) CRL() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list, err := a.list()
	if err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	crl, err := a.current(list)
	if err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	return crl, nil
}

func (a *Authority) current(list *x509.RevocationList) ([]byte, error) {
	if a.cfg.Now().Before(list.ThisUpdate.Add(list.NextUpdate.Sub(list.ThisUpdate) / 2)) {
		return bytes.Clone(list.Raw), nil
	}
	return a.signList(list.Number.Uint64()+1, list.RevokedCertificateEntries)
}

// list reads the newest list from the store. It is not cached: after a Put that failed, the store knows which list stands.
func (a *Authority) list() (*x509.RevocationList, error) {
	der, err := a.cfg.Store.Get(recordCRL)
	if err != nil {
		return nil, fmt.Errorf("%w: the revocation list is missing: %w", ErrStore, err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("%w: revocation list: %w", ErrStore, err)
	}
	if err := list.CheckSignatureFrom(a.root); err != nil {
		return nil, fmt.Errorf("%w: revocation list: %w", ErrStore, err)
	}
	return list, nil
}

func (a *Authority) signList(number uint64, entries []x509.RevocationListEntry) ([]byte, error) {
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
	}, a.root, a.cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	if len(der) > identity.MaxCRL {
		return nil, fmt.Errorf("revocation list of %d bytes, verifiers take at most %d; found a new CA", len(der), identity.MaxCRL)
	}
	if err := a.cfg.Store.Put(recordCRL, der); err != nil {
		return nil, err
	}
	return der, nil
}

// revoked tells which of certs the newest list names.
func (a *Authority) revoked(certs []*x509.Certificate) ([]bool, error) {
	list, err := a.list()
	if err != nil {
		return nil, err
	}
	r := make([]bool, len(certs))
	for i, c := range certs {
		r[i] = names(list.RevokedCertificateEntries, c.SerialNumber)
	}
	return r, nil
}

func names(entries []x509.RevocationListEntry, serial *big.Int) bool {
	return slices.ContainsFunc(entries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 })
}
