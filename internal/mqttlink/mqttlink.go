// Package mqttlink is a [link.Link] over Eclipse Paho's MQTT 5 client.
//
// Start with [New], then call [Link.Run] in a goroutine of its own and subscribe whenever the receiver's Up is called. Every
// connection is a Clean Start without a session at the broker: what must not be lost lies in the outbox of the layer above.
//
// What differs from autopaho, which would be the way to keep such a client connected (docs/decisions/0032 says why it is not used):
//   - Receiver calls come from one goroutine that is none of the client's, so a slow or even a publishing receiver cannot
//     keep acknowledgements from being read.
//   - Acknowledgements may be given in any order and at any time; PUBACKs leave in the order of the messages, as MQTT
//     demands, at once and not on the 50 ms tick of the client.
//   - A connection attempt has one time limit from name lookup to CONNACK, a blocked write ends the connection, a broker
//     that announces a packet above [Config.MaxPacket] is cut off before memory is allocated for it.
//   - Attempts are spread with jitter, also after a connection that lasted only a moment (two clients with one client ID
//     would otherwise throw each other out in a loop).
//
// # When Run gives up
//
// Run returns nil when its context ends. It returns a [*ConnectError] only when the broker, or what poses as the broker, has
// refused for [Config.Patience] in a way that waiting does not usually heal:
//
//	CONNACK 0x84, 0x8c             protocol version or authentication method not supported
//	CONNACK 0x85                   client ID not accepted
//	CONNACK 0x86, 0x87, 0x8a       identity refused (user name or password, not authorised, banned)
//	TLS alert about our certificate    refused, unknown CA, expired, revoked, none sent
//	TLS alert about the protocol       no common version or parameters
//	the broker's certificate       not from a trusted CA, other host name, expired or not yet valid, refused by VerifyConnection
//
// None of these is proof: a broker whose user database is still loading answers 0x87, a captive portal shows a foreign
// certificate, and so can anyone on the path who would like the device to stop for good. Hence the patience: each refusal is
// logged at once with advice, and Run ends only when there were at least three and the last came Patience after the first,
// with no successful connection and no unreachable broker in between. Every other outcome (name lookup, refused or lost TCP
// connections, time-outs, EOF, other CONNACK codes such as 0x88 unavailable or 0x97 quota) is retried for ever.
package mqttlink

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/secret"
)

// Config says which broker to connect with and as whom. Broker and ClientID are required (or Anonymous), TLS for mqtts and wss; zero
// values of the others mean the defaults.
type Config struct {
	// Broker is a URL: mqtt, mqtts, ws or wss, a host, and a port unless it is 1883, 8883, 80 or 443. User information in
	// it is refused: URLs are logged.
	Broker string

	// TLS holds our certificate and the broker's CAs; cloned. TLS 1.3 is the minimum unless it says otherwise.
	// InsecureSkipVerify needs a VerifyConnection or VerifyPeerCertificate.
	TLS *tls.Config

	ClientID string // 1 to 128 bytes of UTF-8; empty with Anonymous
	Username string
	Password secret.Bytes

	// Anonymous says that the broker is a stranger's and knows nobody by a certificate: each connection has a client ID of its own,
	// drawn at random. Whoever learns one throws out one connection, not the next. ClientID must be empty.
	Anonymous bool

	KeepAlive      time.Duration // 30 s; whole seconds, 1 s to 18 h. A dead connection is noticed within twice that.
	ConnectTimeout time.Duration // 15 s, for name lookup, TCP, TLS and CONNACK together
	AckTimeout     time.Duration // 20 s, for a PUBACK, SUBACK or UNSUBACK, and for a write to make progress

	// MaxPacket is the size in bytes of the largest MQTT packet sent or accepted: 128 KiB, at least 256 and at most 16 MiB.
	MaxPacket int

	// ReceiveMaximum is how many messages may be unacknowledged: 256. It bounds the queue before the receiver.
	ReceiveMaximum uint16

	// Attempts are MinBackoff to MaxBackoff apart (1 s, 2 min), doubling, the upper half of each wait random. After a
	// connection that lasted the first wait is random between 0 and MinBackoff.
	MinBackoff, MaxBackoff time.Duration

	// Patience is for how long refusals are retried before Run gives up: 15 min. Negative: the first one ends Run, which
	// suits commissioning tools and tests, not a device in the field.
	Patience time.Duration

	// Dial replaces the net.Dialer for the TCP connection under TLS or WebSocket.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Logger *slog.Logger // none: nothing is logged
}

// Link is a client of one broker. It implements [link.Link].
type Link struct {
	cfg    Config
	url    *url.URL
	events chan event
	done   chan struct{} // closed when no event is accepted any more

	started atomic.Bool
	dropped atomic.Uint64

	mu        sync.Mutex // guards the rest
	conn      *conn      // of the current attempt or connection
	up        bool
	upSince   time.Time
	failures  int // consecutive, for the back-off
	first     bool
	refusals  int
	refusedAt time.Time // first of the refusals
	lastErr   error
	fatal     *ConnectError
}

var _ link.Link = (*Link)(nil)

// New checks cfg and returns a Link that is not connected. It does no I/O.
func New(cfg Config) (*Link, error) {
	u, err := parseBroker(cfg.Broker)
	if err != nil {
		return nil, err
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if cfg.TLS, err = checkTLS(cfg.TLS, u); err != nil {
		return nil, err
	}
	return &Link{
		cfg:    cfg,
		url:    u,
		events: make(chan event, int(cfg.ReceiveMaximum)+16),
		done:   make(chan struct{}),
		first:  true,
	}, nil
}

// Dropped returns how many QoS 0 messages were dropped because the receiver was behind. QoS 1 messages, which are all that
// semio publishes, are never dropped.
func (l *Link) Dropped() uint64 { return l.dropped.Load() }

// LastError returns why the last attempt failed or the last connection ended, nil while connected. It is for status pages.
func (l *Link) LastError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastErr
}

func (c *Config) setDefaults() error {
	c.KeepAlive = cmp.Or(c.KeepAlive, 30*time.Second)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 15*time.Second)
	c.AckTimeout = cmp.Or(c.AckTimeout, 20*time.Second)
	c.MinBackoff = cmp.Or(c.MinBackoff, time.Second)
	c.MaxBackoff = cmp.Or(c.MaxBackoff, max(2*time.Minute, c.MinBackoff))
	c.Patience = cmp.Or(c.Patience, 15*time.Minute)
	c.MaxPacket = cmp.Or(c.MaxPacket, 128<<10)
	c.ReceiveMaximum = cmp.Or(c.ReceiveMaximum, 256)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	switch {
	case c.Anonymous && c.ClientID != "":
		return errors.New("mqttlink: Config.ClientID is set: an anonymous client draws one for each connection")
	case c.ClientID == "" && !c.Anonymous:
		return errors.New("mqttlink: Config.ClientID is empty: set it to the name in the certificate")
	case len(c.ClientID) > 128 || !link.ValidString(c.ClientID):
		return fmt.Errorf("mqttlink: Config.ClientID %.40q: want 1 to 128 bytes of UTF-8 without control characters", c.ClientID)
	case len(c.Username) > 1024 || !link.ValidString(c.Username) || c.Password.Len() > 1024:
		return errors.New("mqttlink: Config.Username and Password: want at most 1024 bytes each, the name in UTF-8 without control characters")
	case c.KeepAlive < time.Second || c.KeepAlive > 18*time.Hour || c.KeepAlive%time.Second != 0:
		return fmt.Errorf("mqttlink: Config.KeepAlive %v: want whole seconds, 1 s to 18 h", c.KeepAlive)
	case c.ConnectTimeout < 0 || c.AckTimeout < 0 || c.MinBackoff < 0 || c.MaxBackoff < c.MinBackoff:
		return errors.New("mqttlink: Config: times must be positive and MaxBackoff not below MinBackoff")
	case c.MaxPacket < 256 || c.MaxPacket > 16<<20:
		return fmt.Errorf("mqttlink: Config.MaxPacket %d: want 256 to %d bytes", c.MaxPacket, 16<<20)
	}
	return nil
}

var ports = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

func parseBroker(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		// Not the error of url.Parse, which repeats the text with a password it may hold.
		return nil, errors.New("mqttlink: Config.Broker is no URL: want mqtts://host:port")
	}
	port, ok := ports[u.Scheme]
	switch {
	case !ok:
		return nil, fmt.Errorf("mqttlink: Config.Broker has scheme %q: want mqtts, wss, mqtt or ws", u.Scheme)
	case u.User != nil:
		return nil, errors.New("mqttlink: Config.Broker holds a user name: set Config.Username and Password instead, URLs are logged")
	case u.Hostname() == "":
		return nil, errors.New("mqttlink: Config.Broker has no host: want mqtts://host:port")
	case !webSocket(u) && (u.Path != "" && u.Path != "/" || u.RawQuery != ""), u.Fragment != "":
		return nil, errors.New("mqttlink: Config.Broker: only ws and wss URLs have a path or query, none has a fragment")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

func webSocket(u *url.URL) bool { return u.Scheme == "ws" || u.Scheme == "wss" }

func checkTLS(c *tls.Config, u *url.URL) (*tls.Config, error) {
	if u.Scheme == "mqtt" || u.Scheme == "ws" {
		return nil, nil
	}
	if c == nil {
		return nil, fmt.Errorf("mqttlink: Config.TLS is nil: a %s broker needs our certificate and its CAs", u.Scheme)
	}
	if c.InsecureSkipVerify && c.VerifyConnection == nil && c.VerifyPeerCertificate == nil {
		return nil, errors.New("mqttlink: Config.TLS skips verification: set RootCAs, or VerifyConnection with a check of your own")
	}
	c = c.Clone()
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS13
	}
	if c.ServerName == "" {
		c.ServerName = u.Hostname()
	}
	if webSocket(u) && len(c.NextProtos) == 0 {
		// Without it a proxy in front may choose HTTP/2, which has no Upgrade.
		c.NextProtos = []string{"http/1.1"}
	}
	return c, nil
}
