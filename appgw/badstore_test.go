package appgw_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/internal/control"
)

// badReads is a store that cannot read keys of one kind for a while, as when a database connection breaks.
type badReads struct {
	appgw.Store
	prefix string
	left   atomic.Int64 // transactions that still fail
}

func (s *badReads) View(ctx context.Context, f func(appgw.Tx) error) error {
	return s.Store.View(ctx, func(tx appgw.Tx) error { return f(badTx{tx, s}) })
}

type badTx struct {
	appgw.Tx
	s *badReads
}

func (t badTx) Get(key string) ([]byte, error) {
	if strings.HasPrefix(key, t.s.prefix) && t.s.left.Add(-1) >= 0 {
		return nil, errors.New("connection to the database is lost")
	}
	return t.Tx.Get(key)
}

// A refusal is for good: neither side could end the connection that the platform has noted then. So a store that fails for a while
// must not be taken for one.
func TestFailingStoreRefusesNoOrder(t *testing.T) {
	for _, prefix := range []string{"device/", "epoch/", "claim/", "next/", "mark/"} {
		t.Run(prefix, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *system) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				bad := &badReads{Store: s.store, prefix: prefix}
				app, _ := s.startApp(func(c *appgw.Config) { c.Store = bad })
				dev, _ := s.startDevice(nil)
				bad.left.Store(3)
				require.NoError(t, app.Connect(ctx, s.sticker))
				require.Negative(t, bad.left.Load(), "the store has failed")
				require.Equal(t, control.AckDone, s.lastAck())
				require.NoError(t, dev.WaitConnected(ctx))
				_, err := app.Send(ctx, dev.ID(), appgw.Event{Body: []byte("hello")})
				require.NoError(t, err)
				require.NoError(t, app.Flush(ctx, dev.ID()))
			})
		})
	}
}

// lostAnswers is a store behind a connection that breaks when a transaction that wrote a key of one kind is committed, and its answer on
// its way.
type lostAnswers struct {
	appgw.Store
	prefix string
	left   atomic.Int64
}

type writes struct {
	appgw.Tx
	prefix string
	hit    *bool
}

func (t writes) Put(key string, value []byte) error {
	*t.hit = *t.hit || strings.HasPrefix(key, t.prefix)
	return t.Tx.Put(key, value)
}

func (s *lostAnswers) Update(ctx context.Context, f func(appgw.Tx) error) error {
	hit := false
	if err := s.Store.Update(ctx, func(tx appgw.Tx) error { return f(writes{tx, s.prefix, &hit}) }); err != nil {
		return err
	}
	if hit && s.left.Add(-1) >= 0 {
		return errors.New("connection lost during COMMIT")
	}
	return nil
}

// An order that was carried out, and whose gateway was not told so by its store, is carried out in RAM too when it comes again.
func TestLostAnswerOfTheStore(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		lost := &lostAnswers{Store: s.store, prefix: "device/"}
		app, _ := s.startApp(func(c *appgw.Config) { c.Store = lost })
		dev, _ := s.startDevice(nil)
		lost.left.Store(1)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.LessOrEqual(t, lost.left.Load(), int64(0))
		require.Equal(t, control.AckDone, s.lastAck())
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := app.Send(ctx, dev.ID(), appgw.Event{Body: []byte("hello")})
		require.NoError(t, err)
		require.NoError(t, app.Flush(ctx, dev.ID()))

		synctest.Wait()
		lost.prefix = "tomb/" // of the removal, not of the note that it was asked for
		lost.left.Store(1)
		require.NoError(t, app.Disconnect(ctx, dev.ID()))
		require.LessOrEqual(t, lost.left.Load(), int64(0))
		require.Equal(t, control.AckDone, s.lastAck())
		_, err = app.Send(ctx, dev.ID(), appgw.Event{})
		require.ErrorIs(t, err, appgw.ErrUnknownDevice)
	})
}
