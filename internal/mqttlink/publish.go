package mqttlink

import (
	"context"
	"errors"
	"fmt"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"

	"github.com/semio-iot/semio/internal/link"
)

// Publish implements [link.Link]. Besides the errors named there it returns [link.ErrTooLarge], without asking the broker, and
// [link.ErrUnacknowledged].
func (l *Link) Publish(ctx context.Context, topic string, payload []byte) error {
	if err := link.CheckTopic(topic); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mqttlink: publish on %s: %w", topic, err)
	}
	c := l.current()
	limit := l.cfg.MaxPacket
	if c != nil {
		limit = c.maxSend
	}
	if size := publishSize(topic, payload); size > limit {
		return fmt.Errorf("%w: publish on %s: packet of %d bytes, limit %d", link.ErrTooLarge, topic, size, limit)
	}
	if c == nil {
		return link.ErrDown
	}
	during, done := c.during(ctx)
	defer done()
	resp, err := c.client.Publish(during, &paho.Publish{QoS: 1, Topic: topic, Payload: payload})
	if resp != nil && resp.ReasonCode >= 0x80 {
		e := &link.PublishError{Topic: topic, Reason: resp.ReasonCode}
		if resp.Properties != nil {
			e.Text = resp.Properties.ReasonString
		}
		return e
	}
	if err != nil {
		return requestError(ctx, "publish on "+topic, err)
	}
	return nil
}

// Subscribe implements [link.Link].
func (l *Link) Subscribe(ctx context.Context, filters ...string) error {
	if err := link.CheckFilters(filters...); err != nil {
		return err
	}
	c, err := l.request(ctx, "subscribe")
	if err != nil || len(filters) == 0 {
		return err
	}
	during, done := c.during(ctx)
	defer done()
	s := &paho.Subscribe{}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1})
	}
	ack, err := c.client.Subscribe(during, s)
	if ack == nil {
		if c.gone.Err() != nil && ctx.Err() == nil {
			return link.ErrDown // subscriptions ended with the connection
		}
		return requestError(ctx, "subscribe", err)
	}
	for i, f := range filters {
		e := &link.SubscribeError{Filter: f}
		switch {
		case i >= len(ack.Reasons):
			e.Reason, e.Text = 0x80, "the broker's answer names fewer filters than were asked for"
		case ack.Reasons[i] >= 0x80:
			e.Reason = ack.Reasons[i]
			if ack.Properties != nil {
				e.Text = ack.Properties.ReasonString
			}
		case ack.Reasons[i] == 0:
			e.Reason, e.Text = 0x9b, "the broker grants QoS 0 only"
		default:
			continue
		}
		return e
	}
	return nil
}

// Unsubscribe implements [link.Link].
func (l *Link) Unsubscribe(ctx context.Context, filters ...string) error {
	if err := link.CheckFilters(filters...); err != nil {
		return err
	}
	c, err := l.request(ctx, "unsubscribe")
	if err != nil || len(filters) == 0 {
		return err
	}
	during, done := c.during(ctx)
	defer done()
	ack, err := c.client.Unsubscribe(during, &paho.Unsubscribe{Topics: filters})
	switch {
	case ack == nil && c.gone.Err() != nil && ctx.Err() == nil:
		return link.ErrDown
	case ack == nil:
		return requestError(ctx, "unsubscribe", err)
	}
	for i, reason := range ack.Reasons {
		if reason >= 0x80 {
			return fmt.Errorf("mqttlink: unsubscribe from %s: broker answers 0x%02x", filters[min(i, len(filters)-1)], reason)
		}
	}
	return nil
}

func (l *Link) request(ctx context.Context, what string) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("mqttlink: %s: %w", what, err)
	}
	c := l.current()
	if c == nil {
		return nil, link.ErrDown
	}
	return c, nil
}

// current returns the connection, nil when there is none.
func (l *Link) current() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return nil
	}
	return l.conn
}

// during returns a context that ends with the connection too.
func (c *conn) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.gone, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

func requestError(ctx context.Context, what string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("mqttlink: %s: %w", what, ctx.Err())
	case errors.Is(err, session.ErrNoConnection):
		return link.ErrDown
	case errors.Is(err, paho.ErrInvalidArguments):
		return fmt.Errorf("mqttlink: %s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", link.ErrUnacknowledged, what, err)
}

// publishSize is that of the PUBLISH packet, rounded up by at most 3 bytes: type, length, topic, packet ID, no properties.
func publishSize(topic string, payload []byte) int {
	return 1 + 4 + 2 + len(topic) + 2 + 1 + len(payload)
}
