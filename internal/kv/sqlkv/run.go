package sqlkv

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/semio-iot/semio/internal/kv"
)

const (
	// attempts is how often an Update runs before it gives up. After crowded ones it holds off all other writers, so what can
	// then still fail it are locks that a host's transactions hold across tables.
	attempts = 10
	crowded  = 5

	firstPause = time.Millisecond // doubled with each attempt; a random part of it is waited
)

type mode struct{ write, alone bool }

// View implements [kv.Store]. It runs f once.
func (s *Store) View(ctx context.Context, f func(kv.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.under.Done()
	return s.run(ctx, mode{}, func(_ context.Context, _ *sql.Tx, tx *Tx) error { return f(tx) })
}

// Update implements [kv.Store]. It runs f again, in a new transaction, after a conflict.
func (s *Store) Update(ctx context.Context, f func(kv.Tx) error) error {
	return s.UpdateWith(ctx, func(_ context.Context, _ *sql.Tx, tx kv.Tx) error { return f(tx) })
}

// UpdateWith is Update for a host with tables of his own beside the store's: f writes to them through host, under its ctx, and neither
// commits nor rolls back. A collision of his statements makes f run again too. ctx ends when f has taken longer than one statement of the
// store may.
func (s *Store) UpdateWith(ctx context.Context, f func(ctx context.Context, host *sql.Tx, tx kv.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.under.Done()
	for n := 1; ; n++ {
		err := s.run(ctx, mode{write: true, alone: n > crowded}, func(ctx context.Context, host *sql.Tx, tx *Tx) error {
			within, cancel := context.WithTimeoutCause(ctx, s.timeout, silence(s.timeout))
			defer cancel()
			return f(within, host, tx)
		})
		if !Retryable(err) || n == attempts {
			return err
		}
		if err := pause(ctx, rand.N(firstPause<<min(n, crowded))); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// run is one transaction. An error that is Retryable means that f may run again.
func (s *Store) run(ctx context.Context, m mode, f func(context.Context, *sql.Tx, *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// A context that ends during COMMIT would leave us not knowing whether it was done, for the sake of milliseconds. So it is cut off
	// from the transaction just before, and only the time limit remains.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	release := context.AfterFunc(ctx, func() { cancel(ctx.Err()) })
	defer release()
	limited := func(op func() error) error {
		defer time.AfterFunc(s.timeout, func() { cancel(silence(s.timeout)) }).Stop()
		return op()
	}

	var began *sql.Tx
	if err := limited(func() (err error) {
		began, err = s.begin(inner, m)
		return err
	}); err != nil {
		return err
	}
	// Also when f panics. After a commit it does nothing.
	defer limited(began.Rollback)

	tx := &Tx{caller: ctx, ctx: inner, sql: &s.sql, on: began, timeout: s.timeout, write: m.write}
	defer func() { tx.err = errOver }()
	switch err := f(inner, began, tx); {
	case errors.Is(tx.err, ErrConflict):
		return tx.err // whatever f made of it
	case err != nil && (tx.err == nil || errors.Is(err, tx.err)):
		return err
	case tx.err != nil:
		return errors.Join(err, tx.err) // a List that broke off looks to f like one that ended
	case !m.write:
		limited(began.Commit) // f has read its snapshot, whatever becomes of the connection now
		return nil
	}
	if !release() {
		return ctx.Err()
	}
	return explainCommit(limited(began.Commit))
}

func (s *Store) begin(ctx context.Context, m mode) (*sql.Tx, error) {
	o := &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	if m.write {
		o = &sql.TxOptions{Isolation: sql.LevelSerializable}
	}
	tx, err := s.db.BeginTx(ctx, o)
	if err != nil {
		return nil, explain(ctx, "begin", err)
	}
	if m.alone {
		// The first statement, since it takes no snapshot: what the others wrote until the lock was granted is then seen.
		if _, err := tx.ExecContext(ctx, s.sql.alone); err != nil {
			return nil, errors.Join(explain(ctx, "lock table", err), tx.Rollback())
		}
	}
	return tx, nil
}
