// Package pgstore keeps an application gateway's store in the host's own PostgreSQL database: in one table beside the host's, over
// the host's *sql.DB and with the host's driver (pgx's stdlib, or another whose errors have a method SQLState).
//
// The host makes the table with his migrations: [DDL] says how. [Open] checks that it is there and what it holds, and its result is
// appgw.Config.Store:
//
//	store, err := pgstore.Open(ctx, db, pgstore.Options{Prefix: "semio_"})
//
// The table belongs to one gateway. The role needs SELECT, INSERT, UPDATE and DELETE on it. Statements use $1 parameters and settings of
// single transactions only, so a pool in front of the server does no harm.
//
// [Store.OnEventTx] makes the handler that stores each event of a device in the host's tables exactly once. [Store.WithTx] is what lies
// beneath: the gateway's memory within a transaction of the host, so that his rows and it change together.
package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/internal/kv"
	"github.com/semio-iot/semio/internal/kv/sqlkv"
)

// Errors of Open and of a store, beside those of package appgw.
var (
	ErrTableName   = sqlkv.ErrTableName
	ErrNoTable     = sqlkv.ErrNoTable     // run what DDL says
	ErrSchema      = kv.ErrSchema         // the table holds something else, or a later version
	ErrNotDurable  = sqlkv.ErrNotDurable  // the role has synchronous_commit off
	ErrUnavailable = sqlkv.ErrUnavailable // no connection, or no answer in time; nothing was changed
	ErrUnknown     = sqlkv.ErrUnknown     // connection lost during COMMIT: all was done, or nothing
	ErrConflict    = sqlkv.ErrConflict    // collided with other transactions too often; nothing was changed
	ErrIsolation   = sqlkv.ErrIsolation   // the host's transaction is not serializable
)

// DefaultPrefix and [DefaultTimeout] are the defaults of [Options].
const DefaultPrefix = "semio_"

// DefaultTimeout is how long a statement may take.
const DefaultTimeout = sqlkv.DefaultTimeout

// suffix makes the table's name from the prefix.
const suffix = "appgw"

// Options of a store. The zero value has all defaults.
type Options struct {
	// Prefix of the table's name, of a-z, 0-9 and _, with the schema before it if it is not found without: "semio_", "water.semio_".
	// Empty means DefaultPrefix.
	Prefix string

	// Timeout is how long one statement may take until its answer is here. Zero means DefaultTimeout.
	Timeout time.Duration
}

// Store is an [appgw.Store] in a table of the host's database. Safe for concurrent use.
type Store struct{ kv *sqlkv.Store }

var _ appgw.Store = (*Store)(nil)

func tableOf(prefix string) (sqlkv.Table, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return sqlkv.ParseTable(prefix + suffix)
}

// DDL returns the statements that make the table for a prefix, for the host's migrations. They end with a semicolon each and may run in one
// transaction. The insert belongs to it: it says what the table holds.
func DDL(prefix string) (string, error) {
	table, err := tableOf(prefix)
	if err != nil {
		return "", err
	}
	return sqlkv.DDL(table, appgw.StoreSchema), nil
}

// Open returns the store in the table with the prefix. It creates nothing: ErrNoTable says that the host has not run [DDL], ErrSchema that
// the table was made for something else or by a later version. db stays the host's: closing the store leaves it open.
func Open(ctx context.Context, db *sql.DB, o Options) (*Store, error) {
	table, err := tableOf(o.Prefix)
	if err != nil {
		return nil, err
	}
	s, err := sqlkv.Open(ctx, db, sqlkv.Options{Table: table, Content: appgw.StoreSchema, Timeout: o.Timeout})
	if errors.Is(err, ErrNoTable) {
		return nil, fmt.Errorf("%w: run these statements first (pgstore.DDL):\n%s", err, sqlkv.DDL(table, appgw.StoreSchema))
	}
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// View implements [appgw.Store]: one committed state of the table, which waits for nobody.
func (s *Store) View(ctx context.Context, f func(appgw.Tx) error) error { return s.kv.View(ctx, f) }

// Update implements [appgw.Store]. It runs f again after a conflict with another transaction.
func (s *Store) Update(ctx context.Context, f func(appgw.Tx) error) error { return s.kv.Update(ctx, f) }

// Close implements [appgw.Store]. The host's database stays open, and his transactions with it.
func (s *Store) Close() error { return s.kv.Close() }

// WithTx returns the store's view of a transaction that the host began: what is written through it becomes true with the host's
// own rows, when he commits, or not at all. It is not used after that. ctx bounds each of its calls.
//
// The transaction must be serializable, since a weaker one could overwrite what the gateway wrote meanwhile; otherwise each call returns
// ErrIsolation. Such transactions may collide: the host runs it again from the beginning when an error, also one of his COMMIT, is
// [Retryable]. After any error of the database only a rollback is left. Keep it short: updates of the same keys wait for its end.
func (s *Store) WithTx(ctx context.Context, tx *sql.Tx) appgw.Tx { return s.kv.WithTx(ctx, tx) }

// Retryable says of an error of a host's transaction that it collided with another one, was undone and can run again.
func Retryable(err error) bool { return sqlkv.Retryable(err) }
