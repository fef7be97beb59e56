package storetest_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/appgw/storetest"
)

func TestMemStore(t *testing.T) {
	storetest.TestStore(t, func(*testing.T, string) appgw.Store { return appgw.NewMemStore() }, true)
}

func TestBoltStore(t *testing.T) {
	dir := t.TempDir()
	storetest.TestStore(t, func(t *testing.T, name string) appgw.Store {
		s, err := appgw.OpenBoltStore(filepath.Join(dir, name))
		require.NoError(t, err)
		return s
	}, false)
}

func TestLockedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := appgw.OpenBoltStore(path)
	require.NoError(t, err)
	defer s.Close()
	_, err = appgw.OpenBoltStore(path)
	require.ErrorIs(t, err, appgw.ErrStoreLocked)
}
