// Package unit is a device's hardware as files on a PC: its chip, its flash, and what its firmware was built with. The factory
// makes the folder with [Create], the device lives in it from [Open] on.
//
//	chip        which SRAM: one line, see [ParseChip]
//	roots.pem   the authorities that the firmware trusts; public, and like the firmware not to be changed by others
//	nvm/        the flash memory, a devicegw.FileNVM: helper data, and all else locked under the chip's key
//
// Neither claim code nor name lie in the clear: both are the sticker's. One process at a time has the folder open.
package unit

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/keyvault"
)

// ErrNone reports a folder without a device.
var ErrNone = errors.New("no device in this folder: name one that the factory made (FACTORY/units/D-…)")

// ErrInUse reports a folder that another process has open.
var ErrInUse = files.ErrInUse

// Unit is a device's folder.
type Unit struct {
	Dir   string
	Chip  Chip
	Roots []*x509.Certificate // nil until the factory has set them
	NVM   *devicegw.FileNVM

	lock *files.Lock
}

// Create makes the folder for a chip, or opens the one that has this chip. roots may be nil to keep those of before.
func Create(dir string, c Chip, roots []*x509.Certificate) (*Unit, error) {
	fail := func(err error) (*Unit, error) { return nil, fmt.Errorf("make unit %s: %w", dir, err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	have, err := ReadChip(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := files.Write(filepath.Join(dir, "chip"), []byte(c.String()+"\n"), false); err != nil {
			return fail(err)
		}
	case err != nil:
		return fail(err)
	case have != c:
		return fail(fmt.Errorf("it has chip %s, not %s: name another folder", have, c))
	}
	if roots != nil {
		var ders [][]byte
		for _, r := range roots {
			ders = append(ders, r.Raw)
		}
		if err := files.Write(filepath.Join(dir, "roots.pem"), party.EncodeCertificates(ders...), false); err != nil {
			return fail(err)
		}
	}
	return Open(dir)
}

// Open opens the folder and locks it. [ErrInUse] reports that another process has it.
func Open(dir string) (*Unit, error) {
	fail := func(err error) (*Unit, error) { return nil, fmt.Errorf("open unit %s: %w", dir, err) }
	c, err := ReadChip(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(ErrNone)
	}
	if err != nil {
		return fail(err)
	}
	roots, err := party.ReadCertificates(filepath.Join(dir, "roots.pem"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	lock, err := files.TryLock(filepath.Join(dir, "lock"))
	if err != nil {
		return fail(err)
	}
	err = files.Clean(dir)
	var nvm *devicegw.FileNVM
	if err == nil {
		nvm, err = devicegw.OpenFileNVM(filepath.Join(dir, "nvm"))
	}
	if err != nil {
		lock.Close()
		return fail(err)
	}
	return &Unit{Dir: dir, Chip: c, Roots: roots, NVM: nvm, lock: lock}, nil
}

// PowerUp opens the vault from a new reading of the chip, as a device's main does: helper data that the authority has not
// certified for it are refused before anything is decoded with them. The caller closes the vault.
func (u *Unit) PowerUp(ctx context.Context) (*keyvault.Vault, error) {
	certified, err := devicegw.CertifiedHelper(ctx, u.NVM, u.Roots)
	if err != nil {
		return nil, err
	}
	source, err := u.Chip.open(true)
	if err != nil {
		return nil, err
	}
	return keyvault.Open(ctx, source, u.NVM, &keyvault.Options{HelperHash: certified})
}

// Close unlocks the folder.
func (u *Unit) Close() error { return u.lock.Close() }

// ReadChip returns the chip of a folder; fs.ErrNotExist reports that it has none.
func ReadChip(dir string) (Chip, error) {
	b, err := os.ReadFile(filepath.Join(dir, "chip"))
	if err != nil {
		return Chip{}, err
	}
	return ParseChip(strings.TrimSpace(string(b)))
}
