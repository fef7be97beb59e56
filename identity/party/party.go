package party

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/atomicfile"
)

// What a caller may want to tell apart. Every error names the file.
var (
	// ErrNone: the folder has no party in it. Make one with Create, or name the right folder.
	ErrNone = errors.New("party: no party in this folder; create one, or name the right folder")
	// ErrOther: the folder belongs to another name.
	ErrOther = errors.New("party: folder belongs to another party; name a new folder")
	// ErrNotCertified: no certificate has been installed yet.
	ErrNotCertified = errors.New("party: no certificate yet; have the authority answer request.pem, and install what it returns with its root")
	// ErrNotAdmitted: no admission has been installed yet.
	ErrNotAdmitted = errors.New("party: not admitted yet; give credential.pem to the platform's operator, and install what the platform returns")
	// ErrNoServer: no server certificate has been installed yet.
	ErrNoServer = errors.New("party: no server certificate yet; have the authority answer a server request, and install what it returns")
	// ErrForeign: a certificate for another name or key.
	ErrForeign = errors.New("party: certificate is not this party's; install the answer to this folder's own request.pem")
	// ErrExposed: others can read a key.
	ErrExposed = errors.New("party: other users can read the key; if none of them has, chmod 600 it, else have the certificate revoked")
	// ErrFile: a file that is not what its name says.
	ErrFile = errors.New("party: file is damaged or of another kind; restore it from a copy")
)

// The files.
const (
	fileSigning    = "signing.key"
	fileAgreement  = "agreement.key"
	fileRequest    = "request.pem"
	fileCredential = "credential.pem"
	fileRoots      = "roots.pem"
	fileAdmission  = "admission.pem"
	fileServerKey  = "server.key"
	fileServer     = "server.pem"
	fileNext       = "next.key" // see rekey.go
	filePrevious   = "previous.pem"
	fileOldKeys    = "previous.key"
)

const secretSize = 32

// Party is a peer in a folder. It is safe for concurrent use, but for the methods that install.
type Party struct {
	fsys      atomicfile.FS
	dir       string
	id        identity.ID
	request   []byte
	signer    *ecdsa.PrivateKey
	agreement *ecdh.PrivateKey // nil: the role has none
	roots     []*x509.Certificate
	cred      identity.Credential // without chain: none installed

	keys    keys                  // signer and agreement
	next    *keys                 // those that Rekey has made and no certificate was installed for yet
	untidy  bool                  // the certificate is for keys that are still in next.key
	old     []keys                // those before
	earlier []identity.Credential // those before, which some of the others may still know the party by
}

// Create makes the keys and the request of party id in dir, which it makes if it is missing. In a folder that has this party already it is
// [Open], and one that a power cut left half-made it completes.
func Create(dir string, id identity.ID) (*Party, error) { return create(atomicfile.OS{}, dir, id) }

func create(fsys atomicfile.FS, dir string, id identity.ID) (*Party, error) {
	fail := func(err error) (*Party, error) { return nil, fmt.Errorf("create %s in %s: %w", id, dir, err) }
	if id.Role() == identity.RoleDevice || id.IsZero() {
		return fail(fmt.Errorf("%w: %q; a device's keys come from its chip", identity.ErrRole, id))
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	if _, err := atomicfile.Clean(fsys, dir); err != nil {
		return fail(err)
	}
	p, err := open(fsys, dir)
	if err == nil && p.id != id {
		return fail(fmt.Errorf("%w: %s", ErrOther, p.id))
	}
	if err == nil || !errors.Is(err, ErrNone) {
		return p, err
	}
	p = &Party{fsys: fsys, dir: dir, id: id}
	var k keys
	if k.signing, err = p.signingKey(fileSigning); err != nil {
		return fail(err)
	}
	if p.agrees() {
		if k.agreement, err = p.signingKey(fileAgreement); err != nil {
			return fail(err)
		}
	}
	if err := p.use(k); err != nil {
		return fail(err)
	}
	if err := p.write(fileRequest, encode(block{typeRequest, p.request}), 0o644); err != nil {
		return fail(err)
	}
	return p, nil
}

// Open reads the party in dir. Errors: those of this package, and of the operating system.
func Open(dir string) (*Party, error) { return open(atomicfile.OS{}, dir) }

func open(fsys atomicfile.FS, dir string) (*Party, error) {
	fail := func(err error) (*Party, error) { return nil, fmt.Errorf("open party in %s: %w", dir, err) }
	p := &Party{fsys: fsys, dir: dir}
	blocks, err := p.read(fileRequest)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(ErrNone)
	}
	if err != nil {
		return fail(err)
	}
	if len(blocks) != 1 || blocks[0].kind != typeRequest {
		return fail(fmt.Errorf("%s: %w", fileRequest, ErrFile))
	}
	p.request = blocks[0].der
	csr, err := identity.ParseCSR(p.request)
	if err != nil {
		return fail(fmt.Errorf("%s: %w: %w", fileRequest, ErrFile, err))
	}
	p.id = csr.ID
	if blocks, err = p.read(fileRoots); err == nil {
		p.roots, err = certificates(p.path(fileRoots), blocks)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	if err := p.readCredentials(); err != nil {
		return fail(err)
	}
	if err := p.readPairs(csr.PublicKey); err != nil {
		return fail(err)
	}
	return p, nil
}

// agrees reports whether the role has an agreement key: registrars and operators only sign.
func (p *Party) agrees() bool {
	return p.id.Role() == identity.RolePlatform || p.id.Role() == identity.RoleApplication
}

// ID is the party's name.
func (p *Party) ID() identity.ID { return p.id }

// String is the party's name and folder.
func (p *Party) String() string { return p.id.String() + " in " + p.dir }

// Dir is the party's folder.
func (p *Party) Dir() string { return p.dir }

// Signer is the key that the certificate names.
func (p *Party) Signer() crypto.Signer { return p.signer }

// Key is the endorsed agreement key, nil for a registrar or operator.
func (p *Party) Key() ecdh.KeyExchanger {
	if p.agreement == nil {
		return nil
	}
	return p.agreement
}

// Request is the request for the certificate in DER, what request.pem says.
func (p *Party) Request() []byte { return p.request }

// Roots are the authorities that the party trusts, nil before [Party.Install].
func (p *Party) Roots() []*x509.Certificate { return p.roots }

// Verifier returns a verifier that trusts the party's roots.
func (p *Party) Verifier() (*identity.Verifier, error) {
	if len(p.roots) == 0 {
		return nil, fmt.Errorf("%s: %w", p.path(fileRoots), ErrNotCertified)
	}
	return identity.NewVerifier(identity.VerifierConfig{Roots: p.roots})
}

// Credential returns what others know the party by, verified against its own roots and the clock: [ErrNotCertified], [ErrForeign], and
// the errors of package identity.
func (p *Party) Credential() (identity.Credential, error) {
	if len(p.cred.Chain) == 0 {
		return identity.Credential{}, fmt.Errorf("%s: %w", p.path(fileCredential), ErrNotCertified)
	}
	if err := p.check(p.cred, p.keys, p.roots); err != nil {
		return identity.Credential{}, fmt.Errorf("%s: %w", p.path(fileCredential), err)
	}
	return p.cred, nil
}

// TLS returns the party's certificate as that of a TLS client.
func (p *Party) TLS() (tls.Certificate, error) {
	c, err := p.Credential()
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: c.Chain, PrivateKey: p.signer}, nil
}

// Secret returns the 32 bytes of name, a word in lower case, which it makes at the first call: for example the key of
// appgw.NewLocker. The caller clears them.
func (p *Party) Secret(name string) ([]byte, error) {
	for _, c := range name {
		if !('a' <= c && c <= 'z') {
			return nil, fmt.Errorf("party: secret %q: want a word in lower case", name)
		}
	}
	path := p.path(name + ".secret")
	if err := private(path); errors.Is(err, fs.ErrNotExist) {
		if err := createSecret(path); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	b, err := (atomicfile.OS{}).ReadFile(path, secretSize)
	if err != nil {
		return nil, err
	}
	if len(b) != secretSize {
		return nil, fmt.Errorf("%s: %w: %d bytes, want %d", path, ErrFile, len(b), secretSize)
	}
	return b, nil
}

// createSecret makes the file in one step, and leaves one that is there: of two processes that begin at once one would otherwise
// encrypt under a key that the other has replaced.
func createSecret(path string) error {
	b := make([]byte, secretSize)
	defer clear(b)
	rand.Read(b) // never fails since Go 1.24
	temp := path + "." + rand.Text()
	defer os.Remove(temp) // a leftover is a key of nothing
	if err := atomicfile.Write(temp, b, 0o600); err != nil {
		return err
	}
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return (atomicfile.OS{}).SyncDir(filepath.Dir(path))
}

// Admission is what the platform returned when it admitted the application. Whoever uses it verifies it.
func (p *Party) Admission() ([]byte, error) {
	b, err := ReadAdmission(p.path(fileAdmission))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", p.path(fileAdmission), ErrNotAdmitted)
	}
	return b, err
}

// check verifies that c is this party's, with the keys k.
func (p *Party) check(c identity.Credential, k keys, roots []*x509.Certificate) error {
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: roots})
	if err != nil {
		return err
	}
	got, err := v.Verify(c, 0)
	if err != nil {
		return err
	}
	if got.ID() != p.id {
		return fmt.Errorf("%w: it is for %s, this is %s", ErrForeign, got.ID(), p.id)
	}
	if !got.SigningKey().Equal(k.signing.Public()) {
		return fmt.Errorf("%w: it is for another key", ErrForeign)
	}
	if k.agreement == nil {
		return nil
	}
	if agreement, err := k.agreement.PublicKey.ECDH(); err != nil || !agreement.Equal(got.Agreement()) {
		return fmt.Errorf("%w: it endorses another agreement key", ErrForeign)
	}
	return nil
}

func (p *Party) path(name string) string { return filepath.Join(p.dir, name) }

func (p *Party) write(name string, b []byte, perm os.FileMode) error {
	return atomicfile.WriteFS(p.fsys, p.path(name), b, perm)
}

// signingKey reads the key, or makes it if the file is missing.
func (p *Party) signingKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := p.readKey(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	return key, p.writeKeys(name, key)
}

func (p *Party) readKey(name string) (*ecdsa.PrivateKey, error) {
	all, err := p.readKeys(name)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%s: %w: %d keys, want one", p.path(name), ErrFile, len(all))
	}
	return all[0], nil
}

func (p *Party) readKeys(name string) ([]*ecdsa.PrivateKey, error) {
	if _, ok := p.fsys.(atomicfile.OS); ok {
		if err := private(p.path(name)); err != nil {
			return nil, err
		}
	}
	return readKeys(p.fsys, p.path(name))
}

func (p *Party) writeKeys(name string, all ...*ecdsa.PrivateKey) error {
	return writeKeys(p.fsys, p.path(name), all...)
}

func (p *Party) read(name string) ([]block, error) { return readPEMOn(p.fsys, p.path(name)) }
