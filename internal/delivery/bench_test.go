package delivery_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/delivery/deliverytest"
)

func BenchmarkFrame(b *testing.B) {
	f := delivery.Frame{Kind: delivery.KindEvent, HasAck: true, Ack: 1, Seq: 2, Low: 1, Type: "application/json", Body: make([]byte, 64)}
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = f.Append(buf[:0])
		if _, err := delivery.ParseFrame(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// benchPair joins two channels without a network between them: what is measured is this package and e2e.
func benchPair(b *testing.B) (dev, app *delivery.Channel, handled chan uint64) {
	net := newNetwork(1)
	d, a := newPair(b, net, nil)
	handled = make(chan uint64, 1024)
	open := func(s *side, to **delivery.Channel) *delivery.Channel {
		cfg := delivery.Config{
			Peer: s.peer(), Store: new(deliverytest.MemStore), MaxReceived: 1024, KeepSession: true,
			Publish: func(_ context.Context, r []byte) error { (*to).Receive(r); return nil },
			HandleEvent: func(_ context.Context, e delivery.Event) error {
				handled <- e.Seq
				return nil
			},
			HandleCall: func(_ context.Context, c delivery.Call) (delivery.Reply, error) {
				return delivery.Reply{Body: c.Body}, nil
			},
		}
		ch, err := delivery.Open(cfg)
		require.NoError(b, err)
		return ch
	}
	dev = open(d, &app)
	app = open(a, &dev)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for _, c := range []*delivery.Channel{dev, app} {
		go func() { done <- c.Run(ctx) }()
		c.LinkUp()
	}
	b.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	if _, err := dev.Send(ctx, delivery.Event{}); err != nil {
		b.Fatal(err)
	}
	<-handled
	return dev, app, handled
}

// BenchmarkEvent is one event of 64 bytes from Send to the handler, one after the other.
func BenchmarkEvent(b *testing.B) {
	dev, _, handled := benchPair(b)
	body := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dev.Send(context.Background(), delivery.Event{Body: body}); err != nil {
			b.Fatal(err)
		}
		<-handled
	}
}

// BenchmarkEvents is the same with up to 512 events under way.
func BenchmarkEvents(b *testing.B) {
	dev, _, handled := benchPair(b)
	body := make([]byte, 64)
	under := 0
	b.ReportAllocs()
	for b.Loop() {
		if under == 512 {
			<-handled
			under--
		}
		if _, err := dev.Send(context.Background(), delivery.Event{Body: body}); err != nil {
			b.Fatal(err)
		}
		under++
	}
	for ; under > 0; under-- {
		<-handled
	}
}

func BenchmarkCall(b *testing.B) {
	dev, _, _ := benchPair(b)
	body := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dev.Call(context.Background(), "q", body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdle says what an idle channel weighs in an application gateway of many, without its peer's sessions.
func BenchmarkIdle(b *testing.B) {
	_, a := newPair(b, newNetwork(1), nil)
	peer := a.peer()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var before, after runtime.MemStats
	const n = 2000
	for b.Loop() {
		done := make(chan error, n)
		runtime.GC()
		runtime.ReadMemStats(&before)
		runCtx, stop := context.WithCancel(ctx)
		for range n {
			ch, err := delivery.Open(delivery.Config{
				Peer: peer, Store: new(deliverytest.MemStore),
				Publish:     func(context.Context, []byte) error { return nil },
				HandleEvent: func(context.Context, delivery.Event) error { return nil },
			})
			if err != nil {
				b.Fatal(err)
			}
			go func() { done <- ch.Run(runCtx) }()
			ch.LinkUp()
		}
		for deadline := time.Now().Add(time.Second); runtime.NumGoroutine() < n && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		stop()
		for range n {
			<-done
		}
	}
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/n, "B/channel")
}
