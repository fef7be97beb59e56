package main

import (
	"context"
	"fmt"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/semio-iot/semio/platform/link"
)

// leaveTimeout is for taking back the gateway's subscriptions at its end.
const leaveTimeout = 5 * time.Second

// refused is the lowest reason code of MQTT 5 that is a refusal.
const refused = 0x80

// Publish implements [link.Link].
func (l *sharedLink) Publish(ctx context.Context, topic string, payload []byte) error {
	if err := link.CheckTopic(topic); err != nil {
		return err
	}
	what := "publish on " + topic
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	c := l.current()
	if c == nil {
		return link.ErrDown
	}
	// The headers of a PUBLISH without properties have 12 bytes at most.
	if size := 12 + len(topic) + len(payload); c.maxPacket > 0 && size > int(c.maxPacket) {
		return fmt.Errorf("%s: %w: %d bytes, the broker takes %d", what, link.ErrTooLarge, size, c.maxPacket)
	}
	during, done := c.during(ctx)
	defer done()
	resp, err := l.client.Publish(during, &paho.Publish{QoS: 1, Topic: topic, Payload: payload})
	if resp != nil && resp.ReasonCode >= refused {
		e := &link.PublishError{Topic: topic, Reason: resp.ReasonCode}
		if resp.Properties != nil {
			e.Text = resp.Properties.ReasonString
		}
		return e
	}
	if err != nil {
		return c.explain(ctx, what, err, link.ErrUnacknowledged)
	}
	return nil
}

// Subscribe implements [link.Link].
func (l *sharedLink) Subscribe(ctx context.Context, filters ...string) error {
	c, err := l.request(ctx, "subscribe", filters)
	if c == nil {
		return err
	}
	s := &paho.Subscribe{}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1})
	}
	// Before the broker knows of it: messages may come before its answer.
	l.claim(c, filters...)
	during, done := c.during(ctx)
	defer done()
	ack, err := l.client.Subscribe(during, s)
	if ack == nil {
		l.disclaim(filters...)
		return c.explain(ctx, "subscribe", err, link.ErrDown) // subscriptions ended with the connection
	}
	var failed *link.SubscribeError
	for i, f := range filters {
		reason := byte(refused)
		if i < len(ack.Reasons) {
			reason = ack.Reasons[i]
		}
		if reason >= refused {
			l.disclaim(f)
			if failed == nil {
				failed = &link.SubscribeError{Filter: f, Reason: reason}
				if ack.Properties != nil {
					failed.Text = ack.Properties.ReasonString
				}
			}
		}
	}
	if failed != nil {
		return failed
	}
	return nil
}

// Unsubscribe implements [link.Link].
func (l *sharedLink) Unsubscribe(ctx context.Context, filters ...string) error {
	c, err := l.request(ctx, "unsubscribe", filters)
	if c == nil {
		return err
	}
	during, done := c.during(ctx)
	defer done()
	ack, err := l.client.Unsubscribe(during, &paho.Unsubscribe{Topics: filters})
	if ack == nil {
		return c.explain(ctx, "unsubscribe", err, link.ErrDown)
	}
	for i, reason := range ack.Reasons {
		if reason >= refused {
			return fmt.Errorf("unsubscribe from %s: broker answers 0x%02x", filters[min(i, len(filters)-1)], reason)
		}
	}
	l.disclaim(filters...)
	return nil
}

// request is the connection for a request about filters; nil if there is nothing to do, or err says why not.
func (l *sharedLink) request(ctx context.Context, what string, filters []string) (*sharedConn, error) {
	if err := link.CheckFilters(filters...); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", what, ctx.Err())
	}
	c := l.current()
	if c == nil {
		return nil, link.ErrDown
	}
	if len(filters) == 0 {
		return nil, nil
	}
	return c, nil
}

// claim makes what comes under the filters the gateway's, as long as c is the connection.
func (l *sharedLink) claim(c *sharedConn, filters ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != c {
		return
	}
	for _, f := range filters {
		l.filters[f] = true
	}
}

func (l *sharedLink) disclaim(filters ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range filters {
		delete(l.filters, f)
	}
}
