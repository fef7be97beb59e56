package ca

import (
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
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
)

// Defaults of [Config].
const (
	DefaultValidity       = 365 * 24 * time.Hour
	DefaultServerValidity = 90 * 24 * time.Hour
	DefaultCRLValidity    = 30 * 24 * time.Hour
)

// Config describes an authority.
type Config struct {
	Name   string        // common name of the root, 1 to 64 characters; required
	Signer crypto.Signer // the root's key, P-256; required
	Store  Store         // required
	// Policy is asked before a peer certificate is signed; an error refuses the request and is wrapped in what Issue returns. It runs
	// under the lock of the authority and must not call it. nil: every well-formed request is granted.
	Policy func(*identity.CSR) error
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Validity, ServerValidity and CRLValidity replace the defaults where they are not 0.
	Validity, ServerValidity, CRLValidity time.Duration
	// DeviceValidity gives devices an expiry, for an authority that wants them to come back for each certificate. 0: none, as IEEE 802.1AR
	// has them.
	DeviceValidity time.Duration
}

// Authority is a root CA that issues. It is safe for concurrent use.
type Authority struct {
	cfg  Config
	root *x509.Certificate

	mu sync.Mutex // makes each operation on the store one step
}

// noExpiry is the end that RFC 5280, 4.1.2.5 gives a certificate without one.
var noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

const backdate = 5 * time.Minute

// New returns the authority that the store holds, or makes its root certificate and first, empty revocation list in an empty store. It is
// an error when the store holds the root of another key or name.
func New(cfg Config) (*Authority, error) {
	a := &Authority{cfg: cfg}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	return a, nil
}

func (a *Authority) open() error {
	cfg := &a.cfg
	if cfg.Signer == nil || cfg.Store == nil {
		return errors.New("signer and store are required")
	}
	if len(cfg.Name) < 1 || len(cfg.Name) > 64 {
		return errors.New("the name must have 1 to 64 characters")
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
	der, err := cfg.Store.Get(recordRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return a.create()
	}
	if err != nil {
		return err
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("%w: root: %w", ErrStore, err)
	}
	if !cfg.Signer.Public().(*ecdsa.PublicKey).Equal(a.root.PublicKey) || a.root.Subject.CommonName != cfg.Name {
		return fmt.Errorf("%w: it holds the root %q with another key or name than the configuration", ErrStore, a.root.Subject.CommonName)
	}
	if err := a.root.CheckSignatureFrom(a.root); err != nil {
		return fmt.Errorf("%w: root: %w", ErrStore, err)
	}
	_, err = a.list()
	return err
}

// create makes the root. The list is stored before it: a store with a root always has a list, so a list that got lost is
// found to be missing and is not begun again at number 1.
func (a *Authority) create() error {
	serial, err := newSerial()
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: a.cfg.Name},
		NotBefore:             a.cfg.Now().Add(-backdate),
		NotAfter:              noExpiry,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, a.cfg.Signer.Public(), a.cfg.Signer)
	if err != nil {
		return fmt.Errorf("sign root: %w", err)
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("sign root: %w", err)
	}
	if _, err := a.signList(1, nil); err != nil {
		return err
	}
	return a.cfg.Store.Put(recordRoot, der)
}

// Certificate returns the self-signed root certificate. It is shared: do not change it.
func (a *Authority) Certificate() *x509.Certificate { return a.root }

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
