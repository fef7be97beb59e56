package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/platform/adminhttp"
)

// adminFlags declare where the platform is and who asks. The function makes the client.
func adminFlags(f *cli.Flags) func() (*adminhttp.Client, error) {
	url := f.Required("platform", "`URL` of the platform's administration")
	dir := f.Required("party", "`folder` of the operator who asks")
	return func() (*adminhttp.Client, error) {
		p, err := partycmd.Open(*dir, identity.RoleOperator)
		if err != nil {
			return nil, err
		}
		c, err := p.TLS()
		if err != nil {
			return nil, err
		}
		v, err := p.Verifier()
		if err != nil {
			return nil, err
		}
		client, err := adminhttp.NewClient(adminhttp.ClientConfig{URL: *url, Verifier: v, Certificate: c})
		if err != nil {
			return nil, cli.Usage("-platform: %v", err)
		}
		return client, nil
	}
}

func admit(f *cli.Flags) cli.Action {
	open := adminFlags(f)
	in := f.Required("in", "`file` of the application's credential, credential.pem in its folder")
	out := f.String("out", "-", "`file` for the admission, - for stdout")
	return func(ctx context.Context, t *cli.Terminal, _ []string) error {
		cred, err := party.ReadCredential(*in)
		if err != nil {
			return err
		}
		c, err := open()
		if err != nil {
			return err
		}
		defer c.Close()
		admission, err := c.Admit(ctx, cred)
		if err != nil {
			return err
		}
		return t.WriteOut(*out, party.EncodeAdmission(admission))
	}
}

func retire(f *cli.Flags) cli.Action {
	open := adminFlags(f)
	f.JSON()
	return func(ctx context.Context, t *cli.Terminal, args []string) error {
		var ids []identity.DeviceID
		for _, a := range args {
			id, err := identity.ParseDeviceID(a)
			if err != nil {
				return cli.Usage("%v", err)
			}
			ids = append(ids, id)
		}
		if len(ids) == 0 {
			return cli.Usage("name the devices to retire")
		}
		c, err := open()
		if err != nil {
			return err
		}
		defer c.Close()
		for _, id := range ids {
			if err := c.Retire(ctx, id); err != nil {
				return err
			}
			if err := t.Print(map[string]any{"device": id, "status": "retired"}, "%s is retired", id); err != nil {
				return err
			}
		}
		return nil
	}
}

func addCRL(f *cli.Flags) cli.Action {
	open := adminFlags(f)
	in := f.Required("in", "`file` of the authority's revocation list")
	return func(ctx context.Context, t *cli.Terminal, _ []string) error {
		der, err := party.ReadCRL(*in)
		if err != nil {
			return err
		}
		c, err := open()
		if err != nil {
			return err
		}
		defer c.Close()
		return c.AddCRL(ctx, der)
	}
}

func devices(f *cli.Flags) cli.Action {
	return list(f, (*adminhttp.Client).Devices, func(t *cli.Terminal, d adminhttp.Device) error {
		with := ""
		if !d.Application.IsZero() {
			with = " with " + d.Application.String()
		}
		return t.Print(d, "%-34s %s%s", d.ID, d.Status, with)
	})
}

func applications(f *cli.Flags) cli.Action {
	return list(f, (*adminhttp.Client).Applications, func(t *cli.Terminal, a adminhttp.Application) error {
		state := "admitted"
		if a.Revoked {
			state = "revoked"
		}
		return t.Print(a, "%-34s %s", a.ID, state)
	})
}

func audit(f *cli.Flags) cli.Action {
	return list(f, (*adminhttp.Client).Audit, func(t *cli.Terminal, e adminhttp.Entry) error {
		line := fmt.Sprintf("%6d %s  %-20s", e.Seq, e.Time.Format(time.RFC3339), e.What)
		for _, who := range []identity.ID{e.Device.ID, e.Application.ID, e.Actor} {
			if !who.IsZero() {
				line += " " + who.String()
			}
		}
		return t.Print(e, "%s", line)
	})
}

// list prints everything that get yields.
func list[T any](f *cli.Flags, get func(*adminhttp.Client, context.Context) iter.Seq2[T, error], line func(*cli.Terminal, T) error) cli.Action {
	open := adminFlags(f)
	f.JSON()
	return func(ctx context.Context, t *cli.Terminal, _ []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		defer c.Close()
		for v, err := range get(c, ctx) {
			if err != nil {
				return err
			}
			if err := line(t, v); err != nil {
				return err
			}
		}
		return nil
	}
}
