// Ca is a certificate authority as a process of its own, so that it can belong to another owner than the platform.
//
//	ca init -dir ca -name "Example Root"                     once: the root key, and ca/root.pem for everybody
//	ca issue -dir ca -in water/request.pem -out chain.pem    answers a party's request, or a server's
//	ca grant -dir ca -id P-SEMIO -hosts localhost -revoke    lets a platform ask for server certificates and revocations
//	ca serve -dir ca -operators O-ROOT                       answers factories, platforms and operators over the network
//	ca revoke -ca https://HOST:8444 -party root D-THERMO-7   the same commands from elsewhere, by an operator
//
//	ca init -dir issuing -name "Example Issuing" -issuing    an issuing CA: makes issuing/request.pem
//	ca certify -dir ca -in issuing/request.pem -out i.pem    the root answers it, and can stay in the safe then
//	ca join -dir issuing -in i.pem -roots ca/root.pem        from now on the issuing CA does the rest
//	ca roll-over -dir ca                                     a new key, also for a root: cross certificates carry the old devices over
//	ca revoke -dir ca -certificate issuing/issuing.pem       the end of an issuing CA
//
// Who runs issue decides by it who is who: look at the name, and at where the request comes from.
package main

import (
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
)

func main() { cli.Main(program) }

var program = cli.Program{
	Name:  "ca",
	About: "A certificate authority: says who is who, and who is no longer.",
	Commands: []cli.Command{
		{Name: "init", About: "make the authority: root key, root certificate, empty revocation list", Setup: initialise},
		{Name: "request", About: "make a request to another authority, for a new or a cross certificate", Setup: request},
		{Name: "certify", About: "answer the request of another authority: an issuing CA under this root, or another root", Setup: certify},
		{Name: "join", About: "take what another authority's certify has answered", Setup: join},
		{Name: "roll-over", About: "give the authority a new key; what it issued stays valid", Setup: rollOver},
		{Name: "issue", About: "answer a certificate request of a party or of a server", Setup: issue},
		{Name: "revoke", About: "revoke all certificates of a name, for good", Args: "NAME", Setup: revoke},
		{Name: "crl", About: "publish the revocation list", Setup: crl},
		{Name: "add-crl", About: "hand out another authority's revocation lists too, above all its root's", Setup: addCRL},
		{Name: "grant", About: "say what a platform or a factory may ask over the network", Setup: grant},
		{Name: "serve", About: "answer requests over the network", Setup: serve},
		{Name: "operator", About: "make keys and a request for an operator of this authority", Setup: operator},
		{Name: "install", About: "put into an operator's folder what issue has answered", Setup: install},
	},
}

// An operator's folder is made with the commands that every program has for parties.
var operatorCommands = partycmd.Commands(identity.RoleOperator)

func operator(f *cli.Flags) cli.Action { return operatorCommands[0].Setup(f) }
func install(f *cli.Flags) cli.Action  { return operatorCommands[1].Setup(f) }
