package ca_test

import (
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// shown is what an authority gives out, as PEM files for other programs.
type shown struct {
	t    *testing.T
	tool string
	dir  string
	ca   *ca.Authority
}

func show(t *testing.T, tool, pkg string) *shown {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not installed (apt-get install %s); certificates are not shown to its implementation", tool, pkg)
	}
	return &shown{t: t, tool: tool, dir: t.TempDir(), ca: newCA(t, ca.Config{})}
}

func (s *shown) write(name, kind string, ders ...[]byte) string {
	path := filepath.Join(s.dir, name)
	var b []byte
	for _, der := range ders {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	require.NoError(s.t, os.WriteFile(path, b, 0o600))
	return path
}

func (s *shown) certificate(name string, der []byte) string {
	return s.write(name+".pem", "CERTIFICATE", der)
}

func (s *shown) list(name string, der []byte) string { return s.write(name+".pem", "X509 CRL", der) }

func (s *shown) try(args ...string) (string, error) {
	out, err := exec.Command(s.tool, args...).CombinedOutput()
	return string(out), err
}

// accepts returns what the tool said.
func (s *shown) accepts(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	require.NoError(s.t, err, "%s %v: %s", s.tool, args, out)
	return out
}

// refuses wants the tool to fail and to say why.
func (s *shown) refuses(why string, args ...string) {
	s.t.Helper()
	out, err := s.try(args...)
	require.Error(s.t, err, "%s %v: %s", s.tool, args, out)
	require.Contains(s.t, out, why)
}

// peers calls f for one peer of each role and for an instance.
func (s *shown) peers(f func(name string, csr, cert []byte)) {
	app := newKey(s.t) // an application's instances have its key
	for _, name := range []string{"D-1", "A-WATER", "A-WATER--2", "P-1", "R-FACTORY-1", "O-ADMIN"} {
		id, instance, err := identity.ParseClientID(name)
		require.NoError(s.t, err)
		k, o := newKey(s.t), identity.CSROptions{Instance: instance}
		switch id.Role() {
		case identity.RoleDevice:
			o.HelperHash = [32]byte{1}
		case identity.RoleApplication:
			k = app
		}
		csr, err := identity.NewCSR(k, id, o)
		require.NoError(s.t, err)
		chain, err := s.ca.Issue(csr, ca.IssueOptions{})
		require.NoError(s.t, err)
		f(name, csr, chain[0])
	}
}

// What we issue must be good for stacks that are not Go's: OpenSSL's.
func TestOpenSSLTakesEveryRole(t *testing.T) {
	s := show(t, "openssl", "openssl")
	root := s.certificate("root", s.ca.Certificate().Raw)
	s.accepts("verify", "-x509_strict", "-CAfile", root, root)
	server, err := s.ca.IssueServer(newKey(t).Public(), parseID(t, "P-1"), []string{"localhost", "127.0.0.1"})
	require.NoError(t, err)
	srv := s.certificate("server", server[0])
	crl, err := s.ca.CRL()
	require.NoError(t, err)
	list := s.list("crl", crl)
	s.accepts("crl", "-noout", "-CAfile", root, "-in", list)
	require.Regexp(t, `X509v3 CRL Number:\s+1\n`, s.accepts("crl", "-noout", "-text", "-in", list))

	s.peers(func(name string, csr, cert []byte) {
		out := s.accepts("req", "-verify", "-noout", "-text", "-in", s.write(name+".csr", "CERTIFICATE REQUEST", csr))
		require.Contains(t, out, "DNS:"+name)
		leaf := s.certificate(name, cert)
		s.accepts("verify", "-x509_strict", "-purpose", "sslclient", "-crl_check", "-CRLfile", list, "-CAfile", root, leaf)
		s.refuses("unsuitable certificate purpose", "verify", "-purpose", "sslserver", "-CAfile", root, leaf)
		out = s.accepts("x509", "-noout", "-text", "-in", leaf)
		for _, want := range []string{"CN = " + name, "DNS:" + name, "TLS Web Client Authentication", "CA:FALSE", "ecdsa-with-SHA256", "prime256v1"} {
			require.Contains(t, out, want)
		}
		if name == "D-1" {
			require.Contains(t, out, "2.25.742546152", "the helper data hash")
			require.Contains(t, out, "Not After : Dec 31 23:59:59 9999 GMT")
		}
	})
	s.accepts("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost", "-CAfile", root, srv)
	s.accepts("verify", "-purpose", "sslserver", "-verify_ip", "127.0.0.1", "-CAfile", root, srv)
	s.refuses("unsuitable certificate purpose", "verify", "-purpose", "sslclient", "-CAfile", root, srv)
	s.refuses("hostname mismatch", "verify", "-verify_hostname", "example.org", "-CAfile", root, srv)

	leaf := filepath.Join(s.dir, "D-1.pem")
	crl, err = s.ca.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	s.refuses("certificate revoked", "verify", "-crl_check", "-CRLfile", s.list("crl2", crl), "-CAfile", root, leaf)
	s.refuses("error", "verify", "-CAfile", s.certificate("other", newCA(t, ca.Config{}).Certificate().Raw), leaf)
}

// And GnuTLS's.
func TestGnuTLSTakesEveryRole(t *testing.T) {
	s := show(t, "certtool", "gnutls-bin")
	root := s.certificate("root", s.ca.Certificate().Raw)
	server, err := s.ca.IssueServer(newKey(t).Public(), parseID(t, "P-1"), []string{"localhost", "127.0.0.1"})
	require.NoError(t, err)
	srv := s.certificate("server", server[0])
	crl, err := s.ca.CRL()
	require.NoError(t, err)
	list := s.list("crl", crl)
	require.Contains(t, s.accepts("--verify-crl", "--load-ca-certificate", root, "--infile", list), "output: Verified")
	require.Contains(t, s.accepts("--crl-info", "--infile", list), "CRL Number (not critical): 01")

	const client, serverAuth = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"
	s.peers(func(name string, csr, cert []byte) {
		out := s.accepts("--crq-info", "--infile", s.write(name+".csr", "CERTIFICATE REQUEST", csr))
		require.Contains(t, out, "Self signature: verified")
		require.Contains(t, out, "DNSname: "+name)
		leaf := s.certificate(name, cert)
		require.Contains(t, s.accepts("--verify", "--verify-purpose", client, "--load-ca-certificate", root, "--load-crl", list, "--infile", leaf), "Output: Verified")
		s.refuses("Not verified", "--verify", "--verify-purpose", serverAuth, "--load-ca-certificate", root, "--infile", leaf)
		out = s.accepts("--certificate-info", "--infile", leaf)
		for _, want := range []string{"CN=" + name, "DNSname: " + name, "TLS WWW Client", "CA): FALSE", "ECDSA-SHA256", "SECP256R1"} {
			require.Contains(t, out, want)
		}
		if name == "D-1" {
			require.Contains(t, out, "2.25.742546152", "the helper data hash")
			require.Contains(t, out, "9999")
		}
	})
	require.Contains(t, s.accepts("--verify", "--verify-purpose", serverAuth, "--verify-hostname", "localhost", "--load-ca-certificate", root, "--infile", srv), "Output: Verified")
	s.refuses("Not verified", "--verify", "--verify-hostname", "example.org", "--load-ca-certificate", root, "--infile", srv)

	leaf := filepath.Join(s.dir, "D-1.pem")
	crl, err = s.ca.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	s.refuses("revoked", "--verify", "--load-ca-certificate", root, "--load-crl", s.list("crl2", crl), "--infile", leaf)
	s.refuses("Not verified", "--verify", "--load-ca-certificate", s.certificate("other", newCA(t, ca.Config{}).Certificate().Raw), "--infile", leaf)
}
