package bench

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// serverHost is the host name of the TLS server's certificate.
const serverHost = "bench.test"

// member is one end of what is compared, with all that any of the protocols wants of it.
type member struct {
	verified *identity.Verified
	signer   *ecdsa.PrivateKey
	key      *ecdh.PrivateKey
	chain    [][]byte
}

// members are a device and an application, who know each other, and the server of a platform, all of one CA.
type members struct {
	device, app member
	client      tls.Certificate // the application's
	server      tls.Certificate // the platform's
	roots       *x509.CertPool
	verifier    *identity.Verifier
	authority   *ca.Authority
}

func newMembers() (*members, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	m := &members{roots: x509.NewCertPool()}
	if m.authority, err = ca.New(ca.Config{Name: "Bench CA", Signer: rootKey, Store: &ca.MemStore{}}); err != nil {
		return nil, err
	}
	m.roots.AddCert(m.authority.Certificate())
	m.verifier, err = identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{m.authority.Certificate()}})
	if err != nil {
		return nil, err
	}
	if m.device, err = m.enlist("D-METER-1", [32]byte{1}); err != nil {
		return nil, err
	}
	if m.app, err = m.enlist("A-WATER", [32]byte{}); err != nil {
		return nil, err
	}
	m.client = tls.Certificate{Certificate: m.app.chain, PrivateKey: m.app.signer}
	return m, m.addServer()
}

func (m *members) enlist(name string, helper [32]byte) (member, error) {
	id, err := identity.ParseID(name)
	if err != nil {
		return member{}, err
	}
	var n member
	if n.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return n, err
	}
	if n.key, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		return n, err
	}
	csr, err := identity.NewCSR(n.signer, id, identity.CSROptions{HelperHash: helper})
	if err != nil {
		return n, err
	}
	if n.chain, err = m.authority.Issue(csr, ca.IssueOptions{}); err != nil {
		return n, err
	}
	endorsement, err := identity.Endorse(n.signer, n.chain[0], n.key.PublicKey(), identity.EndorseOptions{Generation: 1})
	if err != nil {
		return n, err
	}
	n.verified, err = m.verifier.Verify(identity.Credential{Chain: n.chain, Endorsement: endorsement}, id.Role())
	return n, err
}

func (m *members) addServer() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	id, err := identity.ParseID("P-CITY")
	if err != nil {
		return err
	}
	chain, err := m.authority.IssueServer(key.Public(), id, []string{serverHost})
	if err != nil {
		return fmt.Errorf("certify TLS server: %w", err)
	}
	m.server = tls.Certificate{Certificate: chain, PrivateKey: key}
	return nil
}

// peers makes the two sides of one binding.
func (m *members) peers(s e2e.Suite) (device, app *e2e.Peer, err error) {
	binding := e2e.NewBindingID()
	open := func(self, remote member) (*e2e.Peer, error) {
		return e2e.NewPeer(e2e.Config{
			Self: self.verified, Key: self.key, Remote: remote.verified,
			Binding: binding, Suites: []e2e.Suite{s}, Epochs: &epochs{},
		})
	}
	if device, err = open(m.device, m.app); err != nil {
		return nil, nil, err
	}
	app, err = open(m.app, m.device)
	return device, app, err
}

// epochs keeps the two numbers in RAM: syncing a file would be most of a handshake, and the peers keep nothing durable at all.
type epochs struct {
	mu         sync.Mutex
	next, seen uint64
}

func (e *epochs) NextEpoch() (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	return e.next, nil
}

func (e *epochs) AcceptEpoch(n uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e2e.CheckEpoch(e.seen, n); err != nil {
		return err
	}
	e.seen = n
	return nil
}
