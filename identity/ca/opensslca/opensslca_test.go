package opensslca_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/opensslca"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func id(t testing.TB, name string) identity.ID {
	t.Helper()
	i, err := identity.ParseID(name)
	require.NoError(t, err)
	return i
}

func request(t testing.TB, k *ecdsa.PrivateKey, name string) []byte {
	t.Helper()
	i, instance, err := identity.ParseClientID(name)
	require.NoError(t, err)
	o := identity.CSROptions{Instance: instance}
	if i.Role() == identity.RoleDevice {
		o.HelperHash = sha256.Sum256([]byte("helper data of " + name))
	}
	csr, err := identity.NewCSR(k, i, o)
	require.NoError(t, err)
	return csr
}

func serverRequest(t testing.TB, k *ecdsa.PrivateKey, name string, hosts ...string) []byte {
	t.Helper()
	r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			r.IPAddresses = append(r.IPAddresses, ip)
		} else {
			r.DNSNames = append(r.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, k)
	require.NoError(t, err)
	return der
}

func parse(t testing.TB, chain [][]byte) *x509.Certificate {
	t.Helper()
	require.Len(t, chain, 1)
	c, err := x509.ParseCertificate(chain[0])
	require.NoError(t, err)
	return c
}

func number(t testing.TB, crl []byte) int64 {
	t.Helper()
	l, err := x509.ParseRevocationList(crl)
	require.NoError(t, err)
	return l.Number.Int64()
}

// authority makes one as its documentation says.
func authority(t testing.TB) (*opensslca.CA, string) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed: apt-get install openssl")
	}
	dir := filepath.Join(t.TempDir(), "ca")
	out, err := exec.Command("/bin/sh", "./setup.sh", dir, "OpenSSL root").CombinedOutput()
	require.NoError(t, err, "%s", out)
	a, err := opensslca.Open(opensslca.Config{Dir: dir})
	require.NoError(t, err)
	return a, dir
}

func verifier(t testing.TB, a *opensslca.CA) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{a.Certificate()}})
	require.NoError(t, err)
	return v
}

// credential has the certificate issued and endorses a key with it, as production does.
func credential(t testing.TB, a ca.Client, k *ecdsa.PrivateKey, name string) identity.Credential {
	t.Helper()
	chain, err := a.Issue(t.Context(), request(t, k, name), ca.IssueOptions{})
	require.NoError(t, err)
	agreement, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	e, err := identity.Endorse(k, chain[0], agreement.PublicKey(), identity.EndorseOptions{Generation: 1})
	require.NoError(t, err)
	return identity.Credential{Chain: chain, Endorsement: e}
}

// What OpenSSL issues must be good for our verifiers, for every role, and its list must end a device.
func TestRoles(t *testing.T) {
	a, _ := authority(t)
	v := verifier(t, a)
	creds := map[string]identity.Credential{}
	for _, name := range []string{"D-1", "A-WATER", "P-1", "R-FACTORY-1", "O-ADMIN"} {
		creds[name] = credential(t, a, newKey(t), name)
		p, err := v.Verify(creds[name], identity.Role(name[0]))
		require.NoError(t, err, name)
		require.Equal(t, name, p.ID().String())
		leaf := parse(t, creds[name].Chain)
		h, ok := p.HelperHash()
		require.Equal(t, name[0] == 'D', ok)
		if ok {
			require.Equal(t, sha256.Sum256([]byte("helper data of D-1")), h)
			require.Equal(t, "99991231235959Z", leaf.NotAfter.UTC().Format("20060102150405Z"), "a device's has no expiry")
		} else {
			require.WithinDuration(t, time.Now().AddDate(1, 0, 0), leaf.NotAfter, 48*time.Hour)
		}
	}
	chain, err := a.Issue(t.Context(), request(t, newKey(t), "A-WELL--2"), ca.IssueOptions{Validity: 48 * time.Hour})
	require.NoError(t, err)
	_, instance, err := v.VerifyClient([]*x509.Certificate{parse(t, chain)})
	require.NoError(t, err)
	require.Equal(t, "2", instance)
	require.WithinDuration(t, time.Now().Add(48*time.Hour), parse(t, chain).NotAfter, time.Hour)

	crl, err := a.CRL(t.Context())
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))
	require.EqualValues(t, 1, number(t, crl))
	again, err := a.CRL(t.Context())
	require.NoError(t, err)
	require.Equal(t, crl, again, "a list is signed anew when there is a reason")

	crl, err = a.Revoke(t.Context(), id(t, "D-1"))
	require.NoError(t, err)
	require.NoError(t, v.VerifyRevoked(crl, creds["D-1"]))
	require.NoError(t, v.AddCRL(crl))
	require.EqualValues(t, 2, number(t, crl))
	_, err = v.Verify(creds["D-1"], identity.RoleDevice)
	require.ErrorIs(t, err, identity.ErrRevoked)
	_, err = v.Verify(creds["A-WATER"], identity.RoleApplication)
	require.NoError(t, err, "only what was named")

	again, err = a.Revoke(t.Context(), id(t, "D-1"))
	require.NoError(t, err)
	require.Equal(t, crl, again)
	_, err = a.Revoke(t.Context(), id(t, "D-2"))
	require.ErrorIs(t, err, ca.ErrUnknown)
}

func TestServer(t *testing.T) {
	a, _ := authority(t)
	v := verifier(t, a)
	k := newKey(t)
	req := serverRequest(t, k, "P-1", "broker.example.org", "127.0.0.1", "::1")
	chain, err := a.IssueServer(t.Context(), req)
	require.NoError(t, err)
	for _, h := range []string{"broker.example.org", "127.0.0.1", "::1"} {
		got, err := v.VerifyServer([]*x509.Certificate{parse(t, chain)}, h)
		require.NoError(t, err)
		require.Equal(t, "P-1", got.String())
	}
	again, err := a.IssueServer(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, chain, again)
	more, err := a.IssueServer(t.Context(), serverRequest(t, k, "P-1", "localhost"))
	require.NoError(t, err)
	require.NotEqual(t, chain, more)
	_, err = a.IssueServer(t.Context(), serverRequest(t, newKey(t), "P-1", "a,DNS:D-1"))
	require.Error(t, err, "a host is no line of configuration")
	_, err = a.IssueServer(t.Context(), serverRequest(t, newKey(t), "D-1", "localhost"))
	require.ErrorIs(t, err, identity.ErrCSR)
}

// The rules of package ca hold although openssl has none of them.
func TestRules(t *testing.T) {
	a, dir := authority(t)
	dev, app := newKey(t), newKey(t)
	first, err := a.Issue(t.Context(), request(t, dev, "D-1"), ca.IssueOptions{})
	require.NoError(t, err)
	again, err := a.Issue(t.Context(), request(t, dev, "D-1"), ca.IssueOptions{})
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = a.Issue(t.Context(), request(t, app, "A-1"), ca.IssueOptions{})
	require.NoError(t, err)

	refused := func(want error, k *ecdsa.PrivateKey, name string, o ca.IssueOptions) {
		t.Helper()
		_, err := a.Issue(t.Context(), request(t, k, name), o)
		require.ErrorIs(t, err, want)
	}
	refused(ca.ErrOtherKey, newKey(t), "D-1", ca.IssueOptions{})
	refused(ca.ErrOtherKey, newKey(t), "D-1", ca.IssueOptions{NewKey: true})
	refused(ca.ErrOtherKey, newKey(t), "A-1", ca.IssueOptions{})
	refused(ca.ErrKeyInUse, dev, "D-2", ca.IssueOptions{})
	refused(ca.ErrKeyInUse, dev, "A-1", ca.IssueOptions{NewKey: true})
	_, err = a.IssueServer(t.Context(), serverRequest(t, dev, "P-1", "localhost"))
	require.ErrorIs(t, err, ca.ErrKeyInUse)
	other, err := identity.NewCSR(dev, id(t, "D-1"), identity.CSROptions{HelperHash: [32]byte{1}})
	require.NoError(t, err)
	_, err = a.Issue(t.Context(), other, ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrOtherHelper)
	_, err = a.Issue(t.Context(), other[:40], ca.IssueOptions{})
	require.ErrorIs(t, err, identity.ErrCSR)

	renewed := newKey(t)
	_, err = a.Issue(t.Context(), request(t, renewed, "A-1"), ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
	_, err = a.Revoke(t.Context(), id(t, "A-1"))
	require.NoError(t, err)
	refused(ca.ErrRevoked, app, "A-1", ca.IssueOptions{NewKey: true})
	refused(ca.ErrRevoked, renewed, "A-1", ca.IssueOptions{NewKey: true})
	_, err = a.Revoke(t.Context(), id(t, "D-1"))
	require.NoError(t, err)

	// What it knows is in the folder.
	b, err := opensslca.Open(opensslca.Config{Dir: dir})
	require.NoError(t, err)
	_, err = b.Issue(t.Context(), request(t, dev, "D-1"), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrRevoked)
}

// openssl was used by hand, or a power cut came between database and list: the next list names what the database says.
func TestListFollowsDatabase(t *testing.T) {
	a, dir := authority(t)
	v := verifier(t, a)
	cred := credential(t, a, newKey(t), "D-1")
	crl, err := a.CRL(t.Context())
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))

	serial := strings.ToUpper(parse(t, cred.Chain).SerialNumber.Text(16))
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	cmd := exec.Command("openssl", "ca", "-config", "openssl.cnf", "-batch", "-revoke", "newcerts/"+serial+".pem")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	crl, err = a.CRL(t.Context())
	require.NoError(t, err)
	require.NoError(t, v.AddCRL(crl))
	_, err = v.Verify(cred, identity.RoleDevice)
	require.ErrorIs(t, err, identity.ErrRevoked)
}

// A profile that peers would refuse is noticed here and not in the field.
func TestChangedProfile(t *testing.T) {
	a, dir := authority(t)
	cnf := filepath.Join(dir, "openssl.cnf")
	b, err := os.ReadFile(cnf)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cnf, []byte(strings.Replace(string(b), "clientAuth", "clientAuth, serverAuth", 1)), 0o600))
	req := request(t, newKey(t), "A-1")
	_, err = a.Issue(t.Context(), req, ca.IssueOptions{})
	require.ErrorIs(t, err, identity.ErrProfile)
	require.ErrorContains(t, err, "openssl.cnf")
	_, err = a.Issue(t.Context(), req, ca.IssueOptions{})
	require.ErrorIs(t, err, identity.ErrProfile, "what was issued so is not handed out again")
	require.NoError(t, os.WriteFile(cnf, b, 0o600))
	_, err = a.Issue(t.Context(), req, ca.IssueOptions{})
	require.NoError(t, err)
}

func TestDamagedFolder(t *testing.T) {
	a, dir := authority(t)
	_, err := a.Issue(t.Context(), request(t, newKey(t), "D-1"), ca.IssueOptions{})
	require.NoError(t, err)
	_, err = a.CRL(t.Context())
	require.NoError(t, err)
	for name, content := range map[string]string{"index.txt": "V\tjunk\n", "crl.pem": "junk"} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err = a.CRL(t.Context())
		require.ErrorIs(t, err, ca.ErrStore, name)
		require.NoError(t, os.WriteFile(path, good, 0o600))
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "index.txt")))
	_, err = a.Issue(t.Context(), request(t, newKey(t), "D-2"), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrStore)

	_, err = opensslca.Open(opensslca.Config{Dir: t.TempDir()})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = opensslca.Open(opensslca.Config{Dir: dir, OpenSSL: "no-such-program"})
	require.ErrorIs(t, err, exec.ErrNotFound)
}
