package sqlkv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors of a store in a database, beside those of package kv.
var (
	// ErrTableName reports a table name that is not taken.
	ErrTableName = errors.New("sqlkv: bad table name")

	// ErrNoTable reports that the table does not exist.
	ErrNoTable = errors.New("sqlkv: the table does not exist")

	// ErrUnavailable reports that the database cannot be reached, went away or did not answer in time. Nothing has changed: try again
	// when it is back.
	ErrUnavailable = errors.New("sqlkv: the database is not reachable or did not answer, nothing was changed; try again when it is back")

	// ErrUnknown reports that the connection was lost between sending COMMIT and its answer. Only reading tells.
	ErrUnknown = errors.New("sqlkv: the connection was lost during COMMIT: everything in the transaction was done, or nothing; " +
		"read what it would have changed before doing it again")

	// ErrConflict reports that other transactions got in the way each time. Nothing has changed: try again.
	ErrConflict = errors.New("sqlkv: conflict with other transactions, nothing was changed; try again")

	// ErrIsolation reports a transaction of the host that does not isolate enough.
	ErrIsolation = errors.New("sqlkv: the transaction is not serializable: begin it with sql.TxOptions{Isolation: sql.LevelSerializable}")

	// ErrNotDurable reports a database, or a role, that confirms what a power cut can undo.
	ErrNotDurable = errors.New("sqlkv: synchronous_commit is off, so that a crash loses what was confirmed: " +
		"turn it on for this role (ALTER ROLE ... SET synchronous_commit = on)")

	errOver = errors.New("sqlkv: the transaction is over: a Tx ends with the function that got it")
)

// Retryable says of an error, also of the host's own statements and COMMIT, that the transaction collided with another one, was undone
// and can be run again from its beginning.
func Retryable(err error) bool {
	code := sqlState(err)
	return errors.Is(err, ErrConflict) || code == serializationFailure || code == deadlockDetected
}

// Codes of PostgreSQL's appendix A.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	completionUnknown    = "40003"
	undefinedTable       = "42P01"
	undefinedColumn      = "42703"
	tooManyConnections   = "53300"
	queryCanceled        = "57014" // also: statement_timeout
)

// sqlState is the server's error code, empty when the error did not come from the server. pgx's and lib/pq's errors both have it.
func sqlState(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// classOf is the first half of an error code: its class.
func classOf(code string) string { return code[:min(2, len(code))] }

// explain turns an error of a statement that ran under ctx into one that says what to do.
func explain(ctx context.Context, op string, err error) error {
	switch code := sqlState(err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	case Retryable(err):
		return fmt.Errorf("%s: %w: %w", op, ErrConflict, err)
	case code == "", code == tooManyConnections, code == queryCanceled, classOf(code) == "08", strings.HasPrefix(code, "57P"):
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	default:
		return fmt.Errorf("%s: %w", op, err)
	}
}

// silence is the cause with which a context ends when the database has not answered in time.
func silence(limit time.Duration) error {
	return fmt.Errorf("%w: no answer within %v", ErrUnavailable, limit)
}

// explainCommit is explain for the one statement whose failure may not mean that nothing happened. Certain is only what the server
// said about the transaction; a server that was shut down may have committed first. What drivers say is no help: at a COMMIT whose
// answer was lost pgx 5.12 returns an error with SafeToRetry, and lib/pq driver.ErrBadConn.
func explainCommit(err error) error {
	if err == nil {
		return nil
	}
	const op = "commit"
	switch code := sqlState(err); classOf(code) {
	case "", "08", "57", "58", "XX":
	default:
		if code != completionUnknown {
			return explain(context.Background(), op, err) // why the context ended says nothing about what the server did
		}
	}
	return fmt.Errorf("%s: %w: %w", op, ErrUnknown, err)
}
