// Package brokerflag has the flags by which an example program says over which broker it works, and the words for what is protected
// there.
//
//	-broker mqtts://HOST          the platform's own broker: mutual TLS 1.3 with the party's certificate
//	-broker mqtts://HOST -public  a stranger's: no certificate of ours, no rules at the broker; package publicbroker has the details
//
// Start with [Declare]; [Flags.Open] gives what goes into the Config of a gateway or of the platform.
package brokerflag

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"os"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/platform/publicbroker"
)

// Flags are the values of the flags, once they are read.
type Flags struct {
	URL    *string
	Public *bool
	roots  *string
}

// Declare declares the flags. whenEmpty says what happens without -broker; if it is empty, the flag is required.
func Declare(f *cli.Flags, whenEmpty string) *Flags {
	b := &Flags{}
	const usage = "`URL` of the MQTT broker: mqtts or wss; with -public also mqtt or ws"
	if whenEmpty == "" {
		b.URL = f.Required("broker", usage)
	} else {
		b.URL = f.String("broker", "", usage+"; "+whenEmpty)
	}
	b.Public = f.Bool("public", false, "the broker is a stranger's: no certificate is shown to it, and it is not trusted with anything but delivery")
	b.roots = f.String("broker-roots", "", "with -public, `file` of the authorities that may certify the broker's server; default: the system's")
	return b
}

// Open returns what goes into Config.Broker or Config.Link: exactly one of them is set. It dials nothing.
func (b *Flags) Open(log *slog.Logger) (broker string, link devicegw.Link, err error) {
	if !*b.Public {
		if *b.roots != "" {
			return "", nil, cli.Usage("-broker-roots goes with -public: the platform's own broker is verified by the roots in the party's folder")
		}
		// Not the error of url.Parse, which repeats what may be a password.
		u, err := url.Parse(*b.URL)
		if err != nil || u.Host == "" {
			return "", nil, cli.Usage("-broker: want a URL like mqtts://broker.example:8883")
		}
		if u.Scheme == "mqtt" || u.Scheme == "ws" {
			return "", nil, cli.Usage("-broker %s: nobody shows a certificate over %s. Give the mqtts URL that the platform printed, or add -public if the broker is a stranger's",
				u.Redacted(), u.Scheme)
		}
		return *b.URL, nil, nil
	}
	cfg := publicbroker.Config{Broker: *b.URL, Logger: log}
	if cfg.Roots, err = b.Roots(); err != nil {
		return "", nil, err
	}
	l, err := publicbroker.New(cfg)
	if err != nil {
		return "", nil, cli.Usage("-broker: %v", err)
	}
	return "", l, nil
}

// Roots are the authorities that -broker-roots names, nil for those of the system.
func (b *Flags) Roots() (*x509.CertPool, error) {
	if *b.roots == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(*b.roots)
	if err != nil {
		return nil, fmt.Errorf("-broker-roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-broker-roots %s: no certificate in it, want PEM", *b.roots)
	}
	return pool, nil
}

// CheckPrefix compares the topic prefix that the user expects, empty for none, with the one of the admission.
func CheckPrefix(want, got string) error {
	if want == "" || want == got {
		return nil
	}
	return fmt.Errorf("-prefix %s: the platform admitted this party under the topic prefix %s, which it has for life. "+
		"Leave -prefix out, start the platform with -prefix %s, or have the party admitted by the platform that was meant", want, got, got)
}
