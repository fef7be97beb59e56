package keyvault_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// A Linux device whose SRAM the kernel exports: it is enrolled in one power-up, opens in the next, and a daemon that starts again without
// a power-up has its keys back.
func TestExportedSRAM(t *testing.T) {
	ctx := t.Context()
	sram := pufsim.New(11, pufsim.Config{Size: 1024 + puf.SysfsTrailer})
	file := filepath.Join(t.TempDir(), "9ff00.sram")
	powerUp := func(ctx context.Context) error {
		b := make([]byte, sram.Size())
		if err := sram.Measure(ctx, b); err != nil {
			return err
		}
		return os.WriteFile(file, b, 0o600)
	}
	source := func(c puf.SysfsConfig) puf.Source {
		s, err := puf.OpenSysfs(file, c)
		require.NoError(t, err)
		return s
	}
	proof := func(v *keyvault.Vault) []byte {
		b, err := v.Derive("test", nil, 32)
		require.NoError(t, err)
		require.NoError(t, v.Close())
		return b
	}
	require.NoError(t, powerUp(ctx))

	store := newMemory()
	_, err := keyvault.Enroll(ctx, source(puf.SysfsConfig{Restart: true}), store, nil)
	require.ErrorIs(t, err, puf.ErrIdentical, "the same power-up twice proves nothing")
	require.Empty(t, store.values)
	require.NoError(t, powerUp(ctx))
	v, err := keyvault.Enroll(ctx, source(puf.SysfsConfig{}), store, nil)
	require.NoError(t, err)
	want := proof(v)

	_, err = keyvault.Open(ctx, source(puf.SysfsConfig{}), store, nil)
	require.ErrorIs(t, err, puf.ErrNotPowerCycled)
	v, err = keyvault.Open(ctx, source(puf.SysfsConfig{Restart: true}), store, nil)
	require.NoError(t, err)
	require.Equal(t, want, proof(v), "a daemon that starts again")

	require.NoError(t, powerUp(ctx))
	for range 2 {
		v, err = keyvault.Open(ctx, source(puf.SysfsConfig{Restart: true}), store, nil)
		require.NoError(t, err)
		require.Equal(t, want, proof(v))
	}

	// With a switch for the memory's power the enrolment is proved by a second power-up.
	require.NoError(t, powerUp(ctx))
	v, err = keyvault.Enroll(ctx, source(puf.SysfsConfig{PowerCycle: powerUp}), newMemory(), nil)
	require.NoError(t, err)
	require.Positive(t, v.Report().ErrorRate())
	require.NoError(t, v.Close())
}
