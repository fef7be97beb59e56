package mqttlink_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/mqttlink"
	"github.com/semio-iot/semio/internal/secret"
)

func TestNew(t *testing.T) {
	good := mqttlink.Config{Broker: "mqtts://broker.example", ClientID: "D-1", TLS: &tls.Config{}}
	for _, broker := range []string{"mqtts://b:8883", "mqtts://b/", "wss://b/mqtt?x=y", "mqtts://[::1]"} {
		cfg := good
		cfg.Broker = broker
		_, err := mqttlink.New(cfg)
		require.NoError(t, err, broker)
	}
	for name, change := range map[string]func(*mqttlink.Config){
		"no broker":             func(c *mqttlink.Config) { c.Broker = "" },
		"no scheme":             func(c *mqttlink.Config) { c.Broker = "broker.example:8883" },
		"another scheme":        func(c *mqttlink.Config) { c.Broker = "https://b" },
		"no host":               func(c *mqttlink.Config) { c.Broker = "mqtts://" },
		"no host but a port":    func(c *mqttlink.Config) { c.Broker = "mqtts://:8883" },
		"user in URL":           func(c *mqttlink.Config) { c.Broker = "mqtts://u:SECRET@b" },
		"user in malformed URL": func(c *mqttlink.Config) { c.Broker = "mqtts://u:SECRET@b:port%" },
		"path":                  func(c *mqttlink.Config) { c.Broker = "mqtts://b/path" },
		"query":                 func(c *mqttlink.Config) { c.Broker = "mqtts://b?q" },
		"fragment":              func(c *mqttlink.Config) { c.Broker = "wss://b/#f" },
		"no TLS":                func(c *mqttlink.Config) { c.TLS = nil },
		"unverified TLS":        func(c *mqttlink.Config) { c.TLS = &tls.Config{InsecureSkipVerify: true} },
		"no client ID":          func(c *mqttlink.Config) { c.ClientID = "" },
		"long client ID":        func(c *mqttlink.Config) { c.ClientID = strings.Repeat("x", 129) },
		"client ID not UTF-8":   func(c *mqttlink.Config) { c.ClientID = "\xff" },
		"user name with NUL":    func(c *mqttlink.Config) { c.Username = "a\x00" },
		"long password":         func(c *mqttlink.Config) { c.Password = secret.New(make([]byte, 2000)) },
		"fraction of a second":  func(c *mqttlink.Config) { c.KeepAlive = 1500 * time.Millisecond },
		"keep-alive too long":   func(c *mqttlink.Config) { c.KeepAlive = 19 * time.Hour },
		"negative time":         func(c *mqttlink.Config) { c.ConnectTimeout = -1 },
		"back-off upside down":  func(c *mqttlink.Config) { c.MinBackoff, c.MaxBackoff = time.Minute, time.Second },
		"packets too small":     func(c *mqttlink.Config) { c.MaxPacket = 10 },
		"packets too large":     func(c *mqttlink.Config) { c.MaxPacket = 1 << 30 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			l, err := mqttlink.New(cfg)
			require.Error(t, err)
			require.Nil(t, l)
			require.NotContains(t, err.Error(), "SECRET")
		})
	}
}

func TestNewLeavesTLSConfigAlone(t *testing.T) {
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	_, err := mqttlink.New(mqttlink.Config{Broker: "wss://b", ClientID: "D-1", TLS: c})
	require.NoError(t, err)
	require.Zero(t, c.MinVersion)
	require.Empty(t, c.ServerName)
	require.Empty(t, c.NextProtos)
}

func TestConfigPrintsNoPassword(t *testing.T) {
	c := mqttlink.Config{Broker: "mqtt://b", ClientID: "D-1", Password: secret.New([]byte("SECRET"))}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		s := fmt.Sprintf(verb, c)
		require.NotContains(t, s, "SECRET")
		require.NotContains(t, s, "534543524554")
	}
}

func TestNewMutual(t *testing.T) {
	for _, broker := range []string{"mqtt://b", "ws://b", "https://b", "", "mqtts://u:SECRET@b"} {
		_, err := mqttlink.NewMutual(mqttlink.Mutual{Broker: broker, ClientID: "D-1"})
		require.Error(t, err, broker)
		require.NotContains(t, err.Error(), "SECRET")
	}
	_, err := mqttlink.NewMutual(mqttlink.Mutual{Broker: "mqtts://b", ClientID: "D-1"})
	require.ErrorContains(t, err, "Verifier")
}
