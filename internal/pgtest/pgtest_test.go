package pgtest_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/pgtest"
)

// Without a driver: whether somebody listens, before, between and after.
func TestServer(t *testing.T) {
	var dir string
	t.Run("alive", func(t *testing.T) {
		s := pgtest.Start(t)
		dir = s.Dir()
		dial := func() error {
			c, err := net.Dial("unix", filepath.Join(dir, ".s.PGSQL.5432"))
			if err == nil {
				c.Close()
			}
			return err
		}
		require.NoError(t, dial())
		s.Kill(t)
		require.Error(t, dial(), "a killed server does not listen")
		s.Restart(t)
		require.NoError(t, dial())
		require.Contains(t, s.DSN(), dir)
	})
	if dir == "" {
		return // skipped
	}
	_, err := os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist, "nothing is left")
}
