package fieldtest_test

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/fieldtest"
	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/adminhttp"
)

// A root with two issuing CAs. One of them is revoked, and of the other a device: once the lists have been given out, every verifier of the system
// refuses the device, and everybody whom the revoked CA has certified. Each row is tried before, when it succeeds.
func TestRevokedEverywhere(t *testing.T) {
	s := newSystem(t)
	for _, r := range s.rows {
		ctx, cancel := context.WithTimeout(t.Context(), clitest.Wait)
		require.NoError(t, r.try(ctx), "%s: %s", r.verifier, r.whom)
		cancel()
	}
	s.distribute()
	for _, r := range s.rows {
		t.Run(r.verifier+"/"+r.whom, func(t *testing.T) {
			// Gateways learn of it a moment later, by a nudge.
			require.Eventually(t, func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), clitest.Wait)
				defer cancel()
				err := r.try(ctx)
				require.NotErrorIs(t, err, context.DeadlineExceeded, "an answer is wanted, not silence")
				return errors.Is(err, r.want)
			}, clitest.Wait, 20*time.Millisecond)
		})
	}
	for _, c := range s.sound {
		ctx, cancel := context.WithTimeout(t.Context(), clitest.Wait)
		require.NoError(t, c.try(ctx), "%s: %s is as good as before", c.verifier, c.whom)
		cancel()
	}
}

type row struct {
	verifier, whom string
	try            func(context.Context) error
	want           error // nil: none
}

type system struct {
	*fieldtest.World
	t                   *testing.T
	root, solid, doomed *ca.Authority
	gone                identity.DeviceID
	authority           *cahttp.Server
	boss                *adminhttp.Client
	clients             []*identity.Verifier // of those who ask the administration and the authority
	rows, sound         []row
}

func newSystem(t *testing.T) *system {
	s := &system{World: fieldtest.New(t), t: t}
	s.root = s.Authority
	s.solid, s.doomed = s.issuing("Solid CA"), s.issuing("Doomed CA")

	s.Authority = s.solid
	goneDir, goneSticker := s.Device("D-GONE")
	soundDir, soundSticker := s.Device("D-SOUND")
	askedDir, askedSticker := s.Device("D-ASKED")
	s.gone = goneSticker.Device
	boss := s.Party("O-BOSS")
	heardParty := s.Application("A-HEARD")
	heard := s.asker(heardParty)
	goneApp := s.Application("A-GONE")
	solid := s.RunApplication("A-SOLID", func(*appgw.Config) {})
	s.Authority = s.doomed
	_, lostSticker := s.Device("D-LOST")
	lostDir := s.Dir + "/D-LOST"
	doomed := s.RunApplication("A-DOOMED", func(*appgw.Config) {})
	idle := s.asker(s.Application("A-IDLE"))
	direct := s.Application("A-DIRECT") // with a client of its own
	station, operator := s.Party("R-DOOMED"), s.Party("O-DOOMED")

	require.NoError(t, solid.Connect(t.Context(), goneSticker))
	require.NoError(t, solid.Connect(t.Context(), lostSticker))
	require.NoError(t, solid.Connect(t.Context(), askedSticker))
	require.NoError(t, doomed.Connect(t.Context(), soundSticker))
	device := s.RunDevice(soundDir, func(*devicegw.Config) {})
	require.NoError(t, device.WaitConnected(t.Context()))

	line := s.Registrar
	soundCred := s.soft("D-SOFT1", s.solid)
	s.Authority = s.solid
	bySound, byDoomed := s.registration(line, s.soft("D-SOFT2", s.doomed)), s.registration(station, soundCred)
	goneAgain := s.registered(line, s.gone)
	s.authority = s.newAuthority(s.solid)
	caURL, falseURL, adminURL := s.serve(s.authority.Serve), s.serve(s.newAuthority(s.doomed).Serve), s.serveAdmin(boss)
	s.boss = s.adminClient(adminURL, boss)
	falseAdmin := s.adminClient(s.serveAdminAs(s.Server(s.doomed), boss), boss)

	s.rows = []row{
		{"broker", "application of the revoked CA", s.subscribe(partyTLS(t, direct), "A-DIRECT", up("A-DIRECT")), errFilter},
		{"broker", "device of the revoked CA", s.subscribe(s.deviceTLS(lostDir), "D-LOST", s.down("A-SOLID", "D-LOST")), errFilter},
		{"broker", "revoked device", s.subscribe(s.deviceTLS(goneDir), "D-GONE", s.down("A-SOLID", "D-GONE")), errNotIn},
		{"broker", "revoked application", s.subscribe(partyTLS(t, goneApp), "A-GONE", up("A-GONE")), errNotIn},
		{"broker, live connection", "application of the revoked CA", s.live(partyTLS(t, direct), "A-DIRECT--9", up("A-DIRECT")), errCut},
		{"broker, live connection", "revoked application", s.live(partyTLS(t, goneApp), "A-GONE--9", up("A-GONE")), errCut},

		{"platform, request", "application of the revoked CA", idle.connect(askedSticker), control.ErrRequest},
		{"platform, request", "device of the revoked CA", heard.connect(lostSticker), control.ErrRequest},
		{"platform, request", "revoked device", heard.connect(goneSticker), control.ErrRetired},
		{"platform, registration", "registrar of the revoked CA", s.register(byDoomed), identity.ErrRevoked},
		{"platform, registration", "device of the revoked CA", s.register(bySound), identity.ErrRevoked},
		{"platform, registration", "revoked device", s.register(goneAgain), identity.ErrRevoked},
		{"platform, admission", "application of the revoked CA", s.admit(direct), identity.ErrRevoked},
		{"platform, admission", "revoked application", s.admit(goneApp), identity.ErrRevoked},

		{"device gateway", "application of the revoked CA", func(context.Context) error { return device.Status().Suspended }, identity.ErrRevoked},
		{"application gateway", "device of the revoked CA", trusts(solid, lostSticker.Device), errSuspended},
		{"application gateway", "revoked device", trusts(solid, s.gone), errSuspended},

		{"authority", "registrar of the revoked CA", s.issue(caURL, partyTLS(t, station), "D-NEW"), cahttp.ErrUnauthenticated},
		{"authority", "operator of the revoked CA", s.issue(caURL, partyTLS(t, operator), "A-NEW"), cahttp.ErrUnauthenticated},
		{"authority", "revoked device", s.renew(caURL, goneDir), cahttp.ErrUnauthenticated},
		{"authority's client", "server of the revoked CA", s.crlOf(falseURL, boss), identity.ErrRevoked},
		{"administration", "operator of the revoked CA", s.list(s.adminClient(adminURL, operator)), adminhttp.ErrUnauthenticated},
		{"administration", "registrar of the revoked CA", func(ctx context.Context) error {
			_, err := s.adminClient(adminURL, station).Register(ctx, byDoomed)
			return err
		}, adminhttp.ErrUnauthenticated},
		{"administration's client", "server of the revoked CA", func(ctx context.Context) error {
			falseAdmin.Close() // the connection before was made when the server was good
			return s.list(falseAdmin)(ctx)
		}, identity.ErrRevoked},
	}
	s.sound = []row{
		{"broker, live connection", "application of the other CA", s.live(partyTLS(t, heardParty), "A-HEARD--9", up("A-HEARD")), nil},
		{"broker", "device of the other CA", s.subscribe(s.deviceTLS(askedDir), "D-ASKED", s.down("A-SOLID", "D-ASKED")), nil},
		{"platform, request", "everybody of the other CA", func(ctx context.Context) error { return solid.Connect(ctx, askedSticker) }, nil},
		{"platform, registration", "everybody of the other CA", s.register(s.registration(line, s.soft("D-SOFT3", s.solid))), nil},
		{"authority", "operator of the other CA", s.issue(caURL, partyTLS(t, boss), "A-NEW2"), nil},
		{"administration", "operator of the other CA", s.list(s.boss), nil},
	}
	return s
}

// distribute gives the lists out: once to the platform, once to the authority that serves, and to the clients of both, which nobody tells.
func (s *system) distribute() {
	byRoot, err := s.root.RevokeCertificate(s.doomed.Certificate())
	require.NoError(s.t, err)
	_, err = s.solid.Revoke(s.gone.ID)
	require.NoError(s.t, err)
	app, err := identity.ParseID("A-GONE")
	require.NoError(s.t, err)
	bySolid, err := s.solid.Revoke(app) // and the device
	require.NoError(s.t, err)
	lists := slices.Concat(byRoot, bySolid)
	require.NoError(s.t, s.boss.AddCRL(s.t.Context(), lists))
	require.NoError(s.t, s.authority.AddCRL(lists))
	for _, v := range s.clients {
		require.NoError(s.t, v.AddCRL(lists))
	}
}

func (s *system) issuing(name string) *ca.Authority {
	key := newKey(s.t)
	csr, err := ca.NewCARequest(key, name)
	require.NoError(s.t, err)
	chain, err := s.root.CertifyCA(csr, ca.CAOptions{})
	require.NoError(s.t, err)
	a, err := ca.New(ca.Config{Name: name, Signer: key, Store: new(ca.MemStore), Root: s.root.Certificate(), Chain: chain})
	require.NoError(s.t, err)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

// soft is the credential of a device without a chip.
func (s *system) soft(name string, issuer *ca.Authority) identity.Credential {
	t := s.t
	k := newKey(t)
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	csr, err := identity.NewCSR(k, id, identity.CSROptions{})
	require.NoError(t, err)
	chain, err := issuer.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	dh, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	e, err := identity.Endorse(k, chain[0], dh.PublicKey(), identity.EndorseOptions{Generation: 1})
	require.NoError(t, err)
	return identity.Credential{Chain: chain, Endorsement: e}
}

// registration is one of a device by a registrar, which is made when it is used first.
func (s *system) registration(by *party.Party, device identity.Credential) []byte {
	leaf, err := identityOf(device)
	require.NoError(s.t, err)
	return s.sign(by, platform.Registration{Device: leaf, Credential: device, Binding: e2e.NewBindingID()})
}

func identityOf(c identity.Credential) (identity.DeviceID, error) {
	leaf, err := x509.ParseCertificate(c.Chain[0])
	if err != nil {
		return identity.DeviceID{}, err
	}
	return identity.ParseDeviceID(leaf.Subject.CommonName)
}

// registered is the registration that a device has, signed anew.
func (s *system) registered(by *party.Party, id identity.DeviceID) []byte {
	d, err := s.Platform.Device(s.t.Context(), id)
	require.NoError(s.t, err)
	return s.sign(by, platform.Registration{Device: id, Credential: d.Credential, Binding: d.PlatformBinding, ClaimKey: d.ClaimKey})
}

func (s *system) sign(by *party.Party, r platform.Registration) []byte {
	c, err := by.Credential()
	require.NoError(s.t, err)
	signed, err := r.Sign(by.Signer(), c)
	require.NoError(s.t, err)
	return signed
}

func (s *system) register(signed []byte) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.Platform.Register(ctx, signed)
		return err
	}
}

var errSuspended = errors.New("suspended")

// trusts tells whether an application's gateway still takes a device for what it says.
func trusts(gw *appgw.Gateway, id identity.DeviceID) func(context.Context) error {
	return func(ctx context.Context) error {
		all, err := gw.Devices(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(d appgw.DeviceStatus) bool { return d.Device == id })
		if i < 0 || all[i].Suspended {
			return errSuspended // or removed already, by an order with the list as evidence
		}
		return nil
	}
}

func partyTLS(t *testing.T, p *party.Party) tls.Certificate {
	c, err := p.TLS()
	require.NoError(t, err)
	return c
}

// deviceTLS is the certificate of a device that is not running, with the key from its chip.
func (s *system) deviceTLS(dir string) tls.Certificate {
	t := s.t
	signer := s.chip(dir)
	id, err := identity.ParseDeviceID(dir[len(s.Dir)+1:])
	require.NoError(t, err)
	d, err := s.Platform.Device(t.Context(), id)
	require.NoError(t, err)
	return tls.Certificate{Certificate: d.Credential.Chain, PrivateKey: signer}
}

func (s *system) chip(dir string) crypto.Signer {
	u, err := unit.Open(dir)
	require.NoError(s.t, err)
	vault, err := u.PowerUp(s.t.Context())
	require.NoError(s.t, err)
	require.NoError(s.t, u.Close())
	s.t.Cleanup(func() { vault.Close() })
	return vault.Signer()
}

func (s *system) down(app, device string) string {
	return fmt.Sprintf("semio/1/app/%s/%s/%s/down", app, shard(device), device)
}

func up(app string) string { return "semio/1/app/" + app + "/+/+/up" }

var (
	errNotIn  = errors.New("the broker does not let the client in")
	errFilter = errors.New("the broker does not allow the filter")
	errCut    = errors.New("the connection has ended")
)

// dial connects to the broker, as an attacker with a client of his own would.
func (s *system) dial(ctx context.Context, cert tls.Certificate, clientID string) (*paho.Client, error) {
	u, err := url.Parse(s.URL)
	require.NoError(s.t, err)
	d := tls.Dialer{Config: &tls.Config{RootCAs: pool(s.Roots), Certificates: []tls.Certificate{cert}, ServerName: "localhost", MinVersion: tls.VersionTLS13}}
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	// With TLS 1.3 a client hears only with the first answer what the server makes of its certificate.
	c := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), ClientID: clientID})
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: clientID, KeepAlive: 30, CleanStart: true}); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", errNotIn, err)
	}
	return c, nil
}

func ask(ctx context.Context, c *paho.Client, topic string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // Subscribe does not notice by itself that the connection has ended
		select {
		case <-c.Done():
			cancel(errCut)
		case <-ctx.Done():
		}
	}()
	ack, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}})
	if ack != nil && slices.Equal(ack.Reasons, []byte{0x87}) {
		return errFilter
	}
	if errors.Is(context.Cause(ctx), errCut) {
		return errCut
	}
	return err
}

// subscribe connects to the broker and asks for a topic.
func (s *system) subscribe(cert tls.Certificate, clientID, topic string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := s.dial(ctx, cert, clientID)
		if err != nil {
			return err
		}
		defer c.Disconnect(&paho.Disconnect{})
		return ask(ctx, c, topic)
	}
}

// live asks for a topic on a connection that stands from now on.
func (s *system) live(cert tls.Certificate, clientID, topic string) func(context.Context) error {
	c, err := s.dial(s.t.Context(), cert, clientID)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return func(ctx context.Context) error {
		select {
		case <-c.Done():
			return errCut
		default:
			return ask(ctx, c, topic)
		}
	}
}

func (s *system) admit(p *party.Party) func(context.Context) error {
	c, err := p.Credential()
	require.NoError(s.t, err)
	return func(ctx context.Context) error {
		_, err := s.Platform.Admit(ctx, c)
		return err
	}
}

func (s *system) newAuthority(of *ca.Authority) *cahttp.Server {
	var operators []identity.OperatorID
	for _, name := range []string{"O-BOSS", "O-DOOMED"} {
		id, err := identity.ParseOperatorID(name)
		require.NoError(s.t, err)
		operators = append(operators, id)
	}
	srv, err := cahttp.New(cahttp.Config{Authority: of, Hosts: []string{"127.0.0.1"}, Operators: operators})
	require.NoError(s.t, err)
	return srv
}

// crlOf asks an authority for its lists, as somebody who goes by those that he has.
func (s *system) crlOf(url string, p *party.Party) func(context.Context) error {
	v, err := p.Verifier()
	require.NoError(s.t, err)
	s.clients = append(s.clients, v)
	c, err := cahttp.NewClient(cahttp.ClientConfig{URL: url, Verifier: v})
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return func(ctx context.Context) error {
		_, err := c.CRL(ctx)
		return err
	}
}

func (s *system) serveAdmin(boss *party.Party) string { return s.serveAdminAs(s.Server(s.solid), boss) }

func (s *system) serveAdminAs(cert tls.Certificate, boss *party.Party) string {
	id, _ := boss.ID().Operator()
	doomed, err := identity.ParseOperatorID("O-DOOMED")
	require.NoError(s.t, err)
	srv, err := adminhttp.New(adminhttp.Config{
		Service: s.Platform, Verifier: s.Verifier, Operators: []identity.OperatorID{id, doomed},
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
	})
	require.NoError(s.t, err)
	return s.serve(srv.Serve)
}

func (s *system) serve(f func(context.Context, net.Listener) error) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx, ln) }()
	s.t.Cleanup(func() {
		cancel()
		require.NoError(s.t, <-done)
	})
	return "https://" + ln.Addr().String()
}

func (s *system) adminClient(url string, p *party.Party) *adminhttp.Client {
	cert := partyTLS(s.t, p)
	v, err := p.Verifier()
	require.NoError(s.t, err)
	s.clients = append(s.clients, v)
	c, err := adminhttp.NewClient(adminhttp.ClientConfig{URL: url, Verifier: v, Certificate: cert})
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

func (s *system) list(c *adminhttp.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, err := range c.Devices(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func (s *system) caClient(url string, cert tls.Certificate) *cahttp.Client {
	c, err := cahttp.NewClient(cahttp.ClientConfig{URL: url, Roots: s.Roots, Certificate: &cert})
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

// issue asks the authority for a certificate.
func (s *system) issue(url string, cert tls.Certificate, name string) func(context.Context) error {
	id, err := identity.ParseID(name)
	require.NoError(s.t, err)
	csr, err := identity.NewCSR(newKey(s.t), id, identity.CSROptions{})
	require.NoError(s.t, err)
	c := s.caClient(url, cert)
	return func(ctx context.Context) error {
		_, err := c.Issue(ctx, csr, ca.IssueOptions{})
		return err
	}
}

// renew asks the authority in a device's own name.
func (s *system) renew(url, dir string) func(context.Context) error {
	cert := s.deviceTLS(dir)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(s.t, err)
	id, err := identity.ParseID(leaf.Subject.CommonName)
	require.NoError(s.t, err)
	helper, _, err := identity.HelperHash(leaf)
	require.NoError(s.t, err)
	csr, err := identity.NewCSR(cert.PrivateKey.(crypto.Signer), id, identity.CSROptions{HelperHash: helper})
	require.NoError(s.t, err)
	c := s.caClient(url, cert)
	return func(ctx context.Context) error {
		_, err := c.Issue(ctx, csr, ca.IssueOptions{})
		return err
	}
}

func pool(roots []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, r := range roots {
		p.AddCert(r)
	}
	return p
}

// shard is that of package platform: the first byte of SHA-256 of the name.
func shard(name string) string {
	h := sha256.Sum256([]byte(name))
	return hex.EncodeToString(h[:1])
}
