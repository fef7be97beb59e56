package publicbroker

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/semio-iot/semio/internal/mqttlink"
)

// Link is a client of the broker. Its Run, which the gateway or platform calls that has it, may be called once.
type Link = mqttlink.Link

// Config says which broker. Broker is required.
type Config struct {
	// Broker is a URL: mqtt, mqtts, ws or wss, a host, and a port unless it is 1883, 8883, 80 or 443.
	Broker string

	// Roots verify the server certificate of a mqtts or wss broker; nil: those of the system. The certificate keeps those on the way
	// from seeing and cutting what the broker itself can see and cut.
	Roots *x509.CertPool

	Logger *slog.Logger // none: nothing is logged
}

// maxBackoff is between attempts, and so how long service may stay away after an attacker has gone.
const maxBackoff = time.Minute

// New returns a Link that is not connected. It does no I/O.
func New(cfg Config) (*Link, error) {
	l, err := mqttlink.New(mqttlink.Config{
		Broker:     cfg.Broker,
		Anonymous:  true,
		TLS:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.Roots},
		MaxBackoff: maxBackoff,
		Logger:     cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("public broker: %w", err)
	}
	return l, nil
}

// RandomPrefix returns a topic prefix that nobody else has and nobody guesses, for platform.Config.Prefix. Keep it: the devices
// remember it for life. It is no secret from anybody who is connected to the broker.
func RandomPrefix() string { return "semio/" + strings.ToLower(rand.Text()) }
