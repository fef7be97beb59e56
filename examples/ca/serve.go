package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

// publishEvery is how often the list in -publish is compared with the authority's.
const publishEvery = time.Second

func serve(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	listen := f.String("listen", "127.0.0.1:8444", "`address` to listen on; port 0 for a free one")
	hosts := f.String("hosts", "localhost,127.0.0.1", "`names` and addresses, parted by commas, under which clients dial this server")
	operators := f.String("operators", "", "`names` of the operators, parted by commas, who may issue and revoke over the network")
	publishTo := f.String("publish", "", "keep the newest revocation lists in this `file`, for example in a web server's folder")
	devices := devicesFlag(f)
	f.JSON()
	return func(ctx context.Context, t *cli.Terminal, _ []string) error {
		valid, err := devices()
		if err != nil {
			return err
		}
		allowed, err := cli.Operators(*operators)
		if err != nil {
			return err
		}
		d, err := openFor(*dir, valid)
		if err != nil {
			return err
		}
		defer d.Close()
		if _, err := d.grants(); err != nil {
			return err
		}
		s, err := cahttp.New(cahttp.Config{
			Authority: d.Authority, Hosts: cli.Split(*hosts), Operators: allowed, Logger: t.Log,
			Grants: func(id identity.ID) (cahttp.Grant, error) {
				all, err := d.grants()
				return all[id], err
			},
		})
		if err != nil {
			return err
		}
		p := publisher{d: d, path: *publishTo, server: s}
		if err := p.publish(ctx); err != nil {
			return err
		}
		ln, err := net.Listen("tcp", *listen)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		url := "https://" + ln.Addr().String()
		if err := t.Print(map[string]any{"ready": true, "url": url}, "%s answers at %s", d.Certificate().Subject.CommonName, url); err != nil {
			ln.Close()
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, ln) }()
		return p.keep(ctx, served, t)
	}
}

// publisher brings lists of other authorities, from the folder to the server, and writes the newest revocation lists into a file.
type publisher struct {
	d      *folder
	server *cahttp.Server
	path   string
	last   []byte
	heard  []byte // of other authorities
}

func (p *publisher) publish(ctx context.Context) error {
	others, err := readLists(p.d.dir)
	if err == nil && !bytes.Equal(others, p.heard) {
		err = p.server.AddCRL(others)
		p.heard = others
	}
	if err != nil && !errors.Is(err, identity.ErrCRLOlder) {
		return fmt.Errorf("lists of other authorities: %w", err)
	}
	if p.path == "" {
		return nil
	}
	der, err := local{p.d}.CRL(ctx)
	if err != nil || bytes.Equal(der, p.last) {
		return err
	}
	pem, err := party.EncodeCRL(der)
	if err != nil {
		return err
	}
	if err := files.Write(p.path, pem, false); err != nil {
		return err
	}
	p.last = der
	return nil
}

// keep publishes until the server has ended. A full disk today does not end the authority; it is told, and tried again.
func (p *publisher) keep(ctx context.Context, served <-chan error, t *cli.Terminal) error {
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	told := ""
	for {
		select {
		case err := <-served:
			return err
		case <-tick.C:
			err := p.publish(ctx)
			if err == nil {
				told = ""
			} else if told != err.Error() {
				told = err.Error()
				t.Log.Error("the published revocation lists are out of date", "file", p.path, "err", err)
			}
		}
	}
}
