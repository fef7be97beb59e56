package devicegw

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/mqttlink"
)

// connection is what the device has with one application, from install to remove.
type connection struct {
	app      identity.AppID
	binding  e2e.BindingID
	verified *identity.Verified // changes under Gateway.changes
	peer     atomic.Pointer[e2e.Peer]
	epochs   *epochs
	box      *outbox
	channel  *delivery.Channel
	prekey   atomic.Pointer[e2e.Prekey] // of the application, in use; nil: none
	up, down string                     // topics
}

// newConnection verifies the application and reads what the binding has in memory. It writes nothing that matters. An application that
// does not verify is ErrSuspended.
func (g *Gateway) newConnection(ctx context.Context, rec appRecord) (*connection, error) {
	app, err := g.verifier.Verify(rec.Credential, identity.RoleApplication)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSuspended, err)
	}
	c := &connection{verified: app, binding: rec.Binding}
	c.app, _ = app.ID().App() // the role was verified
	c.up, c.down = g.topics.Up(c.app, g.id), g.topics.Down(c.app, g.id)
	if c.epochs, _, err = openEpochs(ctx, g.nvm, nameApp, rec.Binding); err != nil {
		return nil, fmt.Errorf("%w: %w", errMemory, err)
	}
	peer, err := g.appPeer(c, g.self, app)
	if err != nil {
		return nil, err
	}
	c.peer.Store(peer)
	if g.rec.Profile == e2e.ProfileEphemeral {
		g.loadPrekey(ctx, c)
	}
	c.box = newOutbox(g.nvm, rec.Binding, g.log)
	c.channel, err = delivery.Open(delivery.Config{
		Peer:  peer,
		Store: c.box,
		Publish: func(ctx context.Context, record []byte) error {
			return g.link.Publish(ctx, c.up, record)
		},
		HandleEvent: func(ctx context.Context, e Event) error {
			e.Binding = rec.Binding
			return g.onEvent(ctx, e)
		},
		HandleCall:  g.cfg.OnCall,
		EarlyData:   g.cfg.EarlyData,
		KeepSession: true, // so that the application reaches the device without waiting for its own attempt
		MaxQueue:    g.cfg.MaxQueue,
		DropOldest:  g.cfg.DropOldest,
		Logger:      g.log,
		Now:         time.Now,
	})
	if err != nil {
		peer.Wipe()
		return nil, fmt.Errorf("%w: %w", errMemory, err)
	}
	return c, nil
}

// appPeer has the keys of a connection between these two credentials.
func (g *Gateway) appPeer(c *connection, self, app *identity.Verified) (*e2e.Peer, error) {
	return e2e.NewPeer(e2e.Config{
		Self: self, Key: g.cfg.Root.KeyExchanger(), Remote: app, Binding: c.binding,
		PSK: g.psk, RequirePSK: g.rec.RequirePSK, Profile: g.rec.Profile, Suites: g.cfg.Suites, Epochs: c.epochs,
		RequirePrekey: true,
	})
}

// turn goes on with another peer, made by appPeer: one of the two credentials is another. Messages stay.
func (c *connection) turn(p *e2e.Peer, app *identity.Verified) {
	if app.CertificateHash() != c.verified.CertificateHash() {
		c.prekey.Store(nil) // it was signed under the one before
	} else if k := c.prekey.Load(); k != nil {
		_ = p.UsePrekey(k) // as the peer before did
	}
	c.verified = app
	c.peer.Store(p)
	c.channel.Turn(p)
}

// errMemory tells a memory that failed from an application that cannot be taken.
var errMemory = errors.New("devicegw: read what belongs to the connection")

func (g *Gateway) onEvent(ctx context.Context, e Event) error {
	if g.cfg.OnEvent == nil {
		return nil
	}
	return g.cfg.OnEvent(ctx, e)
}

// freeze stops all writes of the connection, thaw takes that back.
func (c *connection) freeze() { c.epochs.close(); c.box.close() }
func (c *connection) thaw()   { c.epochs.reopen(); c.box.reopen() }

// discard is for a connection whose channel never ran, or has ended.
func (c *connection) discard() {
	c.channel.Wipe() // and the peer
}

// openLink makes the link to Config.Broker.
func (g *Gateway) openLink() error {
	if g.link != nil {
		return nil
	}
	u, err := url.Parse(g.cfg.Broker)
	if err != nil {
		return fmt.Errorf("devicegw: broker's URL: %w", err)
	}
	if u.Scheme != "mqtts" && u.Scheme != "wss" {
		return fmt.Errorf("devicegw: broker %s: want mqtts:// or wss://, the device identifies itself with its certificate; give another client as Config.Link", u.Redacted())
	}
	g.link, err = mqttlink.New(mqttlink.Config{
		Broker:   g.cfg.Broker,
		ClientID: g.id.String(),
		TLS: &tls.Config{
			MinVersion: tls.VersionTLS13,
			ServerName: u.Hostname(),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				g.mu.Lock()
				defer g.mu.Unlock()
				return &tls.Certificate{Certificate: g.self.Credential().Chain, PrivateKey: g.cfg.Root.Signer()}, nil
			},
			// crypto/tls knows neither the time floor nor revocation lists: VerifyConnection makes all of its checks and those.
			InsecureSkipVerify: true,
			VerifyConnection:   g.verifier.VerifyTLSServer(u.Hostname()),
		},
		Logger: g.log,
	})
	return err
}

var _ Link = (*mqttlink.Link)(nil)
