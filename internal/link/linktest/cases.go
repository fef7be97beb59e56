package linktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
)

func testDown(t *testing.T, b Broker) {
	isDown(t, b.New(t, 0))
}

func testUpDown(t *testing.T, b Broker) {
	c := b.start(t, 0, nil)
	require.Error(t, c.link.Run(context.Background(), link.Receiver{}), "a second Run")
	c.subscribe(b.Prefix + "t")
	c.cancel()
	require.NoError(t, receive(t, c.ended, "end of Run"))
	require.Equal(t, []string{"up", "down"}, c.calls)
	isDown(t, c.link)
}

func testPayloads(t *testing.T, b Broker) {
	pub, sub := b.start(t, 0, nil), b.start(t, 1, nil)
	topic := b.Prefix + "payload"
	sub.subscribe(topic)
	for _, n := range []int{0, 1, 127, 128, 1000, b.MaxPayload} {
		payload := bytes.Repeat([]byte{0, 0xff, byte(n)}, n/3+1)[:n]
		want := bytes.Clone(payload)
		require.NoError(t, pub.link.Publish(timeout(t), topic, payload), "%d bytes", n)
		clear(payload) // is the caller's again
		m := sub.message()
		require.Equal(t, topic, m.Topic)
		require.True(t, bytes.Equal(want, m.Payload), "%d bytes", n)
	}
	// Two receivers do not share a payload.
	other := b.start(t, 2, nil)
	other.subscribe(topic)
	pub.publish(topic, "mine")
	clear(sub.message().Payload)
	require.Equal(t, "mine", string(other.message().Payload))
}

func testOrder(t *testing.T, b Broker) {
	pub, sub := b.start(t, 0, nil), b.start(t, 1, nil)
	sub.subscribe(b.Prefix + "order/+")
	const n = 200
	for i := range n {
		pub.publish(topicOf(b, "order/%d", i%2), fmt.Sprint(i))
	}
	next := [2]int{0, 1}
	for range n {
		m := sub.message()
		topic := int(m.Topic[len(m.Topic)-1] - '0')
		require.Equal(t, fmt.Sprint(next[topic]), string(m.Payload))
		next[topic] += 2
	}
}

func testMany(t *testing.T, b Broker) {
	pub, sub := b.start(t, 0, nil), b.start(t, 1, nil)
	sub.subscribe(b.Prefix + "many/#")
	const workers, each = 8, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if err := pub.link.Publish(timeout(t), topicOf(b, "many/%d", w), fmt.Append(nil, w, " ", i)); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		})
	}
	seen := map[string]int{}
	for range workers * each {
		seen[string(sub.message().Payload)]++
	}
	wg.Wait()
	require.Len(t, seen, workers*each)
}

func testFilters(t *testing.T, b Broker) {
	pub, sub := b.start(t, 0, nil), b.start(t, 1, nil)
	sub.subscribe(b.Prefix+"f/+/up", b.Prefix+"f/x/down")
	sub.subscribe(b.Prefix + "marker")
	for topic, want := range map[string]bool{
		"f/a/up": true, "f/x/up": true, "f/x/down": true,
		"f/a/down": false, "f/a/b/up": false, "f/up": false, "f/a/up/c": false, "F/a/up": false,
	} {
		pub.publish(b.Prefix+topic, topic)
		if want {
			require.Equal(t, topic, string(sub.message().Payload))
		}
		sub.silent(b.Prefix + "marker")
	}
	require.NoError(t, sub.link.Unsubscribe(timeout(t), b.Prefix+"f/+/up", b.Prefix+"never/subscribed"))
	pub.publish(b.Prefix+"f/a/up", "no more")
	pub.publish(b.Prefix+"f/x/down", "this one")
	require.Equal(t, "this one", string(sub.message().Payload))
	require.NoError(t, sub.link.Subscribe(timeout(t)), "no filter at all")
	require.NoError(t, sub.link.Unsubscribe(timeout(t)))
}

func testBadTopics(t *testing.T, b Broker) {
	c := b.start(t, 0, nil)
	c.subscribe(b.Prefix + "t")
	for _, topic := range []string{"", b.Prefix + "+", b.Prefix + "#", "a\x00b", "\xff\xfe", strings.Repeat("x", 70_000)} {
		require.Error(t, c.link.Publish(timeout(t), topic, nil), "%.20q", topic)
	}
	for _, filter := range []string{"", b.Prefix + "#/a", b.Prefix + "a+", b.Prefix + "a#", "a\x00b", "\xff\xfe", strings.Repeat("x", 70_000)} {
		require.Error(t, c.link.Subscribe(timeout(t), filter), "%.20q", filter)
	}
	c.silent(b.Prefix + "t")
	require.Empty(t, c.downs, "a bad topic must not cost the connection")
}

func testNobody(t *testing.T, b Broker) {
	b.start(t, 0, nil).publish(b.Prefix+"nobody/listens", "x")
}

func testContext(t *testing.T, b Broker) {
	c := b.start(t, 0, nil)
	c.subscribe(b.Prefix + "t")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, c.link.Publish(ctx, b.Prefix+"t", nil), context.Canceled)
	require.ErrorIs(t, c.link.Subscribe(ctx, b.Prefix+"u"), context.Canceled)
	require.ErrorIs(t, c.link.Unsubscribe(ctx, b.Prefix+"u"), context.Canceled)
	c.silent(b.Prefix + "t")
}

func testDeniedTopic(t *testing.T, b Broker) {
	if b.DeniedTopic == "" {
		t.Skip("no Broker.DeniedTopic")
	}
	c := b.start(t, 0, nil)
	var pe *link.PublishError
	require.ErrorAs(t, c.link.Publish(timeout(t), b.DeniedTopic, []byte("x")), &pe)
	require.Equal(t, b.DeniedTopic, pe.Topic)
	require.GreaterOrEqual(t, pe.Reason, byte(0x80))
	if b.DenialCuts {
		receive(t, c.downs, "Down")
		receive(t, c.ups, "Up")
		return
	}
	c.subscribe(b.Prefix + "t")
	c.silent(b.Prefix + "t")
	require.Empty(t, c.downs, "a refusal must not cost the connection")
}

func testDeniedFilter(t *testing.T, b Broker) {
	if b.DeniedFilter == "" {
		t.Skip("no Broker.DeniedFilter")
	}
	c := b.start(t, 0, nil)
	var se *link.SubscribeError
	require.ErrorAs(t, c.link.Subscribe(timeout(t), b.DeniedFilter), &se)
	require.Equal(t, b.DeniedFilter, se.Filter)
	require.GreaterOrEqual(t, se.Reason, byte(0x80))
	require.ErrorAs(t, c.link.Subscribe(timeout(t), b.Prefix+"a", b.DeniedFilter, b.Prefix+"b"), &se)
	require.Equal(t, b.DeniedFilter, se.Filter, "among others")
	c.subscribe(b.Prefix + "t")
	c.silent(b.Prefix + "t")
	require.Empty(t, c.downs, "a refusal must not cost the connection")
}

// testAcks exceeds the receive window several times. Within it, messages are acknowledged from many goroutines in any
// order, some twice; were one lost or sent out of turn, the broker would stop or cut the connection.
func testAcks(t *testing.T, b Broker) {
	pub, sub := b.start(t, 0, nil), b.start(t, 1, nil)
	sub.subscribe(b.Prefix + "acks")
	rng := rand.New(rand.NewSource(1))
	n := 0
	for range 4 {
		var held []link.Message
		for range b.Window - 1 {
			pub.publish(b.Prefix+"acks", fmt.Sprint(n))
			m := receive(t, sub.messages, "message")
			require.Equal(t, fmt.Sprint(n), string(m.Payload))
			held = append(held, m)
			n++
		}
		rng.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := i; j < len(held); j += 4 {
					held[j].Ack()
					held[j].Ack()
				}
			})
		}
		wg.Wait()
	}
	sub.silent(b.Prefix + "acks")
	require.Empty(t, sub.downs)
}

func testOneGoroutine(t *testing.T, b Broker) {
	var mu sync.Mutex
	got := 0
	all := make(chan struct{})
	const n = 300
	sub := b.start(t, 1, func(m link.Message) {
		mu.Lock()
		defer mu.Unlock()
		if got++; got == n {
			close(all)
		}
		m.Ack()
	})
	sub.subscribe(b.Prefix + "one/#")
	pubs := []*client{b.start(t, 0, nil), b.start(t, 2, nil)}
	var wg sync.WaitGroup
	for i, p := range pubs {
		wg.Go(func() {
			for j := range n / 2 {
				if err := p.link.Publish(timeout(t), topicOf(b, "one/%d", i), fmt.Append(nil, j)); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		})
	}
	wg.Wait()
	receive(t, all, "all messages") // overlaps are looked for at the end
}

// testSlowReceiver publishes and subscribes while a call of the receiver does not return: acknowledgements of the broker must
// be read all the same.
func testSlowReceiver(t *testing.T, b Broker) {
	entered, release := make(chan struct{}, 1024), make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	c := b.start(t, 0, func(m link.Message) {
		entered <- struct{}{}
		<-release
		m.Ack()
	})
	t.Cleanup(free) // before the link's own
	c.subscribe(b.Prefix + "slow")
	c.publish(b.Prefix+"slow", "first")
	receive(t, entered, "message")
	for range 100 { // delivered to itself, and waiting
		c.publish(b.Prefix+"slow", "next")
	}
	c.subscribe(b.Prefix + "slow/other")
	require.NoError(t, c.link.Unsubscribe(timeout(t), b.Prefix+"slow/other"))
	free()
	for range 100 {
		receive(t, entered, "message that waited")
	}
}

func testCut(t *testing.T, b Broker) {
	if b.Cut == nil {
		t.Skip("no Broker.Cut")
	}
	pub, sub := b.start(t, 0, nil), b.start(t, 1, nil)
	pub.subscribe(b.Prefix + "published")
	for i := range 3 {
		sub.subscribe(b.Prefix + "cut")
		pub.publish(b.Prefix+"cut", fmt.Sprint(i))
		require.Equal(t, fmt.Sprint(i), string(sub.message().Payload))
		b.Cut(1)
		require.Error(t, receive(t, sub.downs, "Down"))
		receive(t, sub.ups, "Up")
		pub.publish(b.Prefix+"cut", "while nothing is subscribed")
		// A broker may acknowledge a message before it looks who has subscribed. It takes one client's messages in their order.
		pub.silent(b.Prefix + "published")
		sub.subscribe(b.Prefix + "marker")
		sub.silent(b.Prefix + "marker")
	}
}

// testLateAck acknowledges what an earlier connection brought, when its packet IDs are in use again.
func testLateAck(t *testing.T, b Broker) {
	if b.Cut == nil {
		t.Skip("no Broker.Cut")
	}
	pub, sub := b.start(t, 0, nil), b.start(t, 1, nil)
	var old []link.Message
	sub.subscribe(b.Prefix + "late")
	for range 5 {
		pub.publish(b.Prefix+"late", "old")
		old = append(old, receive(t, sub.messages, "message"))
	}
	b.Cut(1)
	receive(t, sub.downs, "Down")
	receive(t, sub.ups, "Up")
	sub.subscribe(b.Prefix + "late")
	var fresh []link.Message
	for i := range 5 {
		pub.publish(b.Prefix+"late", fmt.Sprint(i))
		for {
			m := receive(t, sub.messages, "message")
			if string(m.Payload) == "old" { // a broker that keeps sessions
				m.Ack()
				continue
			}
			require.Equal(t, fmt.Sprint(i), string(m.Payload))
			fresh = append(fresh, m)
			break
		}
	}
	for _, m := range old {
		m.Ack()
	}
	for _, m := range fresh {
		m.Ack()
	}
	sub.silent(b.Prefix + "late")
	require.Empty(t, sub.downs)
}

// testPublishOverCuts publishes while the connection comes and goes: no call hangs, and what was acknowledged has arrived.
func testPublishOverCuts(t *testing.T, b Broker) {
	if b.Cut == nil {
		t.Skip("no Broker.Cut")
	}
	pub, sub := b.start(t, 0, nil), b.start(t, 1, nil)
	sub.subscribe(b.Prefix + "cuts")
	acknowledged := map[string]bool{}
	cuts := 0
	for i := 0; cuts < 5; i++ {
		payload := fmt.Sprint(i)
		err := pub.link.Publish(timeout(t), b.Prefix+"cuts", []byte(payload))
		switch {
		case err == nil:
			acknowledged[payload] = true
		case !unsettled(err):
			require.NoError(t, err)
		}
		if i%20 == 10 && err == nil {
			b.Cut(0)
			cuts++
		}
		if errors.Is(err, link.ErrDown) {
			receive(t, pub.ups, "Up")
		}
	}
	for len(acknowledged) > 0 {
		delete(acknowledged, string(sub.message().Payload))
	}
}

func testRefused(t *testing.T, b Broker) {
	if b.Refused == nil {
		t.Skip("no Broker.Refused")
	}
	l := b.Refused(t)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { ended <- l.Run(ctx, link.Receiver{Up: func() { t.Error("Up") }}) }()
	require.Error(t, receive(t, ended, "end of Run"))
	isDown(t, l)
}
