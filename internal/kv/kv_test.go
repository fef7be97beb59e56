package kv_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/kv"
	"github.com/semio-iot/semio/internal/kv/kvtest"
)

func TestMem(t *testing.T) {
	kvtest.TestStore(t, func(*testing.T, string) kv.Store { return new(kv.Mem) }, true)
}

func TestBolt(t *testing.T) {
	dir := t.TempDir()
	kvtest.TestStore(t, func(t *testing.T, name string) kv.Store {
		s, err := kv.OpenBolt(filepath.Join(dir, name), "test 1")
		require.NoError(t, err)
		return s
	}, false)
}

func TestOpenBoltRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := kv.OpenBolt(path, "one 1")
	require.NoError(t, err)

	_, err = kv.OpenBolt(path, "one 1")
	require.ErrorIs(t, err, kv.ErrLocked)

	require.NoError(t, s.Close())
	_, err = kv.OpenBolt(path, "two 1")
	require.ErrorIs(t, err, kv.ErrSchema)

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "others may not read it")

	require.NoError(t, os.WriteFile(path, []byte("not a database"), 0o600))
	_, err = kv.OpenBolt(path, "one 1")
	require.Error(t, err)
}
