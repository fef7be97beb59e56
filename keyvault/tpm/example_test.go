package tpm_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"path/filepath"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/keyvault/tpm"
)

// A Linux gateway opens its vault at boot, and enrols at the first one.
func Example() {
	ctx := context.Background()
	nvm, err := devicegw.OpenFileNVM(filepath.Join("/var/lib/gateway", "nvm"))
	if err != nil {
		log.Fatal(err)
	}
	device, err := tpm.OpenDevice()
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	vault, err := tpm.Open(ctx, device, nvm, nil)
	if errors.Is(err, tpm.ErrNotEnrolled) {
		// PCR 7 is what decides who may boot: the state of Secure Boot.
		vault, err = tpm.Enroll(ctx, device, nvm, &tpm.Options{PCRs: []int{7}})
	}
	if err != nil {
		log.Fatal(err)
	}
	defer vault.Close()
	fmt.Println(vault.Signer().Public())
}
