package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/semio-iot/semio/examples/internal/brokerflag"
	"github.com/semio-iot/semio/identity/party"
)

// mqttClient is the service's connection to the broker. The gateway shares it through link; what the service itself has subscribed to are
// the readings of old sensors.
type mqttClient struct {
	log  *slog.Logger
	cfg  autopaho.ClientConfig
	link *sharedLink
	stop context.CancelFunc

	plain string // filter; empty: none
	store func(context.Context, reading) error
	queue chan paho.PublishReceived
}

// newMQTTClient prepares the client; it connects with connect.
func newMQTTClient(p *party.Party, b *brokerflag.Flags, plain string, store func(context.Context, reading) error, log *slog.Logger) (*mqttClient, error) {
	if _, _, err := b.Open(log); err != nil {
		return nil, err
	}
	u, err := url.Parse(*b.URL)
	if err != nil {
		return nil, errors.New("-broker: want a URL like mqtts://broker.example:8883")
	}
	if port, ok := map[string]string{"mqtt": "1883", "mqtts": "8883"}[u.Scheme]; ok && u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	m := &mqttClient{
		log: log.With("part", "mqtt"), link: newSharedLink(), stop: func() {},
		plain: plain, store: store, queue: make(chan paho.PublishReceived, receiveMaximum),
	}
	m.cfg = autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, KeepAlive: 30, ConnectTimeout: 15 * time.Second,
		// Nothing is kept at the broker: readings wait with the devices until they are stored.
		CleanStartOnInitialConnection: true,
		ReconnectBackoff:              backoff,
		OnConnectionUp:                m.subscribePlain,
		OnConnectError:                func(err error) { m.log.Warn("connect", "err", err) },
		ClientConfig: paho.ClientConfig{
			ClientID: p.ID().String(), PacketTimeout: 20 * time.Second,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){m.receivePlain},
		},
	}
	if *b.Public {
		m.cfg.ConnectPacketBuilder = func(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
			c.ClientID = rand.Text()[:23] // who takes it over must learn the next one too
			return c, nil
		}
		m.cfg.TlsCfg = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
		m.cfg.TlsCfg.RootCAs, err = b.Roots()
	} else {
		m.cfg.TlsCfg, err = mutualTLS(p, u.Hostname())
	}
	if err != nil {
		return nil, err
	}
	m.link.attach(&m.cfg)
	return m, nil
}

// mutualTLS shows the party's certificate and wants one of a platform.
func mutualTLS(p *party.Party, host string) (*tls.Config, error) {
	cert, err := p.TLS()
	if err != nil {
		return nil, err
	}
	verifier, err := p.Verifier()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ServerName: host,
		InsecureSkipVerify: true, // because VerifyConnection does it all, and knows roles besides
		VerifyConnection:   verifier.VerifyTLSServer(host),
	}, nil
}

// backoff is how long the client waits before an attempt: not at first, then 1 s, doubled up to a minute, half of it random.
func backoff(attempt int) time.Duration {
	if attempt == 0 {
		return mrand.N(time.Second)
	}
	d := min(time.Second<<min(attempt-1, 6), time.Minute)
	return d/2 + mrand.N(d/2)
}

// connect starts the client, which stays connected from then on.
func (m *mqttClient) connect() error {
	ctx, cancel := context.WithCancel(context.Background())
	client, err := autopaho.NewConnection(ctx, m.cfg)
	if err != nil {
		cancel()
		return fmt.Errorf("MQTT client: %w", err)
	}
	m.link.client = client
	m.stop = func() { cancel(); <-client.Done() }
	return nil
}

// disconnect ends the client.
func (m *mqttClient) disconnect() { m.stop() }
