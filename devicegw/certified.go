package devicegw

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"github.com/semio-iot/semio/identity"
)

// CertifiedHelper returns the hash of the helper data that the authority certified for the device whose memory this is, for
// keyvault.Options.HelperHash. Whoever can write the memory can put helper data of his choice there; with the hash they are
// refused before anything is decoded with them. roots come from the firmware, not from the memory.
//
// A certificate of another device does not help him: it names the helper data of another chip. The hash is zero, which checks
// nothing, where the certificate names none. Errors: [ErrNotProduced], [*StorageError], and those of package identity. Validity in time
// and revocation are left to [Open].
func CertifiedHelper(ctx context.Context, nvm NVM, roots []*x509.Certificate) ([32]byte, error) {
	fail := func(err error) ([32]byte, error) {
		return [32]byte{}, fmt.Errorf("certified helper data: %w", err)
	}
	b, err := nvm.Get(ctx, nameCredential)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(ErrNotProduced)
	}
	if err != nil {
		return fail(err)
	}
	c, err := identity.ParseCredential(b)
	if err != nil {
		return fail(err)
	}
	v, err := identity.NewVerifier(factoryTrust(roots, nil))
	if err != nil {
		return fail(err)
	}
	device, err := v.Verify(c, identity.RoleDevice)
	if err != nil {
		return fail(err)
	}
	hash, _ := device.HelperHash()
	return hash, nil
}

// saveCredential writes what CertifiedHelper reads, in the clear: it is public, and read before the root of trust is there.
func saveCredential(ctx context.Context, nvm NVM, c identity.Credential) error {
	b, err := c.Marshal()
	if err != nil {
		return err
	}
	return nvm.Put(ctx, nameCredential, b)
}
