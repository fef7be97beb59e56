package e2e_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

// powerCut is what a store panics with: the process ends here.
type powerCut struct{}

// mortalEpochs cuts the power at its nth call, before the write or after it. Every call that returns was durable.
type mortalEpochs struct {
	*memEpochs
	calls *int // of both sides
	at    int  // 0: never
	after bool
}

func (m mortalEpochs) around(write func()) {
	*m.calls++
	cut := *m.calls == m.at
	if cut && !m.after {
		panic(powerCut{})
	}
	write()
	if cut {
		panic(powerCut{})
	}
}

func (m mortalEpochs) NextEpoch() (n uint64, err error) {
	m.around(func() { n, err = m.memEpochs.NextEpoch() })
	return n, err
}

func (m mortalEpochs) AcceptEpoch(epoch uint64) (err error) {
	m.around(func() { err = m.memEpochs.AcceptEpoch(epoch) })
	return err
}

func (m mortalEpochs) AcceptEcho(epoch uint64) (err error) {
	m.around(func() { err = m.memEpochs.AcceptEcho(epoch) })
	return err
}

func (m mortalEpochs) SkipEpochs(highest uint64) (err error) {
	m.around(func() { err = m.memEpochs.SkipEpochs(highest) })
	return err
}

// mortalPair runs a story in which either side may lose its power in the middle of a call; it is started again at once, with what its
// store has kept, and the network brings everything a second time.
type mortalPair struct {
	t     *testing.T
	now   time.Time
	sides [2]*side
	peers [2]*e2e.Peer
	calls int
	at    int
	after bool
	cuts  int

	wire   [][]byte
	from   []int
	epochs map[string]string // direction and epoch -> INIT
	got    map[string]int
}

func (m *mortalPair) open(i int) {
	m.peers[i] = m.sides[i].open(m.t, m.sides[1-i], func(c *e2e.Config, _ *[]byte) {
		c.Epochs = mortalEpochs{m.sides[i].epochs, &m.calls, m.at, m.after}
	})
}

// survive runs f on side i, and starts i again if the power was cut.
func (m *mortalPair) survive(i int, f func(*e2e.Peer)) {
	defer func() {
		if r := recover(); r != nil {
			require.Equal(m.t, powerCut{}, r)
			m.cuts++
			m.open(i)
		}
	}()
	f(m.peers[i])
}

func (m *mortalPair) send(from int, record []byte) {
	if record == nil {
		return
	}
	if record[0]&0xf == 1 {
		name := fmt.Sprintf("%d/%x", from, record[16:24])
		old, used := m.epochs[name]
		require.True(m.t, !used || old == string(record), "epoch used twice: %s", name)
		m.epochs[name] = string(record)
	}
	m.wire, m.from = append(m.wire, record), append(m.from, from)
}

func (m *mortalPair) initiate(i int, early string) {
	m.survive(i, func(p *e2e.Peer) {
		init, err := p.Initiate(m.now, []byte(early))
		require.NoError(m.t, err)
		m.send(i, init)
	})
}

// receive delivers record n of the wire.
func (m *mortalPair) receive(n int) {
	i := 1 - m.from[n]
	m.now = m.now.Add(time.Second) // between CHALLENGEs
	m.survive(i, func(p *e2e.Peer) {
		ev, err := p.Receive(m.now, m.wire[n])
		if c, ok := errors.AsType[*e2e.ChallengeError](err); ok {
			m.send(i, c.Record)
		}
		if len(ev.Payload) > 0 {
			m.got[string(ev.Payload)]++
			require.Equal(m.t, 1, m.got[string(ev.Payload)], "delivered again: %s", ev.Payload)
		}
		m.send(i, ev.Reply)
	})
}

// settle delivers everything that is on the wire, and what comes of it, and then everything once more.
func (m *mortalPair) settle() {
	for range 2 {
		for n := 0; n < len(m.wire); n++ {
			m.receive(n)
		}
	}
}

// A power cut at any point of the durable state, before or after the write: nothing is delivered twice, no epoch serves two INITs,
// and a session comes back.
func TestPowerCutAtEveryPoint(t *testing.T) {
	stories := map[string]func(m *mortalPair){
		"early data": func(m *mortalPair) {
			m.initiate(0, "from the device")
			m.settle()
			m.initiate(1, "from the application")
			m.settle()
		},
		"crossing": func(m *mortalPair) {
			m.initiate(0, "from the device")
			m.initiate(1, "from the application")
			m.settle()
		},
		"initiator lost its state": func(m *mortalPair) {
			m.initiate(0, "before")
			m.settle()
			m.sides[0].epochs.next = 0
			m.epochs = map[string]string{} // the rollback, not the peer, uses epochs again
			m.open(0)
			m.initiate(0, "after")
			m.settle()
		},
		"responder was restored": func(m *mortalPair) {
			m.initiate(0, "before")
			m.settle()
			m.sides[1].epochs.seen, m.sides[1].epochs.restored = 0, true
			m.open(1)
			m.initiate(0, "after")
			m.settle()
		},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			total := 0
			for at := 0; at == 0 || at <= total; at++ {
				for _, after := range []bool{false, true} {
					m := &mortalPair{
						t: t, now: start, sides: [2]*side{newSide('D', "D-METER-1"), newSide('A', "A-WATER")}, at: at, after: after,
						epochs: map[string]string{}, got: map[string]int{},
					}
					m.open(0)
					m.open(1)
					story(m)
					if at == 0 {
						total = m.calls
						continue
					}
					require.Equal(t, 1, m.cuts, "cut %d", at)
					for i := range 2 { // the network rests
						m.now = m.now.Add(2 * time.Minute)
						m.wire, m.from = nil, nil
						m.initiate(i, "")
						m.settle()
						require.True(t, m.peers[0].Ready() && m.peers[1].Ready(), "cut %d, after the write: %v", at, after)
						deliver(t, m.now, m.peers[0], m.peers[1], fmt.Sprint("rest ", i))
						deliver(t, m.now, m.peers[1], m.peers[0], fmt.Sprint("rest ", i))
					}
				}
			}
			require.GreaterOrEqual(t, total, 4)
		})
	}
}
