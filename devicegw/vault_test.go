package devicegw_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf/pufsim"
)

// The vault over an SRAM PUF is a root of trust, with our memory as its store.
func TestVaultIsARoot(t *testing.T) {
	require.Equal(t, keyvault.DefaultName, devicegw.NameHelper, "the helper data would lie in one copy")
	var seed atomic.Uint64
	roottest.TestRoot(t, func(t *testing.T) roottest.Harness {
		chip := func() (open func(t *testing.T) devicegw.Root) {
			source := pufsim.New(seed.Add(1), pufsim.Config{})
			fsys := crashfs.New("/nvm")
			vault, err := keyvault.Enroll(t.Context(), source, openCrash(t, fsys), nil)
			require.NoError(t, err)
			require.NoError(t, vault.Close())
			return func(t *testing.T) devicegw.Root {
				vault, err := keyvault.Open(t.Context(), source, openCrash(t, fsys), nil)
				require.NoError(t, err)
				t.Cleanup(func() { _ = vault.Close() })
				return vault
			}
		}
		return roottest.Harness{Open: chip(), Other: chip()}
	})
}
