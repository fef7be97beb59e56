//go:build !linux

package tpm

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/google/go-tpm/tpm2/transport"
)

// OpenDevice opens the machine's TPM, on Linux /dev/tpmrm0. The caller closes it. Errors: ErrNoDevice, which wraps that of the operating
// system; on other systems also errors.ErrUnsupported: open the TPM with a transport of go-tpm there.
func OpenDevice() (transport.TPMCloser, error) {
	return nil, fmt.Errorf("%w: %w on %s (open it with a transport of go-tpm)", ErrNoDevice, errors.ErrUnsupported, runtime.GOOS)
}
