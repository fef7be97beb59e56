package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

// certificate is that of broker and administration. It is good for some months, and renewed while the platform runs.
type certificate struct {
	party     *party.Party
	hosts     []string
	authority *cahttp.Client // nil: renewed by hand
	log       *slog.Logger
	now       atomic.Pointer[tls.Certificate]
}

// openCertificate returns the certificate in the party's folder, renewed where that is due. An authority that cannot be reached is in the way only
// if there is none that could serve.
func openCertificate(ctx context.Context, p *party.Party, hosts []string, authority *cahttp.Client, log *slog.Logger) (*certificate, error) {
	if len(hosts) == 0 {
		return nil, errors.New("no host: name with -hosts what clients dial")
	}
	c := &certificate{party: p, hosts: hosts, authority: authority, log: log}
	have, err := p.Server()
	if err == nil {
		err = c.names(have.Leaf)
	}
	if err == nil {
		c.now.Store(&have)
		c.check(ctx)
		return c, nil
	}
	if authority == nil {
		return nil, fmt.Errorf("%w: with -ca URL the platform asks the authority itself; without, make a request with server-request, and install the answer", err)
	}
	return c, c.renew(ctx)
}

// names reports a certificate that is not for the hosts.
func (c *certificate) names(leaf *x509.Certificate) error {
	for _, h := range c.hosts {
		if leaf.VerifyHostname(h) != nil {
			return fmt.Errorf("the server certificate is not for host %q, which -hosts names", h)
		}
	}
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil }

// due reports that less than a third of the validity is left.
func (c *certificate) due() bool {
	leaf := c.now.Load().Leaf
	return time.Until(leaf.NotAfter) < leaf.NotAfter.Sub(leaf.NotBefore)/3
}

func (c *certificate) renew(ctx context.Context) error {
	req, err := c.party.ServerRequest(c.hosts)
	if err != nil {
		return err
	}
	chain, err := c.authority.IssueServer(ctx, req)
	if err != nil {
		return err
	}
	if err := c.party.InstallServer(chain); err != nil {
		return err
	}
	cert, err := c.party.Server()
	if err != nil {
		return err
	}
	c.now.Store(&cert)
	return nil
}

// keep renews until ctx ends.
func (c *certificate) keep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Hour):
		}
		c.check(ctx)
	}
}

// check renews the certificate if that is due.
func (c *certificate) check(ctx context.Context) {
	if !c.due() {
		return
	}
	err := errors.New("without -ca it is renewed by hand: server-request, and install")
	if c.authority != nil {
		err = c.renew(ctx)
	}
	if err != nil {
		c.log.Error("server certificate must be renewed; the present one still serves", "until", c.now.Load().Leaf.NotAfter, "err", err)
	}
}
