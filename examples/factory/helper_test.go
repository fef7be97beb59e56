package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity"
)

// deviceRequest is a request of somebody else for the name.
func deviceRequest(t *testing.T, name string) []byte {
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	csr, err := identity.NewCSR(key, id, identity.CSROptions{})
	require.NoError(t, err)
	return csr
}

func lockLine(t *testing.T, dir string) *files.Lock {
	l, err := files.TryLock(filepath.Join(dir, "lock"))
	require.NoError(t, err)
	return l
}

// pretend is the folder of a registrar of an authority whose clock is not ours.
func pretend(t *testing.T, a *clitest.Authority) string {
	return a.Unchecked("R-LINE1").Dir()
}
