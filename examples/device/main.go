// Device is a thing in the field: it wakes up its keys from the start-up values of its SRAM, sends a temperature to the application that
// has commissioned it, and answers that application's commands. It lives in a folder that the factory made (package unit), and may
// be killed at any time: what it has accepted to send is sent, and commands run once or not at all.
//
//	device -unit FACTORY/units/D-… -broker mqtts://PLATFORM:8883
package main

import (
	"time"

	"github.com/semio-iot/semio/examples/internal/brokerflag"
	"github.com/semio-iot/semio/examples/internal/cli"
)

func main() { cli.Main(program) }

var program = cli.Program{
	Name:     "device",
	About:    "A device with an SRAM PUF: sends a temperature, answers commands. It runs until it is stopped, or retired.",
	Commands: []cli.Command{{Setup: setup}},
}

func setup(f *cli.Flags) cli.Action {
	d := &device{
		dir:    f.Required("unit", "`folder` of the device, which the factory made"),
		broker: brokerflag.Declare(f, ""),
		prefix: f.String("prefix", "", "the `topic prefix` that the platform printed, to compare; the device has it from its admission"),
		sensor: f.String("sensor", "auto", "thermometer: auto (hwmon, where the machine has it), simulated, or a `file` with thousandths of a degree"),
		every:  f.Duration("every", 10*time.Second, "`time` between measurements; 0: only when a command asks"),
		events: f.String("events", "", "append what the application sends to this `file` of JSON lines, each exactly once, also over crashes"),
	}
	f.JSON()
	return d.run
}
