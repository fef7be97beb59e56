package storetest_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/storetest"
)

func TestMemStore(t *testing.T) {
	storetest.TestStore(t, func(*testing.T, string) platform.Store { return platform.NewMemStore() }, true)
}

func TestBoltStore(t *testing.T) {
	dir := t.TempDir()
	storetest.TestStore(t, func(t *testing.T, name string) platform.Store {
		s, err := platform.OpenBoltStore(filepath.Join(dir, name))
		require.NoError(t, err)
		return s
	}, false)
}

func TestLockedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry")
	s, err := platform.OpenBoltStore(path)
	require.NoError(t, err)
	defer s.Close()
	_, err = platform.OpenBoltStore(path)
	require.ErrorIs(t, err, platform.ErrStoreLocked)
}
