package mqttlink

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/semio-iot/semio/identity"
)

// Mutual is how the parties of the system reach their broker: mutual TLS 1.3, the name as client ID.
type Mutual struct {
	Broker   string   // mqtts or wss
	ClientID string   // a name, or an instance of one
	Chain    [][]byte // DER, leaf first
	Signer   crypto.Signer
	Verifier *identity.Verifier
	Logger   *slog.Logger
}

// NewMutual returns a Link that is not connected.
func NewMutual(m Mutual) (*Link, error) {
	u, err := parseBroker(m.Broker)
	if err != nil {
		return nil, err
	}
	if m.Verifier == nil || m.Signer == nil || len(m.Chain) == 0 {
		return nil, errors.New("mqttlink: Mutual needs Chain, Signer and Verifier: the broker asks for our certificate, and we check its")
	}
	if u.Scheme != "mqtts" && u.Scheme != "wss" {
		return nil, fmt.Errorf("mqttlink: broker %s: want mqtts:// or wss://, because the broker knows a peer by its certificate; give another client as Config.Link", u.Redacted())
	}
	chain := make([][]byte, len(m.Chain))
	for i, der := range m.Chain {
		chain[i] = append([]byte(nil), der...)
	}
	return New(Config{
		Broker:   m.Broker,
		ClientID: m.ClientID,
		TLS: &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: m.Signer}},
			ServerName:   u.Hostname(),
			// crypto/tls knows neither a time floor nor revocation lists: VerifyConnection makes all of its checks and those.
			InsecureSkipVerify: true,
			VerifyConnection:   m.Verifier.VerifyTLSServer(u.Hostname()),
		},
		Logger: m.Logger,
	})
}
