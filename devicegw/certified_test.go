package devicegw_test

import (
	"crypto/x509"
	"io/fs"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
)

func TestCertifiedHelper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, nvm := t.Context(), w.nvm()
		hash, err := devicegw.CertifiedHelper(ctx, nvm, w.ca.roots())
		require.NoError(t, err)
		require.Equal(t, w.root.HelperHash(), hash)

		_, err = devicegw.CertifiedHelper(ctx, nvm, newAuthority(t, "Other CA").roots())
		require.ErrorIs(t, err, identity.ErrUntrusted)
		_, err = devicegw.CertifiedHelper(ctx, nvm, []*x509.Certificate{})
		require.Error(t, err, "roots come from the firmware: none is none")

		good, err := nvm.Get(ctx, "credential")
		require.NoError(t, err)
		app := w.ca.party(t, "A-1")
		other, err := app.credential.Marshal()
		require.NoError(t, err)
		flipped := append([]byte(nil), good...)
		flipped[len(flipped)/2] ^= 1
		for name, b := range map[string][]byte{"an application's": other, "flipped": flipped, "cut": good[:len(good)-1], "junk": []byte("junk")} {
			require.NoError(t, nvm.Put(ctx, "credential", b))
			_, err := devicegw.CertifiedHelper(ctx, nvm, w.ca.roots())
			require.Error(t, err, name)
			require.NotErrorIs(t, err, fs.ErrNotExist, name)
		}
		require.NoError(t, nvm.Delete(ctx, "credential"))
		_, err = devicegw.CertifiedHelper(ctx, nvm, w.ca.roots())
		require.ErrorIs(t, err, devicegw.ErrNotProduced)
	})
}
