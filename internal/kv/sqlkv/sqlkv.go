// Package sqlkv keeps a [kv.Store] in one table of a PostgreSQL database, over database/sql and with whatever driver the caller has.
// [Open] is where to start; [Create] makes the table, or [DDL] says how.
//
// The table has a row for each key, in the order of the keys' bytes, and one under the empty key that says what the table holds:
//
//	k bytea  |  v bytea
//	''       |  'table 1, semio platform 1'
//	key      |  value
//
// An Update is a SERIALIZABLE transaction. When it collides with another one it runs again, first at once, then after short
// pauses of random length, and at last alone, with the table locked against other writers: no load starves it. A View is a REPEATABLE READ,
// READ ONLY transaction: one committed state of the table, which makes nobody wait, waits for nobody, and runs once.
//
// What it does not promise: a database that was told to confirm before it is durable (fsync off, synchronous_commit off for another
// role) loses what it confirmed. Open refuses only what it can see.
package sqlkv

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/semio-iot/semio/internal/kv"
)

// Options of a store.
type Options struct {
	Table   Table         // required
	Content string        // required: what the table holds and its version, for example "semio platform 1"
	Timeout time.Duration // for an answer to one statement, also BEGIN and COMMIT; zero means [DefaultTimeout]
}

// DefaultTimeout is how long a statement may take.
const DefaultTimeout = 30 * time.Second

// Store keeps keys and values in a table. Safe for concurrent use.
type Store struct {
	db      *sql.DB
	sql     statements
	timeout time.Duration

	mu     sync.Mutex // guards closed, and that under.Add does not come after it
	closed bool
	under  sync.WaitGroup
}

var _ kv.Store = (*Store)(nil)

// Open returns the store in a table that exists. It does not take over db: closing the store leaves it open. ErrNoTable reports that
// there is no such table, [kv.ErrSchema] that it holds something else, ErrNotDurable that the role's commits are not durable.
func Open(ctx context.Context, db *sql.DB, o Options) (*Store, error) {
	s, err := newStore(db, o)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, o); err != nil {
		return nil, err
	}
	return s, nil
}

func newStore(db *sql.DB, o Options) (*Store, error) {
	switch {
	case db == nil:
		return nil, errors.New("sqlkv: no database given")
	case o.Table == Table{}:
		return nil, fmt.Errorf("%w: none given", ErrTableName)
	case o.Content == "":
		return nil, errors.New("sqlkv: options do not say what the table holds")
	case o.Timeout < 0:
		return nil, fmt.Errorf("sqlkv: timeout of %v", o.Timeout)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &Store{db: db, sql: statementsFor(o.Table), timeout: o.Timeout}, nil
}

func (s *Store) check(ctx context.Context, o Options) error {
	within, cancel := context.WithTimeoutCause(ctx, s.timeout, silence(s.timeout))
	defer cancel()
	var have []byte
	var durable string
	err := s.db.QueryRowContext(within, s.sql.marker).Scan(&have, &durable)
	want := []byte(marker(o.Content))
	switch code := sqlState(err); {
	case code == undefinedTable:
		return fmt.Errorf("open table %s: %w", o.Table, ErrNoTable)
	case errors.Is(err, sql.ErrNoRows), code == undefinedColumn:
		return fmt.Errorf("open table %s: %w: it was made for something else, use another table", o.Table, kv.ErrSchema)
	case err != nil:
		return explain(within, "open table "+o.Table.String(), err)
	case !bytes.Equal(have, want):
		return fmt.Errorf("open table %s: %w: it says %q, want %q", o.Table, kv.ErrSchema, have, want)
	case durable == "off":
		return fmt.Errorf("open table %s: %w", o.Table, ErrNotDurable)
	}
	return nil
}

// Create makes the table, and the schema that it is in, unless it exists; several programs may do so at once. It does not look at what an
// existing table holds: Open does.
func Create(ctx context.Context, db *sql.DB, o Options) error {
	s, err := newStore(db, o)
	if err != nil {
		return err
	}
	op := "create table " + o.Table.String()
	within, cancel := context.WithTimeoutCause(ctx, s.timeout, silence(s.timeout))
	defer cancel()
	tx, err := db.BeginTx(within, nil)
	if err != nil {
		return explain(within, op, err)
	}
	defer tx.Rollback()
	// IF NOT EXISTS alone does not do: two at once both find nothing, and one of them fails.
	if _, err := tx.ExecContext(within, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, "semio "+o.Table.String()); err != nil {
		return explain(within, op, err)
	}
	var schema, table bool
	err = tx.QueryRowContext(within, `SELECT to_regnamespace($1) IS NOT NULL, to_regclass($2) IS NOT NULL`,
		`"`+o.Table.schema+`"`, o.Table.String()).Scan(&schema, &table)
	if err != nil {
		return explain(within, op, err)
	}
	if table {
		return nil
	}
	todo := ddl(o.Table, o.Content)
	if o.Table.schema != "" && !schema {
		todo = append([]string{`CREATE SCHEMA "` + o.Table.schema + `"`}, todo...)
	}
	for _, statement := range todo {
		if _, err := tx.ExecContext(within, statement); err != nil {
			return explain(within, op, err)
		}
	}
	return explainCommit(tx.Commit())
}

// Close implements [kv.Store]. It waits for transactions under way, not for those of [Store.WithTx].
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.under.Wait()
	return nil
}

func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return kv.ErrClosed
	}
	s.under.Add(1)
	return nil
}
