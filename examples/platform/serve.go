package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/semio-iot/semio/examples/internal/brokerflag"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/adminhttp"
	"github.com/semio-iot/semio/platform/broker"
)

// server is what serve starts.
type server struct {
	// flags
	dir, store, listen, admin, hosts, prefix, claim, ca, operators *string
	broker                                                         *brokerflag.Flags
	every                                                          *time.Duration

	t         *cli.Terminal
	party     *party.Party
	authority *cahttp.Client // nil without -ca
	verifier  *identity.Verifier
	cert      *certificate
	service   atomic.Pointer[platform.Service]
}

func serve(f *cli.Flags) cli.Action {
	s := &server{
		dir:       partycmd.Flag(f),
		store:     f.String("store", "", "`file` of the registry (bbolt); default registry.db in the party's folder"),
		broker:    brokerflag.Declare(f, "default: the platform has a broker of its own"),
		listen:    f.String("listen", "127.0.0.1:8883", "`address` of the platform's own broker; port 0 for a free one"),
		admin:     f.String("admin", "127.0.0.1:8443", "`address` of the administration, for factories and operators"),
		hosts:     hostsFlag(f),
		prefix:    f.String("prefix", "", "`topic prefix`, for life; default "+defaultPrefix+", with -public a random one"),
		claim:     f.String("claim", "required", "`rule` for the sticker's claim code: required, registered (where the device has one), never"),
		ca:        f.String("ca", "", "`URL` of the certificate authority: for server certificates, renewals of devices and applications, revocations and their list"),
		every:     f.Duration("crl-every", 15*time.Second, "`time` between looks for a new revocation list at the authority"),
		operators: f.String("operators", "", "`names` of the operators, parted by commas, who may administer the platform"),
	}
	f.JSON()
	return s.run
}

func (s *server) run(ctx context.Context, t *cli.Terminal, _ []string) (err error) {
	s.t = t
	rule, ok := map[string]platform.ClaimRule{"required": platform.ClaimRequired, "registered": platform.ClaimWhereRegistered, "never": platform.ClaimNever}[*s.claim]
	if !ok {
		return cli.Usage("-claim %q: want required, registered or never", *s.claim)
	}
	if *s.broker.Public && *s.broker.URL == "" {
		return cli.Usage("-public: say with -broker which broker")
	}
	operators, err := cli.Operators(*s.operators)
	if err != nil {
		return err
	}
	if s.party, err = partycmd.Open(*s.dir, identity.RolePlatform); err != nil {
		return err
	}
	cred, err := s.party.Credential()
	if err != nil {
		return err
	}
	if s.verifier, err = s.party.Verifier(); err != nil {
		return err
	}
	if err := s.askAuthority(); err != nil {
		return err
	}
	prefix, err := keepPrefix(s.party.Dir(), *s.prefix, *s.broker.Public)
	if err != nil {
		return err
	}
	if s.cert, err = openCertificate(ctx, s.party, cli.Split(*s.hosts), s.authority, t.Log); err != nil {
		return err
	}
	path := *s.store
	if path == "" {
		path = filepath.Join(s.party.Dir(), "registry.db")
	}
	store, err := platform.OpenBoltStore(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	cfg := platform.Config{
		Credential: cred, Signer: s.party.Signer(), Key: s.party.Key(), Previous: s.party.Previous(),
		Roots: s.party.Roots(), Store: store,
		Prefix: prefix, Claim: rule, Logger: t.Log.With("part", "platform"),
	}
	if s.authority != nil {
		cfg.Revoker, cfg.Renewer = s.authority, s.authority
	}
	own, err := s.connect(&cfg)
	if err != nil {
		return err
	}
	if own != nil {
		defer own.Close()
	}
	service, err := platform.Open(ctx, cfg)
	if err != nil {
		return err
	}
	s.service.Store(service)
	if len(cfg.Previous) > 0 {
		outdated, err := service.Outdated(ctx)
		if err != nil {
			return err
		}
		t.Log.Warn("earlier certificates are kept for those who have not been heard under the present one", "earlier", len(cfg.Previous), "peers", len(outdated))
	}
	for _, crl := range service.CRLs() {
		if err := s.verifier.AddCRL(crl); err != nil {
			return err
		}
	}
	admin, err := adminhttp.New(adminhttp.Config{
		Service: service, Verifier: s.verifier, Certificate: s.cert.get, Operators: operators, Logger: t.Log.With("part", "administration"),
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *s.admin)
	if err != nil {
		return fmt.Errorf("administration: %w", err)
	}
	if err := s.tell(own, ln, prefix); err != nil {
		ln.Close()
		return err
	}
	tasks := []func(context.Context) error{
		service.Run, s.cert.keep, s.watchList,
		func(ctx context.Context) error { return admin.Serve(ctx, ln) },
	}
	if own != nil {
		tasks = append(tasks, own.Run)
	}
	return together(ctx, tasks...)
}

// connect says how the platform reaches the broker: its own, which it returns, or another one.
func (s *server) connect(cfg *platform.Config) (*broker.Broker, error) {
	if *s.broker.URL == "" {
		own, err := broker.New(broker.Config{
			GetCertificate: s.cert.get, Verifier: s.verifier, Authorizer: authorizer{&s.service},
			Listen: *s.listen, Host: cli.Split(*s.hosts)[0], Logger: s.t.Log.With("part", "broker"),
		})
		if err != nil {
			return nil, err
		}
		cfg.Broker, cfg.Enforcer = own.URL(), platform.EvictFunc(own.Evict)
		return own, nil
	}
	var err error
	cfg.Broker, cfg.Link, err = s.broker.Open(s.t.Log.With("part", "link"))
	return nil, err
}
