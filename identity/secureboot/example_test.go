package secureboot_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"

	"github.com/semio-iot/semio/identity/secureboot"
)

// Three stages, as in section III.B of the paper: ROM knows the hash of the boot loader, the boot loader the key of the firmware's
// provider, the firmware the key of the application's.
func Example() {
	firmwareProvider, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	applicationProvider, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)

	// What is in the device. The floors come from a counter that nobody can set back.
	bootLoader, firmware, application := []byte("boot loader"), []byte("firmware 5"), []byte("application 12")
	fuses := sha256.Sum256(bootLoader)
	floor := map[string]uint64{"firmware": 4, "application": 12}

	// What the providers publish beside their images.
	m := secureboot.Describe("thermostat", 2, 5, firmware)
	m.Next = []*ecdsa.PublicKey{&applicationProvider.PublicKey}
	firmwareManifest, err := m.Sign(firmwareProvider)
	check(err)
	applicationManifest, err := secureboot.Describe("thermostat", 3, 12, application).Sign(applicationProvider)
	check(err)

	// ROM.
	check(secureboot.VerifyHash(bytes.NewReader(bootLoader), int64(len(bootLoader)), fuses))
	fmt.Println("1 ROM: the boot loader's hash is the one in the fuses")

	// The boot loader, which has its provider's key built in.
	var chain secureboot.Chain
	second, err := secureboot.VerifyImage(firmwareManifest, bytes.NewReader(firmware), secureboot.Trust{
		Product: "thermostat", Stage: 2, Keys: []*ecdsa.PublicKey{&firmwareProvider.PublicKey}, Floor: floor["firmware"],
	})
	check(err)
	chain = chain.Extend(second)
	fmt.Println("2 boot loader: firmware version", second.Version)

	// The firmware.
	third, err := secureboot.VerifyImage(applicationManifest, bytes.NewReader(application), second.Trust(floor["application"]))
	check(err)
	chain = chain.Extend(third)
	fmt.Println("3 firmware: application version", third.Version)
	fmt.Println("started something:", chain != secureboot.Chain{})

	// Somebody puts last year's application back, which is genuine.
	old := []byte("application 11")
	oldManifest, err := secureboot.Describe("thermostat", 3, 11, old).Sign(applicationProvider)
	check(err)
	_, err = secureboot.VerifyImage(oldManifest, bytes.NewReader(old), second.Trust(floor["application"]))
	fmt.Println("rolled back:", errors.Is(err, secureboot.ErrRollback))
	// Output:
	// 1 ROM: the boot loader's hash is the one in the fuses
	// 2 boot loader: firmware version 5
	// 3 firmware: application version 12
	// started something: true
	// rolled back: true
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
