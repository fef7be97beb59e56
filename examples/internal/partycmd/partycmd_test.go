package partycmd_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
)

var (
	application = cli.Program{Name: "application", Commands: partycmd.Commands(identity.RoleApplication)}
	plat        = cli.Program{Name: "platform", Commands: partycmd.Commands(identity.RolePlatform, identity.RoleOperator)}
)

// answer has the authority answer a request, and returns the files with chain and root.
func answer(t *testing.T, a *clitest.Authority, request string) (chain, root string) {
	der, err := party.ReadRequest(request)
	require.NoError(t, err)
	certs, err := a.Issue(der, ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
	chain, root = filepath.Join(t.TempDir(), "chain.pem"), filepath.Join(t.TempDir(), "root.pem")
	require.NoError(t, os.WriteFile(chain, party.EncodeCertificates(certs...), 0o600))
	require.NoError(t, os.WriteFile(root, party.EncodeCertificates(a.Roots[0].Raw), 0o600))
	return chain, root
}

func TestFromInitToAdmitted(t *testing.T) {
	a := clitest.NewAuthority(t, 0)
	dir := filepath.Join(t.TempDir(), "water")
	require.Contains(t, clitest.OK(t, application, "init", "-party", dir, "-id", "A-WATER"), "have the authority answer "+filepath.Join(dir, "request.pem"))
	require.Contains(t, clitest.OK(t, application, "show", "-party", dir), "certified  no: ")
	chain, root := answer(t, a, filepath.Join(dir, "request.pem"))
	require.Contains(t, clitest.Fails(t, application, "install", "-party", dir, "-chain", chain), "no roots; name the authority's root certificate")
	clitest.OK(t, application, "install", "-party", dir, "-chain", chain, "-roots", root)
	shown := clitest.OK(t, application, "show", "-party", dir)
	require.Contains(t, shown, "trusts     Test CA, SHA-256 ")
	require.Contains(t, shown, "certified  until ")
	require.Contains(t, shown, "admitted   no: ")
	admission := filepath.Join(t.TempDir(), "admission.pem")
	require.NoError(t, os.WriteFile(admission, party.EncodeAdmission([]byte("signed")), 0o600))
	clitest.OK(t, application, "install", "-party", dir, "-admission", admission)
	require.Contains(t, clitest.OK(t, application, "show", "-party", dir), "admitted   yes")
	require.Contains(t, clitest.OK(t, application, "show", "-party", dir, "-json"), `"admitted":true`)
}

// A folder that was lost is made anew, and counts on from what others know.
func TestInstallAfter(t *testing.T) {
	a := clitest.NewAuthority(t, 0)
	dir := filepath.Join(t.TempDir(), "water")
	clitest.OK(t, application, "init", "-party", dir, "-id", "A-WATER")
	chain, root := answer(t, a, filepath.Join(dir, "request.pem"))
	clitest.OK(t, application, "install", "-party", dir, "-chain", chain, "-roots", root, "-after", "6")
	p, err := party.Open(dir)
	require.NoError(t, err)
	c, err := p.Credential()
	require.NoError(t, err)
	require.EqualValues(t, 7, c.Generation())
}

func TestWrongInput(t *testing.T) {
	a, other := clitest.NewAuthority(t, 0), clitest.NewAuthority(t, 0)
	dir, stranger := filepath.Join(t.TempDir(), "water"), filepath.Join(t.TempDir(), "heat")
	clitest.OK(t, application, "init", "-party", dir, "-id", "A-WATER")
	clitest.OK(t, application, "init", "-party", stranger, "-id", "A-HEAT")
	chain, root := answer(t, a, filepath.Join(dir, "request.pem"))
	_, otherRoot := answer(t, other, filepath.Join(dir, "request.pem"))
	foreign, _ := answer(t, a, filepath.Join(stranger, "request.pem"))
	late, lateRoot := answer(t, clitest.NewAuthority(t, -400*24*time.Hour), filepath.Join(dir, "request.pem"))
	early, earlyRoot := answer(t, clitest.NewAuthority(t, 48*time.Hour), filepath.Join(dir, "request.pem"))
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"another's certificate": {[]string{"-chain", foreign, "-roots", root}, "certificate is not this party's; install the answer to this folder's own request.pem"},
		"another authority":     {[]string{"-chain", chain, "-roots", otherRoot}, "compare roots.pem with the root of the authority that both should trust"},
		"clock behind":          {[]string{"-chain", early, "-roots", earlyRoot}, "A certificate is not valid yet. This machine's clock says 2"},
		"clock ahead":           {[]string{"-chain", late, "-roots", lateRoot}, "A certificate is out of its validity. This machine's clock says 2"},
		"a key":                 {[]string{"-chain", filepath.Join(dir, "signing.key"), "-roots", root}, `want certificates, it has "PRIVATE KEY"`},
		"no file":               {[]string{"-chain", filepath.Join(dir, "none"), "-roots", root}, "no such file"},
		"no admission":          {[]string{"-admission", root}, `want one "SEMIO ADMISSION", it has "CERTIFICATE"`},
		"no folder":             {[]string{"-party", t.TempDir(), "-chain", chain}, "the command init makes one, and -party names the folder"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, clitest.Fails(t, application, append([]string{"install", "-party", dir}, c.args...)...), c.want)
			require.NoFileExists(t, filepath.Join(dir, "credential.pem"), "nothing is installed")
		})
	}
	require.Contains(t, clitest.Fails(t, application, "init", "-party", dir, "-id", "A-HEAT"), "folder belongs to another party; name a new folder: A-WATER")
	require.Contains(t, clitest.Fails(t, plat, "show", "-party", dir), "is A-WATER, want platform (P-…) or operator (O-…): name another folder with -party")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"role":       {[]string{"init", "-party", dir, "-id", "P-SEMIO"}, "-id P-SEMIO is the name of a platform, want for example A-WATER"},
		"lower case": {[]string{"init", "-party", dir, "-id", "a-water"}, "-id: "},
		"nothing":    {[]string{"install", "-party", dir}, "nothing to install: name a file"},
		"generation": {[]string{"install", "-party", dir, "-chain", chain, "-after", "4294967296"}, "-after: want a number up to 4294967295"},
	} {
		t.Run(name, func(t *testing.T) {
			r := clitest.Run(t, application, c.args...)
			require.Equal(t, cli.ExitUsage, r.Code, r.Stderr)
			require.Contains(t, r.Stderr, c.want)
		})
	}
}

// A folder is renewed, also long after its certificate has ended, and gets other keys, over the network and by files.
func TestRenewAndRekey(t *testing.T) {
	a := clitest.NewAuthority(t, -400*24*time.Hour)
	dir := a.Unchecked("A-WATER").Dir()
	require.Contains(t, clitest.OK(t, application, "show", "-party", dir), "certified  no: ")
	a.SetSkew(0)
	require.Contains(t, clitest.OK(t, application, "renew", "-party", dir, "-ca", a.URL), "A-WATER: certified until ")
	shown := clitest.OK(t, application, "show", "-party", dir)
	require.Contains(t, shown, "certified  until ")
	require.Contains(t, shown, "earlier    1 credentials")
	require.Contains(t, clitest.OK(t, application, "renew", "-party", dir, "-ca", a.URL, "-json"), `"previous":1`, "the same again is the same")

	before, err := party.Open(dir)
	require.NoError(t, err)
	require.Contains(t, clitest.OK(t, application, "rekey", "-party", dir, "-ca", a.URL, "-json"), `"previous":2`)
	after, err := party.Open(dir)
	require.NoError(t, err)
	require.NotEqual(t, before.Signer(), after.Signer())

	file := filepath.Join(t.TempDir(), "rekey.pem")
	clitest.OK(t, application, "rekey", "-party", dir, "-out", file)
	request, err := party.ReadRekey(file)
	require.NoError(t, err)
	chain, err := a.Rekey(request)
	require.NoError(t, err)
	answer := filepath.Join(t.TempDir(), "chain.pem")
	require.NoError(t, os.WriteFile(answer, party.EncodeCertificates(chain...), 0o600))
	clitest.OK(t, application, "install", "-party", dir, "-chain", answer)
	require.Contains(t, clitest.OK(t, application, "forget", "-party", dir), "3 earlier credentials are forgotten")
	require.NotContains(t, clitest.OK(t, application, "show", "-party", dir), "earlier")

	require.Equal(t, cli.ExitUsage, clitest.Run(t, application, "rekey", "-party", dir).Code)
	empty := filepath.Join(t.TempDir(), "new")
	clitest.OK(t, application, "init", "-party", empty, "-id", "A-NEW")
	require.Contains(t, clitest.Fails(t, application, "renew", "-party", empty, "-ca", a.URL), "no certificate yet")
	require.Contains(t, clitest.Fails(t, application, "rekey", "-party", empty, "-ca", a.URL), "no certificate yet")
	_, err = a.Revoke(after.ID())
	require.NoError(t, err)
	require.Contains(t, clitest.Fails(t, application, "rekey", "-party", dir, "-ca", a.URL), "revoked")
}
