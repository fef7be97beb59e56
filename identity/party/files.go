package party

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/atomicfile"
)

// PEM types.
const (
	typeKey         = "PRIVATE KEY"
	typeRequest     = "CERTIFICATE REQUEST"
	typeRekey       = "SEMIO REKEY REQUEST"
	typeCertificate = "CERTIFICATE"
	typeEndorsement = "SEMIO ENDORSEMENT"
	typeAdmission   = "SEMIO ADMISSION"
	typeCRL         = "X509 CRL"
)

// maxFile is the longest PEM file to read: revocation lists of the largest size.
const maxFile = 2 * identity.MaxCRLs

type block struct {
	kind string
	der  []byte
}

func encode(blocks ...block) []byte {
	var out []byte
	for _, b := range blocks {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: b.kind, Bytes: b.der})...)
	}
	return out
}

// decode returns the blocks of b. Text between them, as openssl writes it, is allowed.
func decode(b []byte) (blocks []block) {
	for {
		p, rest := pem.Decode(b)
		if p == nil {
			return blocks
		}
		blocks = append(blocks, block{p.Type, p.Bytes})
		b = rest
	}
}

func readPEM(path string) ([]block, error) { return readPEMOn(atomicfile.OS{}, path) }

func readPEMOn(fsys atomicfile.FS, path string) ([]block, error) {
	b, err := fsys.ReadFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	blocks := decode(b)
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s: %w: no PEM block in it", path, ErrFile)
	}
	return blocks, nil
}

func readOne(path, kind string) ([]byte, error) {
	blocks, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 1 || blocks[0].kind != kind {
		return nil, fmt.Errorf("%s: %w: want one %q, it has %s", path, ErrFile, kind, kinds(blocks))
	}
	return blocks[0].der, nil
}

func kinds(blocks []block) string {
	var names []string
	for _, b := range blocks {
		names = append(names, fmt.Sprintf("%q", b.kind))
	}
	return strings.Join(names, ", ")
}

// ReadCertificates reads a PEM file of certificates: roots, or a chain, leaf first. It has at least one.
func ReadCertificates(path string) ([]*x509.Certificate, error) {
	blocks, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	return certificates(path, blocks)
}

func certificates(path string, blocks []block) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, b := range blocks {
		if b.kind != typeCertificate {
			return nil, fmt.Errorf("%s: %w: want certificates, it has %s", path, ErrFile, kinds(blocks))
		}
		c, err := x509.ParseCertificate(b.der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", path, ErrFile, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// ReadCredential reads a credential.pem, also one of another party. It verifies nothing.
func ReadCredential(path string) (identity.Credential, error) {
	blocks, err := readPEM(path)
	if err != nil {
		return identity.Credential{}, err
	}
	return oneCredential(path, blocks)
}

func oneCredential(path string, blocks []block) (identity.Credential, error) {
	all, err := credentials(path, blocks)
	if err != nil {
		return identity.Credential{}, err
	}
	if len(all) != 1 {
		return identity.Credential{}, fmt.Errorf("%s: %w: %d credentials, want one", path, ErrFile, len(all))
	}
	return all[0], nil
}

// credentials reads certificates, leaf first, then the endorsement, as often as they come. The last one alone may lack its endorsement.
func credentials(path string, blocks []block) (all []identity.Credential, err error) {
	var c identity.Credential
	end := func() error {
		if _, err := c.Marshal(); err != nil {
			return fmt.Errorf("%s: %w: %w", path, ErrFile, err)
		}
		all, c = append(all, c), identity.Credential{}
		return nil
	}
	for _, b := range blocks {
		switch b.kind {
		case typeCertificate:
			c.Chain = append(c.Chain, b.der)
		case typeEndorsement:
			c.Endorsement = b.der
			if err := end(); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s: %w: want certificates, then an endorsement; it has %s", path, ErrFile, kinds(blocks))
		}
	}
	if len(c.Chain) > 0 {
		err = end()
	}
	return all, err
}

func encodeCredential(c identity.Credential) []byte {
	var blocks []block
	for _, der := range c.Chain {
		blocks = append(blocks, block{typeCertificate, der})
	}
	if len(c.Endorsement) > 0 {
		blocks = append(blocks, block{typeEndorsement, c.Endorsement})
	}
	return encode(blocks...)
}

// ReadRequest reads a request.pem, and returns DER.
func ReadRequest(path string) ([]byte, error) { return readOne(path, typeRequest) }

// EncodeRequest returns a certificate request in PEM.
func EncodeRequest(der []byte) []byte { return encode(block{typeRequest, der}) }

// ReadRekey reads what EncodeRekey wrote, the request of [Party.Rekey].
func ReadRekey(path string) ([]byte, error) { return readOne(path, typeRekey) }

// EncodeRekey returns a request of [Party.Rekey] in PEM.
func EncodeRekey(request []byte) []byte { return encode(block{typeRekey, request}) }

// EncodeCertificates returns certificates in PEM, as ReadCertificates reads them.
func EncodeCertificates(ders ...[]byte) []byte {
	var blocks []block
	for _, der := range ders {
		blocks = append(blocks, block{typeCertificate, der})
	}
	return encode(blocks...)
}

// ReadAdmission reads an admission.pem.
func ReadAdmission(path string) ([]byte, error) { return readOne(path, typeAdmission) }

// EncodeAdmission returns a platform's admission in PEM.
func EncodeAdmission(admission []byte) []byte { return encode(block{typeAdmission, admission}) }

// ReadCRL reads revocation lists in PEM, each followed by the certificates of its issuer if that is no root, and returns them as
// identity.Verifier.AddCRL takes them.
func ReadCRL(path string) ([]byte, error) {
	blocks, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, b := range blocks {
		if b.kind != typeCRL && b.kind != typeCertificate {
			return nil, fmt.Errorf("%s: %w: want revocation lists, and certificates of their issuers; it has %s", path, ErrFile, kinds(blocks))
		}
		out = append(out, b.der...)
	}
	if _, err := identity.ParseCRLs(out); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFile, err)
	}
	return out, nil
}

// EncodeCRL returns revocation lists in PEM, as ReadCRL reads them.
func EncodeCRL(crls []byte) ([]byte, error) {
	bundles, err := identity.ParseCRLs(crls)
	if err != nil {
		return nil, err
	}
	var blocks []block
	for _, b := range bundles {
		blocks = append(blocks, block{typeCRL, b.List})
		for _, der := range b.Issuer {
			blocks = append(blocks, block{typeCertificate, der})
		}
	}
	return encode(blocks...), nil
}

// ReadKey reads a P-256 key, PKCS #8 in PEM. [ErrExposed] reports that others can read the file.
func ReadKey(path string) (*ecdsa.PrivateKey, error) {
	if err := private(path); err != nil {
		return nil, err
	}
	keys, err := readKeys(atomicfile.OS{}, path)
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("%s: %w: want one %q, it has %d", path, ErrFile, typeKey, len(keys))
	}
	return keys[0], nil
}

// readKeys reads a file of P-256 keys, at least one.
func readKeys(fsys atomicfile.FS, path string) ([]*ecdsa.PrivateKey, error) {
	blocks, err := readPEMOn(fsys, path)
	if err != nil {
		return nil, err
	}
	var keys []*ecdsa.PrivateKey
	for _, b := range blocks {
		defer clear(b.der)
		if b.kind != typeKey {
			return nil, fmt.Errorf("%s: %w: want %q, it has %s", path, ErrFile, typeKey, kinds(blocks))
		}
		key, err := parseKey(path, b.der)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(path string, der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, ErrFile) // what x509 says could tell of the key
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s: %w", path, identity.ErrKey)
	}
	return key, nil
}

// WriteKey writes a key as ReadKey reads it, mode 0600.
func WriteKey(path string, key *ecdsa.PrivateKey) error {
	return writeKeys(atomicfile.OS{}, path, key)
}

func writeKeys(fsys atomicfile.FS, path string, keys ...*ecdsa.PrivateKey) error {
	var blocks []block
	for _, key := range keys {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return errors.New("party: key cannot be encoded")
		}
		defer clear(der)
		blocks = append(blocks, block{typeKey, der})
	}
	b := encode(blocks...)
	defer clear(b)
	return atomicfile.WriteFS(fsys, path, b, 0o600)
}

// private reports a file that others can read. Windows has no such bits.
func private(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s: %w (mode %04o)", path, ErrExposed, st.Mode().Perm())
	}
	return nil
}
