//go:build unix

package puf_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
)

// Nobody writes to the pipe: without the check the test would hang.
func TestOpenRefusesAPipe(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1.bin", "2.hex"} {
		path := filepath.Join(dir, name)
		require.NoError(t, syscall.Mkfifo(path, 0o600))
		_, err := puf.OpenFile(path)
		require.ErrorIs(t, err, puf.ErrFormat)
		require.ErrorContains(t, err, "not a regular file")
	}
	_, err := puf.OpenDir(dir)
	require.ErrorIs(t, err, puf.ErrFormat)
}
