package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// intruder is an MQTT client that does as it likes with a certificate that the authority has issued.
type intruder struct {
	client *paho.Client
	gone   chan struct{} // closed when the connection is
}

// errNotAuthorized is the broker's answer to a certificate that holds but may not connect.
var errNotAuthorized = errors.New("not authorized")

// intrude connects to the broker under a client ID.
func intrude(ctx context.Context, broker string, clientID string, roots []*x509.Certificate, chain [][]byte, key crypto.Signer) (*intruder, error) {
	u, err := url.Parse(broker)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: u.Hostname(),
		Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	in := &intruder{gone: make(chan struct{})}
	gone := sync.OnceFunc(func() { close(in.gone) }) // paho may report one end several times
	in.client = paho.NewClient(paho.ClientConfig{
		Conn:               packets.NewThreadSafeConn(conn), // a ping must not get between the parts of a packet
		PacketTimeout:      5 * time.Second,
		OnClientError:      func(error) { gone() },
		OnServerDisconnect: func(*paho.Disconnect) { gone() },
	})
	answer, err := in.client.Connect(ctx, &paho.Connect{ClientID: clientID, CleanStart: true, KeepAlive: 30})
	if err == nil {
		return in, nil
	}
	conn.Close()
	if answer != nil && answer.ReasonCode == packets.ConnackNotAuthorized {
		err = fmt.Errorf("%w: %w", errNotAuthorized, err)
	}
	return nil, fmt.Errorf("connect as %s: %w", clientID, err)
}

func (in *intruder) publish(ctx context.Context, topic string, payload []byte) error {
	_, err := in.client.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: payload})
	return err
}

func (in *intruder) close() {
	_ = in.client.Disconnect(&paho.Disconnect{})
}
