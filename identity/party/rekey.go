package party

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/atomicfile"
)

// A party changes its keys by one file: credential.pem. Until it is replaced the new keys lie in next.key and everything is as before; from
// then on the party has the new keys, wherever they lie, and the files follow (tidy). The earlier credentials and keys are written before.

// maxPrevious is how many earlier credentials are kept.
const maxPrevious = 16

// ErrPrevious reports a folder that is full of earlier credentials.
var ErrPrevious = errors.New("party: too many earlier credentials are kept; drop them once everybody knows the newest")

// keys are a party's two keys; registrars and operators have no agreement key.
type keys struct{ signing, agreement *ecdsa.PrivateKey }

func (k keys) list() []*ecdsa.PrivateKey {
	if k.agreement == nil {
		return []*ecdsa.PrivateKey{k.signing}
	}
	return []*ecdsa.PrivateKey{k.signing, k.agreement}
}

func (k keys) exchanger() (*ecdh.PrivateKey, error) {
	if k.agreement == nil {
		return nil, nil
	}
	return k.agreement.ECDH()
}

// certified reports whether k is what a credential is for.
func (k keys) certified(c identity.Credential) bool {
	if len(c.Chain) == 0 {
		return false
	}
	leaf, err := x509.ParseCertificate(c.Chain[0])
	return err == nil && k.signing.PublicKey.Equal(leaf.PublicKey)
}

// Rekey makes new keys, if there are none waiting for their certificate, and returns the request for it, which the old key has signed:
// cahttp.Client.Rekey and ca.Authority.Rekey take it. The party is the old one until [Party.Install] has the answer. A registrar's or
// operator's old key is gone then, the others' is kept with what it was for: see [Party.Previous].
func (p *Party) Rekey() ([]byte, error) {
	request, err := p.rekey()
	if err != nil {
		return nil, fmt.Errorf("rekey %s: %w", p.id, err)
	}
	return request, nil
}

func (p *Party) rekey() ([]byte, error) {
	if len(p.cred.Chain) == 0 {
		return nil, fmt.Errorf("%s: %w", p.path(fileCredential), ErrNotCertified)
	}
	if err := p.tidy(); err != nil {
		return nil, err
	}
	if p.next == nil {
		var k keys
		var err error
		if k.signing, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
		if p.agrees() {
			if k.agreement, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
				return nil, err
			}
		}
		if err := p.writeKeys(fileNext, k.list()...); err != nil {
			return nil, err
		}
		p.next = &k
	}
	csr, err := identity.NewCSR(p.next.signing, p.id, identity.CSROptions{})
	if err != nil {
		return nil, err
	}
	return identity.NewRekey(p.keys.signing, csr)
}

// Previous returns what the party was before, with the keys of each, the newest first: an application's gateway and a platform need it
// until everybody whom they talk to knows the newest credential (appgw.Config.Previous, platform.Config.Previous). Registrars and operators have none.
func (p *Party) Previous() []identity.Holder {
	var out []identity.Holder
	for _, c := range slices.Backward(p.earlier) {
		for _, k := range append([]keys{p.keys}, p.old...) {
			agreement, err := k.exchanger()
			if !k.certified(c) || err != nil || agreement == nil {
				continue
			}
			out = append(out, identity.Holder{Credential: c, Signer: k.signing, Key: agreement})
			break
		}
	}
	return out
}

// DropPrevious deletes what [Party.Previous] returns, for good: whoever still knows the party by nothing newer cannot be understood any more.
func (p *Party) DropPrevious() error {
	fail := func(err error) error { return fmt.Errorf("drop what %s was before: %w", p.id, err) }
	if err := p.tidy(); err != nil {
		return fail(err)
	}
	for _, name := range []string{filePrevious, fileOldKeys} {
		if err := atomicfile.Remove(p.fsys, p.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail(err)
		}
	}
	p.earlier, p.old = nil, nil
	return nil
}

// keepPrevious writes what the party is before it is c with the keys k.
func (p *Party) keepPrevious(c identity.Credential, k keys) error {
	if len(p.cred.Chain) == 0 || k.agreement == nil || sameLeaf(p.cred, c) {
		return nil
	}
	if !k.signing.Equal(p.keys.signing) && !slices.ContainsFunc(p.old, func(o keys) bool { return o.signing.Equal(p.keys.signing) }) {
		var all []*ecdsa.PrivateKey
		for _, o := range append(p.old, p.keys) {
			all = append(all, o.list()...)
		}
		if err := p.writeKeys(fileOldKeys, all...); err != nil {
			return err
		}
		p.old = append(p.old, p.keys)
	}
	if slices.ContainsFunc(p.earlier, func(e identity.Credential) bool { return sameLeaf(e, p.cred) }) {
		return nil
	}
	if len(p.earlier) >= maxPrevious {
		return ErrPrevious
	}
	var pem []byte
	for _, e := range append(p.earlier, p.cred) {
		pem = append(pem, encodeCredential(e)...)
	}
	if err := p.write(filePrevious, pem, 0o644); err != nil {
		return err
	}
	p.earlier = append(p.earlier, p.cred)
	return nil
}

func sameLeaf(a, b identity.Credential) bool {
	return len(a.Chain) > 0 && len(b.Chain) > 0 && string(a.Chain[0]) == string(b.Chain[0])
}

// tidy puts keys whose certificate has been installed where they belong.
func (p *Party) tidy() error {
	if !p.untidy {
		return nil
	}
	if p.keys.agreement != nil {
		if err := p.writeKeys(fileAgreement, p.keys.agreement); err != nil {
			return err
		}
	}
	// The request last but one, by which Open sees whether these files belong together; next.key, which has everything, last.
	if err := p.writeKeys(fileSigning, p.keys.signing); err != nil {
		return err
	}
	if err := p.write(fileRequest, EncodeRequest(p.request), 0o644); err != nil {
		return err
	}
	if err := atomicfile.Remove(p.fsys, p.path(fileNext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p.next, p.untidy = nil, false
	return nil
}

// use makes k the party's keys.
func (p *Party) use(k keys) (err error) {
	p.keys, p.signer = k, k.signing
	if p.agreement, err = k.exchanger(); err != nil {
		return err
	}
	// The signature is deterministic: it is the request of before, if the key is.
	p.request, err = identity.NewCSR(k.signing, p.id, identity.CSROptions{})
	return err
}

// readPairs reads the keys, and finds out which are the party's. requested is the key of request.pem.
func (p *Party) readPairs(requested *ecdsa.PublicKey) error {
	next, err := p.pairs(fileNext)
	if err != nil {
		return err
	}
	if len(next) > 1 {
		return fmt.Errorf("%s: %w: too many keys", p.path(fileNext), ErrFile)
	}
	if p.old, err = p.pairs(fileOldKeys); err != nil {
		return err
	}
	if len(next) == 1 {
		p.next = &next[0]
		if p.next.certified(p.cred) {
			p.untidy = true
			return p.use(*p.next)
		}
	}
	var k keys
	if k.signing, err = p.readKey(fileSigning); err != nil {
		return err
	}
	if !requested.Equal(k.signing.Public()) {
		return fmt.Errorf("%s and %s: %w: they are of different keys", fileRequest, fileSigning, ErrFile)
	}
	if p.agrees() {
		if k.agreement, err = p.readKey(fileAgreement); err != nil {
			return err
		}
	}
	p.keys, p.signer = k, k.signing
	p.agreement, err = k.exchanger()
	return err
}

// pairs reads a file of signing and agreement keys, in turn; of signing keys alone where the role has no others.
func (p *Party) pairs(name string) ([]keys, error) {
	all, err := p.readKeys(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []keys
	for len(all) > 0 {
		k := keys{signing: all[0]}
		all = all[1:]
		if p.agrees() {
			if len(all) == 0 {
				return nil, fmt.Errorf("%s: %w: an agreement key is missing", p.path(name), ErrFile)
			}
			k.agreement, all = all[0], all[1:]
		}
		out = append(out, k)
	}
	return out, nil
}

// readCredentials reads the credential and those before it.
func (p *Party) readCredentials() error {
	blocks, err := p.read(fileCredential)
	if err == nil {
		p.cred, err = oneCredential(p.path(fileCredential), blocks)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	blocks, err = p.read(filePrevious)
	if err == nil {
		p.earlier, err = credentials(p.path(filePrevious), blocks)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Written before the credential was replaced: it is no earlier one yet.
	p.earlier = slices.DeleteFunc(p.earlier, func(e identity.Credential) bool { return sameLeaf(e, p.cred) })
	return nil
}
