package partycmd

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

// patience is for an authority that is being started.
const patience = 30 * time.Second

func renew(roles []identity.Role) func(*cli.Flags) cli.Action {
	return func(f *cli.Flags) cli.Action {
		dir := Flag(f)
		url := f.Required("ca", "`URL` of the certificate authority")
		f.JSON()
		return func(ctx context.Context, t *cli.Terminal, _ []string) error {
			p, err := Open(*dir, roles...)
			if err != nil {
				return err
			}
			// Without a client certificate: the one that there is may be over.
			c, err := client(*url, p)
			if err != nil {
				return err
			}
			defer c.Close()
			chain, err := c.Renew(ctx, p.Request())
			if err != nil {
				return err
			}
			return installed(t, p, chain)
		}
	}
}

func rekey(roles []identity.Role) func(*cli.Flags) cli.Action {
	return func(f *cli.Flags) cli.Action {
		dir := Flag(f)
		url := f.String("ca", "", "`URL` of the certificate authority")
		out := f.String("out", "", "without -ca, `file` for the request, which the authority answers with issue; install takes the answer")
		f.JSON()
		return func(ctx context.Context, t *cli.Terminal, _ []string) error {
			if (*url == "") == (*out == "") {
				return cli.Usage("want either -ca or -out")
			}
			p, err := Open(*dir, roles...)
			if err != nil {
				return err
			}
			request, err := p.Rekey()
			if err != nil {
				return err
			}
			if *out != "" {
				return t.WriteOut(*out, party.EncodeRekey(request))
			}
			c, err := client(*url, p)
			if err != nil {
				return err
			}
			defer c.Close()
			chain, err := c.Rekey(ctx, request)
			if err != nil {
				return err
			}
			return installed(t, p, chain)
		}
	}
}

func forget(roles []identity.Role) func(*cli.Flags) cli.Action {
	return func(f *cli.Flags) cli.Action {
		dir := Flag(f)
		f.JSON()
		return func(_ context.Context, t *cli.Terminal, _ []string) error {
			p, err := Open(*dir, roles...)
			if err != nil {
				return err
			}
			n := len(p.Previous())
			if err := p.DropPrevious(); err != nil {
				return err
			}
			return t.Print(map[string]any{"id": p.ID(), "forgotten": n}, "%s: %d earlier credentials are forgotten.", p.ID(), n)
		}
	}
}

func client(url string, p *party.Party) (*cahttp.Client, error) {
	if len(p.Roots()) == 0 {
		return nil, fmt.Errorf("%s: %w", p.Dir(), party.ErrNotCertified)
	}
	c, err := cahttp.NewClient(cahttp.ClientConfig{URL: url, Roots: p.Roots(), Patience: patience})
	if err != nil {
		return nil, cli.Usage("-ca: %v", err)
	}
	return c, nil
}

func installed(t *cli.Terminal, p *party.Party, chain [][]byte) error {
	if err := p.Install(chain, nil); err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	what := ""
	if n := len(p.Previous()); n > 0 {
		what = "; start the program again, and it tells the others. What was before is kept for those who have not heard of it"
	}
	return t.Print(map[string]any{"id": p.ID(), "valid_until": leaf.NotAfter, "previous": len(p.Previous())},
		"%s: certified until %s%s.", p.ID(), leaf.NotAfter.UTC().Format(time.DateOnly), what)
}
