package appgw

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/kv"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
	"github.com/semio-iot/semio/internal/secret"
)

// Gateway is an application gateway. Make it with [Open]. Safe for concurrent use.
type Gateway struct {
	secret.Opaque // keys are within

	cfg      Config
	log      *slog.Logger
	memory   memory
	app      identity.AppID
	owns     []*own // the newest and those before it, with their keys
	verifier *identity.Verifier
	topics   control.Topics
	link     link.Link
	client   *control.Client
	prekeys  *prekeys
	inbound  chan inbound // to Events
	wentUp   chan struct{}
	calls    *delivery.Pool

	mu      sync.Mutex // guards what follows
	devices map[identity.DeviceID]*device
	side    *with           // with what the platform is spoken to
	offered *own            // the newest, while the platform does not know it; nil: it does
	running context.Context // of Run; nil before and after
	ended   bool
	up      bool     // link connected and subscribed
	lastErr error    // why it is not
	before  Counters // of devices that are no longer in the table
	uplink  int      // counts connections, so that a slow subscribe does not report an old one as up
	work    sync.WaitGroup

	orders sync.Mutex // held while an order or a scanned sticker changes a device
}

// Open reads the store, verifies everything that it holds, and returns a gateway that is not connected. It dials nothing.
func Open(ctx context.Context, cfg Config) (*Gateway, error) {
	g, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open application gateway: %w", err)
	}
	return g, nil
}

func open(ctx context.Context, cfg Config) (*Gateway, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	verifier, err := identity.NewVerifier(identity.VerifierConfig{Roots: cfg.Roots, Now: cfg.Now})
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg:      cfg,
		log:      cfg.Logger,
		memory:   memory{cfg.Store, cfg.Locker},
		verifier: verifier,
		inbound:  make(chan inbound),
		wentUp:   make(chan struct{}, 1),
		calls:    delivery.NewPool(64),
		devices:  map[identity.DeviceID]*device{},
	}
	if err := g.loadCRLs(ctx); err != nil {
		return nil, err
	}
	if err := g.identify(ctx); err != nil {
		return nil, err
	}
	g.topics = g.side.bundle.Topics
	peer, err := g.newPeer(g.side)
	if err != nil {
		return nil, err
	}
	if g.link = cfg.Link; g.link == nil {
		g.link, err = mqttlink.NewMutual(mqttlink.Mutual{
			Broker: cfg.Broker, ClientID: g.app.String(), Chain: cfg.Credential.Chain, Signer: cfg.Signer, Verifier: verifier, Logger: g.log,
		})
		if err != nil {
			return nil, err
		}
	}
	g.prekeys = &prekeys{memory: g.memory, sign: func(number uint32, expires time.Time, key *ecdh.PublicKey) ([]byte, error) {
		w := g.current()
		return e2e.SignPrekey(w.signer, w.self, number, expires, key)
	}}
	g.client, err = control.NewClient(control.ClientConfig{
		Self: g.side.self, Signer: g.side.signer, Platform: g.side.platform, Peer: peer, Binding: g.side.bundle.Binding, Verifier: verifier,
		Publish: func(ctx context.Context, record []byte) error {
			return g.link.Publish(ctx, g.topics.ToPlatform(g.app.ID), record)
		},
		Apply:         g.apply,
		KeepCRL:       g.keepCRL,
		Prekey:        g.offer,
		Credential:    g.newCredential,
		TakeAdmission: g.takeAdmission,
		Logger:        g.log,
	})
	if err != nil {
		return nil, err
	}
	return g, g.loadDevices(ctx)
}

const keyAdmission = "admission"

func (g *Gateway) loadCRLs(ctx context.Context) error {
	return g.memory.store.View(ctx, func(tx Tx) error {
		for key, crl := range tx.List("crl/") {
			// A list of an authority that is no longer among the roots is no reason to stand still.
			if err := g.verifier.AddCRL(crl); err != nil {
				g.log.Warn("kept revocation list", "key", key, "err", err)
			}
		}
		return nil
	})
}

// keepCRL is control.ClientConfig.KeepCRL: the verifier has taken a list.
func (g *Gateway) keepCRL() error {
	g.dropRevoked()
	return g.memory.update(context.Background(), func(tx Tx) error {
		for i, crl := range g.verifier.CRLs() {
			key := fmt.Sprintf("crl/%02d", i)
			kept, err := tx.Get(key)
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			if err == nil && bytes.Equal(kept, crl) {
				continue
			}
			if err := tx.Put(key, crl); err != nil {
				return err
			}
		}
		return nil
	})
}

// ID is the application's name.
func (g *Gateway) ID() identity.AppID { return g.app }

// Prefix is that of the platform's topics, as the admission says.
func (g *Gateway) Prefix() string { return g.topics.Prefix() }

// Run connects and works until ctx ends, then returns nil after everything it started has ended. It returns an error when the
// broker refuses this gateway for good. It is called once.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	if g.running != nil || g.ended {
		g.mu.Unlock()
		return errors.New("appgw: Run was called before")
	}
	g.running = ctx
	for _, d := range g.devices {
		g.start(d)
	}
	g.mu.Unlock()

	g.work.Go(func() { g.client.Run(ctx) })
	g.work.Go(func() { g.subscribe(ctx) })
	err := g.link.Run(ctx, link.Receiver{Up: g.linkUp, Down: g.linkDown, Message: g.receive})
	cancel()
	g.mu.Lock()
	g.running, g.ended, g.up = nil, true, false
	g.mu.Unlock()
	g.work.Wait()
	if err != nil {
		return fmt.Errorf("run application gateway: %w", err)
	}
	return nil
}

func (g *Gateway) linkUp() {
	g.mu.Lock()
	g.uplink++
	g.mu.Unlock()
	select {
	case g.wentUp <- struct{}{}:
	default:
	}
}

func (g *Gateway) linkDown(err error) {
	g.mu.Lock()
	g.uplink++
	was := g.up
	g.up, g.lastErr = false, err
	devices := maps.Clone(g.devices)
	g.mu.Unlock()
	g.log.Info("broker is gone", "err", err)
	g.client.LinkDown()
	for _, d := range devices {
		d.linkDown()
	}
	if was && g.cfg.Observe.Link != nil {
		g.cfg.Observe.Link(false)
	}
}

// subscribeRetry paces subscriptions that a broker refuses, as it does before it has heard of this application.
const subscribeRetry = 5 * time.Second

// subscribe subscribes after each connect; the link's goroutine must not.
func (g *Gateway) subscribe(ctx context.Context) {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wentUp:
		case <-retry:
		}
		retry = nil
		g.mu.Lock()
		uplink := g.uplink
		g.mu.Unlock()
		err := g.link.Subscribe(ctx, g.topics.ToPeer(g.app.ID), g.topics.AppFilter(g.app))
		if err != nil {
			if !errors.Is(err, link.ErrDown) {
				g.log.Warn("subscribe", "err", err)
				g.mu.Lock()
				g.lastErr = err
				g.mu.Unlock()
				retry = time.After(subscribeRetry)
			}
			continue
		}
		g.mu.Lock()
		current := uplink == g.uplink
		g.up = g.up || current
		devices := maps.Clone(g.devices)
		g.mu.Unlock()
		if !current {
			continue
		}
		g.client.LinkUp()
		for _, d := range devices {
			d.linkUp()
		}
		if g.cfg.Observe.Link != nil {
			g.cfg.Observe.Link(true)
		}
	}
}

// receive hands a publication to whom it concerns. What is for nobody here is forgotten: its sender keeps it until it is
// acknowledged end to end, which is why the broker's acknowledgement may be given at once.
func (g *Gateway) receive(m link.Message) {
	if m.Ack != nil {
		defer m.Ack()
	}
	t, ok := g.topics.Parse(m.Topic)
	switch {
	case !ok:
	case t.Kind == control.TopicToPeer && t.Peer == g.app.ID:
		g.client.Receive(m.Payload)
	case t.Kind == control.TopicUp && t.App == g.app:
		g.mu.Lock()
		d := g.devices[t.Device]
		g.mu.Unlock()
		if d == nil {
			return
		}
		if g.cfg.Observe.Record != nil {
			g.cfg.Observe.Record(t.Device, m.Payload)
		}
		d.receive(m.Payload)
	}
}
