package sqlkv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/semio-iot/semio/internal/kv"
)

// Tx implements [kv.Tx]. After an error of the database every later call returns that error again, since PostgreSQL does nothing more
// in a transaction that failed.
type Tx struct {
	caller  context.Context
	ctx     context.Context // ends after caller; see Store.run
	sql     *statements
	on      *sql.Tx
	timeout time.Duration
	write   bool
	foreign bool // the host's, and its isolation not yet looked at
	err     error
}

var _ kv.Tx = (*Tx)(nil)

// WithTx returns the store's view of a transaction that the host began, so that his own tables and the store change together or not at
// all. The host commits, or rolls back, and decides what happens then; the Tx is not used after it. ctx bounds each of its calls.
//
// The transaction must be serializable; otherwise each call returns ErrIsolation. The host runs it again from the beginning when an
// error, also one of his COMMIT, is [Retryable].
func (s *Store) WithTx(ctx context.Context, tx *sql.Tx) *Tx {
	t := &Tx{caller: ctx, ctx: ctx, sql: &s.sql, on: tx, timeout: s.timeout, write: true, foreign: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		t.err = kv.ErrClosed
	}
	return t
}

// do runs one exchange with the database within the time limit, and keeps its error.
func (t *Tx) do(op string, f func(ctx context.Context) error) error {
	if t.err != nil {
		return t.err
	}
	if err := t.caller.Err(); err != nil {
		t.err = fmt.Errorf("%s: %w", op, err)
		return t.err
	}
	ctx, cancel := context.WithTimeoutCause(t.ctx, t.timeout, silence(t.timeout))
	defer cancel()
	if t.foreign {
		var level string
		if err := t.on.QueryRowContext(ctx, `SHOW transaction_isolation`).Scan(&level); err != nil {
			t.err = explain(ctx, "look at isolation", err)
			return t.err
		}
		if level != "serializable" {
			t.err = fmt.Errorf("%w; it is %s", ErrIsolation, level)
			return t.err
		}
		t.foreign = false
	}
	t.err = explain(ctx, op, f(ctx))
	return t.err
}

// Get implements [kv.Tx].
func (t *Tx) Get(key string) ([]byte, error) {
	var value []byte
	found := false
	err := t.do("get", func(ctx context.Context) error {
		// What no Put takes is not there, least of all the row under the empty key.
		if kv.CheckSize(key, nil) != nil {
			return nil
		}
		err := t.on.QueryRowContext(ctx, t.sql.get, []byte(key)).Scan(&value)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		found = err == nil
		return err
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, kv.ErrNotFound
	}
	return value, nil
}

// Put implements [kv.Tx].
func (t *Tx) Put(key string, value []byte) error {
	if !t.write {
		return kv.ErrReadOnly
	}
	if err := kv.CheckSize(key, value); err != nil {
		return err
	}
	if value == nil {
		value = []byte{} // nil is NULL
	}
	return t.do("put", func(ctx context.Context) error {
		_, err := t.on.ExecContext(ctx, t.sql.put, []byte(key), value)
		return err
	})
}

// Delete implements [kv.Tx].
func (t *Tx) Delete(key string) error {
	if !t.write {
		return kv.ErrReadOnly
	}
	return t.do("delete", func(ctx context.Context) error {
		if kv.CheckSize(key, nil) != nil {
			return nil
		}
		_, err := t.on.ExecContext(ctx, t.sql.del, []byte(key))
		return err
	})
}

// Pages of List. The first one is small for those who stop early. bytesPerPage bounds what is held in memory, but for one value.
const (
	firstPage    = 32
	maxPage      = 2048
	bytesPerPage = 1 << 20
)

type row struct {
	key   string
	value []byte
}

// List implements [kv.Tx]. It holds a page of rows at a time, so that other keys can be read while it runs. When the database fails it
// ends early; the transaction then fails with that error, whatever f returns.
func (t *Tx) List(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		// "\x00" is the first key after the empty one.
		from, to := max(prefix, "\x00"), after(prefix)
		for size := firstPage; ; size = min(4*size, maxPage) {
			rows, last, err := t.page(from, to, size)
			if err != nil {
				return
			}
			for _, r := range rows {
				if !yield(r.key, r.value) {
					return
				}
			}
			if last {
				return
			}
			from = rows[len(rows)-1].key + "\x00"
		}
	}
}

// page reads at most size rows; last says that none follow.
func (t *Tx) page(from, to string, size int) (rows []row, last bool, err error) {
	err = t.do("list", func(ctx context.Context) (err error) {
		r, err := t.on.QueryContext(ctx, t.sql.page, []byte(from), []byte(to), size, bytesPerPage)
		if err != nil {
			return err
		}
		defer r.Close()
		total := 0
		for r.Next() {
			var key, value []byte
			if err := r.Scan(&key, &value); err != nil {
				return err
			}
			total += len(value)
			rows = append(rows, row{string(key), value})
		}
		last = len(rows) < size && total < bytesPerPage
		return r.Err()
	})
	return rows, last, err
}

// after is the first string that is greater than all keys with the prefix.
func after(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return strings.Repeat("\xff", kv.MaxKey+1)
}
