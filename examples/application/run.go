package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/examples/internal/brokerflag"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/journal"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/party"
)

// application is the command run.
type application struct {
	dir, store, prefix, events *string
	broker                     *brokerflag.Flags

	t       *cli.Terminal
	gw      *appgw.Gateway
	journal *journal.Journal // nil without -events
}

// line is one line of run's -json, but the first, which says "ready".
type line struct {
	What   string         `json:"what"` // "event", "connected", "disconnected", "online", "offline"
	Device string         `json:"device,omitempty"`
	Event  *journal.Entry `json:"event,omitempty"`
}

func setupRun(f *cli.Flags) cli.Action {
	a := &application{
		dir:    partycmd.Flag(f),
		broker: brokerflag.Declare(f, ""),
		prefix: f.String("prefix", "", "the `topic prefix` that the platform printed, to compare; the application has it from its admission"),
		store:  f.String("store", "", "bbolt `file` of the gateway's memory (default: gateway.db in the party's folder)"),
		events: f.String("events", "", "append what devices send to this `file` of JSON lines, each event exactly once, also over crashes; stdout alone may repeat or lose the last one"),
	}
	f.JSON()
	return a.run
}

func (a *application) run(ctx context.Context, t *cli.Terminal, _ []string) error {
	a.t = t
	url, link, err := a.broker.Open(t.Log)
	if err != nil {
		return err
	}
	p, err := partycmd.Open(*a.dir, identity.RoleApplication)
	if err != nil {
		return err
	}
	cfg, err := config(p)
	if err != nil {
		return err
	}
	if *a.store == "" {
		*a.store = filepath.Join(p.Dir(), "gateway.db")
	}
	if cfg.Store, err = appgw.OpenBoltStore(*a.store); err != nil {
		return err
	}
	defer cfg.Store.Close()
	if *a.events != "" {
		if a.journal, err = journal.Open(*a.events); err != nil {
			return err
		}
		defer a.journal.Close()
	}
	cfg.Broker, cfg.Link, cfg.Logger = url, link, t.Log
	cfg.OnEvent = a.event
	cfg.Observe = appgw.Observer{
		Connected:    func(d identity.DeviceID) { a.print(line{What: "connected", Device: d.String()}) },
		Disconnected: func(d identity.DeviceID) { a.print(line{What: "disconnected", Device: d.String()}) },
		Link: func(up bool) {
			what := "offline"
			if up {
				what = "online"
			}
			a.print(line{What: what})
		},
	}
	if a.gw, err = appgw.Open(ctx, cfg); err != nil {
		return err
	}
	if err := brokerflag.CheckPrefix(*a.prefix, a.gw.Prefix()); err != nil {
		return err
	}
	return a.live(ctx, p.Dir())
}

// config is what the party's folder says.
func config(p *party.Party) (appgw.Config, error) {
	credential, err := p.Credential()
	if err != nil {
		return appgw.Config{}, err
	}
	admission, err := p.Admission()
	if err != nil {
		return appgw.Config{}, err
	}
	key, err := p.Secret("store")
	if err != nil {
		return appgw.Config{}, err
	}
	defer clear(key)
	locker, err := appgw.NewLocker(key)
	if err != nil {
		return appgw.Config{}, err
	}
	return appgw.Config{
		Credential: credential, Signer: p.Signer(), Key: p.Key(), Previous: p.Previous(), Roots: p.Roots(), Admission: admission, Locker: locker,
	}, nil
}

// live runs the gateway and the socket until ctx or one of them ends.
func (a *application) live(ctx context.Context, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := listen(dir)
	if err != nil {
		return err
	}
	protection := a.broker.Protection()
	protection.Tell(a.t)
	err = a.t.Print(map[string]any{"ready": true, "application": a.gw.ID(), "prefix": a.gw.Prefix(), "protection": protection},
		"%s runs; topics under %s", a.gw.ID(), a.gw.Prefix())
	if err != nil {
		s.Close()
		return err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(ctx, s, a.gw, a.t.Log)
	}()
	err = a.gw.Run(ctx)
	cancel()
	<-served
	return err
}

// event is the back-end's business: here a line in a file, or on the terminal.
func (a *application) event(_ context.Context, d identity.DeviceID, e appgw.Event) error {
	entry := journal.Entry{Time: time.Now().UTC(), Device: d.String(), Binding: e.Binding.String(), Seq: e.Seq, Type: e.Type}
	entry.SetBody(e.Body)
	if a.journal != nil {
		if added, err := a.journal.Append(entry); err != nil || !added {
			return cli.Explain(err) // and the event comes again, or is there
		}
	}
	return a.t.Print(line{What: "event", Device: entry.Device, Event: &entry}, "%s %d: %s", d, e.Seq, entry)
}

// print is for what a lost line does no harm to: a closed stdout ends no back-end.
func (a *application) print(l line) {
	text := l.What
	if l.Device != "" {
		text = fmt.Sprintf("%s %s", l.Device, l.What)
	}
	if err := a.t.Print(l, "%s", text); err != nil {
		a.t.Log.Error("output", "err", err)
	}
}
