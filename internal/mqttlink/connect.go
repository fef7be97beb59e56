package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
)

// keepConnected connects, again and again, until ctx ends or the refusals are too many.
func (l *Link) keepConnected(ctx context.Context) {
	for wait(ctx, l.backoff()) {
		c, err := l.connect(ctx)
		if err != nil {
			if ctx.Err() != nil || l.connectFailed(err) {
				return
			}
			continue
		}
		l.connectionUp(c)
		select {
		case <-c.client.Done():
			l.connectionEnded(true)
		case <-ctx.Done():
			// The deadline of writes bounds this. An error is that of a connection which has ended meanwhile.
			_ = c.client.Disconnect(&paho.Disconnect{})
			l.connectionEnded(false)
			return
		}
	}
}

// wait reports whether ctx goes on after d.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// connect makes one attempt, with one time limit from name lookup to CONNACK.
func (l *Link) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer cancel()
	raw, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newConn(raw, l.cfg.MaxPacket, l.cfg.AckTimeout)
	l.mu.Lock()
	l.conn = c
	l.mu.Unlock()
	// A session of its own for each connection: nothing of an earlier one is meant by its packet IDs.
	inner := state.NewInMemory()
	c.acks = newAcks(inner)
	c.client = paho.NewClient(paho.ClientConfig{
		Conn:              c,
		Session:           quietSession{inner},
		PacketTimeout:     l.cfg.AckTimeout,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){l.received},
	})
	ack, err := c.client.Connect(ctx, l.connectPacket())
	switch {
	case ack != nil && ack.ReasonCode >= 0x80:
		return nil, &connackError{ack.ReasonCode, reasonText(ack)}
	case err != nil:
		return nil, err
	}
	if ack.Properties != nil && ack.Properties.MaximumPacketSize != nil {
		c.maxSend = int(min(uint64(c.maxSend), uint64(*ack.Properties.MaximumPacketSize)))
	}
	return c, nil
}

func (l *Link) connectPacket() *paho.Connect {
	receiveMaximum, maxPacket := l.cfg.ReceiveMaximum, uint32(l.cfg.MaxPacket)
	p := &paho.Connect{
		ClientID:   l.cfg.ClientID,
		CleanStart: true,
		KeepAlive:  uint16(l.cfg.KeepAlive / time.Second),
		Properties: &paho.ConnectProperties{ReceiveMaximum: &receiveMaximum, MaximumPacketSize: &maxPacket, RequestProblemInfo: true},
	}
	if l.cfg.Anonymous {
		p.ClientID = randomClientID()
	}
	if l.cfg.Username != "" {
		p.UsernameFlag, p.Username = true, l.cfg.Username
	}
	if l.cfg.Password.Len() > 0 {
		p.PasswordFlag, p.Password = true, l.cfg.Password.Expose()
	}
	return p
}

// connackError is a broker's refusal.
type connackError struct {
	code byte
	text string
}

func (e *connackError) Error() string {
	if e.text == "" {
		return fmt.Sprintf("refused with reason %d", e.code)
	}
	return fmt.Sprintf("refused with reason %d: %s", e.code, e.text)
}

func reasonText(ack *paho.Connack) string {
	if ack.Properties == nil {
		return ""
	}
	return ack.Properties.ReasonString
}

// errSecondRun is for whoever calls Run twice.
var errSecondRun = errors.New("mqttlink: Run called a second time: make another Link")
