package keyvault_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/keyvault/storetest"
)

func TestStores(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		storetest.TestStore(t, func(*testing.T) keyvault.Store { return newMemory() })
	})
	t.Run("strict memory", func(t *testing.T) {
		storetest.TestStore(t, func(*testing.T) keyvault.Store { m := newMemory(); m.strict = true; return m })
	})
	t.Run("the device gateway's memory", func(t *testing.T) {
		storetest.TestStore(t, func(t *testing.T) keyvault.Store { return fileNVM(t) })
	})
}

func fileNVM(t *testing.T) *devicegw.FileNVM {
	t.Helper()
	nvm, err := devicegw.OpenFileNVM(t.TempDir())
	require.NoError(t, err)
	return nvm
}

// The helper data survives in files, and its removal too.
func TestVaultOverFiles(t *testing.T) {
	c, dir := chip(1), t.TempDir()
	nvm, err := devicegw.OpenFileNVM(dir)
	require.NoError(t, err)
	v, err := keyvault.Enroll(t.Context(), c, nvm, nil)
	require.NoError(t, err)
	public := v.Signer().Public()

	nvm, err = devicegw.OpenFileNVM(dir)
	require.NoError(t, err)
	v = open(t, c, nvm)
	require.Equal(t, public, v.Signer().Public())
	require.NoError(t, v.Destroy(t.Context()))

	nvm, err = devicegw.OpenFileNVM(dir)
	require.NoError(t, err)
	_, err = keyvault.Open(t.Context(), c, nvm, nil)
	require.ErrorIs(t, err, keyvault.ErrNotEnrolled)
}
