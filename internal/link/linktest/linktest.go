// Package linktest shows that a [link.Link] keeps its contract. Start with [TestLink], over a broker that the caller runs:
//
//	linktest.TestLink(t, linktest.Broker{
//		New:    func(t *testing.T, n int) link.Link { return myLink(brokerURL, fmt.Sprintf("client-%d", n)) },
//		Prefix: "linktest/",
//	})
//
// What an optional field of [Broker] would be needed for is skipped, and said so. A run takes about a second.
package linktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
)

// Broker is what the suite needs of its caller.
type Broker struct {
	// New returns a link that is not running yet, of client n: 0, 1 or 2, each under a client ID of its own. It is called
	// many times; the link of client n before has ended by then.
	New func(t *testing.T, n int) link.Link

	// Prefix begins every topic and filter of the suite. All three clients may use what begins with it.
	Prefix string

	// DeniedTopic is one that no client may publish on, DeniedFilter one that none may subscribe to. "" skips.
	DeniedTopic, DeniedFilter string

	// DenialCuts says that the broker ends the connection after it has refused a publication, as Mosquitto 2.0 does.
	DenialCuts bool

	// Cut breaks the connection of client n, without a DISCONNECT, and returns. nil skips.
	Cut func(n int)

	// Refused returns a link whose Run must end with an error, because the broker will never take it. nil skips.
	Refused func(t *testing.T) link.Link

	// MaxPayload is the largest payload that must pass: 16 KiB. The receive window that the suite exceeds is Window: 256.
	MaxPayload, Window int
}

const patience = 20 * time.Second // on a busy machine; nothing waits that long where all is well

// TestLink runs the suite.
func TestLink(t *testing.T, b Broker) {
	if b.MaxPayload == 0 {
		b.MaxPayload = 16 << 10
	}
	if b.Window == 0 {
		b.Window = 256
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, Broker)
	}{
		{"without a connection", testDown},
		{"up and down", testUpDown},
		{"payloads", testPayloads},
		{"order of a topic", testOrder},
		{"many publishers", testMany},
		{"filters", testFilters},
		{"bad topics", testBadTopics},
		{"nobody subscribed", testNobody},
		{"ended context", testContext},
		{"denied topic", testDeniedTopic},
		{"denied filter", testDeniedFilter},
		{"acknowledgements in any order", testAcks},
		{"receiver is called by one goroutine", testOneGoroutine},
		{"slow receiver", testSlowReceiver},
		{"cut", testCut},
		{"acknowledgement after a cut", testLateAck},
		{"publish over cuts", testPublishOverCuts},
		{"refused", testRefused},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, b) })
	}
}

// client is a running link and what its receiver saw.
type client struct {
	t        *testing.T
	link     link.Link
	ups      chan struct{}
	downs    chan error
	messages chan link.Message
	ended    chan error
	cancel   func()

	mu      sync.Mutex
	calls   []string           // "up" and "down"
	during  atomic.Int32       // calls under way
	after   atomic.Bool        // Run has returned
	broken  atomic.Bool        // a call overlapped another, or came after Run
	onEvent func(link.Message) // instead of messages
}

func (b Broker) start(t *testing.T, n int, onMessage func(link.Message)) *client {
	t.Helper()
	c := &client{t: t, link: b.New(t, n), ups: make(chan struct{}, 64), downs: make(chan error, 64),
		messages: make(chan link.Message, 8192), ended: make(chan error, 1), onEvent: onMessage}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := c.link.Run(ctx, link.Receiver{
			Up:   func() { c.call("up", func() { c.ups <- struct{}{} }) },
			Down: func(err error) { c.call("down", func() { c.downs <- err }) },
			Message: func(m link.Message) {
				c.call("", func() {
					if c.onEvent != nil {
						c.onEvent(m)
						return
					}
					c.messages <- m
				})
			},
		})
		c.after.Store(true)
		c.ended <- err
	}()
	c.cancel = cancel
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("Run does not end")
		}
		require.False(t, c.broken.Load(), "calls of the receiver overlapped, or came after Run")
		c.alternates()
	})
	receive(t, c.ups, "Up")
	return c
}

func (c *client) call(what string, f func()) {
	if c.during.Add(1) != 1 || c.after.Load() {
		c.broken.Store(true)
	}
	if what != "" {
		c.mu.Lock()
		c.calls = append(c.calls, what)
		c.mu.Unlock()
	}
	f()
	c.during.Add(-1)
}

// alternates checks Up and Down.
func (c *client) alternates() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, call := range c.calls {
		require.Equal(c.t, []string{"up", "down"}[i%2], call, "calls: %v", c.calls)
	}
}

func receive[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.FailNow(t, "no "+what)
		panic("not reached")
	}
}

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (c *client) subscribe(filters ...string) {
	c.t.Helper()
	require.NoError(c.t, c.link.Subscribe(timeout(c.t), filters...))
}

func (c *client) publish(topic, payload string) {
	c.t.Helper()
	require.NoError(c.t, c.link.Publish(timeout(c.t), topic, []byte(payload)))
}

// message returns the next one, acknowledged.
func (c *client) message() link.Message {
	c.t.Helper()
	m := receive(c.t, c.messages, "message")
	require.NotNil(c.t, m.Ack)
	m.Ack()
	return m
}

// silent shows that no message is on its way: one sent to itself comes next.
func (c *client) silent(topic string) {
	c.t.Helper()
	c.publish(topic, "marker")
	require.Equal(c.t, "marker", string(c.message().Payload))
}

func isDown(t *testing.T, l link.Link) {
	t.Helper()
	ctx := timeout(t)
	require.ErrorIs(t, l.Publish(ctx, "t", []byte("x")), link.ErrDown)
	require.ErrorIs(t, l.Subscribe(ctx, "t"), link.ErrDown)
	require.ErrorIs(t, l.Unsubscribe(ctx, "t"), link.ErrDown)
}

// unsettled reports an error after which a message may have arrived and may not, or was not sent.
func unsettled(err error) bool {
	return errors.Is(err, link.ErrDown) || errors.Is(err, link.ErrUnacknowledged)
}

func topicOf(b Broker, format string, args ...any) string {
	return b.Prefix + fmt.Sprintf(format, args...)
}
