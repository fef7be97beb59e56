// Platform connects devices with applications, and reads nothing of what they say. It has an MQTT broker of its own, or works over
// another one.
//
//	platform init -party platform -id P-SEMIO                 and install, see package partycmd
//	platform serve -party platform -ca https://CA:8444 -operators O-ALICE
//
// Its operators administer it over the network, with a certificate of their own:
//
//	platform admit -platform https://HOST:8443 -party alice -in water/credential.pem -out admission.pem
//	platform retire -platform https://HOST:8443 -party alice D-THERMO-0001
//	platform devices -platform https://HOST:8443 -party alice
package main

import (
	"context"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/party"
)

func main() { cli.Main(program) }

var program = cli.Program{
	Name:  "platform",
	About: "The platform between devices and applications: registry, commissioning, broker.",
	Commands: append([]cli.Command{
		{Name: "serve", About: "run the platform", Setup: serve},
		{Name: "admit", About: "operator: let an application use the platform", Setup: admit},
		{Name: "retire", About: "operator: end the life of devices, for good", Args: "DEVICE…", Setup: retire},
		{Name: "add-crl", About: "operator: bring a revocation list, where the platform cannot ask the authority", Setup: addCRL},
		{Name: "devices", About: "operator: list the devices", Setup: devices},
		{Name: "applications", About: "operator: list the applications", Setup: applications},
		{Name: "audit", About: "operator: print the audit log, once the platform has verified it", Setup: audit},
		{Name: "server-request", About: "make a request for the server certificate, where -ca cannot be reached", Setup: serverRequest},
	}, partycmd.Commands(identity.RolePlatform, identity.RoleOperator)...),
}

const defaultHosts = "127.0.0.1,localhost"

func hostsFlag(f *cli.Flags) *string {
	return f.String("hosts", defaultHosts, "`names` and addresses, parted by commas, under which clients dial; the first one is printed, and dialled by the platform itself")
}

func serverRequest(f *cli.Flags) cli.Action {
	dir, hosts := partycmd.Flag(f), hostsFlag(f)
	out := f.String("out", "-", "`file` for the request, - for stdout")
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		p, err := partycmd.Open(*dir, identity.RolePlatform)
		if err != nil {
			return err
		}
		der, err := p.ServerRequest(cli.Split(*hosts))
		if err != nil {
			return err
		}
		return t.WriteOut(*out, party.EncodeRequest(der))
	}
}
