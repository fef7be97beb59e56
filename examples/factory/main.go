// Factory is a production line: it makes devices of chips. Each gets its root key from its SRAM, a certificate from the authority, is
// registered with the platform, and a sticker is printed for it.
//
//	factory init -party station -id R-LINE1              and install, see package partycmd
//	factory run -party station -dir line -n 20 -name D-THERMO -ca https://CA:8444 -platform https://PLATFORM:8443
//
// The folder that -dir names has then
//
//	units/D-THERMO-0001/     what goes into the device (examples/internal/unit)
//	reports/D-THERMO-0001.json
//	stickers/D-THERMO-0001.txt and sheet-001.png: secret, they have the claim codes. Print, and delete
//
// It may be killed at any time and started again with the same arguments: every unit goes on where it was, and those that are done stay
// as they are.
package main

import (
	"runtime"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
)

func main() { cli.Main(program) }

var program = cli.Program{
	Name:  "factory",
	About: "A production line for devices with an SRAM PUF.",
	Commands: append([]cli.Command{
		{Name: "run", About: "make a batch of devices, or go on with it", Setup: run},
		{Name: "reports", About: "print what became of each unit", Setup: reports},
		{Name: "sticker", About: "print a unit's sticker once more; the device itself knows it", Args: "DEVICE", Setup: sticker},
	}, partycmd.Commands(identity.RoleRegistrar)...),
}

func dirFlag(f *cli.Flags) *string {
	return f.String("dir", "line", "`folder` of the line: units, reports, stickers")
}

func run(f *cli.Flags) cli.Action {
	l := &line{
		dir:      dirFlag(f),
		party:    partycmd.Flag(f),
		name:     f.String("name", "D-UNIT", "the devices are called `NAME`-0001, -0002 and so on"),
		n:        f.Int("n", 0, "`number` of simulated chips that the line has in all"),
		dumps:    f.String("dumps", "", "`folder` of real power-up dumps: a sub-folder is a chip, a .bin or .hex file in it a power-up"),
		perChip:  f.Int("per-chip", 1, "with -dumps, `number` of devices that a chip gives; each 1,024 bytes of its memory are a PUF of their own"),
		ca:       f.Required("ca", "`URL` of the certificate authority"),
		platform: f.Required("platform", "`URL` of the platform's administration"),
		workers:  f.Int("workers", runtime.NumCPU(), "`number` of units that are made at the same time"),
		patience: f.Duration("patience", time.Minute, "`time` for which a server that cannot be reached is tried again"),
	}
	f.JSON()
	return l.run
}
