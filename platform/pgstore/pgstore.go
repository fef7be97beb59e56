// Package pgstore keeps a platform's store in PostgreSQL: one table, made on first use, over connections of its own. Start with [Open]
// and give what it returns to platform.Config.Store.
//
//	store, err := pgstore.Open(ctx, "postgres://semio@db.example/semio?sslmode=verify-full", pgstore.Options{})
//
// The password belongs into PGPASSWORD, ~/.pgpass or a client certificate rather than into a string that ends up in a process
// list. Updates are serializable transactions; what they changed is durable when they return, if the server keeps its promises.
//
// A lost connection undoes the transaction, with [ErrUnavailable], but for one case: when it is lost during COMMIT nobody
// knows, and the error is [ErrUnknown]. The store itself reconnects; it goes on when the database is back.
//
// What it does not do: it does not keep a second platform off the table, which platform.Service notices by itself, and it needs
// connections that are its own: a proxy that hands each transaction to another connection does not keep its settings.
package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/semio-iot/semio/internal/kv/sqlkv"
	"github.com/semio-iot/semio/platform"
)

// Errors of Open and of a store, beside those of package platform.
var (
	ErrDSN = errors.New("pgstore: connection string cannot be read: want postgres://user@host/database?sslmode=verify-full, " +
		"or libpq's key=value form")
	ErrInsecure    = errors.New("pgstore: the connection would not be encrypted and verified")
	ErrTableName   = sqlkv.ErrTableName
	ErrSchema      = platform.ErrStoreSchema // the table holds something else, or a later version
	ErrNotDurable  = sqlkv.ErrNotDurable     // the role has synchronous_commit off
	ErrUnavailable = sqlkv.ErrUnavailable    // no connection, or no answer in time; nothing was changed
	ErrUnknown     = sqlkv.ErrUnknown        // connection lost during COMMIT: all was done, or nothing
	ErrConflict    = sqlkv.ErrConflict       // collided with other transactions too often; nothing was changed
)

// Defaults of [Options].
const (
	DefaultTable    = "semio_platform"
	DefaultMaxConns = 8
	DefaultTimeout  = sqlkv.DefaultTimeout
)

// Options of a store. The zero value has all defaults.
type Options struct {
	// Table is "name" or "schema.name", of a-z, 0-9 and _. Without a schema the connection's search_path decides. Empty
	// means DefaultTable.
	Table string

	// MaxConns is how many connections the store opens at most, each for one transaction at a time. Zero means DefaultMaxConns.
	MaxConns int

	// Timeout is how long one statement may take, at the server and until its answer is here. Zero means DefaultTimeout.
	Timeout time.Duration

	// Insecure admits connections to other machines that are not encrypted, or to a server that proves nothing: whoever can come between
	// may then change the registry. For a network that has its own protection.
	Insecure bool
}

// Store is a [platform.Store] in a table. Safe for concurrent use.
type Store struct {
	kv *sqlkv.Store
	db *sql.DB
}

var _ platform.Store = (*Store)(nil)

// How long connections live: idle ones give way, and all come to a new server address after a while.
const (
	idleTime = 5 * time.Minute
	lifeTime = time.Hour
)

// Open connects, makes the table unless it exists, and checks what it holds. The role needs the right to create it only then;
// afterwards SELECT, INSERT, UPDATE and DELETE on it are enough. dsn is a URL or libpq's key=value form; what it leaves open
// comes from the PG… environment variables. No error has the password in it.
func Open(ctx context.Context, dsn string, o Options) (*Store, error) {
	if o.Table == "" {
		o.Table = DefaultTable
	}
	if o.MaxConns == 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxConns < 0 || o.Timeout < time.Millisecond {
		return nil, fmt.Errorf("pgstore: options: %d connections, timeout %v: want one at least, and a millisecond", o.MaxConns, o.Timeout)
	}
	table, err := sqlkv.ParseTable(o.Table)
	if err != nil {
		return nil, err
	}
	config, err := configure(dsn, o)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(o.MaxConns)
	db.SetMaxIdleConns(o.MaxConns)
	db.SetConnMaxIdleTime(idleTime)
	db.SetConnMaxLifetime(lifeTime)

	s, err := open(ctx, db, sqlkv.Options{Table: table, Content: platform.StoreSchema, Timeout: o.Timeout})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{s, db}, nil
}

// open looks before it creates, so that in ordinary operation the role need not own anything.
func open(ctx context.Context, db *sql.DB, o sqlkv.Options) (*sqlkv.Store, error) {
	s, err := sqlkv.Open(ctx, db, o)
	if !errors.Is(err, sqlkv.ErrNoTable) {
		return s, err
	}
	if err := sqlkv.Create(ctx, db, o); err != nil {
		return nil, err
	}
	return sqlkv.Open(ctx, db, o)
}

func configure(dsn string, o Options) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// pgx masks passwords as well as it can recognise them. Only a file that it could not read is told of its reason.
		if file := (*fs.PathError)(nil); errors.As(err, &file) {
			return nil, fmt.Errorf("%w: %w", ErrDSN, file)
		}
		return nil, ErrDSN
	}
	if !o.Insecure {
		if err := refuseInsecure(config); err != nil {
			return nil, err
		}
	}
	ms := strconv.FormatInt(o.Timeout.Milliseconds(), 10)
	for name, value := range map[string]string{
		"application_name":  "semio platform",
		"statement_timeout": ms,
		// A platform whose machine has vanished must not hold its locks until TCP notices.
		"idle_in_transaction_session_timeout": ms,
		// All our statements find their rows by key. A scan of the whole table, which is cheaper while it is small, would have read
		// everything, and collide with every other transaction.
		"enable_seqscan": "off",
	} {
		if config.RuntimeParams[name] == "" {
			config.RuntimeParams[name] = value
		}
	}
	return config, nil
}

// View implements [platform.Store]: one committed state of the table, which waits for nobody.
func (s *Store) View(ctx context.Context, f func(platform.Tx) error) error { return s.kv.View(ctx, f) }

// Update implements [platform.Store]. It runs f again after a conflict with another transaction.
func (s *Store) Update(ctx context.Context, f func(platform.Tx) error) error {
	return s.kv.Update(ctx, f)
}

// Close implements [platform.Store], and closes the connections.
func (s *Store) Close() error {
	return errors.Join(s.kv.Close(), s.db.Close())
}
