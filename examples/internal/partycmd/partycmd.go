// Package partycmd has the commands by which a program without a chip gets its identity and keeps it: init, install, show, renew, rekey,
// forget. The platform, the application and the factory have them alike, over package identity/party:
//
//	application init -party water -id A-WATER                        makes keys and water/request.pem
//	ca issue -in water/request.pem -out chain.pem                    at the authority, which hands out its root.pem too
//	application install -party water -chain chain.pem -roots root.pem
//	platform admit -in water/credential.pem -out admission.pem       at the platform's operator, applications only
//	application install -party water -admission admission.pem
//	application renew -party water -ca https://CA:8444               another certificate for the same keys, also after the end of the first
//	application rekey -party water -ca https://CA:8444               other keys, for which the present ones vouch
//	application forget -party water                                  once everybody has heard of them
//
// Add [Commands] to the program's own, and read the folder with [Flag] and [Open].
package partycmd

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/party"
)

// Flag declares -party.
func Flag(f *cli.Flags) *string {
	program, _, _ := strings.Cut(f.Name(), " ")
	return f.String("party", program, "`folder` with the party's keys and certificates, which init makes")
}

// Open opens the folder and checks that its party has the role.
func Open(dir string, roles ...identity.Role) (*party.Party, error) {
	p, err := party.Open(dir)
	if err != nil {
		return nil, hint(err)
	}
	var want []string
	for _, r := range roles {
		if p.ID().Role() == r {
			return p, nil
		}
		want = append(want, fmt.Sprintf("%s (%c-…)", r, r))
	}
	return nil, fmt.Errorf("party in %s is %s, want %s: name another folder with -party", dir, p.ID(), strings.Join(want, " or "))
}

// Commands returns init, install, show, renew, rekey and forget for parties of the roles.
func Commands(roles ...identity.Role) []cli.Command {
	return []cli.Command{
		{Name: "init", About: "make keys and a certificate request in a new folder", Setup: initialise(roles)},
		{Name: "install", About: "put into the folder what authority and platform have answered", Setup: install(roles)},
		{Name: "show", About: "tell who the party is and what it still lacks", Setup: show(roles)},
		{Name: "renew", About: "get the next certificate for the same keys, also when the present one is over", Setup: renew(roles)},
		{Name: "rekey", About: "make other keys and get a certificate for them", Setup: rekey(roles)},
		{Name: "forget", About: "delete the keys of before, once everybody has heard of the present ones", Setup: forget(roles)},
	}
}

func initialise(roles []identity.Role) func(*cli.Flags) cli.Action {
	return func(f *cli.Flags) cli.Action {
		dir := Flag(f)
		name := f.Required("id", "`name` of the party, for example "+example(roles))
		f.JSON()
		return func(_ context.Context, t *cli.Terminal, _ []string) error {
			id, err := identity.ParseID(*name)
			if err != nil {
				return cli.Usage("-id: %v", err)
			}
			if !has(roles, id.Role()) {
				return cli.Usage("-id %s is the name of a %s, want for example %s", id, id.Role(), example(roles))
			}
			p, err := party.Create(*dir, id)
			if err != nil {
				return err
			}
			request := filepath.Join(p.Dir(), "request.pem")
			return t.Print(map[string]any{"id": id, "request": request}, "%s: have the authority answer %s, then install what it returns.", id, request)
		}
	}
}

func install(roles []identity.Role) func(*cli.Flags) cli.Action {
	return func(f *cli.Flags) cli.Action {
		dir := Flag(f)
		chain := f.String("chain", "", "`file` of the certificate chain that the authority issued")
		roots := f.String("roots", "", "`file` of the root certificates to trust; needed the first time")
		after := f.Int64("after", -1, "`generation` that others know, where it is later than that of the folder, which came from a backup for example")
		var admission, server *string
		if has(roles, identity.RoleApplication) {
			admission = f.String("admission", "", "`file` of the platform's admission")
		}
		if has(roles, identity.RolePlatform) {
			server = f.String("server", "", "`file` of the server certificate chain that the authority issued")
		}
		f.JSON()
		return func(_ context.Context, t *cli.Terminal, _ []string) error {
			p, err := Open(*dir, roles...)
			if err != nil {
				return err
			}
			if *chain == "" && given(admission) == "" && given(server) == "" {
				return cli.Usage("nothing to install: name a file")
			}
			if *after < -1 || *after > math.MaxUint32 || *after >= 0 && *chain == "" {
				return cli.Usage("-after: want a number up to %d, with -chain", uint32(math.MaxUint32))
			}
			if *chain != "" {
				if err := installChain(p, *chain, *roots, *after); err != nil {
					return err
				}
			}
			if file := given(admission); file != "" {
				b, err := party.ReadAdmission(file)
				if err != nil {
					return err
				}
				if err := p.InstallAdmission(b); err != nil {
					return err
				}
			}
			if file := given(server); file != "" {
				certs, err := party.ReadCertificates(file)
				if err != nil {
					return err
				}
				if err := p.InstallServer(raw(certs)); err != nil {
					return err
				}
			}
			return t.Print(map[string]any{"id": p.ID()}, "%s: installed in %s.", p.ID(), p.Dir())
		}
	}
}

func installChain(p *party.Party, chain, roots string, after int64) error {
	certs, err := party.ReadCertificates(chain)
	if err != nil {
		return err
	}
	var trusted []*x509.Certificate
	if roots != "" {
		if trusted, err = party.ReadCertificates(roots); err != nil {
			return err
		}
	}
	if after >= 0 {
		return hint(p.InstallAfter(uint32(after), raw(certs), trusted))
	}
	return hint(p.Install(raw(certs), trusted))
}

func show(roles []identity.Role) func(*cli.Flags) cli.Action {
	return func(f *cli.Flags) cli.Action {
		dir := Flag(f)
		f.JSON()
		return func(_ context.Context, t *cli.Terminal, _ []string) error {
			p, err := Open(*dir, roles...)
			if err != nil {
				return err
			}
			state := map[string]any{"id": p.ID()}
			lines := []string{p.ID().String()}
			for _, r := range p.Roots() {
				sum := sha256.Sum256(r.Raw)
				state["root"] = hex.EncodeToString(sum[:])
				lines = append(lines, fmt.Sprintf("trusts     %s, SHA-256 %x", r.Subject.CommonName, sum))
			}
			c, err := p.Credential()
			if err == nil {
				leaf, err := x509.ParseCertificate(c.Chain[0])
				if err != nil {
					return err
				}
				state["valid_until"] = leaf.NotAfter
				lines = append(lines, "certified  until "+leaf.NotAfter.UTC().Format(time.DateOnly))
			} else {
				state["certificate"] = err.Error()
				lines = append(lines, "certified  no: "+cli.Explain(err).Error())
			}
			if n := len(p.Previous()); n > 0 {
				state["previous"] = n
				lines = append(lines, fmt.Sprintf("earlier    %d credentials, for those who have not heard of the newest; forget deletes them", n))
			}
			if p.ID().Role() == identity.RoleApplication {
				_, err := p.Admission()
				state["admitted"] = err == nil
				if err != nil {
					lines = append(lines, "admitted   no: "+err.Error())
				} else {
					lines = append(lines, "admitted   yes")
				}
			}
			return t.Print(state, "%s", strings.Join(lines, "\n"))
		}
	}
}

// hint says which commands these programs have for what package party asks for.
func hint(err error) error {
	if errors.Is(err, party.ErrNone) {
		return fmt.Errorf("%w: the command init makes one, and -party names the folder", err)
	}
	return err
}

func has(roles []identity.Role, r identity.Role) bool {
	for _, want := range roles {
		if r == want {
			return true
		}
	}
	return false
}

func example(roles []identity.Role) string {
	names := map[identity.Role]string{
		identity.RoleApplication: "A-WATER", identity.RolePlatform: "P-SEMIO", identity.RoleRegistrar: "R-LINE1", identity.RoleOperator: "O-ALICE",
	}
	var out []string
	for _, r := range roles {
		out = append(out, names[r])
	}
	return strings.Join(out, " or ")
}

func given(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func raw(certs []*x509.Certificate) (out [][]byte) {
	for _, c := range certs {
		out = append(out, c.Raw)
	}
	return out
}
