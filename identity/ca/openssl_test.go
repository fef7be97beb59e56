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

// What we issue must be good for stacks that are not Go's.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed; certificates are not shown to a second implementation")
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	run := func(args ...string) (string, error) {
		out, err := exec.Command("openssl", args...).CombinedOutput()
		return string(out), err
	}
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
