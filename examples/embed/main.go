// Embed is an ordinary back-end that takes semio in: a building manager's service with a portal over HTTP, readings in PostgreSQL, a
// log and an MQTT client, all of which it had before. What package appgw adds to it stands in gateway.go; the rest is what such a
// service looks like anyway.
//
//   - Every reading of a device is in the service's table exactly once, whatever dies in between: gateway and row share a transaction.
//   - The caretaker commissions a device by typing its sticker into the portal, whose handler calls the gateway.
//   - Old sensors that publish in the clear go on beside it, over the same MQTT connection, with -plain.
//   - /healthz and /metrics include the gateway.
//
// Nothing is global; nothing of semio listens or handles signals. The README of the examples shows how to run it.
package main

import (
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
)

func main() { cli.Main(program) }

var program = cli.Program{
	Name:  "embed",
	About: "A back-end service with HTTP portal, PostgreSQL and MQTT that has an application gateway inside.",
	Commands: append(partycmd.Commands(identity.RoleApplication),
		cli.Command{Name: "serve", About: "run the service", Setup: setupServe}),
}
