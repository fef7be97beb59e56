package platform_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

func mustParse(t *testing.T, name string) identity.ID {
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	return id
}

var errLost = errors.New("connection lost during COMMIT")

// loses is a store behind a connection that breaks when the commit is done and the answer is on its way.
type loses struct {
	platform.Store
	answers atomic.Int64 // so many to lose
}

func (s *loses) Update(ctx context.Context, f func(platform.Tx) error) error {
	if err := s.Store.Update(ctx, f); err != nil {
		return err
	}
	if s.answers.Add(-1) >= 0 {
		return errLost
	}
	return nil
}

func withLoses(t *testing.T, f func(t *testing.T, w *world, s *loses)) {
	s := new(loses)
	inWorld(t, func(w *world) {
		s.Store = w.store
		w.store = s
	}, func(t *testing.T, w *world) { f(t, w, s) })
}

// A change that was made, and whose maker does not know, is found and carried out.
func TestCommitWithoutAnswer(t *testing.T) {
	t.Run("of a retirement", func(t *testing.T) {
		withLoses(t, func(t *testing.T, w *world, s *loses) {
			dev, app := w.device("D-1"), w.app("A-WATER")
			require.NoError(t, app.connect(dev).Err())
			s.answers.Store(1)
			require.ErrorIs(t, w.svc.Retire(t.Context(), dev.dev()), errLost)
			require.Equal(t, registry.Retired, w.record(dev).Status)
			require.Error(t, w.svc.Authenticate(dev.id, "D-1"))
			time.Sleep(2 * time.Second)
			w.mu.Lock()
			cut := len(w.evicts)
			w.mu.Unlock()
			require.Equal(t, 1, cut, "the live connection is cut")
			require.NoError(t, w.svc.Retire(t.Context(), dev.dev()), "again is no error")
			require.True(t, w.record(dev).Listed, "the authority was asked")
		})
	})
	t.Run("of a connection", func(t *testing.T) {
		withLoses(t, func(t *testing.T, w *world, s *loses) {
			dev, app := w.device("D-1"), w.app("A-WATER")
			s.answers.Store(1)
			require.NoError(t, app.connect(dev).Err(), "the gateway asks again and gets the stored answer")
			require.LessOrEqual(t, s.answers.Load(), int64(0))
			time.Sleep(time.Minute)
			require.Len(t, dev.taken(), 1)
			require.Len(t, app.taken(), 1)
			require.Empty(t, w.record(dev).Orders)
		})
	})
	t.Run("of handing out an order", func(t *testing.T) {
		withLoses(t, func(t *testing.T, w *world, s *loses) {
			dev, app := w.device("D-1"), w.app("A-WATER")
			dev.link.SetOffline(true)
			require.NoError(t, app.connect(dev).Err())
			s.answers.Store(1)
			dev.link.SetOffline(false)
			time.Sleep(time.Minute)
			require.LessOrEqual(t, s.answers.Load(), int64(0))
			require.Len(t, dev.taken(), 1)
			require.Empty(t, w.record(dev).Orders, "the acknowledgement is taken")
			require.NoError(t, app.disconnect(dev).Err())
			require.Equal(t, registry.Remove, dev.taken()[0].Op)
		})
	})
	t.Run("of a revocation list, and it was not made", func(t *testing.T) {
		var disk *faultyStore
		inWorld(t, func(w *world) {
			disk = &faultyStore{Store: w.store}
			w.store = disk
		}, func(t *testing.T, w *world) {
			dev, app := w.device("D-1"), w.app("A-WATER")
			w.party("D-OTHER")
			first, err := w.authority.Revoke(mustParse(t, "D-OTHER"))
			require.NoError(t, err)
			require.NoError(t, w.svc.AddCRL(t.Context(), first))
			second, err := w.authority.Revoke(dev.id)
			require.NoError(t, err)
			synctest.Wait() // what the first list has set going must not be what the disk refuses
			disk.set(1, 0)
			require.ErrorIs(t, w.svc.AddCRL(t.Context(), second), errDisk)
			require.Equal(t, registry.Registered, w.record(dev).Status)
			require.Error(t, app.connect(dev).Err(), "the platform has seen the list, and goes on")
			require.NoError(t, w.svc.AddCRL(t.Context(), second))
			require.Equal(t, registry.Retired, w.record(dev).Status)
		})
	})
	t.Run("of the last acknowledgement", func(t *testing.T) {
		b := &listBroker{have: map[platform.Grant]bool{}}
		s := new(loses)
		inWorld(t, func(w *world) {
			s.Store = w.store
			w.store, w.cfg.Enforcer = s, b
		}, func(t *testing.T, w *world) {
			dev := w.device("D-1")
			dev.link.SetOffline(true)
			require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
			synctest.Wait()
			x, init := dev.init(poll)
			order := dev.open(x, dev.send(init)[0]).Orders[0]
			ack, err := control.AckOf(dev.id, 1, order, control.AckDone).Sign(dev.signer)
			require.NoError(t, err)
			s.answers.Store(1)
			_, init = dev.init(func([32]byte) control.Message { return control.Message{Acks: [][]byte{ack}} })
			dev.send(init)
			require.True(t, w.record(dev).Finished())
			time.Sleep(time.Minute)
			b.mu.Lock()
			defer b.mu.Unlock()
			for g := range b.have {
				require.NotEqual(t, dev.id, g.Principal)
			}
		})
	})
	t.Run("and the store away afterwards", func(t *testing.T) {
		withLoses(t, func(t *testing.T, w *world, s *loses) {
			dev, app := w.device("D-1"), w.app("A-WATER")
			require.NoError(t, app.connect(dev).Err())
			ctx, cancel := context.WithCancel(t.Context())
			cut := &cutOff{Store: s.Store, cancel: cancel}
			s.Store = cut
			s.answers.Store(1)
			require.ErrorIs(t, w.svc.Retire(ctx, dev.dev()), errLost)
			require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
			synctest.Wait()
			require.Equal(t, registry.Retired, w.record(dev).Status)
		})
	})
}

// cutOff ends its caller's context with the first commit.
type cutOff struct {
	platform.Store
	cancel func()
}

func (s *cutOff) Update(ctx context.Context, f func(platform.Tx) error) error {
	err := s.Store.Update(ctx, f)
	s.cancel()
	return err
}
