package files_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/files"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for i, secret := range []bool{true, false} {
		want := []byte{byte(i)}
		require.NoError(t, files.Write(path, want, secret))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, got)
		if runtime.GOOS != "windows" {
			st, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, map[bool]os.FileMode{true: 0o600, false: 0o644}[secret], st.Mode().Perm())
		}
	}
	require.Error(t, files.Write(filepath.Join(path, "below a file"), nil, true))
	// Nothing is left over of a write that fails at the end.
	dir := filepath.Join(t.TempDir(), "d")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "target", "full"), 0o700))
	require.Error(t, files.Write(filepath.Join(dir, "target"), []byte("x"), true))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".new-1234", "kept.new-", "kept"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	require.NoError(t, files.Clean(dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Error(t, files.Clean(filepath.Join(dir, "none")))
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := files.TryLock(path)
	require.NoError(t, err)
	_, err = files.TryLock(path)
	require.ErrorIs(t, err, files.ErrInUse)
	require.NoError(t, l.Close())
	l, err = files.TryLock(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
