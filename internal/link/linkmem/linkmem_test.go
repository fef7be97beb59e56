package linkmem_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/link/linkmem"
)

// party is a client that notes what happens to it.
type party struct {
	*linkmem.Client
	ups, downs int
	got        []string
	acks       []func()
	ended      error
}

func start(t *testing.T, b *linkmem.Broker, id string, filters ...string) *party {
	p := &party{Client: b.Client(id)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	up := make(chan struct{}, 16)
	go func() {
		defer close(done)
		p.ended = p.Run(ctx, link.Receiver{
			Up:   func() { p.ups++; up <- struct{}{} },
			Down: func(error) { p.downs++ },
			Message: func(m link.Message) {
				p.got = append(p.got, m.Topic+" "+string(m.Payload))
				p.acks = append(p.acks, m.Ack)
			},
		})
	}()
	go func() {
		for {
			select {
			case <-done:
				return
			case <-up:
				if len(filters) > 0 && p.Subscribe(ctx, filters...) != nil && ctx.Err() == nil {
					continue
				}
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return p
}

func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := linkmem.New(linkmem.Options{})
		all := start(t, b, "all", "x/#")
		one := start(t, b, "one", "x/+/z", "x/y/#") // overlapping filters deliver once
		pub := start(t, b, "pub")
		for _, topic := range []string{"x/y/z", "x/y", "x", "w/y/z", "x/q/z"} {
			require.NoError(t, pub.Publish(t.Context(), topic, []byte(topic)))
		}
		synctest.Wait()
		require.Equal(t, []string{"x/y/z x/y/z", "x/y x/y", "x x", "x/q/z x/q/z"}, all.got)
		require.Equal(t, []string{"x/y/z x/y/z", "x/y x/y", "x/q/z x/q/z"}, one.got)
		require.NoError(t, one.Unsubscribe(t.Context(), "x/+/z"))
		require.NoError(t, pub.Publish(t.Context(), "x/q/z", nil))
		synctest.Wait()
		require.Len(t, one.got, 3)
	})
}

func TestAccessControl(t *testing.T) {
	refused := errors.New("who are you")
	synctest.Test(t, func(t *testing.T) {
		b := linkmem.New(linkmem.Options{
			Connect: func(id string) error {
				if id == "stranger" {
					return refused
				}
				return nil
			},
			Allow: func(id string, a linkmem.Action, topic string) bool {
				return id == "good" || id == "deaf" && a != linkmem.Receive
			},
		})
		good, deaf, bad := start(t, b, "good", "t"), start(t, b, "deaf", "t"), start(t, b, "bad")
		require.NoError(t, good.Publish(t.Context(), "t", []byte("1")))
		var pe *link.PublishError
		require.ErrorAs(t, bad.Publish(t.Context(), "t", nil), &pe)
		var se *link.SubscribeError
		require.ErrorAs(t, bad.Subscribe(t.Context(), "t"), &se)
		synctest.Wait()
		require.Equal(t, []string{"t 1"}, good.got)
		require.Empty(t, deaf.got)
		stranger := start(t, b, "stranger")
		require.ErrorIs(t, stranger.ended, refused)
	})
}

func TestFates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := linkmem.New(linkmem.Options{Fate: func(p linkmem.Publication) linkmem.Fate { return linkmem.Fate(p.Payload[0] - '0') }})
		sub, pub := start(t, b, "sub", "t"), start(t, b, "pub")
		require.NoError(t, pub.Publish(t.Context(), "t", []byte("0")))
		require.NoError(t, pub.Publish(t.Context(), "t", []byte("1")))
		require.NoError(t, pub.Publish(t.Context(), "t", []byte("2")))
		require.ErrorIs(t, pub.Publish(t.Context(), "t", []byte("3")), link.ErrDown)
		require.ErrorIs(t, pub.Publish(t.Context(), "t", []byte("4")), link.ErrDown)
		synctest.Wait()
		require.Equal(t, []string{"t 0", "t 2", "t 2", "t 3"}, sub.got)
	})
}

func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := linkmem.New(linkmem.Options{})
		sub, pub := start(t, b, "sub", "t"), start(t, b, "pub")
		sub.SetOffline(true)
		synctest.Wait()
		require.False(t, b.Connected("sub"))
		require.ErrorIs(t, sub.Publish(t.Context(), "t", nil), link.ErrDown)
		require.ErrorIs(t, sub.Subscribe(t.Context(), "t"), link.ErrDown)
		require.NoError(t, pub.Publish(t.Context(), "t", []byte("lost")))
		sub.SetOffline(false)
		require.Eventually(t, func() bool { synctest.Wait(); return b.Connected("sub") }, 1e9, 1e6)
		require.NoError(t, pub.Publish(t.Context(), "t", []byte("2")))
		synctest.Wait()
		require.Equal(t, []string{"t 2"}, sub.got)
		require.Equal(t, 2, sub.ups)
		require.Equal(t, 1, sub.downs)
	})
}

func TestKeptSessionRedelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := linkmem.New(linkmem.Options{KeepSessions: true})
		sub, pub := start(t, b, "sub", "t"), start(t, b, "pub")
		for _, m := range []string{"1", "2", "3"} {
			require.NoError(t, pub.Publish(t.Context(), "t", []byte(m)))
		}
		synctest.Wait()
		sub.acks[1]()
		sub.SetOffline(true)
		require.NoError(t, pub.Publish(t.Context(), "t", []byte("4")))
		sub.SetOffline(false)
		require.Eventually(t, func() bool { synctest.Wait(); return b.Connected("sub") }, 1e9, 1e6)
		synctest.Wait()
		require.Equal(t, []string{"t 1", "t 2", "t 3", "t 1", "t 3", "t 4"}, sub.got)
	})
}

func TestEvictAndTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := linkmem.New(linkmem.Options{})
		first := start(t, b, "same", "t")
		first.SetOffline(false)
		second := b.Client("same")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- second.Run(ctx, link.Receiver{}) }()
		synctest.Wait()
		require.Equal(t, 1, first.downs, "taken over")
		cancel()
		require.NoError(t, <-done)
		require.Error(t, second.Run(t.Context(), link.Receiver{}), "Run is called once")

		require.Eventually(t, func() bool { synctest.Wait(); return b.Connected("same") }, 1e9, 1e6)
		b.Evict(func(id string) bool { return id == "same" })
		require.False(t, b.Connected("same"))
	})
}
