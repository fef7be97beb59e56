package main

import (
	"context"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// Old sensors publish in the clear: anybody on the broker can write what they write. The service has stored their readings before, as
// at-least-once as QoS 1 allows, and goes on with it.

// subscribePlain is called at each connect, and must not wait.
func (m *mqttClient) subscribePlain(client *autopaho.ConnectionManager, _ *paho.Connack) {
	if m.plain == "" {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, err := client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: m.plain, QoS: 1}}})
		if err != nil {
			m.log.Warn("subscribe to old sensors: they are heard after the next connect, if the broker allows it", "filter", m.plain, "err", err)
		}
	}()
}

// receivePlain comes after the gateway's handler, on a goroutine that must not wait.
func (m *mqttClient) receivePlain(p paho.PublishReceived) (bool, error) {
	if p.AlreadyHandled {
		return false, nil
	}
	if m.plain != "" && matches(m.plain, p.Packet.Topic) {
		select {
		case m.queue <- p:
			return true, nil
		default: // QoS 0, which nothing bounds; or what an earlier connection has left in the queue
		}
	}
	return false, p.Client.Ack(p.Packet)
}

// storePlainReadings stores one reading after the other until ctx ends. The broker hears of it after that: a reading that is not
// stored yet when the connection ends may be lost, which QoS 1 without a session at the broker does not prevent.
func (m *mqttClient) storePlainReadings(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-m.queue:
			r := reading{Source: p.Packet.Topic, Body: p.Packet.Payload}
			if p.Packet.Properties != nil {
				r.Type = p.Packet.Properties.ContentType
			}
			for attempt := 1; ; attempt++ {
				err := m.store(ctx, r)
				if err == nil {
					break
				}
				m.log.Warn("store a reading of an old sensor", "topic", r.Source, "err", err)
				select {
				case <-ctx.Done():
					return
				case <-time.After(backoff(attempt)):
				}
			}
			_ = p.Client.Ack(p.Packet) // it fails for a message of an earlier connection
		}
	}
}

// storePlain stores a reading of an old sensor.
func (s *service) storePlain(ctx context.Context, r reading) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := insertReading(ctx, s.db, r)
	if err == nil {
		s.metrics.plain.Add(1)
	}
	return err
}
