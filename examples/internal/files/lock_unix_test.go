//go:build unix && !solaris && !aix

package files

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A child that is being started has every file of its parent open for a moment, the lock's too.
func TestLockIsGivenBackDespiteCopies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := TryLock(path)
	require.NoError(t, err)
	copied, err := syscall.Dup(int(l.f.Fd()))
	require.NoError(t, err)
	defer syscall.Close(copied)
	require.NoError(t, l.Close())
	l, err = TryLock(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
