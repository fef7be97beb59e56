package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/mosquittotest"
	"github.com/semio-iot/semio/platform/link"
	"github.com/semio-iot/semio/platform/link/linktest"
)

// client is a service's own MQTT client with a link for the gateway.
type client struct {
	link  *sharedLink
	stop  func()
	mu    sync.Mutex // guards conn
	conn  net.Conn
	other chan string // topics that were not the gateway's
}

func newClient(t *testing.T, m *mosquittotest.Server, id string) *client {
	u, err := url.Parse(m.URL("mqtt", 0))
	require.NoError(t, err)
	c := &client{link: newSharedLink(), other: make(chan string, 64)}
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, KeepAlive: 30, CleanStartOnInitialConnection: true,
		ReconnectBackoff: func(int) time.Duration { return 10 * time.Millisecond },
		AttemptConnection: func(ctx context.Context, _ autopaho.ClientConfig, u *url.URL) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.conn = conn
			return conn, err
		},
		ClientConfig: paho.ClientConfig{
			ClientID: id, SendAcksInterval: time.Millisecond,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				if p.AlreadyHandled {
					return false, nil
				}
				c.other <- p.Packet.Topic
				return true, p.Client.Ack(p.Packet)
			}},
		},
	}
	c.link.attach(&cfg)
	ctx, cancel := context.WithCancel(context.Background())
	c.link.client, err = autopaho.NewConnection(ctx, cfg)
	require.NoError(t, err)
	c.stop = func() { cancel(); <-c.link.client.Done() }
	t.Cleanup(c.stop)
	return c
}

func (c *client) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.conn.(*net.TCPConn).SetLinger(0)
	_ = c.conn.Close()
}

// The service's client keeps the contract of a link, over Debian's broker.
func TestSharedLink(t *testing.T) {
	m := mosquittotest.Start(t, 1, map[string][]byte{"acl": []byte("topic readwrite linktest/#\n")},
		func(dir string, ports []int) string {
			return fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nacl_file %s/acl\nset_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\n", ports[0], dir)
		})
	var clients [3]*client
	linktest.TestLink(t, linktest.Broker{
		New: func(t *testing.T, n int) link.Link {
			if clients[n] != nil {
				clients[n].stop() // the suite wants one client under one ID, and has ended its Run
			}
			clients[n] = newClient(t, m, fmt.Sprintf("client-%d", n))
			return clients[n].link
		},
		Prefix:      "linktest/",
		Cut:         func(n int) { clients[n].cut() },
		DeniedTopic: "elsewhere",
		DenialCuts:  true,
	})
}

// What the gateway has not subscribed to stays the service's, before, during and after the gateway's time on the connection.
func TestSharedLinkLeavesTheRest(t *testing.T) {
	m := mosquittotest.Anonymous(t)
	c := newClient(t, m, "service")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, c.link.client.AwaitConnection(ctx))
	_, err := c.link.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "plant/#", QoS: 1}}})
	require.NoError(t, err)
	say := func(topic string) {
		_, err := c.link.client.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1})
		require.NoError(t, err)
	}
	say("plant/1")
	require.Equal(t, "plant/1", <-c.other)

	running, stop := context.WithCancel(ctx)
	ups, messages, ended := make(chan bool, 1), make(chan string, 8), make(chan error, 1)
	go func() {
		ended <- c.link.Run(running, link.Receiver{
			Up: func() { ups <- true }, Down: func(error) {},
			Message: func(m link.Message) { messages <- m.Topic; m.Ack() },
		})
	}()
	<-ups
	require.NoError(t, c.link.Subscribe(ctx, "semio/+/up"))
	say("plant/2")
	require.NoError(t, c.link.Publish(ctx, "semio/1/up", nil))
	require.Equal(t, "plant/2", <-c.other)
	require.Equal(t, "semio/1/up", <-messages)

	stop()
	require.NoError(t, <-ended)
	require.ErrorIs(t, c.link.Publish(ctx, "semio/1/up", nil), link.ErrDown)
	say("semio/1/up") // not subscribed any more
	say("plant/3")
	require.Equal(t, "plant/3", <-c.other)
	require.Empty(t, messages)
}

func TestSharedLinkEndsWithTheClient(t *testing.T) {
	c := newClient(t, mosquittotest.Anonymous(t), "service")
	ended := make(chan error, 1)
	ups := make(chan bool, 1)
	go func() {
		ended <- c.link.Run(t.Context(), link.Receiver{Up: func() { ups <- true }, Down: func(error) {}})
	}()
	<-ups
	c.stop()
	require.ErrorContains(t, <-ended, "the service has stopped its MQTT client")
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a/b", "a", false}, {"a", "a/b", false},
		{"a/+", "a/b", true}, {"a/+", "a", false}, {"a/+", "a/", true}, {"a/+", "a/b/c", false}, {"+/+", "/a", true},
		{"#", "a/b", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"a/+/c/#", "a/b/c", true},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true},
	} {
		require.Equal(t, c.want, matches(c.filter, c.topic), "%s and %s", c.filter, c.topic)
	}
}

func publish(t *testing.T, c *client, topic, text string) {
	t.Helper()
	_, err := c.link.client.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(text)})
	require.NoError(t, err)
}
