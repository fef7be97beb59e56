package pgstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/appgw/pgstore"
	"github.com/semio-iot/semio/appgw/storetest"
	"github.com/semio-iot/semio/internal/pgtest"
)

// One server for all, since making a database takes seconds. Each test has a prefix of its own.
func TestPostgreSQL(t *testing.T) {
	server := pgtest.Start(t)
	db := database(t, server.DSN())
	for _, c := range []struct {
		name string
		test func(*testing.T, *sql.DB)
	}{
		{"suite", testSuite},
		{"open", testOpen},
		{"open refuses", testOpenRefuses},
		{"the host's database stays open", testClose},
		{"host's transaction", testWithTx},
		{"collisions", testCollisions},
		{"isolation", testIsolation},
		{"events", testOnEventTx},
		{"events collide", testEventsCollide},
		{"event's time limit", testEventTimeout},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, db) })
	}
	t.Run("event whose commit is lost", func(t *testing.T) { testEventCommitLost(t, server) })
}

func database(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func run(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
}

// fresh runs the DDL, as the host's migrations do, the first time that it is asked for the prefix.
func fresh(t *testing.T, db *sql.DB, prefix string) *pgstore.Store {
	t.Helper()
	s, err := pgstore.Open(t.Context(), db, pgstore.Options{Prefix: prefix})
	if errors.Is(err, pgstore.ErrNoTable) {
		ddl, err := pgstore.DDL(prefix)
		require.NoError(t, err)
		run(t, db, ddl)
		s, err = pgstore.Open(t.Context(), db, pgstore.Options{Prefix: prefix})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func put(t *testing.T, s appgw.Store, key, value string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), func(tx appgw.Tx) error { return tx.Put(key, []byte(value)) }))
}

func all(t *testing.T, s appgw.Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, s.View(t.Context(), func(tx appgw.Tx) error {
		for k, v := range tx.List("") {
			out[k] = string(v)
		}
		return nil
	}))
	return out
}

func testSuite(t *testing.T, db *sql.DB) {
	storetest.TestStore(t, func(t *testing.T, name string) appgw.Store {
		name = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r
			}
			return '_'
		}, strings.ToLower(name))
		return fresh(t, db, name[max(0, len(name)-40):]+"_")
	}, false)
}

func testOpen(t *testing.T, db *sql.DB) {
	run(t, db, `CREATE SCHEMA water`)
	for _, prefix := range []string{"", "water.", "water.semio_", "a1_"} {
		t.Run(prefix, func(t *testing.T) {
			s := fresh(t, db, prefix)
			put(t, s, "a", prefix)
			require.Equal(t, map[string]string{"a": prefix}, all(t, fresh(t, db, prefix)), "a table of its own")
		})
	}
	var marker string
	require.NoError(t, db.QueryRow(`SELECT convert_from(v, 'UTF8') FROM semio_appgw WHERE k = ''`).Scan(&marker))
	require.Equal(t, "table 1, semio appgw 1", marker)
}

func testOpenRefuses(t *testing.T, db *sql.DB) {
	t.Run("no table", func(t *testing.T) {
		_, err := pgstore.Open(t.Context(), db, pgstore.Options{Prefix: "absent_"})
		require.ErrorIs(t, err, pgstore.ErrNoTable)
		ddl, _ := pgstore.DDL("absent_")
		require.ErrorContains(t, err, ddl, "it says what to run")
		var exists bool
		require.NoError(t, db.QueryRow(`SELECT to_regclass('absent_appgw') IS NOT NULL`).Scan(&exists))
		require.False(t, exists, "it makes nothing in the host's database")
	})
	t.Run("half the DDL", func(t *testing.T) {
		ddl, err := pgstore.DDL("half_")
		require.NoError(t, err)
		create, _, ok := strings.Cut(ddl, ";\n")
		require.True(t, ok)
		run(t, db, create)
		_, err = pgstore.Open(t.Context(), db, pgstore.Options{Prefix: "half_"})
		require.ErrorIs(t, err, pgstore.ErrSchema)
	})
	t.Run("a platform's", func(t *testing.T) {
		ddl, err := pgstore.DDL("platforms_")
		require.NoError(t, err)
		run(t, db, strings.ReplaceAll(ddl, "semio appgw 1", "semio platform 1"))
		_, err = pgstore.Open(t.Context(), db, pgstore.Options{Prefix: "platforms_"})
		require.ErrorIs(t, err, pgstore.ErrSchema)
	})
	for _, prefix := range []string{"Semio_", "a b", `"`, "a; DROP TABLE b; --", "1", "a.b.c", ".", strings.Repeat("a", 60), "é"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			_, err := pgstore.Open(t.Context(), db, pgstore.Options{Prefix: prefix})
			require.ErrorIs(t, err, pgstore.ErrTableName)
			ddl, err := pgstore.DDL(prefix)
			require.ErrorIs(t, err, pgstore.ErrTableName)
			require.Empty(t, ddl)
		})
	}
	_, err := pgstore.Open(t.Context(), nil, pgstore.Options{})
	require.Error(t, err)
	_, err = pgstore.Open(t.Context(), db, pgstore.Options{Timeout: -1})
	require.Error(t, err)
}

func testClose(t *testing.T, db *sql.DB) {
	s := fresh(t, db, "closed_")
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
	require.NoError(t, err)
	defer tx.Rollback()
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.WithTx(t.Context(), tx).Put("a", nil), appgw.ErrStoreClosed)
	require.ErrorIs(t, s.View(t.Context(), func(appgw.Tx) error { return nil }), appgw.ErrStoreClosed)
	require.NoError(t, db.PingContext(t.Context()))
}

// serializable begins a transaction of the host.
func serializable(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
	require.NoError(t, err)
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

// What the host wrote and what the gateway remembers become true together.
func testWithTx(t *testing.T, db *sql.DB) {
	s := fresh(t, db, "host_")
	run(t, db, `CREATE TABLE readings (degrees int)`)
	both := func(n int) *sql.Tx {
		host := serializable(t, db)
		_, err := host.ExecContext(t.Context(), `INSERT INTO readings VALUES ($1)`, n)
		require.NoError(t, err)
		tx := s.WithTx(t.Context(), host)
		require.NoError(t, tx.Put("mark", fmt.Append(nil, n)))
		got, err := tx.Get("mark")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(n), string(got), "it sees its own writes")
		return host
	}
	state := func() (int, string) {
		var sum int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT coalesce(sum(degrees), 0) FROM readings`).Scan(&sum))
		return sum, all(t, s)["mark"]
	}

	first := both(1)
	sum, mark := state()
	require.Equal(t, 0, sum)
	require.Empty(t, mark, "not before the commit")
	require.NoError(t, first.Commit())
	sum, mark = state()
	require.Equal(t, 1, sum)
	require.Equal(t, "1", mark)

	require.NoError(t, both(20).Rollback())
	sum, mark = state()
	require.Equal(t, 1, sum)
	require.Equal(t, "1", mark, "undone together")

	host := serializable(t, db)
	tx := s.WithTx(t.Context(), host)
	require.ErrorIs(t, tx.Put("", nil), appgw.ErrSize)
	require.NoError(t, tx.Put("other", nil))
	var keys []string
	for k := range tx.List("") {
		keys = append(keys, k)
	}
	require.Equal(t, []string{"mark", "other"}, keys)
	require.NoError(t, tx.Delete("other"))
	require.NoError(t, host.Commit())
	require.Error(t, tx.Put("late", nil))
	require.Equal(t, map[string]string{"mark": "1"}, all(t, s))
}

func testCollisions(t *testing.T, db *sql.DB) {
	s := fresh(t, db, "collision_")
	put(t, s, "a", "0")
	put(t, s, "b", "0")

	t.Run("host overtaken on a key", func(t *testing.T) {
		host := serializable(t, db)
		tx := s.WithTx(t.Context(), host)
		_, err := tx.Get("a")
		require.NoError(t, err)
		put(t, s, "a", "1")
		err = tx.Put("a", []byte("2"))
		require.ErrorIs(t, err, pgstore.ErrConflict)
		require.True(t, pgstore.Retryable(err))
		_, again := tx.Get("b")
		require.Equal(t, err, again, "the transaction is lost")
		require.Error(t, host.Commit())
		require.Equal(t, "1", all(t, s)["a"])
	})
	t.Run("host overtaken on what he read", func(t *testing.T) {
		host := serializable(t, db)
		tx := s.WithTx(t.Context(), host)
		_, err := tx.Get("a")
		require.NoError(t, err)
		calls := 0
		require.NoError(t, s.Update(t.Context(), func(tx appgw.Tx) error {
			calls++
			if _, err := tx.Get("b"); err != nil {
				return err
			}
			return tx.Put("a", []byte("3"))
		}))
		err = tx.Put("b", []byte("4"))
		if err == nil {
			err = host.Commit()
		}
		require.Error(t, err)
		require.True(t, pgstore.Retryable(err), "%v", err)
		require.Equal(t, map[string]string{"a": "3", "b": "0"}, all(t, s))
	})
	t.Run("host first", func(t *testing.T) {
		host := serializable(t, db)
		tx := s.WithTx(t.Context(), host)
		require.NoError(t, tx.Put("a", []byte("5")))
		read, updated := make(chan bool, 10), make(chan error, 1)
		go func() {
			updated <- s.Update(t.Context(), func(tx appgw.Tx) error {
				v, err := tx.Get("a")
				if err != nil {
					return err
				}
				read <- true
				return tx.Put("a", append(v, '+'))
			})
		}()
		<-read
		require.NoError(t, host.Commit())
		require.NoError(t, <-updated)
		require.Equal(t, "5+", all(t, s)["a"], "the gateway ran its update again")
	})
	require.False(t, pgstore.Retryable(nil))
	require.False(t, pgstore.Retryable(context.Canceled))
	require.False(t, pgstore.Retryable(pgstore.ErrUnknown))
}

func testIsolation(t *testing.T, db *sql.DB) {
	s := fresh(t, db, "isolation_")
	for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		t.Run(level.String(), func(t *testing.T) {
			host, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
			require.NoError(t, err)
			defer host.Rollback()
			tx := s.WithTx(t.Context(), host)
			require.ErrorIs(t, tx.Put("a", nil), pgstore.ErrIsolation)
			_, err = tx.Get("a")
			require.ErrorIs(t, err, pgstore.ErrIsolation)
			require.ErrorIs(t, tx.Delete("a"), pgstore.ErrIsolation)
			for range tx.List("") {
				t.Error("listed")
			}
		})
	}
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tx := s.WithTx(ctx, serializable(t, db))
		require.NoError(t, tx.Put("a", nil))
		cancel()
		require.ErrorIs(t, tx.Put("b", nil), context.Canceled)
	})
	require.Empty(t, all(t, s))
}
