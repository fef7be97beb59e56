package broker_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
	"github.com/semio-iot/semio/platform/broker"
)

// BenchmarkMessages sends 256 bytes, QoS 1 on both legs, mutual TLS, from one link to another, broker and both links on this
// machine.
func BenchmarkMessages(b *testing.B) {
	for _, inFlight := range []int{1, 100} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			w := newWorld(b, func(c *broker.Config) { c.Logger = nil })
			up := make(chan struct{}, 2)
			var got atomic.Int64
			received := make(chan struct{}, 1)
			sub := w.link("A-WATER", "A-WATER", func(c *mqttlink.Config) { c.ReceiveMaximum = 1024 })
			run(b, sub, link.Receiver{Up: func() { up <- struct{}{} }, Message: func(m link.Message) {
				m.Ack()
				if got.Add(1) == int64(b.N) {
					received <- struct{}{}
				}
			}})
			pub := w.link("D-1", "D-1")
			run(b, pub, link.Receiver{Up: func() { up <- struct{}{} }})
			<-up
			<-up
			require.NoError(b, sub.Subscribe(context.Background(), "t"))
			payload := make([]byte, 256)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			var next atomic.Int64
			for range inFlight {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if err := pub.Publish(context.Background(), "t", payload); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			<-received
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkConnect is a full TLS 1.3 handshake with client certificate, CONNECT and CONNACK, client and server on this machine.
func BenchmarkConnect(b *testing.B) {
	w := newWorld(b, func(c *broker.Config) { c.Logger = nil })
	cert := w.cert("A-WATER")
	for b.Loop() {
		c := w.connect(cert, connectPacket("A-WATER"))
		require.Zero(b, c.connack.ReasonCode)
		_ = c.conn.NetConn().Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connects/s")
}

// BenchmarkIdle reports the memory of an idle connection, both ends.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b, func(c *broker.Config) { c.Logger = nil; c.Limits.PerIdentity = 1 << 20 })
	cert := w.cert("A-WATER")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		w.connect(cert, connectPacket(fmt.Sprintf("A-WATER--%d", n)))
		n++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	inUse := func(m runtime.MemStats) uint64 { return m.HeapInuse + m.StackInuse }
	b.ReportMetric(float64(inUse(after)-inUse(before))/float64(n)/1024, "KiB/connection")
}
