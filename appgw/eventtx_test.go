package appgw_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
)

// ledger is a host whose rows lie in the gateway's store, so that both change in one transaction.
type ledger struct {
	s *system

	mu     sync.Mutex
	faults map[int]string // what goes wrong at the n-th delivery, from 1
	n      int
}

func (l *ledger) handle(ctx context.Context, d identity.DeviceID, e appgw.Event, handled func(appgw.Tx) error) error {
	l.mu.Lock()
	l.n++
	fault := l.faults[l.n]
	l.mu.Unlock()
	if fault == "before" {
		return errors.New("no connection")
	}
	boom := errors.New("rolled back")
	err := l.s.store.Update(ctx, func(tx appgw.Tx) error {
		if err := handled(tx); err != nil {
			return err
		}
		key := fmt.Sprintf("host/%s/%08d", d, e.Seq)
		if _, err := tx.Get(key); !errors.Is(err, appgw.ErrNotFound) {
			return fmt.Errorf("event %d is in the ledger: %v", e.Seq, err)
		}
		if err := tx.Put(key, e.Body); err != nil {
			return err
		}
		if fault == "rollback" {
			return boom
		}
		return nil
	})
	if err == nil && fault == "unknown" {
		return errors.New("connection lost during COMMIT")
	}
	return err
}

func (l *ledger) rows() (rows []string) {
	require.NoError(l.s.t, l.s.store.View(context.Background(), func(tx appgw.Tx) error {
		for _, v := range tx.List("host/") {
			rows = append(rows, string(v))
		}
		return nil
	}))
	return rows
}

// The row of an event and the mark that it is handled are one transaction, whatever becomes of the handler's answer and the process.
func TestOnEventTxIsExactlyOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		l := &ledger{s: s, faults: map[int]string{1: "before", 3: "rollback", 5: "unknown", 8: "unknown", 9: "rollback", 12: "unknown"}}
		start := func() func() {
			_, stop := s.startApp(func(c *appgw.Config) { c.OnEventTx, c.Link = l.handle, s.broker.Client("A-WATER") })
			return stop
		}
		app, kill := s.startApp(func(c *appgw.Config) { c.OnEventTx = l.handle })
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint(i))
			_, err := dev.Send(ctx, devicegw.Event{Body: []byte(want[i])})
			require.NoError(t, err)
			if i%7 == 6 { // a kill at whatever moment
				kill()
				kill = start()
			}
		}
		require.NoError(t, dev.Flush(ctx))
		require.Equal(t, want, l.rows())
		require.Greater(t, l.n, len(want), "some came again")
	})
}

func TestOnEventTxVolatile(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		got := make(chan string, 4)
		app, _ := s.startApp(func(c *appgw.Config) {
			c.OnEventTx = func(ctx context.Context, _ identity.DeviceID, e appgw.Event, handled func(appgw.Tx) error) error {
				if err := s.store.Update(ctx, handled); err != nil {
					return err
				}
				got <- string(e.Body)
				return nil
			}
		})
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("first")})
		require.NoError(t, err)
		require.NoError(t, dev.Flush(ctx))
		_, err = dev.Send(ctx, devicegw.Event{Body: []byte("volatile"), Volatile: true})
		require.NoError(t, err)
		_, err = dev.Send(ctx, devicegw.Event{Body: []byte("last")})
		require.NoError(t, err)
		require.NoError(t, dev.Flush(ctx))
		require.ElementsMatch(t, []string{"first", "volatile", "last"}, []string{<-got, <-got, <-got})
	})
}

// A handler that forgets the mark would handle events twice after a crash; it is told at once instead.
func TestOnEventTxWithoutMark(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		calls := make(chan uint64, 8)
		app, _ := s.startApp(func(c *appgw.Config) {
			c.OnEventTx = func(ctx context.Context, _ identity.DeviceID, e appgw.Event, handled func(appgw.Tx) error) error {
				calls <- e.Seq
				if len(calls) < 3 {
					return nil
				}
				return s.store.Update(ctx, handled)
			}
		})
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("x")})
		require.NoError(t, err)
		require.NoError(t, dev.Flush(ctx))
		require.Equal(t, []uint64{1, 1, 1}, []uint64{<-calls, <-calls, <-calls})
	})
}

// A handler that takes its time may end after its device's connection has: it leaves nothing behind.
func TestOnEventTxOfAnEndedConnection(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		ctx := t.Context()
		entered, release, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		app, _ := s.startApp(func(c *appgw.Config) {
			c.OnEventTx = func(_ context.Context, _ identity.DeviceID, _ appgw.Event, handled func(appgw.Tx) error) error {
				close(entered)
				<-release
				err := s.store.Update(context.Background(), handled)
				result <- err
				return err
			}
		})
		dev, _ := s.startDevice(nil)
		require.NoError(t, app.Connect(ctx, s.sticker))
		require.NoError(t, dev.WaitConnected(ctx))
		_, err := dev.Send(ctx, devicegw.Event{Body: []byte("x")})
		require.NoError(t, err)
		<-entered
		require.NoError(t, app.Disconnect(ctx, s.sticker.Device))
		close(release)
		require.ErrorIs(t, <-result, appgw.ErrUnknownDevice)
		require.NotContains(t, s.storeKinds(), "mark")
	})
}

func TestOnEventOrOnEventTx(t *testing.T) {
	bubble(t, func(t *testing.T, s *system) {
		cfg := s.config()
		cfg.OnEvent = new(inbox).handle
		cfg.OnEventTx = (&ledger{s: s}).handle
		_, err := appgw.Open(t.Context(), cfg)
		require.ErrorIs(t, err, appgw.ErrConfig)
	})
}
