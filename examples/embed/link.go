package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"

	"github.com/semio-iot/semio/platform/link"
)

// sharedLink lets the gateway use a client that the service has already: the connection, its client ID and its reconnects stay the
// service's. It works for autopaho with manual acknowledgement; for another client, keep this file's structure.
//
//	l := newSharedLink()
//	l.attach(&cfg)
//	l.client, err = autopaho.NewConnection(ctx, cfg)
//
// autopaho calls back from goroutines that must not wait, and the gateway wants its calls from one goroutine that may. So the callbacks only
// note what happened, and Run tells the gateway.
type sharedLink struct {
	client *autopaho.ConnectionManager // set once, before Run

	mu      sync.Mutex // guards what follows
	conn    *sharedConn
	lost    error // why there is no connection
	told    *sharedConn
	filters map[string]bool // of the gateway
	queue   []link.Message  // of conn
	ran     bool

	wake chan struct{} // room for one: something happened
}

// sharedConn is one connection of the client.
type sharedConn struct {
	ctx       context.Context // ends with the connection
	end       context.CancelFunc
	maxPacket uint32 // that the broker takes; 0: no limit
}

// receiveMaximum bounds the queue: a broker has no more messages under way than that until they are acknowledged.
const receiveMaximum = 256

var _ link.Link = (*sharedLink)(nil)

func newSharedLink() *sharedLink {
	return &sharedLink{filters: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// attach puts the link's callbacks before those that cfg has.
func (l *sharedLink) attach(cfg *autopaho.ClientConfig) {
	cfg.EnableManualAcknowledgment = true
	cfg.OnPublishReceived = append([]func(paho.PublishReceived) (bool, error){l.received}, cfg.OnPublishReceived...)
	build := cfg.ConnectPacketBuilder
	cfg.ConnectPacketBuilder = func(p *paho.Connect, u *url.URL) (*paho.Connect, error) {
		if p.Properties == nil {
			p.Properties = &paho.ConnectProperties{}
		}
		p.Properties.ReceiveMaximum = new(uint16(receiveMaximum))
		if build == nil {
			return p, nil
		}
		return build(p, u)
	}
	refused := cfg.OnConnectError
	cfg.OnConnectError = func(err error) {
		l.note(err)
		if refused != nil {
			refused(err)
		}
	}
	up, down := cfg.OnConnectionUp, cfg.OnConnectionDown
	cfg.OnConnectionUp = func(c *autopaho.ConnectionManager, ack *paho.Connack) {
		l.connected(ack)
		if up != nil {
			up(c, ack)
		}
	}
	cfg.OnConnectionDown = func() bool {
		l.disconnected()
		return down == nil || down()
	}
	failed, dropped := cfg.OnClientError, cfg.OnServerDisconnect
	cfg.OnClientError = func(err error) {
		l.note(err)
		if failed != nil {
			failed(err)
		}
	}
	cfg.OnServerDisconnect = func(d *paho.Disconnect) {
		l.note(fmt.Errorf("broker disconnects with reason 0x%02x", d.ReasonCode))
		if dropped != nil {
			dropped(d)
		}
	}
}

func (l *sharedLink) connected(ack *paho.Connack) {
	c := &sharedConn{}
	c.ctx, c.end = context.WithCancel(context.Background())
	if ack.Properties != nil && ack.Properties.MaximumPacketSize != nil {
		c.maxPacket = *ack.Properties.MaximumPacketSize
	}
	l.change(func() { l.conn, l.lost = c, nil })
}

func (l *sharedLink) note(err error) { l.change(func() { l.lost = err }) }

func (l *sharedLink) disconnected() {
	l.change(func() {
		l.conn.end()
		// What nobody has looked at yet was not acknowledged: its sender brings it again.
		l.conn, l.queue = nil, nil
		clear(l.filters)
	})
}

// received takes what the gateway has subscribed to and leaves the rest to the service.
func (l *sharedLink) received(p paho.PublishReceived) (bool, error) {
	if p.AlreadyHandled {
		return false, nil
	}
	m := link.Message{Topic: p.Packet.Topic, Payload: p.Packet.Payload, Ack: func() {
		// It fails for a message of an earlier connection, which the broker has forgotten.
		_ = p.Client.Ack(p.Packet)
	}}
	ours := false
	l.change(func() {
		for f := range l.filters {
			ours = ours || matches(f, m.Topic)
		}
		// Nothing but this bounds QoS 0, which the gateway has not asked for.
		if ours && (p.Packet.QoS > 0 || len(l.queue) < receiveMaximum) {
			l.queue = append(l.queue, m)
		}
	})
	return ours, nil
}

// change changes what mu guards and wakes Run.
func (l *sharedLink) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run implements [link.Link]. The connection is the service's and goes on when Run ends; only the gateway's subscriptions end.
func (l *sharedLink) Run(ctx context.Context, r link.Receiver) error {
	l.mu.Lock()
	again := l.ran
	l.ran = true
	l.mu.Unlock()
	if again {
		return errors.New("shared link: Run was called before")
	}
	defer l.leave(r)
	for {
		switch call := l.next(r); {
		case ctx.Err() != nil:
			return nil
		case call != nil:
			call()
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.client.Done():
			if ctx.Err() != nil {
				return nil // both are ending
			}
			return errors.New("shared link: the service has stopped its MQTT client")
		case <-l.wake:
		}
	}
}

// next is the next call to the receiver, nil if there is nothing to tell.
func (l *sharedLink) next(r link.Receiver) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.told != nil && l.told != l.conn:
		l.told = nil
		err := l.lost
		if err == nil {
			err = errors.New("shared link: connection lost")
		}
		return func() { r.Down(err) }
	case l.told == nil && l.conn != nil:
		l.told = l.conn
		return r.Up
	case len(l.queue) > 0 && l.told != nil:
		m := l.queue[0]
		l.queue = l.queue[1:]
		return func() { r.Message(m) }
	}
	return nil
}

// leave gives the connection back to the service.
func (l *sharedLink) leave(r link.Receiver) {
	l.mu.Lock()
	told, filters := l.told, maps.Clone(l.filters)
	up := told != nil && told == l.conn
	l.told, l.queue = nil, nil
	clear(l.filters)
	l.mu.Unlock()
	if told == nil {
		return
	}
	r.Down(errors.New("shared link: stopped"))
	select {
	case <-l.client.Done():
		return
	default:
	}
	if up && len(filters) > 0 {
		ctx, cancel := context.WithTimeout(told.ctx, leaveTimeout)
		defer cancel()
		u := &paho.Unsubscribe{}
		for f := range filters {
			u.Topics = append(u.Topics, f)
		}
		_, _ = l.client.Unsubscribe(ctx, u) // what comes all the same is the service's to forget
	}
}

// LastError is why there is no connection, for the gateway's Health.
func (l *sharedLink) LastError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// current is the connection that the gateway knows to be up.
func (l *sharedLink) current() *sharedConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil || l.told != l.conn {
		return nil
	}
	return l.told
}

// during is ctx until the connection ends: the client would leave requests waiting for an answer that cannot come.
func (c *sharedConn) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// explain turns an error of the client into one of the contract. gone is what it means that the connection ended.
func (c *sharedConn) explain(ctx context.Context, what string, err, gone error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case errors.Is(err, autopaho.ConnectionDownError), errors.Is(err, session.ErrNoConnection):
		return link.ErrDown
	case c.ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, gone)
	}
	return fmt.Errorf("%s: %w: %w", what, link.ErrUnacknowledged, err)
}

// matches reports whether a valid filter matches a topic (MQTT 5, 4.7).
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && strings.ContainsAny(f[0], "+#") {
		return false
	}
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(t), level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}
