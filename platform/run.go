package platform

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/link"
)

const (
	publishTimeout = 10 * time.Second
	subscribeAgain = 2 * time.Second

	// What a gateway says, 16 acknowledgements, a request and its own credential at most, fits into this. It bounds what may wait in the inbox
	// to 384 MiB.
	maxRecord = 24 << 10
)

// Run serves peers over the link until ctx ends, then returns nil after everything that it started has ended. It returns an error when the
// link gives up for good. It is called once.
func (s *Service) Run(ctx context.Context) error {
	if s.link == nil {
		return fmt.Errorf("%w: Link or Broker is required to run", errConfig)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for range s.cfg.Limits.Workers {
		wg.Go(func() { s.workLoop(ctx) })
	}
	for range renewers {
		wg.Go(func() { s.renewLoop(ctx) })
	}
	for _, loop := range []func(context.Context){s.nudgeLoop, s.enforce.grantLoop, s.enforce.evictLoop, s.revokeLoop} {
		wg.Go(func() { loop(ctx) })
	}
	wg.Go(func() { s.subscribeLoop(ctx, up) })
	err := s.link.Run(ctx, link.Receiver{
		Up:      func() { poke(up) },
		Down:    func(err error) { s.log.Info("connection to the broker ended", "err", err) },
		Message: s.receive,
	})
	cancel()
	wg.Wait()
	s.peers.wipe()
	if err != nil {
		return fmt.Errorf("run platform: %w", err)
	}
	return nil
}

// subscribeLoop subscribes after each connect.
func (s *Service) subscribeLoop(ctx context.Context, up <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-up:
		}
		for {
			err := s.link.Subscribe(ctx, s.topics.PlatformFilter())
			if err == nil {
				s.nudges.catchUp(s.state())
			}
			if err == nil || ctx.Err() != nil || errors.Is(err, link.ErrDown) {
				break // down: the next Up comes
			}
			s.log.Error("the broker does not let the platform subscribe, will try again", "filter", s.topics.PlatformFilter(), "err", err)
			if !sleep(ctx, subscribeAgain) {
				return
			}
		}
	}
}

// receive is called by the link for each message, and only sorts it.
func (s *Service) receive(m link.Message) {
	if m.Ack != nil {
		// Gateways send again what was not answered, so the broker need not keep it.
		defer m.Ack()
	}
	topic, ok := s.topics.Parse(m.Topic)
	if !ok || topic.Kind != control.TopicToPlatform {
		s.dropped(identity.ID{}, "topic")
		return
	}
	if len(m.Payload) > maxRecord {
		s.dropped(topic.Peer, "size")
		return
	}
	if t, err := e2e.TypeOf(m.Payload); err != nil || t != e2e.TypeInit {
		s.dropped(topic.Peer, "type")
		return
	}
	if !s.registered(topic.Peer) {
		s.dropped(topic.Peer, "unknown peer")
		return
	}
	if !s.inbox.put(topic.Peer, m.Payload) {
		s.dropped(topic.Peer, "overload")
	}
}

func (s *Service) registered(id identity.ID) bool {
	if dev, ok := id.Device(); ok {
		_, ok := s.state().Device(dev)
		return ok
	}
	app, _ := id.App()
	_, ok := s.state().Application(app)
	return ok
}

func (s *Service) dropped(id identity.ID, why string) {
	if f := s.cfg.Observer.Dropped; f != nil {
		f(id, why)
	}
}

func (s *Service) workLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-s.inbox.ready:
			s.inbox.work(id, func(record []byte) { s.handle(ctx, id, record) })
		}
	}
}

// publish sends to a peer's topic. A failure is not repeated here: the peer asks again.
func (s *Service) publish(ctx context.Context, to identity.ID, payload []byte) bool {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := s.link.Publish(ctx, s.topics.ToPeer(to), payload)
	if err != nil {
		s.log.Debug("publish", "to", to, "err", err)
	}
	return err == nil
}
