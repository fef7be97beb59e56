// Application is an application provider's back-end: it commissions devices by their stickers, keeps or prints what they send, commands
// them, and decommissions them. "run" is the process that is connected; the other commands speak to it over a socket in its folder, which
// whoever may read the folder may use.
//
//	application init -party water -id A-WATER        and install, see package partycmd
//	application run -party water -broker mqtts://PLATFORM:8883
//	application connect -party water -photo sticker.jpg
//	application call -party water D-THERMO-0001 temperature
//	application disconnect -party water D-THERMO-0001
package main

import (
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
)

func main() { cli.Main(program) }

var program = cli.Program{
	Name:  "application",
	About: "An application provider's back-end.",
	Commands: append([]cli.Command{
		{Name: "run", About: "stay connected: receive what devices send, obey the commands below", Setup: setupRun},
		{Name: "connect", About: "commission a device by its sticker: typed, from stdin (-), or photographed", Args: "[STICKER]", Setup: setupConnect},
		{Name: "disconnect", About: "decommission a device; what waits for it is dropped", Args: "DEVICE", Setup: setupDisconnect},
		{Name: "call", About: "ask a device and print its reply; it runs once or not at all", Args: "DEVICE TEXT…", Setup: setupCall},
		{Name: "send", About: "send a device an event, which waits until the device can be reached", Args: "DEVICE TEXT…", Setup: setupSend},
		{Name: "list", About: "list the connected devices", Setup: setupList},
	}, partycmd.Commands(identity.RoleApplication)...),
}
