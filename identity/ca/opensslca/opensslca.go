package opensslca

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// Config describes the authority. Dir is required. Peers have its ca.pem among their roots; whether somebody else has certified that one plays no part.
type Config struct {
	Dir     string // the folder
	OpenSSL string // the program; "" means openssl
}

// CA is an authority that OpenSSL runs. It is safe for concurrent use in one process.
type CA struct {
	cfg    Config
	issuer *x509.Certificate

	mu sync.Mutex // one openssl at a time works in the folder
}

var _ ca.Client = (*CA)(nil)

// noExpiry is 99991231235959Z, RFC 5280, 4.1.2.5.
var noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Certificate returns ca.pem, which goes among the roots of every peer. It is shared: do not change it.
func (c *CA) Certificate() *x509.Certificate { return c.issuer }

// Open returns the authority in a folder that setup.sh made.
func Open(cfg Config) (*CA, error) {
	if cfg.OpenSSL == "" {
		cfg.OpenSSL = "openssl"
	}
	fail := func(err error) (*CA, error) {
		return nil, fmt.Errorf("open OpenSSL's authority in %s: %w", cfg.Dir, err)
	}
	if _, err := exec.LookPath(cfg.OpenSSL); err != nil {
		return fail(err)
	}
	c := &CA{cfg: cfg}
	b, err := os.ReadFile(c.path("ca.pem"))
	if err != nil {
		return fail(err)
	}
	if c.issuer, err = certificate(b); err != nil {
		return fail(fmt.Errorf("ca.pem: %w", err))
	}
	// ca.pem must be one that peers will take.
	if _, err := c.verifier(); err != nil {
		return fail(err)
	}
	return c, nil
}

func (c *CA) path(name string) string { return filepath.Join(c.cfg.Dir, name) }

func (c *CA) verifier() (*identity.Verifier, error) {
	return identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{c.issuer}})
}

// Issue implements ca.Client.
func (c *CA) Issue(ctx context.Context, csrDER []byte, o ca.IssueOptions) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	chain, err := c.issue(ctx, csrDER, o)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return chain, nil
}

func (c *CA) issue(ctx context.Context, csrDER []byte, o ca.IssueOptions) ([][]byte, error) {
	csr, err := identity.ParseCSR(csrDER) // with the proof of possession, and nothing in it that copy_extensions may not copy
	if err != nil {
		return nil, err
	}
	device := csr.ID.Role() == identity.RoleDevice
	switch {
	case o.Validity < 0:
		return nil, errors.New("a validity is negative")
	case device && o.NewKey:
		return nil, fmt.Errorf("%w: a device keeps its key; NewKey is for other roles", ca.ErrOtherKey)
	}
	all, err := c.database()
	if err != nil {
		return nil, err
	}
	name := csr.ClientID()
	mine := all.of(name, x509.ExtKeyUsageClientAuth)
	if err := all.checkKey(csr.PublicKey, csr.ID, c.issuer); err != nil {
		return nil, err
	}
	for _, r := range mine {
		if r.revoked && (device || csr.PublicKey.Equal(r.cert.PublicKey)) {
			return nil, fmt.Errorf("%w: %s", ca.ErrRevoked, name)
		}
	}
	check := func(v *identity.Verifier, chain []*x509.Certificate) error {
		id, instance, err := v.VerifyClient(chain)
		if err != nil {
			return err
		}
		helper, _, err := identity.HelperHash(chain[0])
		if err == nil && (id != csr.ID || instance != csr.Instance || helper != csr.HelperHash) {
			err = errors.New("it says something else than the request")
		}
		return err
	}
	if n := len(mine); n > 0 {
		last := mine[n-1].cert
		same := csr.PublicKey.Equal(last.PublicKey)
		if !same && !o.NewKey {
			return nil, fmt.Errorf("%w: %s", ca.ErrOtherKey, name)
		}
		if have, _, err := identity.HelperHash(last); device && (err != nil || have != csr.HelperHash) {
			return nil, fmt.Errorf("%w: %s", ca.ErrOtherHelper, name)
		}
		if same && fresh(last) {
			if chain, err := c.checked(last.Raw, csr.PublicKey, check); err == nil {
				return chain, nil
			}
		}
	}
	args := []string{"-extensions", "peer"}
	switch {
	case device:
		args = append(args, "-enddate", stamp(noExpiry))
	case o.Validity > 0:
		args = append(args, "-enddate", stamp(time.Now().Add(o.Validity)))
	}
	der, err := c.sign(ctx, csrDER, "DNS:"+name, args)
	if err != nil {
		return nil, err
	}
	return c.checked(der, csr.PublicKey, check)
}

// IssueServer implements ca.Client.
func (c *CA) IssueServer(ctx context.Context, request []byte) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	chain, err := c.issueServer(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("issue server certificate: %w", err)
	}
	return chain, nil
}

func (c *CA) issueServer(ctx context.Context, request []byte) ([][]byte, error) {
	req, err := ca.ParseServerRequest(request)
	if err != nil {
		return nil, err
	}
	names := []string{"DNS:" + req.ID.String()}
	for _, h := range req.Hosts {
		switch {
		case net.ParseIP(h) != nil:
			names = append(names, "IP:"+h)
		case plainHost(h): // it goes into a line of configuration
			names = append(names, "DNS:"+h)
		default:
			return nil, fmt.Errorf("host %q is neither a DNS name (without wildcard) nor an IP address", h)
		}
	}
	all, err := c.database()
	if err != nil {
		return nil, err
	}
	if err := all.checkKey(req.PublicKey, req.ID.ID, c.issuer); err != nil {
		return nil, err
	}
	check := func(v *identity.Verifier, chain []*x509.Certificate) error {
		id, err := v.VerifyServer(chain, req.Hosts[0])
		if err == nil && id != req.ID {
			err = errors.New("it says something else than the request")
		}
		return err
	}
	for _, r := range all.of(req.ID.String(), x509.ExtKeyUsageServerAuth) {
		if !req.PublicKey.Equal(r.cert.PublicKey) {
			continue
		}
		if r.revoked {
			return nil, fmt.Errorf("%w: the key of a server of %s; make a new one", ca.ErrRevoked, req.ID)
		}
		if fresh(r.cert) && slices.Equal(hosts(r.cert), req.Hosts) {
			if chain, err := c.checked(r.cert.Raw, req.PublicKey, check); err == nil {
				return chain, nil
			}
		}
	}
	der, err := c.sign(ctx, request, strings.Join(names, ","), []string{"-extensions", "server", "-days", "90"})
	if err != nil {
		return nil, err
	}
	return c.checked(der, req.PublicKey, check)
}

// hosts are those of a request that gave the certificate.
func hosts(cert *x509.Certificate) []string {
	var all []string
	if len(cert.DNSNames) > 1 {
		all = append(all, cert.DNSNames[1:]...)
	}
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

func plainHost(h string) bool {
	return h != "" && len(h) <= 253 && strings.Trim(h, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-.") == ""
}

// sign has openssl sign a request and returns the certificate.
func (c *CA) sign(ctx context.Context, request []byte, names string, args []string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "semio-openssl-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	in, out := filepath.Join(tmp, "request.pem"), filepath.Join(tmp, "certificate.pem")
	if err := os.WriteFile(in, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}), 0o600); err != nil {
		return nil, err
	}
	if err := c.run(ctx, names, append([]string{"-notext", "-in", in, "-out", out}, args...)...); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	cert, err := certificate(b)
	if err != nil {
		return nil, fmt.Errorf("openssl's answer: %w", err)
	}
	return cert.Raw, nil
}

// run calls openssl ca in the folder. It is not stopped half-way: its database is several files.
func (c *CA) run(ctx context.Context, names string, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd := exec.Command(c.cfg.OpenSSL, append([]string{"ca", "-config", "openssl.cnf", "-batch"}, args...)...)
	cmd.Dir, cmd.Env = c.cfg.Dir, append(os.Environ(), "SEMIO_SAN="+names, "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("openssl ca: %w: %q", err, bytes.TrimSpace(out[:min(len(out), 2048)]))
	}
	return nil
}

// checked looks at a certificate as a peer will.
func (c *CA) checked(der []byte, pub *ecdsa.PublicKey, check func(*identity.Verifier, []*x509.Certificate) error) ([][]byte, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	v, err := c.verifier()
	if err != nil {
		return nil, err
	}
	if err := check(v, []*x509.Certificate{cert}); err != nil {
		return nil, fmt.Errorf("the certificate that openssl signed would be refused; is openssl.cnf as it was? %w", err)
	}
	if !pub.Equal(cert.PublicKey) {
		return nil, errors.New("the certificate that openssl signed is for another key")
	}
	return [][]byte{bytes.Clone(der)}, nil
}

// fresh is the rule of package ca: a third of the validity is left.
func fresh(cert *x509.Certificate) bool {
	return time.Until(cert.NotAfter) > cert.NotAfter.Sub(cert.NotBefore)/3
}

func stamp(t time.Time) string { return t.UTC().Format("20060102150405Z") }

func certificate(b []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
