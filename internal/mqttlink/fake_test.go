package mqttlink_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
)

// fake is a broker that does what serve says, connection by connection, over net.Pipe inside a synctest bubble.
type fake struct {
	serve func(n int, s *server)

	mu    sync.Mutex
	times []time.Time
}

func (f *fake) dial(context.Context, string, string) (net.Conn, error) {
	f.mu.Lock()
	n := len(f.times)
	f.times = append(f.times, time.Now())
	f.mu.Unlock()
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		f.serve(n, &server{Conn: ours})
	}()
	return theirs, nil
}

func (f *fake) attempts() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.times...)
}

// server is the broker's end of a connection. Its methods end quietly with the connection.
type server struct{ net.Conn }

func (s *server) read() any {
	p, err := packets.ReadPacket(s)
	if err != nil {
		return nil
	}
	return p.Content
}

// next is read without pings, which it answers.
func (s *server) next() any {
	for {
		p := s.read()
		if _, ping := p.(*packets.Pingreq); !ping {
			return p
		}
		s.send(packets.NewControlPacket(packets.PINGRESP).Content.(*packets.Pingresp))
	}
}

// send writes a packet at once: net.Pipe has no buffer, and a packet in pieces would tie reader and writer together.
func (s *server) send(p interface {
	WriteTo(io.Writer) (int64, error)
}) {
	var b bytes.Buffer
	_, _ = p.WriteTo(&b)
	_, _ = s.Write(b.Bytes())
}

func (s *server) connack(code byte, props *packets.Properties) *packets.Connect {
	c, ok := s.read().(*packets.Connect)
	if !ok {
		return nil
	}
	if props == nil {
		props = &packets.Properties{}
	}
	s.send(&packets.Connack{ReasonCode: code, Properties: props})
	return c
}

// idle answers pings until the connection ends.
func (s *server) idle() {
	for s.next() != nil {
	}
}

func (s *server) message(id uint16, payload string) {
	p := &packets.Publish{Topic: "t", Payload: []byte(payload), PacketID: id, Properties: &packets.Properties{}}
	if id > 0 {
		p.QoS = 1
	}
	s.send(p)
}

// running is a link in Run.
type running struct {
	*mqttlink.Link
	t      *testing.T
	cancel func()
	ups    chan struct{}
	downs  chan error
	msgs   chan link.Message
	ended  chan error
}

func start(t *testing.T, f *fake, opts ...func(*mqttlink.Config)) *running {
	cfg := mqttlink.Config{Broker: "mqtt://broker.example", ClientID: "D-1", Dial: f.dial}
	for _, o := range opts {
		o(&cfg)
	}
	l, err := mqttlink.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Link: l, t: t, cancel: cancel, ups: make(chan struct{}, 1000), downs: make(chan error, 1000),
		msgs: make(chan link.Message, 10_000), ended: make(chan error, 1)}
	go func() {
		r.ended <- l.Run(ctx, link.Receiver{
			Up:      func() { r.ups <- struct{}{} },
			Down:    func(err error) { r.downs <- err },
			Message: func(m link.Message) { r.msgs <- m },
		})
	}()
	return r
}

// stop ends Run and wants it to take no more than a moment and to return nil.
func (r *running) stop() {
	r.t.Helper()
	before := time.Now()
	r.cancel()
	require.NoError(r.t, <-r.ended)
	require.LessOrEqual(r.t, time.Since(before), 21*time.Second)
}
