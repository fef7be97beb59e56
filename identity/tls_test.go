package identity_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func serverTemplate() *x509.Certificate {
	c := leafTemplate("P-1")
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	c.DNSNames = append(c.DNSNames, "broker.example.org", "localhost")
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	return c
}

func TestVerifyServer(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	chain := []*x509.Certificate{parseCert(t, p.sign(t, serverTemplate(), newKey(t).Public()))}
	for _, host := range []string{"broker.example.org", "Broker.Example.org", "localhost", "127.0.0.1", "::1", "[::1]"} {
		id, err := v.VerifyServer(chain, host)
		require.NoError(t, err, host)
		require.Equal(t, "P-1", id.String())
	}
	for _, host := range []string{"", "example.org", "x.broker.example.org", "127.0.0.2", "::2", "P-2"} {
		_, err := v.VerifyServer(chain, host)
		require.ErrorIs(t, err, identity.ErrProfile, host)
	}
	_, err := v.VerifyChain(chain)
	require.ErrorIs(t, err, identity.ErrProfile, "a server certificate is no client's")
	_, err = v.Verify(identity.Credential{Chain: [][]byte{chain[0].Raw}, Endorsement: []byte{1}}, 0)
	require.ErrorIs(t, err, identity.ErrProfile, "nor good for a credential")
	require.NoError(t, v.AddCRL(p.crl(t, 1, chain[0])))
	_, err = v.VerifyServer(chain, "localhost")
	require.ErrorIs(t, err, identity.ErrRevoked)
}

func TestVerifyServerRefuses(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	for name, edit := range map[string]func(*x509.Certificate){
		"of a device":      func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames[0] = "D-1", "D-1" },
		"name not first":   func(c *x509.Certificate) { c.DNSNames[0], c.DNSNames[2] = c.DNSNames[2], c.DNSNames[0] },
		"another peer too": func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "A-1") },
		"peer, lower case": func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "d-1") },
		"mail address":     func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.org"} },
		"client's":         func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
		"both usages":      func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) },
		"a CA's":           func(c *x509.Certificate) { c.IsCA = true },
		"with helper hash": func(c *x509.Certificate) {
			c.ExtraExtensions = helperExtension(identity.MarshalHelperHash([32]byte{1}))
		},
		"without the names": func(c *x509.Certificate) { c.DNSNames = nil },
	} {
		c := serverTemplate()
		edit(c)
		_, err := v.VerifyServer([]*x509.Certificate{parseCert(t, p.sign(t, c, newKey(t).Public()))}, "localhost")
		require.ErrorIs(t, err, identity.ErrProfile, name)
	}
	_, err := v.VerifyServer([]*x509.Certificate{parseCert(t, newPKI(t).sign(t, serverTemplate(), newKey(t).Public()))}, "localhost")
	require.ErrorIs(t, err, identity.ErrUntrusted)
	_, err = v.VerifyServer(nil, "localhost")
	require.ErrorIs(t, err, identity.ErrUntrusted)
}

func TestVerifyChainRefusesWhatNoPeerSends(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	c := parseCert(t, p.leaf(t, "D-1", newKey(t)))
	_, err := v.VerifyChain(nil)
	require.ErrorIs(t, err, identity.ErrUntrusted)
	_, err = v.VerifyChain([]*x509.Certificate{nil})
	require.ErrorIs(t, err, identity.ErrCredential)
	_, err = v.VerifyChain([]*x509.Certificate{c, p.root, p.root, p.root, p.root, p.root})
	require.ErrorIs(t, err, identity.ErrCredential)
	id, err := v.VerifyChain([]*x509.Certificate{c, p.root})
	require.NoError(t, err, "the root may be sent along")
	require.Equal(t, "D-1", id.String())
}

func TestVerifyClientInstance(t *testing.T) {
	p := newPKI(t)
	c := parseCert(t, p.leaf(t, "A-WATER--2", newKey(t)))
	id, instance, err := p.verifier(t).VerifyClient([]*x509.Certificate{c})
	require.NoError(t, err)
	require.Equal(t, "A-WATER", id.String())
	require.Equal(t, "2", instance)
}

// The end of a client's validity is that of the way by which it was verified, not of whatever the chain carries.
func TestVerifyClientUntil(t *testing.T) {
	young, old := newPKI(t), newPKI(t)
	sub := young.issuing(t, "issuing", func(c *x509.Certificate) { c.NotAfter = testNow.AddDate(0, 6, 0) })
	cross := caTemplate("root")
	cross.NotAfter = testNow.AddDate(0, 0, 1)
	crossed := parseCert(t, old.sign(t, cross, young.key.Public()))
	chain := []*x509.Certificate{parseCert(t, sub.leaf(t, "A-WATER", newKey(t))), sub.root, crossed}
	both := func(now time.Time) *identity.Verifier {
		v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{old.root, young.root}, Now: func() time.Time { return now }})
		require.NoError(t, err)
		return v
	}
	for _, now := range []time.Time{testNow, testNow.AddDate(0, 1, 0)} {
		id, _, until, err := both(now).VerifyClientUntil(chain)
		require.NoError(t, err)
		require.Equal(t, "A-WATER", id.String())
		require.Equal(t, sub.root.NotAfter, until)
	}
	_, _, until, err := old.verifier(t).VerifyClientUntil(chain)
	require.NoError(t, err)
	require.Equal(t, crossed.NotAfter, until)
}

// What lives on a verification hears of a list as soon as it is in force, and asks again.
func TestRecheckClient(t *testing.T) {
	young, old := newPKI(t), newPKI(t)
	sub := young.issuing(t, "issuing", asIs)
	cross := caTemplate("root")
	cross.NotAfter = testNow.AddDate(0, 0, 1)
	crossed := parseCert(t, old.sign(t, cross, young.key.Public()))
	leaf, other := parseCert(t, sub.leaf(t, "A-WATER", newKey(t))), parseCert(t, sub.leaf(t, "A-GAS", newKey(t)))
	chain := []*x509.Certificate{leaf, sub.root, crossed}
	for name, d := range map[string]struct {
		crl  []byte
		want error
	}{
		"nobody":                  {young.crl(t, 1), nil},
		"somebody else":           {slices.Concat(sub.crl(t, 1, other), sub.root.Raw), nil},
		"the client":              {slices.Concat(sub.crl(t, 1, leaf), sub.root.Raw), identity.ErrRevoked},
		"its CA":                  {young.crl(t, 1, sub.root), identity.ErrRevoked},
		"a way that is not taken": {old.crl(t, 1, crossed), nil},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{old.root, young.root}, Now: clock})
			require.NoError(t, err)
			_, _, until, err := v.VerifyClientUntil(chain)
			require.NoError(t, err)
			changed := v.Changed()
			select {
			case <-changed:
				t.Fatal("before there is a list")
			default:
			}
			require.NoError(t, v.AddCRL(d.crl))
			<-changed
			if err := v.RecheckClient(chain, until); d.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, d.want)
			}
		})
	}
	v := old.verifier(t)
	require.NoError(t, v.AddCRL(old.crl(t, 1, crossed)))
	require.ErrorIs(t, v.RecheckClient(chain, crossed.NotAfter), identity.ErrRevoked, "the only way")
}

type bufConn struct {
	net.Conn
	r *bufio.Reader
}

func (c bufConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// handshake runs TLS over a pipe and returns what each side said.
func handshake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	// Buffered: who refuses a flight stops reading in the middle of it, and an unbuffered pipe would hold up the other side there.
	x, y := net.Pipe()
	a, b := bufConn{x, bufio.NewReaderSize(x, 1<<16)}, bufConn{y, bufio.NewReaderSize(y, 1<<16)}
	done := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		_ = b.Close()
		done <- err
	}()
	c := tls.Client(a, client)
	clientErr = c.Handshake()
	if clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1)) // with TLS 1.3 the server's refusal comes after the handshake
	}
	_ = a.Close()
	return clientErr, <-done
}

func TestVerifyTLS(t *testing.T) {
	p := newPKI(t)
	v := p.verifier(t)
	serverKey, clientKey := newKey(t), newKey(t)
	cert := func(der []byte, k *ecdsa.PrivateKey) []tls.Certificate {
		return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}
	}
	serverCert := p.sign(t, serverTemplate(), serverKey.Public())
	server := func() *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: cert(serverCert, serverKey),
			ClientAuth: tls.RequireAnyClientCert, VerifyConnection: v.VerifyTLS,
		}
	}
	client := func(name string) *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: cert(p.leaf(t, name, clientKey), clientKey),
			InsecureSkipVerify: true, VerifyConnection: v.VerifyTLSServer("127.0.0.1"),
		}
	}
	for _, name := range []string{"D-1", "A-WATER--2", "P-1"} {
		c, s := handshake(t, client(name), server())
		require.NoError(t, c)
		require.NoError(t, s)
	}

	c := client("D-1")
	c.Certificates = cert(newPKI(t).leaf(t, "D-1", clientKey), clientKey)
	_, err := handshake(t, c, server())
	require.ErrorIs(t, err, identity.ErrUntrusted)

	c = client("D-1")
	c.Certificates = cert(serverCert, serverKey) // a server that dials
	_, err = handshake(t, c, server())
	require.ErrorIs(t, err, identity.ErrProfile)

	c, s := client("D-1"), server()
	c.MinVersion, c.MaxVersion, s.MinVersion = tls.VersionTLS12, tls.VersionTLS12, tls.VersionTLS12
	c.VerifyConnection = nil
	_, err = handshake(t, c, s)
	require.ErrorContains(t, err, "TLS 1.3")

	s = server()
	s.Certificates = cert(p.leaf(t, "P-1", serverKey), serverKey) // a peer that acts as a server
	err, _ = handshake(t, client("D-1"), s)
	require.ErrorIs(t, err, identity.ErrProfile)

	s, c = server(), client("D-1")
	c.VerifyConnection = v.VerifyTLSServer("other.example.org")
	err, _ = handshake(t, c, s)
	require.ErrorIs(t, err, identity.ErrProfile)

	c = client("D-1")
	require.NoError(t, v.AddCRL(p.crl(t, 1, parseCert(t, c.Certificates[0].Certificate[0]))))
	_, err = handshake(t, c, server())
	require.ErrorIs(t, err, identity.ErrRevoked)
}
