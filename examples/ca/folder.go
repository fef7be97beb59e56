package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

// The authority's folder:
//
//	root.key      the key that everything stands on, mode 0600. In earnest it lies in hardware: ca.Config takes any crypto.Signer
//	root.pem      its certificate, for everybody
//	store/        what was issued, and the revocation list
//	grants.json   what platforms and registrars may ask over the network
//	lock          one process at a time
type folder struct {
	*ca.Authority
	dir  string
	lock *files.Lock
}

func (d *folder) path(name string) string { return filepath.Join(d.dir, name) }

func (d *folder) Close() error { return d.lock.Close() }

var errNoCA = errors.New("no certificate authority in this folder: make one with init, or name the right folder with -dir")

// openFolder opens the authority in dir.
func openFolder(dir string) (*folder, error) {
	fail := func(err error) (*folder, error) { return nil, fmt.Errorf("open authority in %s: %w", dir, err) }
	roots, err := party.ReadCertificates(filepath.Join(dir, "root.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		return fail(errNoCA)
	}
	if err != nil {
		return fail(err)
	}
	d := &folder{dir: dir}
	if d.lock, err = files.TryLock(d.path("lock")); err != nil {
		if errors.Is(err, files.ErrInUse) {
			err = fmt.Errorf("%w, or ask it with -ca URL and -party in place of -dir", err)
		}
		return fail(err)
	}
	if err = d.open(roots[0].Subject.CommonName, false); err == nil && !d.Certificate().Equal(roots[0]) {
		err = errors.New("root.pem is another certificate than the store's: put the authority's own back")
	}
	if err != nil {
		d.Close()
		return fail(err)
	}
	return d, nil
}

// makeFolder makes the authority in dir, or completes what a power cut left.
func makeFolder(dir, name string) (*folder, error) {
	fail := func(err error) (*folder, error) { return nil, fmt.Errorf("make authority in %s: %w", dir, err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	d := &folder{dir: dir}
	var err error
	if d.lock, err = files.TryLock(d.path("lock")); err != nil {
		return fail(err)
	}
	if err = d.open(name, true); err == nil {
		// Last: with it the folder is an authority.
		err = files.Write(d.path("root.pem"), party.EncodeCertificates(d.Certificate().Raw), false)
	}
	if err != nil {
		d.Close()
		return fail(err)
	}
	return d, nil
}

func (d *folder) open(name string, create bool) error {
	key, err := party.ReadKey(d.path("root.key"))
	if errors.Is(err, fs.ErrNotExist) && create {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
			err = party.WriteKey(d.path("root.key"), key)
		}
	}
	if err != nil {
		return err
	}
	store, err := ca.OpenFileStore(d.path("store"))
	if err != nil {
		return err
	}
	d.Authority, err = ca.New(ca.Config{Name: name, Signer: key, Store: store})
	return err
}

// grants reads what platforms and registrars may ask.
func (d *folder) grants() (map[identity.ID]cahttp.Grant, error) { return readGrants(d.dir) }

func readGrants(dir string) (map[identity.ID]cahttp.Grant, error) {
	all := map[identity.ID]cahttp.Grant{}
	b, err := os.ReadFile(filepath.Join(dir, "grants.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%s: %w: correct it, or remove it and grant anew", filepath.Join(dir, "grants.json"), err)
	}
	return all, nil
}
