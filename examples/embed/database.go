package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"github.com/semio-iot/semio/appgw/pgstore"
)

// database is the service's PostgreSQL.
type database struct{ *sql.DB }

// openDatabase connects and brings the schema up to date.
func openDatabase(ctx context.Context, dsn string) (*database, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, fmt.Errorf("-database: %w", err)
	}
	// The gateway's transactions and the portal's queries share them.
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(4)
	if err := migrate(ctx, db); err != nil {
		db.Close()
		return nil, fmt.Errorf("prepare the database: %w", err)
	}
	return &database{db}, nil
}

// migrations are the steps of the schema, in order. A step that was released does not change. The gateway's table is one of them.
func migrations() ([]string, error) {
	semio, err := pgstore.DDL(pgstore.DefaultPrefix)
	if err != nil {
		return nil, err
	}
	return []string{
		`CREATE TABLE readings (
			id       bigserial PRIMARY KEY,
			source   text NOT NULL,     -- a device, or the topic of an old sensor
			seq      bigint,            -- number of a device's event
			type     text NOT NULL,
			body     bytea NOT NULL,
			received timestamptz NOT NULL DEFAULT now()
		)`,
		semio,
	}, nil
}

// migrate runs the steps that the database lacks, in one transaction, alone.
func migrate(ctx context.Context, db *sql.DB) error {
	steps, err := migrations()
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// Several instances may start at once.
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('embed schema', 0))`); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_steps (n int PRIMARY KEY)`); err != nil {
		return err
	}
	var done int
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(n), 0) FROM schema_steps`).Scan(&done); err != nil {
		return err
	}
	if done > len(steps) {
		return fmt.Errorf("its schema has step %d, this program knows %d: start a newer one", done, len(steps))
	}
	for i, step := range steps[done:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("step %d: %w", done+i+1, err)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO schema_steps VALUES ($1)`, done+i+1); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// reading is what a device or an old sensor has sent.
type reading struct {
	ID       int64
	Source   string
	Seq      *uint64
	Type     string
	Body     []byte
	Received time.Time
}

// execer is *sql.DB and *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func insertReading(ctx context.Context, on execer, r reading) error {
	// An event that cannot be stored would hold up its device for ever, so nothing that a device may send is refused: PostgreSQL takes
	// no NUL in a text, and nil is its NULL.
	if r.Body == nil {
		r.Body = []byte{}
	}
	_, err := on.ExecContext(ctx, `INSERT INTO readings (source, seq, type, body) VALUES ($1, $2, $3, $4)`,
		r.Source, r.Seq, strings.ReplaceAll(r.Type, "\x00", ""), r.Body)
	return err
}

// maxPage is the longest list of readings.
const maxPage = 1000

// readings returns those after a number, oldest first; of one source, or of all if it is empty.
func (db *database) readings(ctx context.Context, source string, after int64) (out []reading, err error) {
	rows, err := db.QueryContext(ctx, `SELECT id, source, seq, type, body, received FROM readings
		WHERE id > $1 AND ($2 = '' OR source = $2) ORDER BY id LIMIT $3`, after, source, maxPage)
	if err != nil {
		return nil, unreachable(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r reading
		var seq sql.NullInt64
		if err := rows.Scan(&r.ID, &r.Source, &seq, &r.Type, &r.Body, &r.Received); err != nil {
			return nil, unreachable(err)
		}
		if seq.Valid {
			r.Seq = new(uint64(seq.Int64))
		}
		out = append(out, r)
	}
	return out, unreachable(rows.Err())
}

// errDatabase is for the portal's users: somebody else must do something.
var errDatabase = errors.New("the database is not reachable")

// unreachable marks an error that did not come from the server, or that says that it is going away.
func unreachable(err error) error {
	var server *pgconn.PgError
	if err == nil || errors.As(err, &server) && !strings.HasPrefix(server.Code, "57P") {
		return err
	}
	return fmt.Errorf("%w: %w", errDatabase, err)
}
