package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

func dirFlag(f *cli.Flags) *string {
	return f.String("dir", "ca", "`folder` of the authority, which init makes")
}

func initialise(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	name := f.Required("name", "`name` of the authority, for people")
	issuing := f.Bool("issuing", false, "an issuing CA, which a root certifies: its key stays in the safe")
	f.JSON()
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		if *issuing {
			if err := initIssuing(*dir, *name); err != nil {
				return err
			}
			path := filepath.Join(*dir, "request.pem")
			return t.Print(map[string]any{"request": path}, "%s: have a root answer %s with certify, and join", *name, path)
		}
		d, err := makeFolder(*dir, *name)
		if err != nil {
			return err
		}
		defer d.Close()
		sum := sha256.Sum256(d.Certificate().Raw)
		return t.Print(map[string]any{"root": d.path("root.pem"), "sha256": hex.EncodeToString(sum[:])},
			"%s: give %s to everybody, by a way that can be trusted. SHA-256 %x", *name, d.path("root.pem"), sum)
	}
}

// platformValidity is long, because devices and applications know their platform by its certificate: those that are away for longer have to come
// back while the platform still keeps the one that they know.
const platformValidity = 10 * 365 * 24 * time.Hour

func issue(f *cli.Flags) cli.Action {
	open := targetFlags(f)
	in := f.Required("in", "`file` of the request: request.pem of a party, a server's, or what rekey has made")
	out := f.String("out", "-", "`file` for the certificate chain, - for stdout")
	valid := f.Duration("valid", 0, "`time` for which the certificate is good, in hours like 8760h; default a year, a platform's ten, a device's for ever")
	newKey := f.Bool("new-key", false, "the holder of the name has other keys than before, and asks for it himself")
	return func(ctx context.Context, t *cli.Terminal, _ []string) error {
		der, err := party.ReadRequest(*in)
		rekey, e := party.ReadRekey(*in)
		if err != nil && e != nil {
			return err
		}
		a, err := open(true)
		if err != nil {
			return err
		}
		defer a.Close()
		var chain [][]byte
		var what string
		if rekey != nil {
			what = "other keys than before"
			chain, err = a.Rekey(ctx, rekey)
		} else if csr, e := identity.ParseCSR(der); e == nil {
			what = csr.ClientID()
			if *valid == 0 && csr.ID.Role() == identity.RolePlatform {
				*valid = platformValidity
			}
			chain, err = a.Issue(ctx, der, ca.IssueOptions{Validity: *valid, NewKey: *newKey})
		} else if req, e2 := ca.ParseServerRequest(der); e2 == nil {
			what = fmt.Sprintf("server of %s at %v", req.ID, req.Hosts)
			chain, err = a.IssueServer(ctx, der)
		} else {
			return fmt.Errorf("%s is a request neither of a party (%w) nor of a server (%w)", *in, e, e2)
		}
		if err != nil {
			return err
		}
		t.Note("certificate for %s", what)
		return t.WriteOut(*out, party.EncodeCertificates(chain...))
	}
}

func revoke(f *cli.Flags) cli.Action {
	open := targetFlags(f)
	out := f.String("out", "", "`file` for the revocation list that names it")
	cert := f.String("certificate", "", "in the place of a name, `file` of one certificate, its first: that of another CA, or of an instance; with -dir")
	f.JSON()
	return func(ctx context.Context, t *cli.Terminal, args []string) error {
		if *cert != "" && len(args) == 0 {
			return revokeCertificate(t, open, *cert, *out)
		}
		if len(args) != 1 || *cert != "" {
			return cli.Usage("name one party or device to revoke, or a -certificate")
		}
		id, err := identity.ParseID(args[0])
		if err != nil {
			return cli.Usage("%v", err)
		}
		a, err := open(true)
		if err != nil {
			return err
		}
		defer a.Close()
		der, err := a.Revoke(ctx, id)
		if err != nil {
			return err
		}
		return publish(t, der, *out, id.String()+" is revoked: ")
	}
}

func revokeCertificate(t *cli.Terminal, open func(bool) (authority, error), path, out string) error {
	certs, err := party.ReadCertificates(path)
	if err != nil {
		return err
	}
	a, err := open(true)
	if err != nil {
		return err
	}
	defer a.Close()
	own, ok := a.(local)
	if !ok {
		return cli.Usage("-certificate needs -dir: a single certificate is revoked at the authority itself")
	}
	der, err := own.d.RevokeCertificate(certs[0])
	if err != nil {
		return err
	}
	return publish(t, der, out, fmt.Sprintf("certificate %x of %s is revoked: ", certs[0].SerialNumber, certs[0].Subject.CommonName))
}

func crl(f *cli.Flags) cli.Action {
	open := targetFlags(f)
	out := f.String("out", "", "`file` for the revocation list")
	f.JSON()
	return func(ctx context.Context, t *cli.Terminal, _ []string) error {
		a, err := open(false)
		if err != nil {
			return err
		}
		defer a.Close()
		der, err := a.CRL(ctx)
		if err != nil {
			return err
		}
		return publish(t, der, *out, "")
	}
}

func publish(t *cli.Terminal, der []byte, out, what string) error {
	bundles, err := identity.ParseCRLs(der)
	if err != nil {
		return err
	}
	list, err := x509.ParseRevocationList(bundles[0].List)
	if err != nil {
		return fmt.Errorf("revocation list: %w", err)
	}
	if out != "" {
		pem, err := party.EncodeCRL(der)
		if err != nil {
			return err
		}
		if err := t.WriteOut(out, pem); err != nil || out == "-" {
			return err
		}
	}
	return t.Print(map[string]any{"number": list.Number, "revoked": len(list.RevokedCertificateEntries), "next_update": list.NextUpdate},
		"%slist %s names %d certificates", what, list.Number, len(list.RevokedCertificateEntries))
}

func grant(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	name := f.Required("id", "`name` of the platform or registrar")
	hosts := f.String("hosts", "", "of a platform: host `names` and addresses, parted by commas, for whose servers it may have certificates")
	mayRevoke := f.Bool("revoke", false, "of a platform: it may have devices revoked, also those of other platforms: this authority cannot tell them apart")
	names := f.String("names", "", "of a registrar: `beginnings` of its devices' names, parted by commas, for example D-THERMO-; without, it may use any name")
	f.JSON()
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		id, err := identity.ParseID(*name)
		if err != nil {
			return cli.Usage("-id: %v", err)
		}
		g := cahttp.Grant{Hosts: cli.Split(*hosts), Revoke: *mayRevoke, Names: cli.Split(*names)}
		switch id.Role() {
		case identity.RolePlatform:
			if len(g.Names) > 0 {
				return cli.Usage("-names is for registrars, and %s is a platform", id)
			}
		case identity.RoleRegistrar:
			if len(g.Hosts) > 0 || g.Revoke {
				return cli.Usage("-hosts and -revoke are for platforms, and %s is a registrar", id)
			}
		default:
			return cli.Usage("-id %s: want a platform (P-…) or a registrar (R-…)", id)
		}
		// The folder may be serving: grants are read at each request.
		if _, err := party.ReadCertificates(filepath.Join(*dir, "root.pem")); err != nil {
			return fmt.Errorf("%w (%w)", errNoCA, err)
		}
		lock, err := files.TryLock(filepath.Join(*dir, "grants.lock"))
		if err != nil {
			return err
		}
		defer lock.Close()
		all, err := readGrants(*dir)
		if err != nil {
			return err
		}
		all[id] = g
		b, err := json.MarshalIndent(all, "", "\t")
		if err != nil {
			return err
		}
		if err := files.Write(filepath.Join(*dir, "grants.json"), append(b, '\n'), false); err != nil {
			return err
		}
		what := fmt.Sprintf("may have certificates for servers at %v and revoke devices: %t", g.Hosts, g.Revoke)
		if id.Role() == identity.RoleRegistrar {
			what = fmt.Sprintf("makes devices whose names begin with %v", g.Names)
			if len(g.Names) == 0 {
				what = "makes devices of any name"
			}
		}
		return t.Print(map[string]any{"id": id, "grant": g}, "%s %s. This replaces what it was granted before.", id, what)
	}
}

// authority is the folder, or a client of the process that has it open.
type authority interface {
	Issue(ctx context.Context, csr []byte, o ca.IssueOptions) ([][]byte, error)
	IssueServer(ctx context.Context, request []byte) ([][]byte, error)
	Rekey(ctx context.Context, request []byte) ([][]byte, error)
	Revoke(ctx context.Context, id identity.ID) ([]byte, error)
	CRL(ctx context.Context) ([]byte, error)
	Close() error
}

// targetFlags declare where the authority is. The function opens it; as an operator, if that is needed.
func targetFlags(f *cli.Flags) func(asOperator bool) (authority, error) {
	dir := dirFlag(f)
	url := f.String("ca", "", "`URL` of an authority that serves, in place of -dir")
	as := f.String("party", "", "with -ca, `folder` of the operator who asks")
	roots := f.String("roots", "", "with -ca and without -party, `file` of the authority's root; enough to get the revocation list")
	return func(asOperator bool) (authority, error) {
		if *url == "" {
			d, err := openFolder(*dir)
			if err != nil {
				return nil, err
			}
			return local{d}, nil
		}
		cfg := cahttp.ClientConfig{URL: *url}
		switch {
		case *as != "":
			p, err := party.Open(*as)
			if err != nil {
				return nil, err
			}
			c, err := p.TLS()
			if err != nil {
				return nil, err
			}
			cfg.Certificate, cfg.Roots = &c, p.Roots()
		case asOperator:
			return nil, cli.Usage("-ca needs -party, the folder of an operator of the authority")
		case *roots != "":
			var err error
			if cfg.Roots, err = party.ReadCertificates(*roots); err != nil {
				return nil, err
			}
		default:
			return nil, cli.Usage("-ca needs -party, or -roots to get the revocation list")
		}
		c, err := cahttp.NewClient(cfg)
		if err != nil {
			return nil, cli.Usage("-ca: %v", err)
		}
		return remote{c, cfg.Roots}, nil
	}
}

// local is the folder on this machine.
type local struct{ d *folder }

func (l local) Close() error { return l.d.Close() }

func (l local) Issue(_ context.Context, csr []byte, o ca.IssueOptions) ([][]byte, error) {
	return l.d.Issue(csr, o)
}

func (l local) IssueServer(_ context.Context, request []byte) ([][]byte, error) {
	req, err := ca.ParseServerRequest(request)
	if err != nil {
		return nil, err
	}
	return l.d.IssueServer(req.PublicKey, req.ID.ID, req.Hosts)
}

func (l local) Rekey(_ context.Context, request []byte) ([][]byte, error) { return l.d.Rekey(request) }

func (l local) Revoke(_ context.Context, id identity.ID) ([]byte, error) { return l.d.Revoke(id) }

// CRL has the lists of other authorities behind the own ones, as a server has.
func (l local) CRL(context.Context) ([]byte, error) {
	own, err := l.d.CRL()
	if err != nil {
		return nil, err
	}
	others, err := readLists(l.d.dir)
	return append(own, others...), err
}

// remote checks what came over the network before it is handed on.
type remote struct {
	*cahttp.Client
	roots []*x509.Certificate
}

func (r remote) Close() error {
	r.Client.Close()
	return nil
}

func (r remote) CRL(ctx context.Context) ([]byte, error) { return r.list(r.Client.CRL(ctx)) }

func (r remote) Revoke(ctx context.Context, id identity.ID) ([]byte, error) {
	return r.list(r.Client.Revoke(ctx, id))
}

func (r remote) list(der []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: r.roots})
	if err != nil {
		return nil, err
	}
	return der, v.AddCRL(der)
}
