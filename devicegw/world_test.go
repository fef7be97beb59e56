package devicegw_test

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/delivery/deliverytest"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/link/linkmem"
)

// party is a certified peer with its keys in the open.
type party struct {
	signer     crypto.Signer
	key        *ecdh.PrivateKey
	credential identity.Credential
	verified   *identity.Verified
}

// authority is a CA and what its relying parties check with.
type authority struct {
	*ca.Authority
	verifier *identity.Verifier
}

func newAuthority(t *testing.T, name string) *authority { return newAuthorityOf(t, name, ca.Config{}) }

func newAuthorityOf(t *testing.T, name string, cfg ca.Config) *authority {
	t.Helper()
	cfg.Name, cfg.Signer, cfg.Store = name, newSigner(t), new(ca.MemStore)
	return authorityOf(t, cfg)
}

func authorityOf(t *testing.T, cfg ca.Config) *authority {
	t.Helper()
	a, err := ca.New(cfg)
	require.NoError(t, err)
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: a.Roots()})
	require.NoError(t, err)
	return &authority{a, v}
}

// issuing is an issuing CA under a.
func (a *authority) issuing(t *testing.T, name string) *authority {
	t.Helper()
	cfg := ca.Config{Name: name, Signer: newSigner(t), Store: new(ca.MemStore), Root: a.Certificate()}
	csr, err := ca.NewCARequest(cfg.Signer, name)
	require.NoError(t, err)
	cfg.Chain, err = a.CertifyCA(csr, ca.CAOptions{})
	require.NoError(t, err)
	return authorityOf(t, cfg)
}

func (a *authority) roots() []*x509.Certificate { return a.verifier.Roots() }

func newSigner(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func (a *authority) party(t *testing.T, name string) *party {
	t.Helper()
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	p := &party{signer: newSigner(t)}
	p.key, err = ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return a.certify(t, *p, id, 0)
}

// renewed is a party with a new certificate of the same keys.
func (a *authority) renewed(t *testing.T, p *party) *party {
	t.Helper()
	next := a.certify(t, *p, p.verified.ID(), p.verified.Generation()+1)
	require.NotEqual(t, p.verified.CertificateHash(), next.verified.CertificateHash(), "the certificate is too young")
	return next
}

func (a *authority) certify(t *testing.T, of party, id identity.ID, generation uint32) *party {
	t.Helper()
	p := &of
	csr, err := identity.NewCSR(p.signer, id, identity.CSROptions{})
	require.NoError(t, err)
	p.credential.Chain, err = a.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	p.credential.Endorsement, err = identity.Endorse(p.signer, p.credential.Chain[0], p.key.PublicKey(), identity.EndorseOptions{Generation: generation})
	require.NoError(t, err)
	p.verified, err = a.verifier.Verify(p.credential, 0)
	require.NoError(t, err)
	return p
}

// world is a CA, a platform that obeys the test, a broker, and one device.
type world struct {
	t        *testing.T
	ca       *authority
	platform *party
	topics   control.Topics
	broker   *linkmem.Broker
	id       identity.DeviceID
	root     *roottest.KeyRoot
	fs       *crashfs.FS
	sticker  identity.Sticker
	device   *identity.Verified
	binding  e2e.BindingID // of the device with the platform
	admitted []byte
	clock    func() time.Time // of the device, nil: none

	mu      sync.Mutex // guards what follows
	options linkmem.Options
	window  e2e.EpochWindow
	answers map[[32]byte][]byte
	orders  [][]byte // not acknowledged
	acks    map[uint64]control.AckResult
	number  uint64
	life    uint64
	lists   *identity.Verifier // has the revocation lists
	polls   int
	asked   int                // requests for a certificate
	issue   bool               // answers them
	next    *identity.Verified // of the device, accepted
	peer    *identity.Verified // the application's newest, passed on to the device
	heir    *party             // the platform's next credential, which it tells with each reply
	wire    [][]byte           // every payload that the broker saw
}

func deviceID(t *testing.T, s string) identity.DeviceID {
	t.Helper()
	id, err := identity.ParseDeviceID(s)
	require.NoError(t, err)
	return id
}

// newWorld produces a device.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, ca.Config{})
}

// newWorldOf is newWorld with validities.
func newWorldOf(t *testing.T, cfg ca.Config) *world {
	t.Helper()
	return newWorldUnder(t, newAuthorityOf(t, "Test CA", cfg))
}

func newWorldUnder(t *testing.T, a *authority) *world {
	t.Helper()
	w := &world{
		t: t, ca: a, id: deviceID(t, "D-1001"), root: roottest.NewKeyRoot("the chip"), fs: crashfs.New("/nvm"),
		answers: map[[32]byte][]byte{}, acks: map[uint64]control.AckResult{}, binding: e2e.NewBindingID(),
	}
	w.platform = w.ca.party(t, "P-TEST")
	var err error
	w.lists, err = identity.NewVerifier(identity.VerifierConfig{Roots: w.ca.roots()})
	require.NoError(t, err)
	w.broker = linkmem.New(linkmem.Options{
		Allow: func(client string, a linkmem.Action, topic string) bool {
			w.mu.Lock()
			allow := w.options.Allow
			w.mu.Unlock()
			return allow == nil || allow(client, a, topic)
		},
		Fate: func(p linkmem.Publication) linkmem.Fate {
			w.mu.Lock()
			fate := w.options.Fate
			w.mu.Unlock()
			if fate == nil {
				return linkmem.Deliver
			}
			return fate(p)
		},
		Tap: func(p linkmem.Publication) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.wire = append(w.wire, append([]byte(nil), p.Payload...))
		},
	})
	w.produce(devicegw.ProduceOptions{})
	return w
}

func (w *world) nvm() *devicegw.FileNVM { return openCrash(w.t, w.fs) }

func (w *world) produce(o devicegw.ProduceOptions) {
	p, err := devicegw.Produce(w.t.Context(), w.root, w.nvm(), w.id)
	require.NoError(w.t, err)
	w.sticker = p.Sticker()
	chain, err := w.ca.Issue(p.CSR(), ca.IssueOptions{})
	require.NoError(w.t, err)
	reg, err := p.Endorse(chain, w.ca.roots())
	require.NoError(w.t, err)
	w.device, err = w.ca.verifier.Verify(reg.Credential, identity.RoleDevice)
	require.NoError(w.t, err)
	w.admitted = w.admission(w.platform, w.device)
	require.NoError(w.t, p.Complete(w.t.Context(), w.admitted, o))
}

func (w *world) admission(platform *party, device *identity.Verified) []byte {
	a := control.Admission{
		Peer: device.ID(), CertificateHash: device.CertificateHash(), Binding: w.binding, Platform: platform.credential, Topics: w.topics,
	}
	b, err := a.Sign(platform.signer)
	require.NoError(w.t, err)
	return b
}

// config is that of the device.
func (w *world) config() devicegw.Config {
	return devicegw.Config{Root: w.root, NVM: w.nvm(), Link: w.broker.Client(w.id.String()), Now: w.clock}
}

// gateway is a device at work.
type gateway struct {
	*devicegw.Gateway
	link  *linkmem.Client
	stop  context.CancelFunc
	ended chan error // gets the result of Run, once
}

func (w *world) start(edit ...func(*devicegw.Config)) *gateway {
	w.t.Helper()
	cfg := w.config()
	for _, f := range edit {
		f(&cfg)
	}
	gw, err := devicegw.Open(w.t.Context(), cfg)
	require.NoError(w.t, err)
	return w.run(gw, cfg.Link)
}

func (w *world) run(gw *devicegw.Gateway, l devicegw.Link) *gateway {
	ctx, cancel := context.WithCancel(context.Background())
	g := &gateway{Gateway: gw, stop: cancel, ended: make(chan error, 1)}
	g.link, _ = l.(*linkmem.Client)
	go func() { g.ended <- gw.Run(ctx) }()
	return g
}

// halt ends Run as the end of the process does.
func (g *gateway) halt(t *testing.T) {
	t.Helper()
	g.stop()
	require.NoError(t, <-g.ended)
}

// serve runs the platform until the test ends.
func (w *world) serve() (stop func()) {
	self := identity.ID(w.platform.verified.ID())
	client := w.broker.Client(self.String())
	ctx, cancel := context.WithCancel(context.Background())
	up, records := make(chan struct{}, 8), make(chan []byte, 256)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = client.Run(ctx, link.Receiver{
			Up: func() { up <- struct{}{} }, Down: func(error) {},
			Message: func(m link.Message) { records <- m.Payload; m.Ack() },
		})
	})
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-up:
				_ = client.Subscribe(ctx, w.topics.PlatformFilter())
			case init := <-records:
				if resp := w.answer(init); resp != nil {
					_ = client.Publish(ctx, w.topics.ToPeer(w.id.ID), resp)
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

type noEpochs struct{}

func (noEpochs) NextEpoch() (uint64, error) { return 0, errors.New("the platform never initiates") }
func (noEpochs) AcceptEpoch(uint64) error   { return errors.New("the platform has a window") }

// open opens a request under the device's credential, or the one that follows it.
func (w *world) open(init []byte) *e2e.Request {
	for _, platform := range []*party{w.platform, w.heir} {
		for _, device := range []*identity.Verified{w.device, w.next} {
			if platform == nil || device == nil {
				continue
			}
			peer, err := e2e.NewPeer(e2e.Config{
				Self: platform.verified, Key: platform.key, Remote: device, Binding: w.binding, Epochs: noEpochs{},
			})
			require.NoError(w.t, err)
			req, err := peer.OpenRequest(init)
			if err != nil {
				continue
			}
			if device == w.next {
				w.device, w.next = device, nil
			}
			if platform == w.heir {
				w.platform, w.heir = platform, nil
			}
			return req
		}
	}
	return nil
}

// answer is the platform's transaction.
func (w *world) answer(init []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	req := w.open(init)
	if req == nil {
		return nil
	}
	if resp := w.answers[req.Digest()]; resp != nil {
		return resp
	}
	if w.window.Accept(req.Epoch()) != nil {
		return nil
	}
	m, err := control.ParseMessage(req.Body())
	if err != nil {
		return nil
	}
	for _, b := range m.Acks {
		a, err := control.OpenAck(b, w.device)
		if err != nil {
			continue
		}
		w.acks[a.Number] = a.Result
		for i, o := range w.orders {
			if control.AckOf(w.id.ID, a.Number, o, a.Result) == a {
				w.orders = append(w.orders[:i:i], w.orders[i+1:]...)
				break
			}
		}
	}
	w.polls++
	reply := control.Reply{Time: time.Now(), Orders: w.orders}
	if len(m.CSR) > 0 {
		w.asked++
		if w.issue {
			reply.Chain, err = w.ca.Issue(m.CSR, ca.IssueOptions{})
			require.NoError(w.t, err)
		}
	}
	if len(m.Credential.Chain) > 0 {
		v, err := w.ca.verifier.Verify(m.Credential, identity.RoleDevice)
		require.NoError(w.t, err)
		require.Greater(w.t, v.Generation(), w.device.Generation())
		w.next = v
		reply.Admission = w.admission(w.platform, v)
	}
	if w.peer != nil && m.PeerGeneration < w.peer.Generation() {
		reply.PeerCredential = w.peer.Credential()
	}
	if w.heir != nil {
		reply.Admission = w.admission(w.heir, w.device)
	}
	if newer := w.lists.Newer(m.Lists); len(newer) > 0 {
		reply.CRL, reply.CRLNumber, reply.More = newer[0].Bundle, newer[0].CRLNumber, len(newer) > 1
	}
	body, err := reply.Marshal()
	require.NoError(w.t, err)
	resp, err := req.Reply(body)
	require.NoError(w.t, err)
	w.answers[req.Digest()] = resp
	return resp
}

func (w *world) nudge() {
	w.broker.Inject(linkmem.Publication{From: "P-TEST", Topic: w.topics.ToPeer(w.id.ID), Payload: control.Nudge()})
}

// order makes the next order to the device; edit changes it before it is signed.
func (w *world) order(op control.OrderOp, edit ...func(*control.Order)) control.Order {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	w.life++
	platform, _ := w.platform.verified.ID().Platform()
	o := control.Order{
		Number: w.number, Platform: platform, To: w.id.ID, PlatformBinding: w.binding, Device: w.id, Lifecycle: w.life, Op: op,
	}
	for _, f := range edit {
		f(&o)
	}
	return o
}

func (w *world) install(a *app) control.Order {
	return w.order(control.OrderInstall, func(o *control.Order) {
		o.Binding, o.Peer, o.Credential = a.binding, a.verified.ID(), a.credential
	})
}

func (w *world) remove(a *app, evidence []byte) control.Order {
	return w.order(control.OrderRemove, func(o *control.Order) {
		o.Binding, o.Peer, o.Evidence = a.binding, a.verified.ID(), evidence
	})
}

// give signs orders, has the device ask for them, and waits until nothing moves any more.
func (w *world) give(orders ...control.Order) {
	w.t.Helper()
	for _, o := range orders {
		b, err := o.Sign(w.platform.signer)
		require.NoError(w.t, err)
		w.mu.Lock()
		w.orders = append(w.orders, b)
		w.mu.Unlock()
	}
	w.nudge()
	w.settle()
}

// settle lets some time pass.
func (w *world) settle() {
	time.Sleep(20 * time.Second) // of the bubble
	synctest.Wait()
}

func (w *world) ack(number uint64) control.AckResult {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acks[number]
}

func (w *world) revoke(id identity.ID) []byte {
	w.t.Helper()
	crl, err := w.ca.Revoke(id)
	require.NoError(w.t, err)
	return crl
}

func crlEvidence(t *testing.T, crl []byte) []byte {
	t.Helper()
	b, err := control.Evidence{CRL: crl}.Marshal()
	require.NoError(t, err)
	return b
}

// app is an application gateway, as far as the device sees it.
type app struct {
	*party
	w       *world
	id      identity.AppID
	binding e2e.BindingID
	store   *deliverytest.MemStore
	epochs  *memEpochs
	psk     identity.PSK
	channel *delivery.Channel

	mu     sync.Mutex // guards events
	events []string
}

func (w *world) app(name string) *app {
	w.t.Helper()
	a := &app{party: w.ca.party(w.t, name), w: w, binding: e2e.NewBindingID(), store: new(deliverytest.MemStore), epochs: new(memEpochs)}
	var ok bool
	a.id, ok = a.verified.ID().App()
	require.True(w.t, ok)
	return a
}

type memEpochs struct {
	mu             sync.Mutex
	next, accepted uint64
}

func (e *memEpochs) NextEpoch() (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	return e.next, nil
}

func (e *memEpochs) AcceptEpoch(n uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e2e.CheckEpoch(e.accepted, n); err != nil {
		return err
	}
	e.accepted = n
	return nil
}

// disconnect is the application's signed wish to end its connection.
func (a *app) disconnect(edit ...func(*control.Request)) []byte {
	a.w.t.Helper()
	r := control.Request{ID: control.NewRequestID(), Op: control.OpDisconnect, App: a.id, Device: a.w.id, Binding: a.binding}
	for _, f := range edit {
		f(&r)
	}
	s, err := r.Sign([32]byte{1}, a.signer, nil)
	require.NoError(a.w.t, err)
	b, err := control.Evidence{Request: &s}.Marshal()
	require.NoError(a.w.t, err)
	return b
}

// serve runs the application with the claim code of the sticker.
func (a *app) serve(sticker identity.Sticker) (stop func()) {
	w := a.w
	var err error
	a.psk, err = sticker.Claim.PSK(w.id)
	require.NoError(w.t, err)
	peer := a.peer()
	client := w.broker.Client(a.id.String())
	a.channel, err = delivery.Open(delivery.Config{
		Peer: peer, Store: a.store,
		Publish: func(ctx context.Context, record []byte) error {
			return client.Publish(ctx, w.topics.Down(a.id, w.id), record)
		},
		HandleEvent: func(_ context.Context, e delivery.Event) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.events = append(a.events, string(e.Body))
			return nil
		},
		HandleCall: func(_ context.Context, c delivery.Call) (delivery.Reply, error) {
			return delivery.Reply{Type: c.Type, Body: append([]byte("app says "), c.Body...)}, nil
		},
	})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	up := make(chan struct{}, 8)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = client.Run(ctx, link.Receiver{
			Up: func() { up <- struct{}{} }, Down: func(error) { a.channel.LinkDown() },
			Message: func(m link.Message) { a.channel.Receive(m.Payload); m.Ack() },
		})
	})
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-up:
				if client.Subscribe(ctx, w.topics.AppFilter(a.id)) == nil {
					a.channel.LinkUp()
				}
			}
		}
	})
	wg.Go(func() { _ = a.channel.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

// peer has the keys between the application and the device as they are now.
func (a *app) peer() *e2e.Peer {
	a.w.mu.Lock()
	device := a.w.device
	a.w.mu.Unlock()
	p, err := e2e.NewPeer(e2e.Config{
		Self: a.verified, Key: a.key, Remote: device, Binding: a.binding, PSK: a.psk, RequirePSK: true, Epochs: a.epochs,
	})
	require.NoError(a.w.t, err)
	return p
}

func (a *app) received() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.events...)
}
