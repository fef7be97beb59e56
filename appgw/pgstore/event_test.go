package pgstore_test

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/appgw/pgstore"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/pgtest"
)

// host is a back-end with a table of readings, and what a gateway does for OnEventTx. Package appgw's tests and examples/embed show the two
// with a real gateway.
type host struct {
	t       *testing.T
	db      *sql.DB
	store   *pgstore.Store
	table   string
	handle  func(context.Context, identity.DeviceID, appgw.Event, func(appgw.Tx) error) error
	calls   int
	onStore func(ctx context.Context, tx *sql.Tx) error // within the transaction, after the row
}

func newHost(t *testing.T, db *sql.DB, prefix string, o pgstore.Options) *host {
	h := &host{t: t, db: db, table: prefix + "readings"}
	fresh(t, db, prefix)
	o.Prefix = prefix
	var err error
	h.store, err = pgstore.Open(t.Context(), db, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.store.Close()) })
	run(t, db, `CREATE TABLE IF NOT EXISTS `+h.table+` (seq bigint, body bytea)`)
	var mu sync.Mutex // guards calls
	h.handle = h.store.OnEventTx(func(ctx context.Context, tx *sql.Tx, d identity.DeviceID, e appgw.Event) error {
		mu.Lock()
		h.calls++
		mu.Unlock()
		if _, err := tx.ExecContext(ctx, `INSERT INTO `+h.table+` VALUES ($1, $2)`, e.Seq, e.Body); err != nil {
			return err
		}
		if h.onStore != nil {
			return h.onStore(ctx, tx)
		}
		return nil
	})
	return h
}

// deliver is the gateway's part.
func (h *host) deliver(device string, seq uint64) error {
	id, err := identity.ParseDeviceID(device)
	require.NoError(h.t, err)
	return h.handle(h.t.Context(), id, appgw.Event{Seq: seq, Body: []byte(device)}, func(tx appgw.Tx) error {
		have, err := tx.Get("mark/" + device)
		if err != nil && !errors.Is(err, appgw.ErrNotFound) {
			return err
		}
		if n, _ := strconv.ParseUint(string(have), 10, 64); seq <= n {
			return appgw.ErrHandled
		}
		return tx.Put("mark/"+device, []byte(strconv.FormatUint(seq, 10)))
	})
}

// state is the host's rows and the gateway's marks.
func (h *host) state() (rows int, marks map[string]string) {
	require.NoError(h.t, h.db.QueryRowContext(h.t.Context(), `SELECT count(*) FROM `+h.table).Scan(&rows))
	return rows, all(h.t, h.store)
}

func testOnEventTx(t *testing.T, db *sql.DB) {
	h := newHost(t, db, "event_", pgstore.Options{})
	require.NoError(t, h.deliver("D-1", 1))
	rows, marks := h.state()
	require.Equal(t, 1, rows)
	require.Equal(t, map[string]string{"mark/D-1": "1"}, marks)

	require.ErrorIs(t, h.deliver("D-1", 1), appgw.ErrHandled)
	require.Equal(t, 1, h.calls, "of an event that was handled the host learns nothing")

	boom := errors.New("no such customer")
	h.onStore = func(context.Context, *sql.Tx) error { return boom }
	err := h.deliver("D-1", 2)
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "event 2 of D-1")
	rows, marks = h.state()
	require.Equal(t, 1, rows, "undone together")
	require.Equal(t, map[string]string{"mark/D-1": "1"}, marks)

	h.onStore = func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO absent VALUES (1)`)
		require.Error(t, err)
		return nil // a host that overlooks the error of his statement
	}
	require.Error(t, h.deliver("D-1", 2))
	h.onStore = nil
	require.NoError(t, h.deliver("D-1", 2))
	rows, marks = h.state()
	require.Equal(t, 2, rows)
	require.Equal(t, map[string]string{"mark/D-1": "2"}, marks)
}

// Transactions of many devices collide, on the gateway's table and on the host's: each event is stored all the same.
func testEventsCollide(t *testing.T, db *sql.DB) {
	h := newHost(t, db, "crowd_", pgstore.Options{})
	run(t, db, `CREATE TABLE total (n int); INSERT INTO total VALUES (0)`)
	h.onStore = func(ctx context.Context, tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT n FROM total`).Scan(&n); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE total SET n = $1`, n+1)
		return err
	}
	const devices, each = 6, 10
	var wg sync.WaitGroup
	for d := range devices {
		wg.Go(func() {
			for seq := range uint64(each) {
				// The gateway brings an event again whose transaction could not win.
				for h.deliver("D-"+strconv.Itoa(d), seq+1) != nil {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	rows, marks := h.state()
	require.Equal(t, devices*each, rows)
	require.Len(t, marks, devices)
	var n int
	require.NoError(t, db.QueryRow(`SELECT n FROM total`).Scan(&n))
	require.Equal(t, devices*each, n)
	require.Greater(t, h.calls, devices*each, "some collided and ran again")
}

// The connection is lost around COMMIT: whether the event is stored nobody knows until it comes again, and then it is there once.
func testEventCommitLost(t *testing.T, server *pgtest.Server) {
	for _, c := range []struct {
		name   string
		cut    pgtest.Cut
		stored int
	}{
		{"before the server had it", pgtest.BeforeCommit, 0},
		{"before the answer", pgtest.AfterCommit, 1},
		{"no answer", pgtest.Silence, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cutter := server.NewCutter(t)
			h := newHost(t, database(t, cutter.DSN()), "cut"+strconv.Itoa(int(c.cut))+"_", pgstore.Options{Timeout: 3 * time.Second})
			h.onStore = func(context.Context, *sql.Tx) error {
				cutter.Next(c.cut)
				return nil
			}
			require.ErrorIs(t, h.deliver("D-1", 1), pgstore.ErrUnknown)
			rows, marks := h.state()
			require.Equal(t, c.stored, rows)
			require.Len(t, marks, c.stored)

			h.onStore = nil
			err := h.deliver("D-1", 1)
			if c.stored == 1 {
				require.ErrorIs(t, err, appgw.ErrHandled)
			} else {
				require.NoError(t, err)
			}
			rows, _ = h.state()
			require.Equal(t, 1, rows)
		})
	}
}

// A host that does not come back holds up other devices no longer than one statement may take.
func testEventTimeout(t *testing.T, db *sql.DB) {
	h := newHost(t, db, "slow_", pgstore.Options{Timeout: 200 * time.Millisecond})
	h.onStore = func(ctx context.Context, _ *sql.Tx) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	require.ErrorIs(t, h.deliver("D-1", 1), pgstore.ErrUnavailable)
	rows, _ := h.state()
	require.Zero(t, rows)
}
