package publicbroker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/mosquittotest"
)

// publication is what an eavesdropper saw.
type publication struct {
	topic   string
	payload []byte
}

// attacker commands the broker as far as a client can, and reads its log besides: he sees every publication and every client ID.
type attacker struct {
	t       *testing.T
	address string
	log     *mosquittotest.Log
	rng     *rand.Rand

	mu    sync.Mutex // guards what follows
	seen  []publication
	done  map[string]int // what he did, how often
	taken map[string]bool
}

func newAttacker(t *testing.T, m *mosquittotest.Server, seed uint64) *attacker {
	a := &attacker{
		t: t, address: fmt.Sprintf("127.0.0.1:%d", m.Ports[0]), log: m.Log, rng: rand.New(rand.NewPCG(seed, 0)),
		done: map[string]int{}, taken: map[string]bool{},
	}
	c, err := a.connect(t.Context(), "eavesdropper")
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return a
}

// connect is one more client of his, which reads everything.
func (a *attacker) connect(ctx context.Context, clientID string) (*paho.Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, err
	}
	c := paho.NewClient(paho.ClientConfig{
		Conn:          packets.NewThreadSafeConn(conn),
		PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.seen = append(a.seen, publication{p.Packet.Topic, p.Packet.Payload})
			return true, nil
		}},
	})
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: clientID, CleanStart: true, KeepAlive: 60}); err != nil {
		conn.Close()
		return nil, err
	}
	_, err = c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "#", QoS: 1}}})
	return c, err
}

// captured are the publications so far.
func (a *attacker) captured() []publication {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[:len(a.seen):len(a.seen)]
}

func (a *attacker) did(what string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done[what] += n
}

// attack goes on for a while, and until each thing was done often enough, however slow the machine; at the latest until ctx ends.
func (a *attacker) attack(ctx context.Context, least map[string]int) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { a.forge(ctx) })
	wg.Go(func() { a.takeOver(ctx) })
	for began := time.Now(); ctx.Err() == nil && (time.Since(began) < attackTime || !a.enough(least)); {
		pause(ctx, 20*time.Millisecond)
	}
	stop()
	wg.Wait()
}

func (a *attacker) enough(least map[string]int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for what, n := range least {
		if a.done[what] < n {
			return false
		}
	}
	return true
}

// forge publishes one thing after the other.
func (a *attacker) forge(ctx context.Context) {
	c, err := a.connect(ctx, "forger")
	if err != nil {
		a.t.Errorf("the attack did not take place: %v", err)
		return
	}
	defer c.Disconnect(&paho.Disconnect{})
	publish := func(what string, retain bool, p ...publication) {
		for _, p := range p {
			_, err := c.Publish(ctx, &paho.Publish{QoS: 1, Retain: retain, Topic: p.topic, Payload: p.payload})
			if err != nil && ctx.Err() == nil {
				a.t.Errorf("attack %s on %s: %v", what, p.topic, err)
			}
		}
		a.did(what, len(p))
	}
	for ctx.Err() == nil {
		all := a.captured()
		any := func() publication { return all[a.rng.IntN(len(all))] }
		p, q := any(), any()
		switch a.rng.IntN(9) {
		case 0:
			publish("replay", false, p)
		case 1: // those of one topic in another order
			burst := a.recent(all, p.topic, 8)
			a.rng.Shuffle(len(burst), func(i, j int) { burst[i], burst[j] = burst[j], burst[i] })
			publish("reorder", false, burst...)
		case 2:
			publish("mutate", false, publication{p.topic, a.mutate(p.payload)})
		case 3: // what one said to another, where a third listens: requests, replies, nudges, records
			publish("misdirect", false, publication{q.topic, p.payload})
		case 4: // back to where it came from
			publish("reflect", false, publication{reverse(p.topic), p.payload})
		case 5:
			publish("random", false, publication{p.topic, a.random()})
		case 6:
			publish("plant retained", true, publication{p.topic, p.payload}, publication{q.topic, a.mutate(q.payload)})
		case 7:
			publish("delete retained", true, publication{p.topic, nil})
		case 8: // halves of two records
			n := min(len(p.payload), len(q.payload)) / 2
			publish("splice", false, publication{p.topic, append(bytes.Clone(p.payload[:n]), q.payload[n:]...)})
		}
	}
}

// recent returns up to n of the last publications on a topic.
func (a *attacker) recent(all []publication, topic string, n int) (out []publication) {
	for i := len(all) - 1; i >= 0 && len(out) < n; i-- {
		if all[i].topic == topic {
			out = append(out, all[i])
		}
	}
	return out
}

func (a *attacker) random() []byte {
	b := make([]byte, a.rng.IntN(600))
	for i := range b {
		b[i] = byte(a.rng.Uint32())
	}
	return b
}

// mutate changes a few bits, the first bytes, which say what a record is, more often than others; or the length.
func (a *attacker) mutate(p []byte) []byte {
	b := bytes.Clone(p)
	switch a.rng.IntN(4) {
	case 0:
		return b[:a.rng.IntN(len(b)+1)]
	case 1:
		return append(b, a.random()...)
	}
	for range 1 + a.rng.IntN(3) {
		if len(b) == 0 {
			break
		}
		at := a.rng.IntN(len(b))
		if a.rng.IntN(2) == 0 {
			at = a.rng.IntN(min(len(b), 24))
		}
		b[at] ^= 1 << a.rng.IntN(8)
	}
	return b
}

// reverse is the topic of the answer, as far as a topic's name tells.
func reverse(topic string) string {
	switch {
	case strings.HasSuffix(topic, "/up"):
		return strings.TrimSuffix(topic, "/up") + "/down"
	case strings.HasSuffix(topic, "/down"):
		return strings.TrimSuffix(topic, "/down") + "/up"
	}
	if before, rest, ok := strings.Cut(topic, "/ctl/platform/"); ok {
		_, peer, _ := strings.Cut(rest, "/")
		return before + "/ctl/peer/" + peer
	}
	return topic
}

// takeovers is how often he throws out everybody who is connected. Who is thrown out waits longer each time.
const takeovers = 3

// takeOver connects with the client IDs of all others.
func (a *attacker) takeOver(ctx context.Context) {
	for ctx.Err() == nil {
		for _, id := range a.clients() {
			a.mu.Lock()
			mine := len(a.taken) >= takeovers*parties || a.taken[id] || id == "eavesdropper" || id == "forger"
			a.taken[id] = a.taken[id] || !mine
			a.mu.Unlock()
			if mine {
				continue
			}
			c, err := a.connect(ctx, id)
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
					a.t.Logf("takeover: %v", err)
				}
				continue
			}
			a.did("take over", 1)
			_ = c.Disconnect(&paho.Disconnect{})
		}
		pause(ctx, 5*time.Millisecond)
	}
}

var connected = regexp.MustCompile(`New client connected from [^ ]+ as ([^ ]+) `)

// clients are the client IDs that ever connected.
func (a *attacker) clients() (ids []string) {
	for _, m := range connected.FindAllStringSubmatch(a.log.String(), -1) {
		ids = append(ids, m[1])
	}
	return ids
}
