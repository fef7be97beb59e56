package party_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
)

func newCA(t *testing.T, now func() time.Time) (*ca.Authority, []*x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a, err := ca.New(ca.Config{Name: "Test CA", Signer: key, Store: new(ca.MemStore), Now: now})
	require.NoError(t, err)
	return a, []*x509.Certificate{a.Certificate()}
}

func id(t *testing.T, name string) identity.ID {
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	return id
}

func create(t *testing.T, name string) *party.Party {
	p, err := party.Create(filepath.Join(t.TempDir(), "p"), id(t, name))
	require.NoError(t, err)
	return p
}

func issue(t *testing.T, a *ca.Authority, p *party.Party) [][]byte {
	chain, err := a.Issue(p.Request(), ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
	return chain
}

func TestLifeOfAParty(t *testing.T) {
	authority, roots := newCA(t, nil)
	for _, name := range []string{"A-WATER", "P-SEMIO", "R-LINE1", "O-ALICE"} {
		t.Run(name, func(t *testing.T) {
			p := create(t, name)
			_, err := p.Credential()
			require.ErrorIs(t, err, party.ErrNotCertified)
			_, err = p.Verifier()
			require.ErrorIs(t, err, party.ErrNotCertified)
			require.NoError(t, p.Install(issue(t, authority, p), roots))
			want, err := p.Credential()
			require.NoError(t, err)

			again, err := party.Open(p.Dir())
			require.NoError(t, err)
			got, err := again.Credential()
			require.NoError(t, err)
			require.Equal(t, want, got)
			v, err := again.Verifier()
			require.NoError(t, err)
			verified, err := v.Verify(got, p.ID().Role())
			require.NoError(t, err)
			require.Equal(t, id(t, name), verified.ID())
			if agrees := name[0] == 'A' || name[0] == 'P'; agrees {
				require.True(t, verified.Agreement().Equal(again.Key().PublicKey()))
			} else {
				require.Nil(t, again.Key())
			}
			c, err := again.TLS()
			require.NoError(t, err)
			require.Equal(t, got.Chain, c.Certificate)

			// The same party once more is the same; another one is refused.
			same, err := party.Create(p.Dir(), p.ID())
			require.NoError(t, err)
			require.Equal(t, p.Request(), same.Request())
			_, err = party.Create(p.Dir(), id(t, "A-OTHER"))
			require.ErrorIs(t, err, party.ErrOther)

			// Renewed without naming the roots again.
			require.NoError(t, again.Install(issue(t, authority, p), nil))
		})
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes")
	}
	p := create(t, "P-SEMIO")
	_, err := p.ServerRequest([]string{"localhost"})
	require.NoError(t, err)
	_, err = p.Secret("store")
	require.NoError(t, err)
	st, err := os.Stat(p.Dir())
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), st.Mode().Perm())
	for _, name := range []string{"signing.key", "agreement.key", "server.key", "store.secret"} {
		st, err := os.Stat(filepath.Join(p.Dir(), name))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), st.Mode().Perm(), name)
	}
	require.NoError(t, os.Chmod(filepath.Join(p.Dir(), "store.secret"), 0o640))
	_, err = p.Secret("store")
	require.ErrorIs(t, err, party.ErrExposed)
	require.NoError(t, os.Chmod(filepath.Join(p.Dir(), "signing.key"), 0o644))
	_, err = party.Open(p.Dir())
	require.ErrorIs(t, err, party.ErrExposed)
	require.ErrorContains(t, err, "chmod 600")
}

func TestWrongCertificates(t *testing.T) {
	authority, roots := newCA(t, nil)
	other, otherRoots := newCA(t, nil)
	past, pastRoots := newCA(t, func() time.Time { return time.Now().Add(-2 * 365 * 24 * time.Hour) })
	future, futureRoots := newCA(t, func() time.Time { return time.Now().Add(24 * time.Hour) })
	p := create(t, "A-WATER")
	stranger := create(t, "A-HEAT")
	for name, c := range map[string]struct {
		chain [][]byte
		roots []*x509.Certificate
		want  error
	}{
		"another party's":   {issue(t, authority, stranger), roots, party.ErrForeign},
		"another authority": {issue(t, other, p), roots, identity.ErrUntrusted},
		"wrong root":        {issue(t, authority, p), otherRoots, identity.ErrUntrusted},
		"expired":           {issue(t, past, p), pastRoots, identity.ErrExpired},
		"not yet":           {issue(t, future, p), futureRoots, identity.ErrNotYetValid},
		"no certificate":    {[][]byte{[]byte("junk")}, roots, identity.ErrCredential},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, p.Install(c.chain, c.roots), c.want)
			again, err := party.Open(p.Dir())
			require.NoError(t, err)
			require.Empty(t, again.Roots(), "nothing was written")
		})
	}
	require.ErrorContains(t, p.Install(issue(t, authority, p), nil), "no roots")
	require.ErrorContains(t, p.Install(nil, roots), "no certificate")
	_, err := party.Create(t.TempDir(), id(t, "D-1"))
	require.ErrorIs(t, err, identity.ErrRole)
}

func TestDamagedFolders(t *testing.T) {
	authority, roots := newCA(t, nil)
	other := create(t, "A-OTHER")
	for name, c := range map[string]struct {
		file    string
		content func() []byte // nil: removed
		want    error
	}{
		"no request":           {"request.pem", nil, party.ErrNone},
		"no signing key":       {"signing.key", nil, fs.ErrNotExist},
		"no agreement key":     {"agreement.key", nil, fs.ErrNotExist},
		"empty key":            {"signing.key", func() []byte { return []byte{} }, party.ErrFile},
		"another key":          {"signing.key", func() []byte { return read(t, other.Dir(), "signing.key") }, party.ErrFile},
		"another agreement":    {"agreement.key", func() []byte { return read(t, other.Dir(), "agreement.key") }, party.ErrForeign},
		"key as credential":    {"credential.pem", func() []byte { return read(t, other.Dir(), "signing.key") }, party.ErrFile},
		"request as roots":     {"roots.pem", func() []byte { return read(t, other.Dir(), "request.pem") }, party.ErrFile},
		"cut credential":       {"credential.pem", func() []byte { return []byte("-----BEGIN CERTIFICATE-----\nMIIB") }, party.ErrFile},
		"request cut":          {"request.pem", func() []byte { return []byte("-----BEGIN CERTIFICATE REQ") }, party.ErrFile},
		"no credential":        {"credential.pem", nil, party.ErrNotCertified},
		"junk request":         {"request.pem", func() []byte { return party.EncodeRequest([]byte("junk")) }, party.ErrFile},
		"huge":                 {"roots.pem", func() []byte { return make([]byte, 3<<20) }, nil},
		"certificate's no DER": {"roots.pem", func() []byte { return party.EncodeCertificates([]byte("junk")) }, party.ErrFile},
	} {
		t.Run(name, func(t *testing.T) {
			p := create(t, "A-WATER")
			require.NoError(t, p.Install(issue(t, authority, p), roots))
			path := filepath.Join(p.Dir(), c.file)
			require.NoError(t, os.Remove(path))
			if c.content != nil {
				require.NoError(t, os.WriteFile(path, c.content(), 0o600))
			}
			again, err := party.Open(p.Dir())
			if err == nil {
				_, err = again.Credential()
			}
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
}

// What a power cut leaves before request.pem is there is completed, with the keys that are there.
func TestCreateResumes(t *testing.T) {
	p := create(t, "A-WATER")
	key := read(t, p.Dir(), "signing.key")
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "request.pem")))
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "agreement.key")))
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir(), ".atomicfile-0123456789abcdef"), []byte("half"), 0o600))
	_, err := party.Open(p.Dir())
	require.ErrorIs(t, err, party.ErrNone)
	_, err = party.Create(p.Dir(), p.ID())
	require.NoError(t, err)
	require.Equal(t, key, read(t, p.Dir(), "signing.key"))
	require.NoFileExists(t, filepath.Join(p.Dir(), ".atomicfile-0123456789abcdef"))
	_, err = party.Open(p.Dir())
	require.NoError(t, err)
}

func TestAdmissionAndSecrets(t *testing.T) {
	p := create(t, "A-WATER")
	_, err := p.Admission()
	require.ErrorIs(t, err, party.ErrNotAdmitted)
	require.ErrorIs(t, p.InstallAdmission(nil), party.ErrFile)
	require.NoError(t, p.InstallAdmission([]byte("signed")))
	got, err := p.Admission()
	require.NoError(t, err)
	require.Equal(t, []byte("signed"), got)
	require.ErrorIs(t, create(t, "P-SEMIO").InstallAdmission([]byte("signed")), identity.ErrRole)

	a, err := p.Secret("store")
	require.NoError(t, err)
	b, err := p.Secret("store")
	require.NoError(t, err)
	require.Equal(t, a, b)
	c, err := p.Secret("other")
	require.NoError(t, err)
	require.NotEqual(t, a, c)
	_, err = p.Secret("../x")
	require.Error(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir(), "store.secret"), []byte("short"), 0o600))
	_, err = p.Secret("store")
	require.ErrorIs(t, err, party.ErrFile)
}

// Whoever begins at the same time has the same secret, and nothing else is left in the folder.
func TestSecretIsMadeOnce(t *testing.T) {
	p := create(t, "A-WATER")
	got := make([][]byte, 16)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			var err error
			if got[i], err = p.Secret("store"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, b := range got {
		require.Equal(t, read(t, p.Dir(), "store.secret"), b)
	}
	left, err := filepath.Glob(filepath.Join(p.Dir(), "store.secret*"))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestServer(t *testing.T) {
	authority, roots := newCA(t, nil)
	p := create(t, "P-SEMIO")
	require.NoError(t, p.Install(issue(t, authority, p), roots))
	_, err := p.Server()
	require.ErrorIs(t, err, party.ErrNoServer)
	_, err = p.ServerRequest(nil)
	require.ErrorContains(t, err, "no host")
	_, err = create(t, "A-WATER").ServerRequest([]string{"localhost"})
	require.ErrorIs(t, err, identity.ErrRole)

	der, err := p.ServerRequest([]string{"localhost", "127.0.0.1"})
	require.NoError(t, err)
	req, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	require.NoError(t, req.CheckSignature())
	chain, err := authority.IssueServer(req.PublicKey, p.ID(), []string{"localhost", "127.0.0.1"})
	require.NoError(t, err)
	require.NoError(t, p.InstallServer(chain))
	c, err := p.Server()
	require.NoError(t, err)
	require.Equal(t, chain, c.Certificate)

	stranger := create(t, "P-OTHER")
	require.NoError(t, stranger.Install(issue(t, authority, stranger), roots))
	_, err = stranger.ServerRequest([]string{"localhost"})
	require.NoError(t, err)
	require.ErrorIs(t, stranger.InstallServer(chain), party.ErrForeign)
	require.ErrorIs(t, p.InstallServer(issue(t, authority, p)), identity.ErrProfile, "a client's certificate is no server's")
	require.ErrorContains(t, p.InstallServer(nil), "no certificate")
}

// A party that is printed or logged shows no key.
func TestNothingPrints(t *testing.T) {
	p := create(t, "A-WATER")
	key, err := party.ReadKey(filepath.Join(p.Dir(), "signing.key"))
	require.NoError(t, err)
	raw, err := key.Bytes()
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("party", "pointer", p, "value", *p)
	for _, s := range []string{log.String(), fmt.Sprintf("%v", p), fmt.Sprintf("%+v", p), fmt.Sprintf("%#v", p), fmt.Sprintf("%v", *p), fmt.Sprintf("%#v", *p)} {
		require.NotContains(t, s, new(big.Int).SetBytes(raw).String())
		require.NotContains(t, s, hex.EncodeToString(raw))
	}
}

func read(t *testing.T, dir, name string) []byte {
	b, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return b
}
