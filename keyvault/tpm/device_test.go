package tpm_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault/tpm"
)

// On a machine with a TPM this opens it and sends it nothing.
func TestOpenDevice(t *testing.T) {
	device, err := tpm.OpenDevice()
	if err == nil {
		require.NoError(t, device.Close())
		return
	}
	require.Nil(t, device)
	require.ErrorIs(t, err, tpm.ErrNoDevice)
	if runtime.GOOS == "linux" {
		_, there := os.Stat("/dev/tpmrm0")
		require.Equal(t, errors.Is(there, fs.ErrNotExist), errors.Is(err, fs.ErrNotExist), "the error says what is wrong: %v", err)
	} else {
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
}
