package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
)

// issuing makes an issuing CA under a root, as two people with files would.
func (w *world) issuing(name string) *world {
	dir := filepath.Join(w.t.TempDir(), "issuing")
	chain := filepath.Join(w.t.TempDir(), "chain.pem")
	clitest.OK(w.t, program, "init", "-dir", dir, "-name", name, "-issuing")
	clitest.OK(w.t, program, "certify", "-dir", w.dir, "-in", filepath.Join(dir, "request.pem"), "-out", chain)
	clitest.OK(w.t, program, "join", "-dir", dir, "-in", chain, "-roots", w.root)
	require.NoFileExists(w.t, filepath.Join(dir, "request.pem"))
	return &world{w.t, dir, filepath.Join(dir, "root.pem")}
}

func (w *world) verifier(root string) *identity.Verifier {
	roots, err := party.ReadCertificates(root)
	require.NoError(w.t, err)
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: roots})
	require.NoError(w.t, err)
	return v
}

func (w *world) credential(p *party.Party) identity.Credential {
	c, err := p.Credential()
	require.NoError(w.t, err)
	return c
}

func TestIssuingCA(t *testing.T) {
	root := newWorld(t)
	w := root.issuing("Example Issuing")
	boss, line, app := w.certified("O-ROOT"), w.certified("R-LINE"), w.certified("A-WATER")
	require.Len(t, w.credential(app).Chain, 2)
	v := w.verifier(root.root)
	_, err := v.Verify(w.credential(app), 0)
	require.NoError(t, err)

	published := filepath.Join(t.TempDir(), "crl.pem")
	s := clitest.Start(t, program, "serve", "-dir", w.dir, "-listen", "127.0.0.1:0", "-operators", "O-ROOT", "-publish", published)
	url := s.URL("url")
	device, err := identity.NewCSR(w.request("A-KEY").Signer(), must(identity.ParseID("D-1")), identity.CSROptions{})
	require.NoError(t, err)
	chain, err := w.client(url, line).Issue(t.Context(), device, ca.IssueOptions{})
	require.NoError(t, err)
	require.Len(t, chain, 2)
	_, err = w.client(url, boss).Revoke(t.Context(), must(identity.ParseID("D-1")))
	require.NoError(t, err)

	// What the root revokes goes out with the issuing CA's lists, while it serves.
	other := root.issuing("Other Issuing")
	list := filepath.Join(t.TempDir(), "root-crl.pem")
	require.Contains(t, clitest.OK(t, program, "revoke", "-dir", root.dir, "-certificate", filepath.Join(other.dir, "issuing.pem"), "-out", list), "of Other Issuing is revoked: list 2")
	require.Contains(t, clitest.OK(t, program, "add-crl", "-dir", w.dir, "-in", list), "lists of 1 other authorities")
	gone := other.certified("A-GONE")
	require.Eventually(t, func() bool {
		der, err := w.client(url, line).CRL(t.Context())
		require.NoError(t, err)
		require.NoError(t, v.AddCRL(der))
		_, err = v.Verify(w.credential(gone), 0)
		return err != nil
	}, clitest.Wait, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		crls, err := party.ReadCRL(published)
		require.NoError(t, err)
		bundles, err := identity.ParseCRLs(crls)
		require.NoError(t, err)
		return len(bundles) == 2
	}, clitest.Wait, 10*time.Millisecond)
	require.Contains(t, clitest.OK(t, program, "crl", "-ca", url, "-roots", root.root), "list 2 names 1 certificates")
	require.Equal(t, cli.ExitInterrupted, s.Stop())
	require.Contains(t, clitest.Fails(t, program, "add-crl", "-dir", w.dir, "-in", stranger(t)), "signed by no root")
}

// What an operator has heard stays in his folder: a revoked issuing CA is nobody to ask.
func TestOperatorRemembersLists(t *testing.T) {
	root := newWorld(t)
	good, gone := root.issuing("Good"), root.issuing("Gone")
	boss := good.certified("O-ROOT")
	gone.certified("A-1")
	list := filepath.Join(t.TempDir(), "root-crl.pem")
	clitest.OK(t, program, "revoke", "-dir", root.dir, "-certificate", filepath.Join(gone.dir, "issuing.pem"), "-out", list)
	clitest.OK(t, program, "add-crl", "-dir", good.dir, "-in", list)
	serve := func(w *world) string {
		return clitest.Start(t, program, "serve", "-dir", w.dir, "-listen", "127.0.0.1:0", "-operators", "O-ROOT").URL("url")
	}
	at, thief := serve(good), serve(gone)
	clitest.OK(t, program, "crl", "-ca", thief, "-party", boss.Dir())
	clitest.OK(t, program, "crl", "-ca", at, "-party", boss.Dir())
	for _, args := range [][]string{{"crl"}, {"revoke", "A-1"}} {
		out := clitest.Fails(t, program, append([]string{args[0], "-ca", thief, "-party", boss.Dir()}, args[1:]...)...)
		require.Contains(t, out, "identity: certificate is revoked")
	}
	clitest.OK(t, program, "crl", "-ca", at, "-party", boss.Dir())
	require.Contains(t, clitest.Fails(t, program, "revoke", "-ca", at, "-party", boss.Dir(), "A-1"), "unknown name")
}

func stranger(t *testing.T) string {
	w := newWorld(t)
	out := filepath.Join(t.TempDir(), "crl.pem")
	clitest.OK(t, program, "crl", "-dir", w.dir, "-out", out)
	return out
}

// A new key for a root: who has the old root goes on, and who has the new one takes what was issued before.
func TestRootRollOver(t *testing.T) {
	w := newWorld(t)
	old := filepath.Join(t.TempDir(), "old.pem")
	copyFile(t, w.root, old)
	before := w.certified("A-OLD")
	require.Contains(t, clitest.OK(t, program, "roll-over", "-dir", w.dir), "a new root")
	after := w.request("A-NEW")
	chain := filepath.Join(after.Dir(), "chain.pem")
	clitest.OK(t, program, "issue", "-dir", w.dir, "-in", filepath.Join(after.Dir(), "request.pem"), "-out", chain)
	certs, err := party.ReadCertificates(chain)
	require.NoError(t, err)
	require.Len(t, certs, 2)
	cross, err := party.ReadCertificates(filepath.Join(w.dir, "cross.pem"))
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(w.credential(before).Chain[0])
	require.NoError(t, err)
	roots, err := party.ReadCertificates(w.root)
	require.NoError(t, err)
	require.Len(t, roots, 2)
	fresh, err := identity.NewVerifier(identity.VerifierConfig{Roots: roots[:1]})
	require.NoError(t, err)
	for name, v := range map[string]*identity.Verifier{"old": w.verifier(old), "new": fresh, "both": w.verifier(w.root)} {
		_, err = v.VerifyChain(certs)
		require.NoError(t, err, name)
		_, err = v.VerifyChain([]*x509.Certificate{leaf, cross[0]})
		require.NoError(t, err, name)
	}
	// The old key goes on signing the list of what it issued.
	require.Contains(t, clitest.OK(t, program, "revoke", "-dir", w.dir, "A-OLD"), "A-OLD is revoked: list 2 names 1 certificates")
	require.Contains(t, clitest.OK(t, program, "crl", "-dir", w.dir), "list 1 names 0 certificates")
}

// Cut off anywhere, the folder goes on with the old key or with the new one, and the command may be repeated.
func TestRollOverCutOff(t *testing.T) {
	for name, undo := range map[string]func(t *testing.T, w *world, old string){
		"before the store": func(t *testing.T, w *world, old string) {
			require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "store")))
			require.NoError(t, os.CopyFS(filepath.Join(w.dir, "store"), os.DirFS(filepath.Join(old, "store"))))
			require.NoError(t, os.Rename(filepath.Join(w.dir, "root.key"), filepath.Join(w.dir, "next.key")))
			copyFile(t, filepath.Join(old, "root.key"), filepath.Join(w.dir, "root.key"))
			copyFile(t, filepath.Join(old, "root.pem"), filepath.Join(w.dir, "root.pem"))
		},
		"after the store": func(t *testing.T, w *world, old string) {
			require.NoError(t, os.Rename(filepath.Join(w.dir, "root.key"), filepath.Join(w.dir, "next.key")))
			copyFile(t, filepath.Join(old, "root.key"), filepath.Join(w.dir, "root.key"))
			copyFile(t, filepath.Join(old, "root.pem"), filepath.Join(w.dir, "root.pem"))
		},
		"before root.pem": func(t *testing.T, w *world, old string) {
			copyFile(t, filepath.Join(old, "root.pem"), filepath.Join(w.dir, "root.pem"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			app := w.certified("A-WATER")
			old := filepath.Join(t.TempDir(), "old")
			require.NoError(t, os.CopyFS(old, os.DirFS(w.dir)))
			clitest.OK(t, program, "roll-over", "-dir", w.dir)
			undo(t, w, old)
			clitest.OK(t, program, "crl", "-dir", w.dir)
			clitest.OK(t, program, "revoke", "-dir", w.dir, "A-WATER")
			roots, err := party.ReadCertificates(w.root)
			require.NoError(t, err)
			if name == "before the store" {
				require.Len(t, roots, 1)
				clitest.OK(t, program, "roll-over", "-dir", w.dir)
				roots, err = party.ReadCertificates(w.root)
				require.NoError(t, err)
			}
			require.Len(t, roots, 2)
			require.FileExists(t, filepath.Join(w.dir, "earlier", "1.key"))
			require.NoFileExists(t, filepath.Join(w.dir, "earlier", "2.key"))
			require.NoFileExists(t, filepath.Join(w.dir, "next.key"))
			out := filepath.Join(t.TempDir(), "crl.pem")
			clitest.OK(t, program, "crl", "-dir", w.dir, "-out", out)
			crls, err := party.ReadCRL(out)
			require.NoError(t, err)
			v := w.verifier(w.root)
			require.NoError(t, v.AddCRL(crls))
			_, err = v.Verify(w.credential(app), 0)
			require.ErrorIs(t, err, identity.ErrRevoked)
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

func TestIssuingRollOver(t *testing.T) {
	root := newWorld(t)
	w := root.issuing("Example Issuing")
	before := w.certified("A-OLD")
	first, err := party.ReadCertificates(filepath.Join(w.dir, "issuing.pem"))
	require.NoError(t, err)
	firstFile := filepath.Join(t.TempDir(), "first.pem")
	copyFile(t, filepath.Join(w.dir, "issuing.pem"), firstFile)
	require.Contains(t, clitest.OK(t, program, "roll-over", "-dir", w.dir), "until then the old key issues")
	w.certified("A-MEANWHILE")
	chain := filepath.Join(t.TempDir(), "chain.pem")
	clitest.OK(t, program, "certify", "-dir", root.dir, "-in", filepath.Join(w.dir, "request.pem"), "-out", chain)
	clitest.OK(t, program, "join", "-dir", w.dir, "-in", chain)
	second, err := party.ReadCertificates(filepath.Join(w.dir, "issuing.pem"))
	require.NoError(t, err)
	require.NotEqual(t, first[0].PublicKey, second[0].PublicKey)
	after := w.certified("A-NEW")

	list := filepath.Join(t.TempDir(), "crl.pem")
	clitest.OK(t, program, "revoke", "-dir", root.dir, "-certificate", firstFile, "-out", list)
	crls, err := party.ReadCRL(list)
	require.NoError(t, err)
	v := w.verifier(root.root)
	require.NoError(t, v.AddCRL(crls))
	_, err = v.Verify(w.credential(before), 0)
	require.ErrorIs(t, err, identity.ErrRevoked)
	_, err = v.Verify(w.credential(after), 0)
	require.NoError(t, err)
}

// Two roots that stay two: one vouches for the other.
func TestCrossCertificate(t *testing.T) {
	a, dir := newWorld(t), filepath.Join(t.TempDir(), "b")
	clitest.OK(t, program, "init", "-dir", dir, "-name", "Other Root")
	b := &world{t, dir, filepath.Join(dir, "root.pem")}
	clitest.OK(t, program, "request", "-dir", b.dir)
	chain := filepath.Join(t.TempDir(), "chain.pem")
	clitest.OK(t, program, "certify", "-dir", a.dir, "-in", filepath.Join(b.dir, "request.pem"), "-out", chain, "-root", "-no-expiry")
	clitest.OK(t, program, "join", "-dir", b.dir, "-in", chain)
	app := b.certified("A-WATER")
	for _, root := range []string{a.root, b.root} {
		_, err := a.verifier(root).Verify(a.credential(app), 0)
		require.NoError(t, err, root)
	}

	// After a roll-over it goes with a certificate by its key of before, which another one does not push out unasked.
	clitest.OK(t, program, "roll-over", "-dir", b.dir)
	clitest.OK(t, program, "request", "-dir", b.dir)
	clitest.OK(t, program, "certify", "-dir", a.dir, "-in", filepath.Join(b.dir, "request.pem"), "-out", chain, "-root", "-no-expiry")
	require.Contains(t, clitest.Fails(t, program, "join", "-dir", b.dir, "-in", chain), "-drop-earlier")
	clitest.OK(t, program, "join", "-dir", b.dir, "-in", chain, "-drop-earlier")
}

func TestWrongInputOfHierarchy(t *testing.T) {
	root := newWorld(t)
	w := root.issuing("Example Issuing")
	lone := filepath.Join(t.TempDir(), "lone")
	clitest.OK(t, program, "init", "-dir", lone, "-name", "Lone", "-issuing")
	request := filepath.Join(lone, "request.pem")
	chain := filepath.Join(w.dir, "issuing.pem")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"not joined yet":        {[]string{"crl", "-dir", lone}, "has no certificate yet: have its root answer request.pem"},
		"a root there":          {[]string{"init", "-dir", root.dir, "-name", "X", "-issuing"}, "a root is in this folder"},
		"an issuing CA there":   {[]string{"init", "-dir", w.dir, "-name", "X"}, "an issuing CA is in this folder"},
		"another's certificate": {[]string{"join", "-dir", lone, "-in", chain, "-roots", root.root}, "for another key"},
		"an issuing CA signs":   {[]string{"certify", "-dir", w.dir, "-in", request}, "cannot certify others"},
		"a party's request":     {[]string{"certify", "-dir", root.dir, "-in", filepath.Join(w.request("A-1").Dir(), "request.pem")}, "unacceptable certificate request"},
		"no folder":             {[]string{"roll-over", "-dir", t.TempDir()}, "no certificate authority in this folder"},
		"not of this authority": {[]string{"revoke", "-dir", w.dir, "-certificate", root.root}, "unknown name or certificate"},
		"its own root":          {[]string{"revoke", "-dir", root.dir, "-certificate", root.root}, "cannot revoke itself"},
	} {
		t.Run(name, func(t *testing.T) { require.Contains(t, clitest.Fails(t, program, c.args...), c.want) })
	}
	r := clitest.Run(t, program, "join", "-dir", lone, "-in", chain)
	require.Equal(t, cli.ExitUsage, r.Code, r.Stderr)
}
