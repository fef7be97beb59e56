package e2e_test

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// memEpochs behaves like a durable store: it survives the peers made with it.
type memEpochs struct {
	mu         sync.Mutex
	next, seen uint64
	restored   bool
	fail       error // what the store says instead of working
}

var _ e2e.RestorableEpochs = (*memEpochs)(nil)

func (m *memEpochs) Restored() (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restored, m.fail
}

func (m *memEpochs) AcceptEcho(epoch uint64) error {
	if err := m.AcceptEpoch(epoch); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restored = false
	return nil
}

func (m *memEpochs) SkipEpochs(highest uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.next = max(m.next, highest)
	return nil
}

func (m *memEpochs) NextEpoch() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, m.fail
	}
	m.next++
	return m.next, nil
}

func (m *memEpochs) AcceptEpoch(epoch uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if err := e2e.CheckEpoch(m.seen, epoch); err != nil {
		return err
	}
	m.seen = epoch
	return nil
}

var errDisk = errors.New("disk is full")

// side is what one end of a binding keeps over restarts.
type side struct {
	role   byte
	name   string
	key    *ecdh.PrivateKey
	cert   [32]byte
	epochs *memEpochs
}

// fixedKey derives a P-256 key from a word, for tests and vectors.
func fixedKey(word string) *ecdh.PrivateKey {
	for i := uint32(0); ; i++ {
		h := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(word), i))
		if k, err := ecdh.P256().NewPrivateKey(h[:]); err == nil {
			return k
		}
	}
}

func newSide(role byte, name string) *side {
	return &side{role: role, name: name, key: fixedKey("agreement " + name), cert: sha256.Sum256([]byte("certificate " + name)), epochs: &memEpochs{}}
}

func (s *side) plain() e2e.PlainParty {
	return e2e.PlainParty{Role: s.role, Name: s.name, Cert: s.cert, Agree: s.key.PublicKey()}
}

var (
	testBinding = e2e.BindingID{0: 0xb1, 15: 0x01}
	testPSK     = sha256.Sum256([]byte("psk of a test"))
)

// open makes s's peer towards r, with changes to the configuration. The PSK is in use unless opts say otherwise.
func (s *side) open(t testing.TB, r *side, change ...func(*e2e.Config, *[]byte)) *e2e.Peer {
	t.Helper()
	cfg := e2e.Config{Key: s.key, Binding: testBinding, RequirePSK: true, Epochs: s.epochs}
	psk := testPSK[:]
	for _, c := range change {
		c(&cfg, &psk)
	}
	p, err := e2e.NewPlainPeer(cfg, s.plain(), r.plain(), psk)
	require.NoError(t, err)
	return p
}

// pair is a device and an application with one binding.
type pair struct {
	devSide, appSide *side
	dev, app         *e2e.Peer
	now              time.Time
}

func newPair(t testing.TB, change ...func(*e2e.Config, *[]byte)) *pair {
	t.Helper()
	x := &pair{devSide: newSide('D', "D-METER-1"), appSide: newSide('A', "A-WATER"), now: start}
	x.dev, x.app = x.devSide.open(t, x.appSide, change...), x.appSide.open(t, x.devSide, change...)
	return x
}

// handshake lets from start a session with to, and confirms it.
func handshake(t testing.TB, now time.Time, from, to *e2e.Peer) {
	t.Helper()
	init, err := from.Initiate(now, nil)
	require.NoError(t, err)
	ev, err := to.Receive(now, init)
	require.NoError(t, err)
	require.NotNil(t, ev.Reply)
	ev, err = from.Receive(now, ev.Reply)
	require.NoError(t, err)
	require.Equal(t, e2e.KindEstablished, ev.Kind)
	ev, err = to.Receive(now, ev.Reply)
	require.NoError(t, err)
	require.Equal(t, e2e.KindEstablished, ev.Kind)
	a, _ := from.Session()
	b, _ := to.Session()
	require.Equal(t, a, b)
}

func (x *pair) establish(t testing.TB) *pair {
	t.Helper()
	handshake(t, x.now, x.dev, x.app)
	return x
}

// deliver seals at from, opens at to and wants the same bytes.
func deliver(t testing.TB, now time.Time, from, to *e2e.Peer, msg string) {
	t.Helper()
	rec := seal(t, now, from, msg)
	ev, err := to.Receive(now, rec)
	require.NoError(t, err)
	require.Equal(t, e2e.KindData, ev.Kind)
	require.Equal(t, msg, string(ev.Payload))
}

func seal(t testing.TB, now time.Time, from *e2e.Peer, msg string) []byte {
	t.Helper()
	rec, err := from.Seal(now, nil, []byte(msg))
	require.NoError(t, err)
	require.Len(t, rec, len(msg)+e2e.Overhead)
	return rec
}

func refused(t testing.TB, now time.Time, to *e2e.Peer, record []byte) {
	t.Helper()
	ev, err := to.Receive(now, record)
	require.Equal(t, e2e.ErrUnauthentic, err, "%x", record)
	require.Equal(t, e2e.Event{}, ev)
}
