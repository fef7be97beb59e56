package mqttlink_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
)

func puback(id uint16, code byte) *packets.Puback {
	return &packets.Puback{PacketID: id, ReasonCode: code, Properties: &packets.Properties{}}
}

func TestPublishOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := uint32(300)
		f := &fake{serve: func(n int, s *server) {
			s.connack(0, &packets.Properties{MaximumPacketSize: &size})
			for {
				p, ok := s.next().(*packets.Publish)
				if !ok {
					return
				}
				switch string(p.Payload) {
				case "denied":
					a := puback(p.PacketID, 0x87)
					a.Properties.ReasonString = "not yours"
					s.send(a)
				case "nobody":
					s.send(puback(p.PacketID, 0x10))
				case "silence":
				case "break":
					return
				default:
					s.send(puback(p.PacketID, 0))
				}
			}
		}}
		r := start(t, f)
		<-r.ups
		ctx := context.Background()
		require.NoError(t, r.Publish(ctx, "t", []byte("x")))
		require.NoError(t, r.Publish(ctx, "t", nil))
		require.NoError(t, r.Publish(ctx, "t", []byte("nobody")))

		var pe *link.PublishError
		require.ErrorAs(t, r.Publish(ctx, "t", []byte("denied")), &pe)
		require.Equal(t, &link.PublishError{Topic: "t", Reason: 0x87, Text: "not yours"}, pe)

		begin := time.Now()
		require.ErrorIs(t, r.Publish(ctx, "t", []byte("silence")), link.ErrUnacknowledged)
		require.Equal(t, 20*time.Second, time.Since(begin))

		begin = time.Now()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err := r.Publish(short, "t", []byte("silence"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, link.ErrUnacknowledged)
		require.Equal(t, time.Second, time.Since(begin))

		require.NoError(t, r.Publish(ctx, "t", make([]byte, 280)))
		require.ErrorIs(t, r.Publish(ctx, "t", make([]byte, 300)), link.ErrTooLarge, "the broker's limit")
		require.ErrorIs(t, r.Publish(ctx, "t", make([]byte, 1<<20)), link.ErrTooLarge)

		begin = time.Now()
		require.ErrorIs(t, r.Publish(ctx, "t", []byte("break")), link.ErrUnacknowledged)
		require.Less(t, time.Since(begin), time.Second, "does not wait for its time-out")
		<-r.downs
		<-r.ups
		r.stop()
		require.ErrorIs(t, r.Publish(ctx, "t", make([]byte, 1<<20)), link.ErrTooLarge, "rather than: try again later")
	})
}

func TestSubscribeOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(n int, s *server) {
			s.connack(0, nil)
			for {
				switch p := s.next().(type) {
				case *packets.Subscribe:
					a := &packets.Suback{PacketID: p.PacketID, Properties: &packets.Properties{ReasonString: "why"}}
					for _, o := range p.Subscriptions {
						switch o.Topic {
						case "denied":
							a.Reasons = append(a.Reasons, 0x87)
						case "zero":
							a.Reasons = append(a.Reasons, 0)
						case "missing":
						case "break":
							return
						default:
							a.Reasons = append(a.Reasons, o.QoS)
						}
					}
					s.send(a)
				case *packets.Unsubscribe:
					a := &packets.Unsuback{PacketID: p.PacketID, Properties: &packets.Properties{}}
					for _, topic := range p.Topics {
						a.Reasons = append(a.Reasons, map[string]byte{"denied": 0x87, "unknown": 0x11}[topic])
					}
					s.send(a)
				default:
					return
				}
			}
		}}
		r := start(t, f)
		<-r.ups
		ctx := context.Background()
		require.NoError(t, r.Subscribe(ctx, "a", "b/#"))
		for _, c := range []struct {
			filters []string
			want    link.SubscribeError
		}{
			{[]string{"denied"}, link.SubscribeError{Filter: "denied", Reason: 0x87, Text: "why"}},
			{[]string{"a", "denied", "b"}, link.SubscribeError{Filter: "denied", Reason: 0x87, Text: "why"}},
			{[]string{"a", "zero"}, link.SubscribeError{Filter: "zero", Reason: 0x9b, Text: "the broker grants QoS 0 only"}},
			{[]string{"a", "missing"}, link.SubscribeError{Filter: "missing", Reason: 0x80,
				Text: "the broker's answer names fewer filters than were asked for"}},
		} {
			var e *link.SubscribeError
			require.ErrorAs(t, r.Subscribe(ctx, c.filters...), &e, "%v", c.filters)
			require.Equal(t, &c.want, e)
		}
		require.NoError(t, r.Unsubscribe(ctx, "a", "unknown"))
		require.Error(t, r.Unsubscribe(ctx, "denied"))
		require.Error(t, r.Unsubscribe(ctx, "a", "denied"))
		require.ErrorIs(t, r.Subscribe(ctx, "break"), link.ErrDown)
		<-r.downs
		<-r.ups
		r.stop()
	})
}

// PUBACKs leave in the order of the messages, at once, whatever the order in which they are given.
func TestAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acks := make(chan uint16, 100)
		f := &fake{serve: func(n int, s *server) {
			s.connack(0, nil)
			go func() {
				for id := range uint16(6) {
					s.message(id+1, fmt.Sprint(n))
				}
			}()
			for {
				switch p := s.next().(type) {
				case *packets.Puback:
					acks <- p.PacketID
				case *packets.Publish:
					return // breaks the connection
				case nil:
					return
				}
			}
		}}
		r := start(t, f)
		var m []link.Message
		for range 6 {
			m = append(m, <-r.msgs)
		}
		begin := time.Now()
		for _, i := range []int{2, 1, 5, 5} {
			m[i].Ack()
		}
		synctest.Wait()
		require.Empty(t, acks)
		m[0].Ack()
		for want := range uint16(3) {
			require.Equal(t, want+1, <-acks)
		}
		m[3].Ack()
		require.EqualValues(t, 4, <-acks)
		require.Zero(t, time.Since(begin), "acknowledgements wait for no timer")

		// The next connection uses the same packet IDs; acknowledgements of the old one do not reach it.
		require.Error(t, r.Publish(context.Background(), "t", nil))
		var again []link.Message
		for range 6 {
			again = append(again, <-r.msgs)
		}
		m[4].Ack()
		m[5].Ack()
		synctest.Wait()
		require.Empty(t, acks)
		for _, a := range again {
			require.Equal(t, "1", string(a.Payload))
			a.Ack()
		}
		for want := range uint16(6) {
			require.Equal(t, want+1, <-acks)
		}
		r.stop()
		again[0].Ack() // after Run: nothing
	})
}

// QoS 0 has no flow control: a receiver that is behind loses the newest, and the connection goes on.
func TestQoS0Overflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(n int, s *server) {
			s.connack(0, nil)
			for i := range 1000 {
				s.message(0, fmt.Sprint(i))
			}
			for {
				p, ok := s.next().(*packets.Publish)
				if !ok {
					return
				}
				s.send(puback(p.PacketID, 0))
			}
		}}
		release := make(chan struct{})
		l, err := mqttlink.New(mqttlink.Config{Broker: "mqtt://b", ClientID: "D-1", Dial: f.dial, ReceiveMaximum: 10})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		got := 0
		go func() {
			ended <- l.Run(ctx, link.Receiver{Message: func(m link.Message) {
				got++
				m.Ack()
				<-release
			}})
		}()
		synctest.Wait()
		require.NoError(t, l.Publish(ctx, "t", nil), "PUBACK is read while the receiver is stuck")
		require.Greater(t, l.Dropped(), uint64(900))
		close(release)
		synctest.Wait()
		cancel()
		require.NoError(t, <-ended)
		require.EqualValues(t, 1000, uint64(got)+l.Dropped())
	})
}
