package controltest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/link"
)

// Platform answers the gateways of a test as the control service does, with the orders and decisions that the test sets. It keeps what
// the real one keeps of a peer: epoch window, stored answer, orders not yet acknowledged.
type Platform struct {
	Party
	Verifier *identity.Verifier
	t        testing.TB
	topics   control.Topics
	nudges   chan identity.ID

	// Decide answers a request; what it queues with Order goes out with the same reply. Default: CodeOK.
	Decide func(peer identity.ID, r control.SignedRequest) control.Code

	// Prekey, when not nil, goes to every device in the place of what the application has sent.
	Prekey []byte

	// Admission, when not nil, goes to every peer in the place of what is right for it.
	Admission []byte

	// Issue, when not nil, certifies what peers ask for.
	Issue func(csr []byte) (chain [][]byte, err error)

	// PeerCredential goes to devices that hold an endorsement of a lower generation of this application.
	PeerCredential *identity.Verified

	// Delay is how long an answer takes, for tests in which what a peer does at once must come before it.
	Delay time.Duration

	mu     sync.Mutex // guards what follows
	peers  map[identity.ID]*peer
	acks   []control.Ack
	prekey []byte // the one that came last
}

type peer struct {
	verified *identity.Verified
	binding  e2e.BindingID
	e2e      *e2e.Peer
	next     *peer   // under the credential that was accepted and not used yet; its identity and keys alone count
	before   []*peer // under what the platform was before; the keys alone count
	window   e2e.EpochWindow
	digest   [32]byte
	resp     []byte
	numbers  uint64
	orders   map[uint64][]byte
}

// NewPlatform certifies a platform.
func NewPlatform(t testing.TB, w *World) *Platform {
	return &Platform{Party: w.Party(t, "P-TEST"), Verifier: w.Verifier(t), t: t, nudges: make(chan identity.ID, 1024), peers: map[identity.ID]*peer{}}
}

// Admit makes the binding with a peer and returns its admission.
func (p *Platform) Admit(v *identity.Verified) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	binding := e2e.NewBindingID()
	p.peers[v.ID()] = p.peer(v, binding)
	return p.admission(v, binding)
}

func (p *Platform) peer(v *identity.Verified, binding e2e.BindingID) *peer {
	// A platform only answers; the window is its own.
	s, err := e2e.NewPeer(e2e.Config{Self: p.Verified, Key: p.Key, Remote: v, Binding: binding, Epochs: noEpochs{}})
	require.NoError(p.t, err)
	return &peer{verified: v, binding: binding, e2e: s, orders: map[uint64][]byte{}}
}

// Readmit sets Admission while the platform answers.
func (p *Platform) Readmit(admission []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Admission = admission
}

// Certify sets Issue while the platform answers.
func (p *Platform) Certify(issue func(csr []byte) ([][]byte, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Issue = issue
}

// PassOn sets PeerCredential while the platform answers.
func (p *Platform) PassOn(v *identity.Verified) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.PeerCredential = v
}

// Renew makes the platform another party of its name. Who knows what it was is understood, and admitted anew.
func (p *Platform) Renew(next Party) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.Verified
	p.Party = next
	for _, from := range p.peers {
		for n, b := range from.orders {
			o, err := control.OpenOrder(b, before)
			require.NoError(p.t, err)
			from.orders[n], err = o.Sign(p.Signer)
			require.NoError(p.t, err)
		}
	}
	for _, from := range p.peers {
		from.before = append(from.before, &peer{e2e: from.e2e})
		from.e2e = p.peer(from.verified, from.binding).e2e
	}
}

func (p *Platform) admission(v *identity.Verified, binding e2e.BindingID) []byte {
	b, err := control.Admission{
		Peer: v.ID(), CertificateHash: v.CertificateHash(), Binding: binding, Platform: p.Credential, Topics: p.topics,
	}.Sign(p.Signer)
	require.NoError(p.t, err)
	return b
}

// Order signs an order to a peer, queues it and has Run nudge the peer. Number, platform and platform binding are filled in.
func (p *Platform) Order(o control.Order) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := p.peers[o.To]
	to.numbers++
	o.Number, o.PlatformBinding = to.numbers, to.binding
	o.Platform, _ = p.Verified.ID().Platform()
	b, err := o.Sign(p.Signer)
	require.NoError(p.t, err)
	to.orders[o.Number] = b
	select {
	case p.nudges <- o.To:
	default:
	}
	return b
}

// AddCRL makes the platform pass on a revocation list.
func (p *Platform) AddCRL(crls []byte) { require.NoError(p.t, p.Verifier.AddCRL(crls)) }

// Peer returns the credential under which a peer was heard last, or was admitted.
func (p *Platform) Peer(id identity.ID) *identity.Verified {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peers[id].verified
}

// open opens an INIT under the credential of a peer, or the one that follows it, which is used from then on. outdated says that it is for
// what the platform was before.
func (from *peer) open(init []byte) (req *e2e.Request, outdated bool, err error) {
	if req, err = from.e2e.OpenRequest(init); err == nil {
		return req, false, nil
	}
	if from.next != nil {
		if req, err = from.next.e2e.OpenRequest(init); err == nil {
			from.verified, from.e2e, from.next, from.before = from.next.verified, from.next.e2e, nil, nil
			return req, false, nil
		}
	}
	for _, b := range from.before {
		if req, err = b.e2e.OpenRequest(init); err == nil {
			return req, true, nil
		}
	}
	return nil, false, err
}

// Acks are the acknowledgements that came, in their order.
func (p *Platform) Acks() []control.Ack {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.acks)
}

// Run answers on a link until ctx ends.
func (p *Platform) Run(ctx context.Context, l link.Link) {
	up := make(chan struct{}, 1)
	requests := make(chan link.Message, 1024)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-up:
				if l.Subscribe(ctx, p.topics.PlatformFilter()) != nil {
					continue
				}
			case to := <-p.nudges:
				_ = l.Publish(ctx, p.topics.ToPeer(to), control.Nudge())
			case m := <-requests:
				if t, ok := p.topics.Parse(m.Topic); ok {
					if resp := p.Answer(t.Peer, m.Payload); resp != nil {
						time.Sleep(p.Delay)
						_ = l.Publish(ctx, p.topics.ToPeer(t.Peer), resp)
					}
				}
				m.Ack()
			}
		}
	})
	_ = l.Run(ctx, link.Receiver{
		Up:      func() { up <- struct{}{} },
		Down:    func(error) {},
		Message: func(m link.Message) { requests <- m },
	})
	work.Wait()
}

// Answer returns the RESP to an INIT of a peer, a CHALLENGE for an epoch that was used, nil for junk.
func (p *Platform) Answer(id identity.ID, init []byte) []byte {
	p.mu.Lock()
	from := p.peers[id]
	p.mu.Unlock()
	if from == nil {
		return nil
	}
	p.mu.Lock()
	req, outdated, err := from.open(init)
	p.mu.Unlock()
	if err != nil {
		return nil
	}
	if from.resp != nil && from.digest == req.Digest() {
		return from.resp
	}
	if from.window.Accept(req.Epoch()) != nil {
		record, _ := req.Challenge(time.Now(), from.window)
		return record
	}
	m, err := control.ParseMessage(req.Body())
	require.NoError(p.t, err)
	reply := control.Reply{Time: time.Now()}
	if m.Request != nil {
		require.Equal(p.t, req.Transcript(), m.Request.Transcript)
		require.NoError(p.t, m.Request.Verify(from.verified))
		code := control.CodeOK
		if p.Decide != nil {
			code = p.Decide(id, *m.Request)
		}
		reply.Result = &control.Result{Request: m.Request.Request.ID, Code: code}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range m.Acks {
		a, err := control.OpenAck(b, from.verified)
		require.NoError(p.t, err)
		require.Equal(p.t, control.AckOf(id, a.Number, from.orders[a.Number], a.Result), a)
		delete(from.orders, a.Number)
		p.acks = append(p.acks, a)
	}
	if len(m.Prekey) > 0 {
		_, err := e2e.OpenPrekey(m.Prekey, from.verified)
		require.NoError(p.t, err)
		p.prekey = m.Prekey
	}
	if id.Role() == identity.RoleDevice && e2e.PrekeyNumber(p.prekey) != m.PrekeyNumber {
		reply.Prekey = p.prekey
	}
	if id.Role() == identity.RoleDevice && p.Prekey != nil {
		reply.Prekey = p.Prekey
	}
	if len(m.CSR) > 0 && p.Issue != nil {
		reply.Chain, err = p.Issue(m.CSR)
		require.NoError(p.t, err)
	}
	if len(m.Credential.Chain) > 0 {
		v, err := p.Verifier.Verify(m.Credential, id.Role())
		require.NoError(p.t, err)
		require.Greater(p.t, v.Generation(), from.verified.Generation())
		from.next = p.peer(v, from.binding)
		reply.Admission = p.admission(v, from.binding)
	}
	if outdated && reply.Admission == nil {
		reply.Admission = p.admission(from.verified, from.binding)
	}
	if p.Admission != nil {
		reply.Admission = p.Admission
	}
	if v := p.PeerCredential; v != nil && m.PeerGeneration < v.Generation() && id.Role() == identity.RoleDevice {
		reply.PeerCredential = v.Credential()
	}
	if newer := p.Verifier.Newer(m.Lists); len(newer) > 0 {
		reply.CRL, reply.CRLNumber, reply.More = newer[0].Bundle, newer[0].CRLNumber, len(newer) > 1
	}
	for _, n := range slices.Sorted(maps.Keys(from.orders)) {
		if outdated {
			break // they wait until the peer knows who signs them
		}
		reply.Orders = append(reply.Orders, from.orders[n])
	}
	body, err := reply.Marshal()
	require.NoError(p.t, err)
	from.digest = req.Digest()
	from.resp, err = req.Reply(body)
	require.NoError(p.t, err)
	return from.resp
}

type noEpochs struct{}

func (noEpochs) NextEpoch() (uint64, error) { return 0, e2e.ErrWrongUse }
func (noEpochs) AcceptEpoch(uint64) error   { return e2e.ErrWrongUse }

// Misplace queues signed bytes to a peer as they are, as a faulty platform might.
func (p *Platform) Misplace(to identity.ID, order []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	peer := p.peers[to]
	peer.numbers++
	peer.orders[peer.numbers] = order
}
