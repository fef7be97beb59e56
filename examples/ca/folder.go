package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

// The authority's folder:
//
//	root.key      a root's key, that everything stands on, mode 0600; issuing.key that of an issuing CA. In earnest it lies in hardware: ca.Config takes
//	              any crypto.Signer
//	root.pem      the root for everybody; after a roll-over the earlier ones behind it. An issuing CA has it from join on
//	issuing.pem   an issuing CA's certificates
//	cross.pem     after a root's roll-over: its certificates for the earlier roots
//	request.pem   for the CA above, until join; next.key is then the key of an issuing CA's roll-over
//	earlier/      keys of before a roll-over, N.key
//	store/        what was issued, and the revocation lists
//	crls.pem      lists of other authorities, to be handed out with the own ones
//	grants.json   what platforms and registrars may ask over the network
//	lock          one process at a time
type folder struct {
	*ca.Authority
	dir     string
	devices time.Duration // ca.Config.DeviceValidity
	lock    *files.Lock
}

func (d *folder) path(name string) string { return filepath.Join(d.dir, name) }

func (d *folder) Close() error { return d.lock.Close() }

var (
	errNoCA      = errors.New("no certificate authority in this folder: make one with init, or name the right folder with -dir")
	errNotJoined = errors.New("this issuing CA has no certificate yet: have its root answer request.pem with certify, and join")
)

// openFolder opens the authority in dir.
func openFolder(dir string) (*folder, error) { return openFor(dir, 0) }

// openFor opens the authority in dir, whose devices get certificates for that time; 0: for ever.
func openFor(dir string, devices time.Duration) (*folder, error) {
	d, err := lockFolder(dir, false)
	if err == nil {
		d.devices = devices
		err = d.open()
	}
	return d.opened(err)
}

// devicesFlag declares for how long devices get certificates. The function checks it.
func devicesFlag(f *cli.Flags) func() (time.Duration, error) {
	d := f.Duration("device-valid", 0, "`time` for which certificates of devices are good, in hours like 8760h, after which they come for a new one; default for ever")
	return func() (time.Duration, error) {
		if *d < 0 {
			return 0, cli.Usage("-device-valid: want a time from now on, or 0 for ever")
		}
		return *d, nil
	}
}

// opened closes the folder if there is an error.
func (d *folder) opened(err error) (*folder, error) {
	if err != nil {
		if d.lock != nil {
			d.Close()
		}
		return nil, fmt.Errorf("open authority in %s: %w", d.dir, err)
	}
	return d, nil
}

// lockFolder takes a folder that has an authority, or may get one.
func lockFolder(dir string, create bool) (d *folder, err error) {
	d = &folder{dir: dir}
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return d, err
		}
	} else if !d.has("root.pem") && !d.has("issuing.key") {
		return d, errNoCA
	}
	if d.lock, err = files.TryLock(d.path("lock")); err != nil {
		if errors.Is(err, files.ErrInUse) {
			err = fmt.Errorf("%w, or ask it with -ca URL and -party in place of -dir", err)
		}
		return d, err
	}
	return d, files.Clean(dir)
}

func (d *folder) has(name string) bool {
	_, err := os.Stat(d.path(name))
	return err == nil
}

// issuing tells an issuing CA from a root.
func (d *folder) issuing() bool { return d.has("issuing.key") }

func (d *folder) keyName() string {
	if d.issuing() {
		return "issuing.key"
	}
	return "root.key"
}

// config is that of the authority as the folder has it.
func (d *folder) config() (cfg ca.Config, err error) {
	now, err := party.ReadKey(d.path(d.keyName()))
	if err != nil {
		return cfg, err
	}
	earlier, err := d.earlier()
	if err != nil {
		return cfg, err
	}
	cfg.Signer, cfg.DeviceValidity = now, d.devices
	for _, k := range earlier {
		if !k.Equal(now) { // a roll-over that was cut off
			cfg.Earlier = append(cfg.Earlier, k)
		}
	}
	cfg.Store, err = ca.OpenFileStore(d.path("store"))
	return cfg, err
}

// earlier are the keys of before, the oldest first.
func (d *folder) earlier() (keys []*ecdsa.PrivateKey, err error) {
	for n := 1; d.has(earlierKey(n)); n++ {
		k, err := party.ReadKey(d.path(earlierKey(n)))
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func readSigner(path string) (crypto.Signer, error) { return party.ReadKey(path) }

func earlierKey(n int) string { return filepath.Join("earlier", strconv.Itoa(n)+".key") }

// own is the certificate that the folder says is the authority's: with it the folder is complete.
func (d *folder) own() (*x509.Certificate, error) {
	certs, err := party.ReadCertificates(d.path(d.ownName()))
	switch {
	case err == nil:
		return certs[0], nil
	case errors.Is(err, fs.ErrNotExist) && d.issuing():
		return nil, errNotJoined
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNoCA
	}
	return nil, err
}

func (d *folder) open() error {
	own, err := d.own()
	if err != nil {
		return err
	}
	cfg, err := d.config()
	if err != nil {
		return err
	}
	cfg.Name = own.Subject.CommonName
	d.Authority, err = ca.New(cfg)
	if errors.Is(err, ca.ErrStore) && d.has("next.key") {
		// It has rolled over, and the power went before the folder followed.
		d.Authority, err = d.turn(cfg)
	}
	if err != nil || d.Certificate().Equal(own) {
		return err
	}
	mine := func(k crypto.Signer) bool { return k.Public().(*ecdsa.PublicKey).Equal(own.PublicKey) }
	if !slices.ContainsFunc(append(cfg.Earlier, cfg.Signer), mine) {
		return fmt.Errorf("%s is another certificate than the store's: put the authority's own back", d.ownName())
	}
	return d.publish()
}

func (d *folder) ownName() string {
	if d.issuing() {
		return "issuing.pem"
	}
	return "root.pem"
}

// makeFolder makes a root in dir, or completes what a power cut left.
func makeFolder(dir, name string) (*folder, error) {
	d, err := lockFolder(dir, true)
	if err == nil {
		err = d.makeRoot(name)
	}
	if err != nil {
		if d.lock != nil {
			d.Close()
		}
		return nil, fmt.Errorf("make authority in %s: %w", dir, err)
	}
	return d, nil
}

func (d *folder) makeRoot(name string) error {
	if d.issuing() {
		return errors.New("an issuing CA is in this folder: name another one")
	}
	if err := d.makeKey("root.key"); err != nil {
		return err
	}
	cfg, err := d.config()
	if err != nil {
		return err
	}
	cfg.Name = name
	if d.Authority, err = ca.New(cfg); err != nil {
		return err
	}
	return d.publish()
}

// makeKey makes a key, unless it is there.
func (d *folder) makeKey(name string) error {
	if d.has(name) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return party.WriteKey(d.path(name), key)
}

// publish writes what the authority shows of itself, last that with which the folder is complete.
func (d *folder) publish() error {
	if cross := d.CrossCertificates(); len(cross) > 0 {
		if err := files.Write(d.path("cross.pem"), encodeAll(cross), false); err != nil {
			return err
		}
	}
	if err := files.Write(d.path("root.pem"), encodeAll(d.Roots()), false); err != nil || !d.issuing() {
		return err
	}
	return files.Write(d.path("issuing.pem"), party.EncodeCertificates(d.Chain()...), false)
}

func encodeAll(certs []*x509.Certificate) []byte {
	var ders [][]byte
	for _, c := range certs {
		ders = append(ders, c.Raw)
	}
	return party.EncodeCertificates(ders...)
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
