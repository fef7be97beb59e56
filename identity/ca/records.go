package ca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/crypto/cryptobyte"
)

// Records of the store. Each change of a peer is one Put of one record, so nothing has to be undone after a power cut.
const (
	recordRoot   = "root"    // root certificate, DER
	recordCRL    = "crl"     // newest revocation list, DER: number and entries are read from it
	recordPeer   = "peer-"   // + name: version u8 = 1 ‖ certificates in the order of issue, each u16 length ‖ DER
	recordServer = "server-" // + name: the same, of TLS servers
	recordKey    = "key-"    // + SHA-256 of the compressed key, hex: the name that it is certified for
)

const recordV1 = 1

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
		var der cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&der) {
			return nil, fmt.Errorf("%w: record %s is truncated", ErrStore, record)
		}
		c, err := x509.ParseCertificate(bytes.Clone(der))
		if err != nil {
			return nil, fmt.Errorf("%w: record %s: %w", ErrStore, record, err)
		}
		// The signature stands in for a checksum, and keeps whoever can write to the store from having a foreign key
		// taken for the one that the name was certified with.
		if err := c.CheckSignatureFrom(a.root); err != nil {
			return nil, fmt.Errorf("%w: record %s: %w", ErrStore, record, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

func (a *Authority) save(record string, certs []*x509.Certificate) error {
	var b cryptobyte.Builder
	b.AddUint8(recordV1)
	for _, c := range certs {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Raw) })
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
