package opensslca

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/atomicfile"
)

// Revoke implements ca.Client.
func (c *CA) Revoke(ctx context.Context, id identity.ID) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	crl, err := c.revoke(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("revoke %s: %w", id, err)
	}
	return crl, nil
}

func (c *CA) revoke(ctx context.Context, id identity.ID) ([]byte, error) {
	all, err := c.database()
	if err != nil {
		return nil, err
	}
	known := false
	for _, r := range all {
		if r.cert.Subject.CommonName != id.String() {
			continue
		}
		known = true
		if !r.revoked {
			if err := c.run(ctx, "DNS:"+id.String(), "-revoke", r.file); err != nil {
				return nil, err
			}
		}
	}
	if !known {
		return nil, ca.ErrUnknown
	}
	return c.list(ctx)
}

// CRL implements ca.Client.
func (c *CA) CRL(ctx context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	crl, err := c.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	return crl, nil
}

// list returns the newest list. It is signed anew when one is missing, when the database has revocations that it does not name (openssl was
// interrupted between the two, or was used by hand), and when half its time is over.
func (c *CA) list(ctx context.Context) ([]byte, error) {
	all, err := c.database()
	if err != nil {
		return nil, err
	}
	old, err := c.read("crl.pem")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && time.Until(old.NextUpdate) > old.NextUpdate.Sub(old.ThisUpdate)/2 && names(old, all) {
		return old.Raw, nil
	}
	// crlnumber goes up before the list is ours: a number may be left out, and is never given twice.
	if err := c.run(ctx, "DNS:NOBODY", "-gencrl", "-out", "crl.pem.new"); err != nil {
		return nil, err
	}
	list, err := c.read("crl.pem.new")
	if err != nil {
		return nil, err
	}
	v, err := c.verifier()
	if err != nil {
		return nil, err
	}
	if err := v.AddCRL(list.Raw); err != nil {
		return nil, fmt.Errorf("the list that openssl signed would be refused: %w", err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list.Raw})
	if err := atomicfile.WriteFS(atomicfile.OS{}, c.path("crl.pem"), b, 0o600); err != nil {
		return nil, err
	}
	return list.Raw, os.Remove(c.path("crl.pem.new"))
}

// names reports whether the list names every certificate that was revoked.
func names(list *x509.RevocationList, all records) bool {
	for _, r := range all {
		if r.revoked && !slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(r.cert.SerialNumber) == 0
		}) {
			return false
		}
	}
	return true
}

func (c *CA) read(name string) (*x509.RevocationList, error) {
	b, err := os.ReadFile(c.path(name))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "X509 CRL" {
		return nil, fmt.Errorf("%w: %s is no revocation list", ca.ErrStore, name)
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err == nil {
		err = list.CheckSignatureFrom(c.issuer)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ca.ErrStore, name, err)
	}
	return list, nil
}
