package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
)

// A root in a safe and issuing CAs that work every day: init -issuing and request make a request, certify answers it at the root, join takes
// the answer. With another root in the place of the issuing CA the same makes a cross certificate.

// initIssuing makes the keys of an issuing CA and its request.
func initIssuing(dir, name string) error {
	d, err := lockFolder(dir, true)
	if err == nil && d.has("root.key") {
		err = errors.New("a root is in this folder: name another one")
	}
	if err == nil {
		err = d.makeKey("issuing.key")
	}
	if err == nil {
		err = d.request("issuing.key", name)
	}
	if d.lock != nil {
		d.Close()
	}
	if err != nil {
		return fmt.Errorf("make issuing CA in %s: %w", dir, err)
	}
	return nil
}

// request writes request.pem for a key of the folder.
func (d *folder) request(key, name string) error {
	signer, err := readSigner(d.path(key))
	if err != nil {
		return err
	}
	der, err := ca.NewCARequest(signer, name)
	if err != nil {
		return err
	}
	return files.Write(d.path("request.pem"), party.EncodeRequest(der), false)
}

func request(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	f.JSON()
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		d, err := openFolder(*dir)
		if err != nil {
			return err
		}
		defer d.Close()
		if err := d.request(d.keyName(), d.Certificate().Subject.CommonName); err != nil {
			return err
		}
		return t.Print(map[string]any{"request": d.path("request.pem")}, "have another authority answer %s with certify, and join", d.path("request.pem"))
	}
}

func certify(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	in := f.Required("in", "`file` of the request of the other CA, its request.pem")
	out := f.String("out", "-", "`file` for the certificate chain, - for stdout")
	valid := f.Duration("valid", 0, "`time` for which the certificate is good, in hours like 87600h; default ten years")
	forever := f.Bool("no-expiry", false, "as long as this authority's own certificate")
	root := f.Bool("root", false, "the other CA is a root too: a cross certificate, with which whoever trusts this root trusts that one, without limit")
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		der, err := party.ReadRequest(*in)
		if err != nil {
			return err
		}
		d, err := openFolder(*dir)
		if err != nil {
			return err
		}
		defer d.Close()
		chain, err := d.CertifyCA(der, ca.CAOptions{Validity: *valid, NoExpiry: *forever, Root: *root})
		if err != nil {
			return err
		}
		cert, err := x509.ParseCertificate(chain[0])
		if err != nil {
			return err
		}
		t.Note("certificate for the CA %s until %s; SHA-256 of its key %x", cert.Subject.CommonName, cert.NotAfter.Format("2006-01-02"),
			sha256.Sum256(cert.RawSubjectPublicKeyInfo))
		return t.WriteOut(*out, party.EncodeCertificates(chain...))
	}
}

func join(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	in := f.Required("in", "`file` of the certificate chain that certify has answered")
	roots := f.String("roots", "", "of an issuing CA: `file` of the root, its root.pem; by a way that can be trusted")
	drop := f.Bool("drop-earlier", false, "of a root that has rolled over: nobody trusts only the root of before any more")
	f.JSON()
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		certs, err := party.ReadCertificates(*in)
		if err != nil {
			return err
		}
		var chain [][]byte
		for _, c := range certs {
			chain = append(chain, c.Raw)
		}
		d, err := lockFolder(*dir, false)
		if err == nil {
			err = d.join(chain, certs[0].Subject.CommonName, *roots, *drop)
		}
		if d, err = d.opened(err); err != nil {
			return err
		}
		defer d.Close()
		return t.Print(map[string]any{"authority": d.Certificate().Subject.CommonName}, "%s issues with its new certificates", d.Certificate().Subject.CommonName)
	}
}

// join takes a chain for the key of now, or for next.key, with which the authority then rolls over. It may be repeated.
func (d *folder) join(chain [][]byte, name, roots string, drop bool) error {
	cfg, err := d.config()
	if err != nil {
		return err
	}
	cfg.Name, cfg.Chain, cfg.DropEarlier = name, chain, drop
	if d.issuing() {
		if roots == "" && !d.has("root.pem") {
			return cli.Usage("-roots is missing: the root of an issuing CA")
		}
		if roots == "" {
			roots = d.path("root.pem")
		}
		all, err := party.ReadCertificates(roots)
		if err != nil {
			return err
		}
		cfg.Root = all[0]
	}
	if d.has("next.key") {
		if d.Authority, err = d.turn(cfg); err != nil {
			return err
		}
	} else if d.Authority, err = ca.New(cfg); errors.Is(err, ca.ErrEarlierRoot) {
		return fmt.Errorf("%w, with -drop-earlier", err)
	} else if err != nil {
		return err
	}
	if err := d.publish(); err != nil {
		return err
	}
	if err := os.Remove(d.path("request.pem")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// turn makes next.key the key of the authority, and keeps the one before. Each step may have been done before a power cut.
func (d *folder) turn(cfg ca.Config) (*ca.Authority, error) {
	key := d.path(d.keyName())
	old, err := party.ReadKey(key)
	if err != nil {
		return nil, err
	}
	earlier, err := d.earlier()
	if err != nil {
		return nil, err
	}
	if n := len(earlier); n == 0 || !earlier[n-1].Equal(old) {
		if err := os.MkdirAll(d.path("earlier"), 0o700); err != nil {
			return nil, err
		}
		if err := party.WriteKey(d.path(earlierKey(n+1)), old); err != nil {
			return nil, err
		}
	}
	cfg.Earlier = append(cfg.Earlier, old)
	if cfg.Signer, err = readSigner(d.path("next.key")); err != nil {
		return nil, err
	}
	a, err := ca.RollOver(cfg)
	if err != nil {
		return nil, err
	}
	// The store has the new key from here on, so the files have to follow; until they do, this is repeated.
	return a, os.Rename(d.path("next.key"), key)
}

func rollOver(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	f.JSON()
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		d, err := lockFolder(*dir, false)
		var own *x509.Certificate
		if err == nil {
			own, err = d.own()
		}
		if err == nil {
			err = d.rollOver(own.Subject.CommonName)
		}
		if d, err = d.opened(err); err != nil {
			return err
		}
		defer d.Close()
		if d.issuing() {
			return t.Print(map[string]any{"request": d.path("request.pem")}, "have the root answer %s with certify, and join; until then the old key issues",
				d.path("request.pem"))
		}
		sum := sha256.Sum256(d.Certificate().Raw)
		return t.Print(map[string]any{"root": d.path("root.pem"), "cross": d.path("cross.pem"), "sha256": hex.EncodeToString(sum[:])},
			"a new root: give %s to everybody, by a way that can be trusted; who has only the old one goes on. SHA-256 of the new one %x", d.path("root.pem"), sum)
	}
}

// rollOver makes a new key: a root changes to it at once, an issuing CA makes a request.
func (d *folder) rollOver(name string) error {
	if err := d.makeKey("next.key"); err != nil {
		return err
	}
	if d.issuing() {
		return d.request("next.key", name)
	}
	cfg, err := d.config()
	if err != nil {
		return err
	}
	cfg.Name = name
	if d.Authority, err = d.turn(cfg); err != nil {
		return err
	}
	return d.publish()
}

func addCRL(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	in := f.Required("in", "`file` of the revocation lists of another authority: of the root above this one")
	f.JSON()
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		// The folder may be serving: it looks into the file.
		fail := func(err error) error { return fmt.Errorf("add revocation list: %w", err) }
		roots, err := party.ReadCertificates(filepath.Join(*dir, "root.pem"))
		if err != nil {
			return fmt.Errorf("%w (%w)", errNoCA, err)
		}
		lock, err := files.TryLock(filepath.Join(*dir, "crls.lock"))
		if err != nil {
			return fail(err)
		}
		defer lock.Close()
		v, err := knowing(roots, *dir)
		if err != nil {
			return fail(err)
		}
		crls, err := party.ReadCRL(*in)
		if err != nil {
			return fail(err)
		}
		refused := v.AddCRL(crls)
		if refused != nil && !errors.Is(refused, identity.ErrSomeCRLs) {
			return fail(refused)
		}
		if err := writeLists(*dir, v); err != nil {
			return fail(err)
		}
		err = t.Print(map[string]any{"lists": len(v.CRLs())}, "lists of %d other authorities are handed out with the own ones", len(v.CRLs()))
		if refused != nil {
			return fail(refused)
		}
		return err
	}
}

// readLists returns the lists of other authorities, nil if there are none.
func readLists(dir string) ([]byte, error) {
	crls, err := party.ReadCRL(filepath.Join(dir, "crls.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return crls, err
}

// writeLists keeps the lists that a verifier has.
func writeLists(dir string, v *identity.Verifier) error {
	pem, err := party.EncodeCRL(bytes.Join(v.CRLs(), nil))
	if err != nil {
		return err
	}
	return files.Write(filepath.Join(dir, "crls.pem"), pem, false)
}
