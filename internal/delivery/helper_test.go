package delivery_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/delivery/deliverytest"
)

// party is one certified end: made once, outside of any bubble, whose clock begins in 2000.
type party struct {
	verified *identity.Verified
	key      *ecdh.PrivateKey
}

var parties = sync.OnceValues(func() ([2]party, error) {
	var out [2]party
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return out, err
	}
	authority, err := ca.New(ca.Config{Name: "test root", Signer: root, Store: new(ca.MemStore)})
	if err != nil {
		return out, err
	}
	verifier, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{authority.Certificate()}})
	if err != nil {
		return out, err
	}
	for i, name := range []string{"D-METER-1", "A-WATER"} {
		id, err := identity.ParseID(name)
		if err != nil {
			return out, err
		}
		signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return out, err
		}
		var o identity.CSROptions
		if id.Role() == identity.RoleDevice {
			o.HelperHash = [32]byte{1}
		}
		csr, err := identity.NewCSR(signer, id, o)
		if err != nil {
			return out, err
		}
		chain, err := authority.Issue(csr, ca.IssueOptions{})
		if err != nil {
			return out, err
		}
		if out[i].key, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
			return out, err
		}
		e, err := identity.Endorse(signer, chain[0], out[i].key.PublicKey(), identity.EndorseOptions{})
		if err != nil {
			return out, err
		}
		if out[i].verified, err = verifier.Verify(identity.Credential{Chain: chain, Endorsement: e}, 0); err != nil {
			return out, err
		}
	}
	return out, nil
})

// epochs outlives its side's restarts.
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

func (e *epochs) AcceptEpoch(epoch uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e2e.CheckEpoch(e.seen, epoch); err != nil {
		return err
	}
	e.seen = epoch
	return nil
}

func (e *epochs) taken() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.next
}

var errLink = errors.New("test: not published")

// network carries records both ways and does to them what its fields say, in per mille.
type network struct {
	mu                             sync.Mutex // guards everything
	rng                            *mrand.Rand
	lose, refuse, twice, old, flip int
	delay                          time.Duration // up to it, so records overtake one another
	up                             bool
	seen                           [2][][]byte // by sender, for replays
	queue                          [2][][]byte // by sender, on their way
	count                          [2][5]int   // by sender and record type
	watch                          func(from int, record []byte) bool
}

func newNetwork(seed uint64) *network {
	return &network{rng: mrand.New(mrand.NewPCG(seed, 1)), up: true}
}

func (n *network) hit(permille int) bool { return n.rng.IntN(1000) < permille }

// publish is Publish of side from.
func (n *network) publish(from int, to func() *delivery.Channel, record []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return errLink
	}
	if n.watch != nil && !n.watch(from, record) {
		return nil
	}
	typ, err := e2e.TypeOf(record)
	if err != nil {
		panic("a side published what is no record")
	}
	n.count[from][typ]++
	if len(n.seen[from]) < 500 {
		n.seen[from] = append(n.seen[from], bytes.Clone(record))
	}
	out := [][]byte{record}
	if n.hit(n.lose) {
		out = nil
	}
	if n.hit(n.twice) {
		out = append(out, record)
	}
	if n.hit(n.old) {
		out = append(out, n.seen[from][n.rng.IntN(len(n.seen[from]))])
	}
	if n.hit(n.flip) {
		bad := bytes.Clone(record)
		bad[n.rng.IntN(len(bad))] ^= 1 << n.rng.IntN(8)
		out = append(out, bad)
	}
	for _, r := range out {
		r = bytes.Clone(r)
		if n.delay > 0 {
			d := time.Duration(n.rng.Int64N(int64(n.delay)))
			time.AfterFunc(d, func() { to().Receive(r) })
			continue
		}
		// Timers of one instant fire in any order; a broker keeps it.
		n.queue[from] = append(n.queue[from], r)
		time.AfterFunc(time.Millisecond, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			to().Receive(n.queue[from][0])
			n.queue[from] = n.queue[from][1:]
		})
	}
	if n.hit(n.refuse) {
		return errLink // although it was carried, perhaps
	}
	return nil
}

func (n *network) published(from int, typ e2e.Type) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count[from][typ]
}

func (n *network) set(f func(n *network)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

// side is one end with what outlives its restarts.
type side struct {
	t      testing.TB
	index  int
	net    *network
	other  *side
	store  *deliverytest.MemStore
	epochs *epochs
	config func(*delivery.Config)

	events func(ctx context.Context, e delivery.Event) error
	calls  func(ctx context.Context, c delivery.Call) (delivery.Reply, error)

	mu     sync.Mutex // guards the rest
	ch     *delivery.Channel
	cancel context.CancelFunc
	done   chan error
	boots  uint64
}

// newPair makes two sides on a network; start them.
func newPair(t testing.TB, net *network, config func(*delivery.Config)) (dev, app *side) {
	t.Helper()
	_, err := parties()
	require.NoError(t, err)
	for i, s := range []**side{&dev, &app} {
		*s = &side{t: t, index: i, net: net, store: new(deliverytest.MemStore), epochs: new(epochs), config: config}
		(*s).events = func(context.Context, delivery.Event) error { return nil }
	}
	dev.other, app.other = app, dev
	return dev, app
}

func (s *side) peer() *e2e.Peer { return s.peerOf(0) }

// start boots the side: a new peer without sessions, the channel from the store.
func (s *side) start() *delivery.Channel {
	s.t.Helper()
	s.mu.Lock()
	s.boots++
	boot := s.boots
	s.mu.Unlock()
	alive := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.boots == boot
	}
	cfg := delivery.Config{
		Peer: s.peer(), Store: s.store, Seed: uint64(s.index)*1000 + boot,
		Publish: func(_ context.Context, record []byte) error {
			if !alive() {
				return errLink
			}
			return s.net.publish(s.index, s.other.channel, record)
		},
		HandleEvent: func(ctx context.Context, e delivery.Event) error {
			if !alive() {
				return errLink
			}
			return s.events(ctx, e)
		},
	}
	if s.calls != nil {
		cfg.HandleCall = func(ctx context.Context, c delivery.Call) (delivery.Reply, error) {
			if !alive() {
				return delivery.Reply{}, errLink
			}
			return s.calls(ctx, c)
		}
	}
	if s.config != nil {
		s.config(&cfg)
	}
	ch, err := delivery.Open(cfg)
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ch.Run(ctx) }()
	s.mu.Lock()
	s.ch, s.cancel, s.done = ch, cancel, done
	s.mu.Unlock()
	ch.LinkUp()
	return ch
}

func (s *side) channel() *delivery.Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

// kill ends the process of the side: nothing that it does from here on has an effect.
func (s *side) kill() {
	s.mu.Lock()
	s.boots++ // not alive
	s.store = s.store.Reopen()
	cancel, done := s.cancel, s.done
	s.mu.Unlock()
	cancel()
	<-done
}

// stop ends Run as a gateway does. It may be called again.
func (s *side) stop() {
	s.mu.Lock()
	cancel, done := s.cancel, s.done
	s.cancel, s.done = nil, nil
	s.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	if err := <-done; err != nil {
		s.t.Errorf("Run: %v", err)
	}
}

// recorder collects the bodies of events.
type recorder struct {
	mu   sync.Mutex
	list []string
	seqs []uint64
}

func (r *recorder) handle(_ context.Context, e delivery.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list, r.seqs = append(r.list, string(e.Body)), append(r.seqs, e.Seq)
	return nil
}

func (r *recorder) bodies() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.list...)
}

func flush(t testing.TB, c *delivery.Channel) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	err := c.Flush(ctx)
	require.NoError(t, err, "%+v", c.Stats())
}

func send(t testing.TB, c *delivery.Channel, body string) uint64 {
	t.Helper()
	seq, err := c.Send(context.Background(), delivery.Event{Type: "text/plain", Body: []byte(body)})
	require.NoError(t, err)
	return seq
}
