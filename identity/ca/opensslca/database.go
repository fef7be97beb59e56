package opensslca

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// record is a line of index.txt with its certificate.
type record struct {
	cert    *x509.Certificate
	file    string // in the folder
	revoked bool
}

// records are in the order in which they were issued.
type records []record

// database reads what openssl has issued: index.txt has a line for each certificate, status V, R or E, end, revocation, serial number, file
// and subject parted by tabs.
func (c *CA) database() (records, error) {
	b, err := os.ReadFile(c.path("index.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w; after a power cut it may be called index.txt.new", ca.ErrStore, err)
	}
	if err != nil {
		return nil, err
	}
	var all records
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if len(f) != 6 || strings.Trim(f[3], "0123456789ABCDEF") != "" {
			return nil, fmt.Errorf("%w: index.txt, line %q", ca.ErrStore, line)
		}
		r := record{file: filepath.Join("newcerts", f[3]+".pem"), revoked: f[0] == "R"}
		b, err := os.ReadFile(c.path(r.file))
		if err == nil {
			r.cert, err = certificate(b)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ca.ErrStore, r.file, err)
		}
		if err := r.cert.CheckSignatureFrom(c.issuer); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ca.ErrStore, r.file, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// of returns the certificates of a client ID for one use.
func (all records) of(clientID string, usage x509.ExtKeyUsage) records {
	var some records
	for _, r := range all {
		if r.cert.Subject.CommonName == clientID && slices.Contains(r.cert.ExtKeyUsage, usage) {
			some = append(some, r)
		}
	}
	return some
}

// checkKey refuses a key that another name has, or the authority.
func (all records) checkKey(pub *ecdsa.PublicKey, id identity.ID, issuer *x509.Certificate) error {
	if pub.Equal(issuer.PublicKey) {
		return fmt.Errorf("%w: it is the CA's", ca.ErrKeyInUse)
	}
	for _, r := range all {
		if !pub.Equal(r.cert.PublicKey) {
			continue
		}
		if has, _, err := identity.ParseClientID(r.cert.Subject.CommonName); err != nil || has != id {
			return fmt.Errorf("%w: %s; it cannot be that of %s too", ca.ErrKeyInUse, r.cert.Subject.CommonName, id)
		}
	}
	return nil
}
