package platform_test

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/link/linkmem"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

// world is a certificate authority, a broker that asks the platform, and a platform. Everything runs in a synctest bubble.
type world struct {
	t         *testing.T
	authority *ca.Authority
	second    *authority
	roots     []*x509.Certificate
	self      party
	registrar party
	store     platform.Store
	cfg       platform.Config
	svc       *platform.Service
	stop      func()

	broker  *linkmem.Broker
	mu      sync.Mutex // guards what follows
	fate    func(p linkmem.Publication) linkmem.Fate
	wire    []linkmem.Publication
	evicts  []eviction
	refuse  int  // evictions still to fail
	lawless bool // the broker allows everything
}

type eviction struct {
	id identity.ID
	at time.Time
}

// party has a certificate and both keys.
type party struct {
	id     identity.ID
	signer *ecdsa.PrivateKey
	key    *ecdh.PrivateKey
	cred   identity.Credential
}

// inWorld runs f in a bubble with a platform that serves.
func inWorld(t *testing.T, configure func(*world), f func(t *testing.T, w *world)) {
	inWorldOf(t, ca.Config{}, configure, f)
}

// inWorldOf is inWorld with validities.
func inWorldOf(t *testing.T, authority ca.Config, configure func(*world), f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, authority)
		if configure != nil {
			configure(w)
		}
		w.start()
		f(t, w)
		w.stop()
		require.NoError(t, w.svc.VerifyAudit(t.Context()), "whatever happened, the log holds")
	})
}

func newWorld(t *testing.T) *world { return newWorldOf(t, ca.Config{}) }

func newWorldOf(t *testing.T, authority ca.Config) *world {
	w := &world{t: t, store: platform.NewMemStore()}
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	authority.Name, authority.Signer, authority.Store = "Test CA", root, new(ca.MemStore)
	w.authority, err = ca.New(authority)
	require.NoError(t, err)
	w.roots = []*x509.Certificate{w.authority.Certificate()}
	w.self, w.registrar = w.party("P-1"), w.party("R-FACTORY")
	w.broker = linkmem.New(linkmem.Options{
		Allow: func(client string, a linkmem.Action, topic string) bool {
			id, _, err := identity.ParseClientID(client)
			return err == nil && (w.isLawless() || w.service().Allow(id, client, platform.Action(a), topic))
		},
		Fate: func(p linkmem.Publication) linkmem.Fate {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.fate == nil {
				return linkmem.Deliver
			}
			return w.fate(p)
		},
		Tap: func(p linkmem.Publication) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.wire = append(w.wire, p)
		},
	})
	w.cfg = platform.Config{
		Credential: w.self.cred, Signer: w.self.signer, Key: w.self.key, Roots: w.roots,
		Enforcer: platform.EvictFunc(w.evict), Revoker: revoker{w.authority},
	}
	return w
}

// revoker is the authority itself.
type revoker struct{ a *ca.Authority }

func (r revoker) Revoke(_ context.Context, id identity.ID) ([]byte, error) { return r.a.Revoke(id) }

func (w *world) evict(_ context.Context, id identity.ID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse > 0 {
		w.refuse--
		return errors.New("broker is busy")
	}
	w.evicts = append(w.evicts, eviction{id, time.Now()})
	w.broker.Evict(func(client string) bool { return strings.HasPrefix(client, id.String()) })
	return nil
}

func (w *world) service() *platform.Service {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.svc
}

func (w *world) isLawless() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lawless
}

func (w *world) setLawless() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lawless = true
}

func (w *world) setFate(f func(p linkmem.Publication) linkmem.Fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fate = f
}

// start opens the platform and runs it; stop ends it. It can be started again, on the same store.
func (w *world) start() {
	w.cfg.Store = w.store
	w.cfg.Link = w.broker.Client("P-1")
	svc, err := platform.Open(w.t.Context(), w.cfg)
	require.NoError(w.t, err)
	w.mu.Lock()
	w.svc = svc
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	synctest.Wait()
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(w.t, <-done)
		})
	}
	w.t.Cleanup(w.stop)
}

func (w *world) restart() {
	w.stop()
	w.start()
}

func (w *world) party(name string) party {
	t := w.t
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	p := w.keys(id)
	chain, err := w.authority.Issue(p.csr(t), ca.IssueOptions{})
	require.NoError(t, err)
	return p.with(t, chain, 0)
}

// keys makes a party without certificate.
func (w *world) keys(id identity.ID) party {
	t := w.t
	p := party{id: id}
	var err error
	p.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p.key, err = ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return p
}

func (p party) csr(t *testing.T) []byte {
	var o identity.CSROptions
	if p.id.Role() == identity.RoleDevice {
		o.HelperHash = [32]byte{1}
	}
	csr, err := identity.NewCSR(p.signer, p.id, o)
	require.NoError(t, err)
	return csr
}

// with is the party under another certificate.
func (p party) with(t *testing.T, chain [][]byte, generation uint32) party {
	e, err := identity.Endorse(p.signer, chain[0], p.key.PublicKey(), identity.EndorseOptions{Generation: generation})
	require.NoError(t, err)
	p.cred = identity.Credential{Chain: chain, Endorsement: e}
	return p
}

func (w *world) registration(p party, claim crypto.Signer) []byte {
	id, ok := p.id.Device()
	require.True(w.t, ok)
	r := platform.Registration{Device: id, Credential: p.cred, Binding: e2e.NewBindingID()}
	if claim != nil {
		point, err := claim.Public().(*ecdsa.PublicKey).Bytes()
		require.NoError(w.t, err)
		r.ClaimKey = append([]byte{2 | point[64]&1}, point[1:33]...)
	}
	b, err := r.Sign(w.registrar.signer, w.registrar.cred)
	require.NoError(w.t, err)
	return b
}

// gateway is a peer with the real client of the control service, which notes its orders instead of applying them.
type gateway struct {
	party
	w        *world
	verifier *identity.Verifier
	peer     *e2e.Peer
	peerCfg  e2e.Config
	client   *control.Client
	link     *linkmem.Client
	epochs   *epochs
	binding  e2e.BindingID
	claim    crypto.Signer // devices: the sticker's key

	mu     sync.Mutex // guards what follows
	orders []control.Order
	result error // of Apply
}

type epochs struct {
	mu sync.Mutex
	n  uint64
}

func (e *epochs) NextEpoch() (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	return e.n, nil
}
func (e *epochs) AcceptEpoch(uint64) error { return errors.New("platforms do not begin") }
func (e *epochs) AcceptEcho(uint64) error  { return errors.New("platforms do not begin") }
func (e *epochs) Restored() (bool, error)  { return false, nil }
func (e *epochs) SkipEpochs(highest uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n = max(e.n, highest)
	return nil
}

func claimKey(t *testing.T) crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

// device registers one and connects its gateway.
func (w *world) device(name string) *gateway {
	p, claim := w.party(name), claimKey(w.t)
	admission, err := w.svc.Register(w.t.Context(), w.registration(p, claim))
	require.NoError(w.t, err)
	g := w.gateway(p, admission)
	g.claim = claim
	return g
}

// app admits one and connects its gateway.
func (w *world) app(name string) *gateway {
	p := w.party(name)
	admission, err := w.svc.Admit(w.t.Context(), p.cred)
	require.NoError(w.t, err)
	return w.gateway(p, admission)
}

func (w *world) gateway(p party, admission []byte) *gateway {
	t := w.t
	g := &gateway{party: p, w: w, epochs: new(epochs), link: w.broker.Client(p.id.String())}
	var err error
	g.verifier, err = identity.NewVerifier(identity.VerifierConfig{Roots: w.roots})
	require.NoError(t, err)
	self, err := g.verifier.Verify(p.cred, p.id.Role())
	require.NoError(t, err)
	bundle, plat, err := control.OpenAdmission(admission, g.verifier, self)
	require.NoError(t, err)
	g.binding = bundle.Binding
	g.peerCfg = e2e.Config{Self: self, Key: p.key, Remote: plat, Binding: bundle.Binding, Epochs: g.epochs}
	g.peer, err = e2e.NewPeer(g.peerCfg)
	require.NoError(t, err)
	g.client, err = control.NewClient(control.ClientConfig{
		Self: self, Signer: p.signer, Platform: plat, Peer: g.peer, Binding: bundle.Binding, Verifier: g.verifier,
		Publish: func(ctx context.Context, record []byte) error {
			return g.link.Publish(ctx, bundle.Topics.ToPlatform(p.id), record)
		},
		Apply: func(_ context.Context, o control.Order) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.orders = append(g.orders, o)
			return g.result
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	up := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { g.client.Run(ctx) })
	wg.Go(func() {
		g.link.Run(ctx, link.Receiver{
			Up:      func() { up <- struct{}{} },
			Down:    func(error) { g.client.LinkDown() },
			Message: func(m link.Message) { g.client.Receive(m.Payload) },
		})
	})
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-up:
				if g.link.Subscribe(ctx, bundle.Topics.ToPeer(p.id)) == nil {
					g.client.LinkUp()
				}
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	synctest.Wait()
	return g
}

func (g *gateway) dev() identity.DeviceID { d, _ := g.id.Device(); return d }
func (g *gateway) appID() identity.AppID  { a, _ := g.id.App(); return a }

// taken returns and forgets the orders that came.
func (g *gateway) taken() []control.Order {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.orders
	g.orders = nil
	return out
}

func (g *gateway) do(r control.Request, claim crypto.Signer) control.Result {
	g.w.t.Helper()
	ctx, cancel := context.WithTimeout(g.w.t.Context(), 10*time.Minute)
	defer cancel()
	res, err := g.client.Do(ctx, r, claim)
	require.NoError(g.w.t, err)
	synctest.Wait()
	return res
}

func (g *gateway) connect(d *gateway) control.Result {
	g.w.t.Helper()
	return g.do(control.Request{Op: control.OpConnect, Device: d.dev()}, d.claim)
}

func (g *gateway) disconnect(d *gateway) control.Result {
	g.w.t.Helper()
	return g.do(control.Request{Op: control.OpDisconnect, Device: d.dev(), Binding: g.w.record(d).Binding}, nil)
}

func (w *world) record(d *gateway) registry.Device {
	w.t.Helper()
	rec, err := w.svc.Device(w.t.Context(), d.dev())
	require.NoError(w.t, err)
	return rec
}

func (w *world) kinds() (out []registry.Kind) {
	for e, err := range w.svc.Audit(w.t.Context()) {
		require.NoError(w.t, err)
		out = append(out, e.Kind)
	}
	return out
}

// rewind makes a gateway forget its epochs after n, as a restored backup does. Its client goes on with the old ones.
func (g *gateway) rewind(n uint64) {
	g.epochs = &epochs{n: n}
	g.peerCfg.Epochs = g.epochs
	var err error
	g.peer, err = e2e.NewPeer(g.peerCfg)
	require.NoError(g.w.t, err)
}

// init makes an INIT of a gateway by hand: m gets the transcript to sign over.
func (g *gateway) init(m func(th1 [32]byte) control.Message) (*e2e.Exchange, []byte) {
	x, err := g.peer.Begin(time.Now())
	require.NoError(g.w.t, err)
	body, err := m(x.Transcript()).Marshal()
	require.NoError(g.w.t, err)
	record, err := x.Init(body)
	require.NoError(g.w.t, err)
	return x, record
}

// send publishes a record in a peer's name and returns what the platform answers.
func (g *gateway) send(record []byte) (answers [][]byte) {
	w := g.w
	w.mu.Lock()
	w.wire = nil
	w.mu.Unlock()
	w.broker.Inject(linkmem.Publication{From: g.id.String(), Topic: control.Topics{}.ToPlatform(g.id), Payload: record})
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.wire {
		if p.From == "P-1" && p.Topic == (control.Topics{}).ToPeer(g.id) && !control.IsNudge(p.Payload) {
			answers = append(answers, p.Payload)
		}
	}
	return answers
}

func (g *gateway) open(x *e2e.Exchange, resp []byte) control.Reply {
	body, err := x.Open(resp)
	require.NoError(g.w.t, err)
	reply, err := control.ParseReply(body)
	require.NoError(g.w.t, err)
	return reply
}

func (g *gateway) connectMessage(d *gateway) func([32]byte) control.Message {
	return func(th1 [32]byte) control.Message {
		r := control.Request{ID: control.NewRequestID(), Op: control.OpConnect, App: g.appID(), Device: d.dev()}
		s, err := r.Sign(th1, g.signer, d.claim)
		require.NoError(g.w.t, err)
		return control.Message{Request: &s}
	}
}
