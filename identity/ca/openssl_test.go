package ca_test

import (
	"crypto"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// openssl returns how to write PEM files and to run the program, whose failures are wanted at times.
func openssl(t *testing.T) (write func(name, kind string, ders ...[]byte) string, run func(args ...string) (string, error)) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed; certificates are not shown to a second implementation")
	}
	dir := t.TempDir()
	write = func(name, kind string, ders ...[]byte) string {
		path := filepath.Join(dir, name)
		var b []byte
		for _, der := range ders {
			b = append(b, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		}
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	run = func(args ...string) (string, error) {
		out, err := exec.Command("openssl", args...).CombinedOutput()
		return string(out), err
	}
	return write, run
}

// What we issue must be good for stacks that are not Go's.
func TestOpenSSL(t *testing.T) {
	write, run := openssl(t)
	a := newCA(t, ca.Config{})
	csr := newCSR(t, newKey(t), "D-1", identity.CSROptions{HelperHash: [32]byte{1}})
	out, err := run("req", "-verify", "-noout", "-in", write("csr.pem", "CERTIFICATE REQUEST", csr))
	require.NoError(t, err, out)
	chain, err := a.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	server, err := a.IssueServer(newKey(t).Public(), parseID(t, "P-1"), []string{"localhost", "127.0.0.1"})
	require.NoError(t, err)
	crl, err := a.CRL()
	require.NoError(t, err)

	root := write("root.pem", "CERTIFICATE", a.Certificate().Raw)
	leaf := write("leaf.pem", "CERTIFICATE", chain[0])
	srv := write("server.pem", "CERTIFICATE", server[0])
	list := write("crl.pem", "X509 CRL", crl)
	for name, args := range map[string][]string{
		"client":      {"verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", root, leaf},
		"server":      {"verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost", "-CAfile", root, srv},
		"server IP":   {"verify", "-purpose", "sslserver", "-verify_ip", "127.0.0.1", "-CAfile", root, srv},
		"not revoked": {"verify", "-crl_check", "-CRLfile", list, "-CAfile", root, leaf},
		"list":        {"crl", "-noout", "-CAfile", root, "-in", list},
	} {
		out, err := run(args...)
		require.NoError(t, err, "%s: %s", name, out)
	}
	crl, err = a.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	list = write("crl2.pem", "X509 CRL", crl)
	for name, d := range map[string]struct {
		args []string
		want string
	}{
		"revoked":          {[]string{"verify", "-crl_check", "-CRLfile", list, "-CAfile", root, leaf}, "certificate revoked"},
		"client as server": {[]string{"verify", "-purpose", "sslserver", "-CAfile", root, leaf}, "unsuitable certificate purpose"},
		"server as client": {[]string{"verify", "-purpose", "sslclient", "-CAfile", root, srv}, "unsuitable certificate purpose"},
		"other CA":         {[]string{"verify", "-CAfile", write("r2.pem", "CERTIFICATE", newCA(t, ca.Config{}).Certificate().Raw), leaf}, "error"},
	} {
		out, err := run(d.args...)
		require.Error(t, err, name)
		require.Contains(t, out, d.want, name)
	}
}

// Issuing CAs, cross certificates and their lists too.
func TestOpenSSLHierarchy(t *testing.T) {
	write, run := openssl(t)
	key1, key2, store := newKey(t), newKey(t), &ca.MemStore{}
	first := newCA(t, ca.Config{Signer: key1, Store: store})
	old := write("old.pem", "CERTIFICATE", peer(t, first, newKey(t), "D-OLD").Chain[0])
	root, err := ca.RollOver(ca.Config{Name: "test root", Signer: key2, Store: store, Earlier: []crypto.Signer{key1}})
	require.NoError(t, err)
	subKey := newKey(t)
	request := caRequest(t, subKey, "test issuing")
	out, err := run("req", "-verify", "-noout", "-in", write("request.pem", "CERTIFICATE REQUEST", request))
	require.NoError(t, err, out)
	chain, err := root.CertifyCA(request, ca.CAOptions{})
	require.NoError(t, err)
	sub, err := ca.New(ca.Config{Name: "test issuing", Signer: subKey, Store: &ca.MemStore{}, Root: root.Certificate(), Chain: chain})
	require.NoError(t, err)
	dev := peer(t, sub, newKey(t), "D-1")
	server, err := sub.IssueServer(newKey(t).Public(), parseID(t, "P-1"), []string{"localhost"})
	require.NoError(t, err)
	require.Len(t, dev.Chain, 3)

	root1, root2 := write("root1.pem", "CERTIFICATE", first.Certificate().Raw), write("root2.pem", "CERTIFICATE", root.Certificate().Raw)
	leaf, more := write("leaf.pem", "CERTIFICATE", dev.Chain[0]), write("more.pem", "CERTIFICATE", dev.Chain[1:]...)
	cross := write("cross.pem", "CERTIFICATE", root.CrossCertificates()[0].Raw)
	lists := func(name string) string {
		var all [][]byte
		for _, a := range []*ca.Authority{root, sub} {
			crl, err := a.CRL()
			require.NoError(t, err)
			bundles, err := identity.ParseCRLs(crl)
			require.NoError(t, err)
			for _, b := range bundles {
				all = append(all, b.List)
			}
		}
		return write(name, "X509 CRL", all...)
	}
	before := lists("before.pem")
	strict := []string{"verify", "-x509_strict", "-crl_check_all", "-CRLfile", before}
	for name, args := range map[string][]string{
		"new root":              append(strict, "-purpose", "sslclient", "-CAfile", root2, "-untrusted", more, leaf),
		"old root":              append(strict, "-purpose", "sslclient", "-CAfile", root1, "-untrusted", more, leaf),
		"server":                append(strict, "-purpose", "sslserver", "-CAfile", root2, "-untrusted", more, write("server.pem", "CERTIFICATE", server[0])),
		"of the old, new root":  append(strict, "-CAfile", root2, "-untrusted", cross, old),
		"of the old, old root":  append(strict, "-CAfile", root1, old),
		"list of an issuing CA": {"crl", "-noout", "-CAfile", write("sub.pem", "CERTIFICATE", sub.Certificate().Raw), "-in", write("sublist.pem", "X509 CRL", subList(t, sub))},
	} {
		out, err := run(args...)
		require.NoError(t, err, "%s: %s", name, out)
	}
	out, err = run("verify", "-CAfile", root2, leaf)
	require.Error(t, err, out)
	_, err = sub.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	out, err = run("verify", "-crl_check_all", "-CRLfile", lists("leaf-revoked.pem"), "-CAfile", root2, "-untrusted", more, leaf)
	require.Error(t, err)
	require.Contains(t, out, "error 23 at 0 depth lookup: certificate revoked")
	_, err = root.RevokeCertificate(sub.Certificate())
	require.NoError(t, err)
	other := write("other.pem", "CERTIFICATE", peer(t, sub, newKey(t), "D-2").Chain[0])
	out, err = run("verify", "-crl_check_all", "-CRLfile", lists("ca-revoked.pem"), "-CAfile", root2, "-untrusted", more, other)
	require.Error(t, err)
	require.Contains(t, out, "error 23 at 1 depth lookup: certificate revoked")

	// An issuing CA whose key OpenSSL has made.
	dir := t.TempDir()
	out, err = run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", filepath.Join(dir, "key.pem"),
		"-subj", "/CN=openssl issuing", "-outform", "DER", "-out", filepath.Join(dir, "request.der"), "-sha256",
		"-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	require.NoError(t, err, out)
	der, err := os.ReadFile(filepath.Join(dir, "request.der"))
	require.NoError(t, err)
	chain, err = root.CertifyCA(der, ca.CAOptions{})
	require.NoError(t, err)
	out, err = run("verify", "-x509_strict", "-CAfile", root2, write("theirs.pem", "CERTIFICATE", chain[0]))
	require.NoError(t, err, out)
}

func subList(t *testing.T, a *ca.Authority) []byte {
	crl, err := a.CRL()
	require.NoError(t, err)
	bundles, err := identity.ParseCRLs(crl)
	require.NoError(t, err)
	return bundles[0].List
}

// GnuTLS is a third opinion.
func TestCerttool(t *testing.T) {
	if _, err := exec.LookPath("certtool"); err != nil {
		t.Skip("certtool is not installed (Debian: gnutls-bin)")
	}
	dir := t.TempDir()
	write := func(name, kind string, ders ...[]byte) string {
		var b []byte
		for _, der := range ders {
			b = append(b, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		}
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	run := func(args ...string) (string, error) {
		out, err := exec.Command("certtool", args...).CombinedOutput()
		return string(out), err
	}
	root := newCA(t, ca.Config{})
	sub := newIssuing(t, root, ca.Config{})
	k := newKey(t)
	csr := newCSR(t, k, "D-1", identity.CSROptions{HelperHash: [32]byte{1}})
	chain, err := sub.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	crl := subList(t, sub)
	anchor := write("root.pem", "CERTIFICATE", root.Certificate().Raw)
	whole := write("chain.pem", "CERTIFICATE", chain...)
	for name, args := range map[string][]string{
		"chain":   {"--verify", "--verify-profile", "medium", "--load-ca-certificate", anchor, "--infile", whole},
		"request": {"--crq-info", "--infile", write("csr.pem", "CERTIFICATE REQUEST", csr)},
		"list":    {"--verify-crl", "--load-ca-certificate", write("sub.pem", "CERTIFICATE", sub.Certificate().Raw), "--infile", write("crl.pem", "X509 CRL", crl)},
		"text":    {"--certificate-info", "--infile", whole},
	} {
		out, err := run(args...)
		require.NoError(t, err, "%s: %s", name, out)
	}
	out, err := run("--crq-info", "--infile", filepath.Join(dir, "csr.pem"))
	require.NoError(t, err)
	require.Contains(t, out, "Self signature: verified")
	_, err = sub.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	list := write("revoked.pem", "X509 CRL", subList(t, sub))
	out, err = run("--verify", "--load-ca-certificate", anchor, "--load-crl", list, "--infile", whole)
	require.Error(t, err)
	require.Contains(t, out, "revoked")
}
