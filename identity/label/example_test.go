package label_test

import (
	"fmt"
	"os"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/label"
)

func ExampleTerminal() {
	dev, err := identity.ParseDeviceID("D-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	// A sticker with the name only, as in the paper.
	if err := label.Terminal(os.Stdout, identity.Sticker{Device: dev}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// █████████████████████████████
	// █████████████████████████████
	// ████ ▄▄▄▄▄ █▀ ▀█▀█ ▄▄▄▄▄ ████
	// ████ █   █ ██▄▄▄▄█ █   █ ████
	// ████ █▄▄▄█ █▄  █ █ █▄▄▄█ ████
	// ████▄▄▄▄▄▄▄█▄█▄▀ █▄▄▄▄▄▄▄████
	// ████ ▀ █ ▀▄▀▀▄█▄████ ██ ▀████
	// ████ █ ▀ ▄▄ ▀▄ █▄▄▀ ▀▄▀█▀████
	// ██████▄▄▄▄▄▄ █ ▀▄ ▄▄ ▀█ █████
	// ████ ▄▄▄▄▄ ██▄▄ ▀▄██  ▄▄▀████
	// ████ █   █ █▄▀█ █▀▀ ██  ▄████
	// ████ █▄▄▄█ █▄██▀▄▀█  ██▀ ████
	// ████▄▄▄▄▄▄▄█▄▄██▄██▄█▄██▄████
	// █████████████████████████████
	// █████████████████████████████
	//     SEMIO1:D-1:
	//     2RRY
}
