package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/crypto/cryptobyte"

	"github.com/semio-iot/semio/identity"
)

// Records of the store. Each change of a peer is one Put of one record, so nothing has to be undone after a power cut.
const (
	recordSelf   = "authority" // version u8 = 1 ‖ generations, oldest first, see generation
	recordCRL    = "crl-"      // + AuthorityID, hex: newest revocation list under that key, DER: number and entries are read from it
	recordPeer   = "peer-"     // + name: version u8 = 1 ‖ certificates in the order of issue, each u16 length ‖ DER
	recordServer = "server-"   // + name: the same, of TLS servers
	recordCA     = "ca-"       // + SHA-256 of the name, hex: the same, of CAs
	recordBlock  = "blocked-"  // + SHA-256 of a certificate, hex: its name. Revoked, but on no list: the key that issued it is gone
	recordKey    = "key-"      // + SHA-256 of the compressed key, hex: the name that it is certified for, of a CA behind "CA "
)

const recordV1 = 1

// recordsBefore are those of an authority in the format before this one.
var recordsBefore = []string{"root", "crl"}

func caRecord(name string) string {
	h := sha256.Sum256([]byte(name))
	return recordCA + hex.EncodeToString(h[:])
}

func blockedRecord(c *x509.Certificate) string {
	h := sha256.Sum256(c.Raw)
	return recordBlock + hex.EncodeToString(h[:])
}

func listRecord(ca *x509.Certificate) string {
	id := identity.AuthorityOf(ca)
	return recordCRL + hex.EncodeToString(id[:])
}

func (a *Authority) load(record string) ([]*x509.Certificate, error) {
	b, err := a.cfg.Store.Get(record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := cryptobyte.String(b)
	var version uint8
	if !s.ReadUint8(&version) || version != recordV1 || s.Empty() {
		return nil, fmt.Errorf("%w: record %s", ErrStore, record)
	}
	var certs []*x509.Certificate
	for !s.Empty() {
		c, err := readCertificate(&s)
		if err != nil {
			return nil, fmt.Errorf("%w: record %s: %w", ErrStore, record, err)
		}
		// The signature stands in for a checksum, and keeps whoever can write to the store from having a foreign key
		// taken for the one that the name was certified with.
		if a.issuerOf(c) == nil {
			return nil, fmt.Errorf("%w: record %s: a certificate is not this authority's", ErrStore, record)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

func (a *Authority) save(record string, certs []*x509.Certificate) error {
	var b cryptobyte.Builder
	b.AddUint8(recordV1)
	for _, c := range certs {
		addCertificate(&b, c)
	}
	out, err := b.Bytes()
	if err != nil {
		return err
	}
	if len(out) > maxValue {
		return fmt.Errorf("record %s: %d bytes, want at most %d: the name has been certified too often", record, len(out), maxValue)
	}
	return a.cfg.Store.Put(record, out)
}

func readCertificate(s *cryptobyte.String) (*x509.Certificate, error) {
	var der cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&der) {
		return nil, errors.New("truncated")
	}
	return x509.ParseCertificate(bytes.Clone(der))
}

func addCertificate(b *cryptobyte.Builder, c *x509.Certificate) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Raw) })
}

func readCertificates(s *cryptobyte.String) ([]*x509.Certificate, error) {
	var n uint8
	if !s.ReadUint8(&n) {
		return nil, errors.New("truncated")
	}
	var out []*x509.Certificate
	for range n {
		c, err := readCertificate(s)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func addCertificates(b *cryptobyte.Builder, certs []*x509.Certificate) {
	b.AddUint8(uint8(len(certs)))
	for _, c := range certs {
		addCertificate(b, c)
	}
}

// marshalGenerations encodes, for each: certificate ‖ count u8, certificates of the chain ‖ root ‖ count u8, cross certificates; a certificate
// is u16 length ‖ DER.
func marshalGenerations(gens []*generation) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordV1)
	for _, g := range gens {
		addCertificate(&b, g.cert)
		addCertificates(&b, g.chain)
		addCertificate(&b, g.root)
		addCertificates(&b, g.cross)
	}
	return b.Bytes()
}

func parseGenerations(b []byte) ([]*generation, error) {
	fail := func(err error) ([]*generation, error) {
		return nil, fmt.Errorf("%w: record %s: %w", ErrStore, recordSelf, err)
	}
	s := cryptobyte.String(b)
	var version uint8
	if !s.ReadUint8(&version) || version != recordV1 || s.Empty() {
		return fail(errors.New("unknown version, or empty"))
	}
	var gens []*generation
	for !s.Empty() {
		g := new(generation)
		var err error
		if g.cert, err = readCertificate(&s); err != nil {
			return fail(err)
		}
		if g.chain, err = readCertificates(&s); err != nil {
			return fail(err)
		}
		if g.root, err = readCertificate(&s); err != nil {
			return fail(err)
		}
		if g.cross, err = readCertificates(&s); err != nil {
			return fail(err)
		}
		if err := g.check(); err != nil {
			return fail(err)
		}
		gens = append(gens, g)
	}
	return gens, nil
}
