package mqttlink

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/semio-iot/semio/internal/link"
)

const (
	minRefusals = 3
	// lasting is how long a connection must have been up for the next attempt not to count as a repeated failure.
	lasting = 30 * time.Second
)

type eventKind byte

const (
	eventUp eventKind = iota
	eventDown
	eventMessage
)

type event struct {
	kind    eventKind
	err     error
	message link.Message
}

// Run implements [link.Link]. The package documentation says when it returns an error. When it ends while connected, the
// receiver's Down is the last call, with the error of ctx; messages still queued are not handed over and not acknowledged.
func (l *Link) Run(ctx context.Context, r link.Receiver) error {
	if !l.started.CompareAndSwap(false, true) {
		return errSecondRun
	}
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()

	dispatched := make(chan struct{})
	go func() {
		defer close(dispatched)
		l.dispatch(runCtx, r)
	}()
	l.keepConnected(runCtx)
	close(l.done)
	<-dispatched
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() == nil && l.fatal != nil {
		return l.fatal
	}
	return nil
}

func (l *Link) connectionUp(c *conn) {
	l.mu.Lock()
	l.up, l.upSince = true, time.Now()
	l.refusals, l.lastErr = 0, nil
	l.mu.Unlock()

	go c.acks.run()
	l.emit(event{kind: eventUp})
	close(c.up) // from here on messages follow
	l.cfg.Logger.Debug("connected to broker", "broker", l.url.Redacted(), "client", l.cfg.ClientID)
}

// connectionEnded is called after connectionUp, before the next attempt or at the end.
func (l *Link) connectionEnded(report bool) {
	l.mu.Lock()
	c := l.conn
	l.up = false
	if time.Since(l.upSince) < lasting {
		l.failures++
	} else {
		l.failures = 0
	}
	l.lastErr = c.cause()
	err := l.lastErr
	l.mu.Unlock()

	c.acks.close()
	if report {
		l.emit(event{kind: eventDown, err: err})
		l.cfg.Logger.Info("connection to broker ended", "broker", l.url.Redacted(), "client", l.cfg.ClientID, "error", err)
	}
}

// connectFailed notes a failed attempt and reports whether to give up.
func (l *Link) connectFailed(err error) bool {
	e := l.connectError(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	l.lastErr = e
	if e.Reason == ReasonUnreachable {
		l.refusals = 0
	}
	if !e.Reason.refusal() {
		// The first one of a row is what somebody should see; those that follow would drown it.
		level := slog.LevelInfo
		if l.failures == 1 {
			level = slog.LevelWarn
		}
		l.cfg.Logger.Log(context.Background(), level, "connection attempt failed, will be repeated", "attempt", l.failures, "error", e)
		return false
	}
	if l.refusals++; l.refusals == 1 {
		l.refusedAt = time.Now()
	}
	l.cfg.Logger.Warn("connection attempt refused", "attempt", l.failures, "error", e)
	if l.cfg.Patience < 0 || l.refusals >= minRefusals && time.Since(l.refusedAt) >= l.cfg.Patience {
		l.fatal = e
		return true
	}
	return false
}

func (l *Link) backoff() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first {
		l.first = false
		return 0
	}
	return spread(l.failures, l.cfg.MinBackoff, l.cfg.MaxBackoff)
}

// spread draws the wait before the next attempt. After a connection that lasted it is the whole of [0, low): a broker that
// restarts is met by all its clients at once.
func spread(failures int, low, high time.Duration) time.Duration {
	if failures == 0 {
		return rand.N(low + 1)
	}
	d := low
	for range failures - 1 {
		if d *= 2; d >= high || d <= 0 {
			d = high
			break
		}
	}
	return d/2 + rand.N(d/2+1)
}

// received runs on the client's goroutine. Unacknowledged messages are bounded by the receive maximum, hence it only waits
// for the queue when messages of an earlier connection are still in it.
func (l *Link) received(p paho.PublishReceived) (bool, error) {
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	select {
	case <-c.up:
	case <-l.done:
		return true, nil
	}
	m := link.Message{Topic: p.Packet.Topic, Payload: p.Packet.Payload}
	if p.Packet.QoS == 0 {
		m.Ack = func() {}
		select {
		case l.events <- event{kind: eventMessage, message: m}:
		default:
			// Nothing bounds QoS 0, and waiting here would keep acknowledgements from being read.
			l.dropped.Add(1)
		}
		return true, nil
	}
	m.Ack = c.acks.add(p.Packet.PacketID)
	l.emit(event{kind: eventMessage, message: m})
	return true, nil
}

func (l *Link) emit(e event) {
	select {
	case l.events <- e:
	case <-l.done:
	}
}

// dispatch makes the receiver's calls, one after the other.
func (l *Link) dispatch(ctx context.Context, r link.Receiver) {
	up := false
	handle := func(e event) {
		switch e.kind {
		case eventUp:
			up = true
			if r.Up != nil {
				r.Up()
			}
		case eventDown:
			up = false
			if r.Down != nil {
				r.Down(e.err)
			}
		case eventMessage:
			if r.Message != nil && ctx.Err() == nil {
				r.Message(e.message)
			}
		}
	}
	for {
		select {
		case e := <-l.events:
			handle(e)
			continue
		case <-l.done:
		}
		break
	}
	for {
		select {
		case e := <-l.events:
			handle(e)
			continue
		default:
		}
		break
	}
	if up {
		handle(event{kind: eventDown, err: ctx.Err()})
	}
}
