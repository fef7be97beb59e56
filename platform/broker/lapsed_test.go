package broker_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/platform/broker"
)

// renewals are rules that know some certificates that are over.
type renewals struct {
	*rules
	known map[[32]byte]bool
}

func (r renewals) AuthenticateLapsed(id identity.ID, clientID string, certificate [32]byte) error {
	if clientID != id.String() || !r.known[certificate] {
		return errors.New("not this certificate")
	}
	return nil
}

func (r renewals) AllowLapsed(_ identity.ID, _ string, _ broker.Action, topic string) bool {
	return topic == "renew"
}

// yearsLater has a broker at whose time the certificates of today are over.
func yearsLater(t *testing.T, with func(broker.Authorizer) broker.Authorizer) *world {
	return newWorld(t, func(c *broker.Config) {
		v, err := identity.NewVerifier(identity.VerifierConfig{
			Roots: c.Verifier.Roots(), Now: func() time.Time { return time.Now().AddDate(2, 0, 0) },
		})
		require.NoError(t, err)
		c.Verifier, c.Authorizer = v, with(c.Authorizer)
	})
}

// A client whose certificate is over gets in where the authorizer knows that very certificate, and may do what a renewal takes.
func TestCertificateThatIsOver(t *testing.T) {
	known := map[[32]byte]bool{}
	w := yearsLater(t, func(a broker.Authorizer) broker.Authorizer { return renewals{a.(*rules), known} })
	cert := w.cert("A-WATER")
	known[sha256.Sum256(cert.Certificate[0])] = true
	app := w.connect(cert, connectPacket("A-WATER"))
	require.Zero(t, app.connack.ReasonCode)
	require.Equal(t, []byte{1, 0x87, 0x87}, app.subscribe(1, "renew", "else", "#"))
	require.Zero(t, app.publish(2, "renew", "request"))
	require.Equal(t, "request", string(app.message().Payload))
	require.EqualValues(t, 0x87, app.publish(3, "else", "x"))
	require.NotContains(t, w.rules.questions(), "A-WATER", "the rules for others are not asked")

	other := w.connect(cert, connectPacket("A-WATER--2"))
	require.EqualValues(t, 0x87, other.connack.ReasonCode)

	refused := func(cert tls.Certificate, clientID string) {
		t.Helper()
		l := w.linkOf(cert, clientID)
		ended, _ := run(t, l, link.Receiver{Up: func() { t.Error("connected") }})
		require.Error(t, <-ended)
	}
	refused(w.cert("A-WATER"), "A-WATER") // of the same name, and as much over
	again := w.cert("A-GAS")
	known[sha256.Sum256(again.Certificate[0])] = true
	parsed, err := x509.ParseCertificate(again.Certificate[0])
	require.NoError(t, err)
	crl, err := w.ca.RevokeCertificate(parsed)
	require.NoError(t, err)
	require.NoError(t, w.serving.AddCRL(crl))
	refused(again, "A-GAS") // named by a list itself
}

// An authorizer that knows nothing of renewals lets nobody in.
func TestCertificateThatIsOverIsRefused(t *testing.T) {
	w := yearsLater(t, func(a broker.Authorizer) broker.Authorizer { return a })
	l := w.linkOf(w.cert("A-WATER"), "A-WATER")
	ended, _ := run(t, l, link.Receiver{Up: func() { t.Error("connected") }})
	require.Error(t, <-ended)
}

// A connection does not outlive the certificate that it was made with.
func TestConnectionEndsWithItsCertificate(t *testing.T) {
	var end time.Time
	w := newWorld(t, func(c *broker.Config) {
		v, err := identity.NewVerifier(identity.VerifierConfig{Roots: c.Verifier.Roots(), Now: func() time.Time { return end }})
		require.NoError(t, err)
		c.Verifier = v
	})
	cert := w.cert("A-WATER")
	parsed, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	end = parsed.NotAfter
	c := w.connect(cert, connectPacket("A-WATER"))
	require.Zero(t, c.connack.ReasonCode)
	require.EqualValues(t, 0x87, c.disconnected())

	// That of a device without expiry does.
	end = time.Now()
	w.join("D-1").sync()
}
