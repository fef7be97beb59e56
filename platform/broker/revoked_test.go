package broker_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/platform/broker"
)

// issuing is an issuing CA under the world's.
func (w *world) issuing(name string) *ca.Authority {
	k := newKey(w.t)
	csr, err := ca.NewCARequest(k, name)
	require.NoError(w.t, err)
	chain, err := w.ca.CertifyCA(csr, ca.CAOptions{})
	require.NoError(w.t, err)
	a, err := ca.New(ca.Config{Name: name, Signer: k, Store: new(ca.MemStore), Root: w.ca.Certificate(), Chain: chain})
	require.NoError(w.t, err)
	return a
}

func clientOf(t testing.TB, a *ca.Authority, name string) tls.Certificate {
	k := newKey(t)
	csr, err := identity.NewCSR(k, mustID(name), identity.CSROptions{})
	require.NoError(t, err)
	chain, err := a.Issue(csr, ca.IssueOptions{NewKey: name[0] != 'D'})
	require.NoError(t, err)
	return tls.Certificate{Certificate: chain, PrivateKey: k}
}

func leafOf(t testing.TB, c tls.Certificate) *x509.Certificate {
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	require.NoError(t, err)
	return leaf
}

func (w *world) revoke(by *ca.Authority, c *x509.Certificate) {
	crl, err := by.RevokeCertificate(c)
	require.NoError(w.t, err)
	require.NoError(w.t, w.serving.AddCRL(crl))
}

// A live connection is worth no more than a new one would be: a list ends those that were made with what it names, whatever the authorizer knows of
// the name, and no others.
func TestRevocationEndsLiveConnections(t *testing.T) {
	for name, c := range map[string]struct {
		clientID string
		revoke   func(w *world, doomed *ca.Authority, cert tls.Certificate)
	}{
		"CA":                      {"A-WATER", func(w *world, doomed *ca.Authority, _ tls.Certificate) { w.revoke(w.ca, doomed.Certificate()) }},
		"CA, another instance":    {"A-WATER--9", func(w *world, doomed *ca.Authority, _ tls.Certificate) { w.revoke(w.ca, doomed.Certificate()) }},
		"certificate":             {"A-WATER", func(w *world, doomed *ca.Authority, c tls.Certificate) { w.revoke(doomed, leafOf(w.t, c)) }},
		"certificate of instance": {"A-WATER--2", func(w *world, doomed *ca.Authority, c tls.Certificate) { w.revoke(doomed, leafOf(w.t, c)) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			solid, doomed := w.issuing("Solid CA"), w.issuing("Doomed CA")
			cert := clientOf(t, doomed, "A-WATER")
			if name == "certificate of instance" {
				k := newKey(t)
				csr, err := identity.NewCSR(k, mustID("A-WATER"), identity.CSROptions{Instance: "2"})
				require.NoError(t, err)
				chain, err := doomed.Issue(csr, ca.IssueOptions{})
				require.NoError(t, err)
				cert = tls.Certificate{Certificate: chain, PrivateKey: k}
			}
			thief := w.connect(cert, connectPacket(c.clientID))
			require.Zero(t, thief.connack.ReasonCode)
			require.Equal(t, []byte{1}, thief.subscribe(1, "orders"))
			// Connected, and nothing more: nobody asks the authorizer about it.
			idle := clientOf(t, doomed, "A-IDLE")
			silent := w.connect(idle, connectPacket("A-IDLE"))
			require.Zero(t, silent.connack.ReasonCode)
			owner := w.connect(clientOf(t, solid, "A-WATER"), connectPacket("A-WATER--7"))
			require.Equal(t, []byte{1}, owner.subscribe(1, "orders"))

			c.revoke(w, doomed, cert)
			if name == "CA" {
				require.EqualValues(t, 0x98, silent.disconnected())
			}
			require.EqualValues(t, 0x98, thief.disconnected())

			require.Zero(t, w.join("A-SENDER").publish(2, "orders", "secret"))
			require.Equal(t, "secret", string(owner.message().Payload))
		})
	}
}

// From the moment in which a list is in force, nothing passes any more on a connection that it ends, however late that is.
func TestNothingPassesAfterRevocation(t *testing.T) {
	w := newWorld(t)
	doomed := w.issuing("Doomed CA")
	cert := clientOf(t, doomed, "A-WATER")
	will := connectPacket("A-WATER")
	will.WillFlag, will.WillTopic, will.WillMessage = true, "orders", []byte("from the thief")
	thief := w.connect(cert, will)
	require.Zero(t, thief.connack.ReasonCode)
	require.Equal(t, []byte{1}, thief.subscribe(1, "orders"))
	sender := w.join("A-SENDER")
	require.Equal(t, []byte{1}, sender.subscribe(1, "orders"))

	w.revoke(w.ca, doomed.Certificate())
	require.Zero(t, sender.publish(2, "orders", "secret"))
	require.Equal(t, "secret", string(sender.message().Payload))
	_ = thief.trySend(publishPacket(0, "orders", "from the thief"))
	for {
		p, err := thief.tryRead()
		if err != nil {
			break
		}
		require.NotContains(t, p.String(), "secret")
	}
	sender.sync() // neither a publication nor the will has come
	again := w.linkOf(cert, "A-WATER")
	ended, _ := run(t, again, link.Receiver{Up: func() { t.Error("connected") }})
	require.Error(t, <-ended)
}

// A client that came to renew a certificate that is over goes when a list names that certificate.
func TestRevocationOfALapsedClient(t *testing.T) {
	known := map[[32]byte]bool{}
	w := yearsLater(t, func(a broker.Authorizer) broker.Authorizer { return renewals{a.(*rules), known} })
	water, gas := w.cert("A-WATER"), w.cert("A-GAS")
	known[sha256.Sum256(water.Certificate[0])], known[sha256.Sum256(gas.Certificate[0])] = true, true
	first, second := w.connect(water, connectPacket("A-WATER")), w.connect(gas, connectPacket("A-GAS"))
	require.Equal(t, []byte{1}, second.subscribe(1, "renew"))
	w.revoke(w.ca, leafOf(t, water))
	require.EqualValues(t, 0x98, first.disconnected())
	require.Zero(t, second.publish(2, "renew", "request"))
}

// A device that a list names may still fetch the order that wipes it, for a moment and on no other topics. One whose CA is revoked may not.
func TestRevokedDeviceFetchesItsLastOrders(t *testing.T) {
	w := newWorld(t, func(c *broker.Config) { c.Authorizer = renewals{c.Authorizer.(*rules), nil} })
	solid, doomed := w.issuing("Solid CA"), w.issuing("Doomed CA")
	cert, lost := clientOf(t, solid, "D-1"), clientOf(t, doomed, "D-2")
	dev, other := w.connect(cert, connectPacket("D-1")), w.connect(lost, connectPacket("D-2"))
	require.Equal(t, []byte{1, 1}, dev.subscribe(1, "renew", "data"))
	w.revoke(solid, leafOf(t, cert))
	require.EqualValues(t, 0x87, dev.publish(2, "data", "x"))
	require.Zero(t, dev.publish(3, "renew", "acknowledged"))
	w.revoke(doomed, leafOf(t, lost))
	w.revoke(w.ca, doomed.Certificate())
	require.EqualValues(t, 0x98, other.disconnected())
	require.EqualValues(t, 0x98, dev.disconnected())
}

// What a chain carries for those who trust an older root alone does not end the connection of who trusts the newer one.
func TestConnectionOutlivesACertificateThatItDoesNotNeed(t *testing.T) {
	key := newKey(t)
	young, err := ca.New(ca.Config{Name: "Young root", Signer: key, Store: new(ca.MemStore)})
	require.NoError(t, err)
	old, err := ca.New(ca.Config{Name: "Old root", Signer: newKey(t), Store: new(ca.MemStore)})
	require.NoError(t, err)
	w := newWorld(t, func(c *broker.Config) {
		c.Verifier, err = identity.NewVerifier(identity.VerifierConfig{
			Roots: append(c.Verifier.Roots(), young.Certificate(), old.Certificate()), Now: func() time.Time { return time.Now().Add(time.Hour) },
		})
		require.NoError(t, err)
	})
	csr, err := ca.NewCARequest(key, "Young root")
	require.NoError(t, err)
	cross, err := old.CertifyCA(csr, ca.CAOptions{Root: true, Validity: time.Minute})
	require.NoError(t, err)
	cert := clientOf(t, young, "A-WATER")
	cert.Certificate = slices.Concat(cert.Certificate, cross)
	c := w.connect(cert, connectPacket("A-WATER"))
	require.Zero(t, c.connack.ReasonCode)
	require.Equal(t, []byte{1}, c.subscribe(1, "orders"))
	c.sync()
}
