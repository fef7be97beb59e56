package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

// devicePath is the TPM behind the kernel's resource manager, which keeps processes apart and frees what they leave over.
const devicePath = "/dev/tpmrm0"

// OpenDevice opens the machine's TPM, on Linux /dev/tpmrm0. The caller closes it. Errors: ErrNoDevice, which wraps that of the operating
// system; on other systems also errors.ErrUnsupported: open the TPM with a transport of go-tpm there.
func OpenDevice() (transport.TPMCloser, error) { return openDevice(devicePath) }

func openDevice(path string) (transport.TPMCloser, error) {
	t, err := linuxtpm.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w (is there a TPM, is its driver loaded, is the process in the group tss?)", ErrNoDevice, err)
	}
	return t, nil
}
