package pgstore_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/pgtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/pgstore"
)

func testOpen(t *testing.T, server *pgtest.Server) {
	db := database(t, server.DSN())
	t.Run("default table", func(t *testing.T) {
		put(t, open(t, server.DSN(), pgstore.Options{}), "a", "1")
		var marker, value string
		require.NoError(t, db.QueryRow(`SELECT convert_from(v, 'UTF8') FROM semio_platform WHERE k = ''`).Scan(&marker))
		require.NoError(t, db.QueryRow(`SELECT convert_from(v, 'UTF8') FROM semio_platform WHERE k = 'a'`).Scan(&value))
		require.Equal(t, "table 1, semio platform 1", marker)
		require.Equal(t, "1", value)
	})
	t.Run("in a schema", func(t *testing.T) {
		s := open(t, server.DSN(), pgstore.Options{Table: "water_works.platform"})
		put(t, s, "a", "1")
		require.Equal(t, map[string]string{"a": "1"}, all(t, open(t, server.DSN(), pgstore.Options{Table: "water_works.platform"})))
		var n int
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM water_works.platform`).Scan(&n))
		require.Equal(t, 2, n)
		open(t, server.DSN(), pgstore.Options{Table: "water_works.second"})
	})
	t.Run("a reserved word", func(t *testing.T) {
		put(t, open(t, server.DSN(), pgstore.Options{Table: "user"}), "a", "1")
	})
	t.Run("many at once", func(t *testing.T) {
		var done sync.WaitGroup
		for range 8 {
			done.Go(func() {
				s, err := pgstore.Open(t.Context(), server.DSN(), pgstore.Options{Table: "new_schema.at_once"})
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
			})
		}
		done.Wait()
	})
}

func testOpenRefuses(t *testing.T, server *pgtest.Server) {
	db := database(t, server.DSN())
	for _, statement := range []string{
		`CREATE TABLE foreign_columns (id int, name text)`,
		`CREATE TABLE no_marker (k bytea PRIMARY KEY, v bytea)`,
		`CREATE TABLE text_keys (k text PRIMARY KEY, v text)`,
		`CREATE TABLE later (k bytea PRIMARY KEY, v bytea)`,
		`INSERT INTO later VALUES ('', 'table 1, semio platform 2')`,
		`CREATE TABLE later_layout (k bytea PRIMARY KEY, v bytea)`,
		`INSERT INTO later_layout VALUES ('', 'table 2, semio platform 1')`,
		`CREATE TABLE gateways (k bytea PRIMARY KEY, v bytea)`,
		`INSERT INTO gateways VALUES ('', 'table 1, semio appgw 1')`,
	} {
		run(t, db, statement)
	}
	for _, table := range []string{"foreign_columns", "no_marker", "text_keys", "later", "later_layout", "gateways"} {
		t.Run(table, func(t *testing.T) {
			s, err := pgstore.Open(t.Context(), server.DSN(), pgstore.Options{Table: table})
			require.ErrorIs(t, err, pgstore.ErrSchema)
			require.ErrorIs(t, err, platform.ErrStoreSchema)
			require.Nil(t, s)
			require.ErrorContains(t, err, table)
		})
	}
	for name, table := range map[string]string{
		"quote": `a"b`, "space": "a b", "three": "a.b.c", "no schema": ".a", "no name": "a.", "upper case": "Semio", "digit": "1a",
		"long": strings.Repeat("a", 64), "statement": "a; DROP TABLE b", "umlaut": "gerät", "NUL": "a\x00", "dot": ".",
	} {
		t.Run("name with "+name, func(t *testing.T) {
			_, err := pgstore.Open(t.Context(), server.DSN(), pgstore.Options{Table: table})
			require.ErrorIs(t, err, pgstore.ErrTableName)
		})
	}
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := pgstore.Open(ctx, server.DSN(), pgstore.Options{Table: "never"})
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("not durable", func(t *testing.T) {
		_, err := pgstore.Open(t.Context(), server.DSN()+" options='-c synchronous_commit=off'", pgstore.Options{Table: "not_durable"})
		require.ErrorIs(t, err, pgstore.ErrNotDurable)
	})
	t.Run("no database of that name", func(t *testing.T) {
		_, err := pgstore.Open(t.Context(), server.DSN()+" dbname=absent", pgstore.Options{})
		require.ErrorContains(t, err, "absent")
		require.NotErrorIs(t, err, pgstore.ErrUnavailable, "waiting does not help")
	})
	for name, o := range map[string]pgstore.Options{"connections": {MaxConns: -1}, "timeout": {Timeout: -1}, "no time": {Timeout: time.Nanosecond}} {
		t.Run("options, "+name, func(t *testing.T) {
			_, err := pgstore.Open(t.Context(), server.DSN(), o)
			require.ErrorContains(t, err, "options")
		})
	}
}

// In ordinary operation the role owns nothing.
func testRoles(t *testing.T, server *pgtest.Server) {
	db := database(t, server.DSN())
	open(t, server.DSN(), pgstore.Options{Table: "roles.platform"})
	for _, statement := range []string{
		`CREATE ROLE writer LOGIN`, `CREATE ROLE reader LOGIN`, `CREATE ROLE nobody LOGIN`,
		`GRANT USAGE ON SCHEMA roles TO writer, reader, nobody`,
		`GRANT SELECT, INSERT, UPDATE, DELETE ON roles.platform TO writer`, `GRANT SELECT ON roles.platform TO reader`,
		`REVOKE CREATE ON SCHEMA public FROM PUBLIC`,
	} {
		run(t, db, statement)
	}
	as := func(role string) string { return pgtest.DSN(server.Dir(), role) }

	s := open(t, as("writer"), pgstore.Options{Table: "roles.platform"})
	put(t, s, "a", "1")
	require.Equal(t, map[string]string{"a": "1"}, all(t, s))

	s = open(t, as("reader"), pgstore.Options{Table: "roles.platform"})
	require.Equal(t, map[string]string{"a": "1"}, all(t, s))
	require.ErrorContains(t, s.Update(t.Context(), func(tx platform.Tx) error { return tx.Put("a", nil) }), "permission denied")

	_, err := pgstore.Open(t.Context(), as("nobody"), pgstore.Options{Table: "roles.platform"})
	require.ErrorContains(t, err, "permission denied")
	_, err = pgstore.Open(t.Context(), as("writer"), pgstore.Options{Table: "writers_own"})
	require.ErrorContains(t, err, "permission denied", "it may not create")
}

func TestInsecureConnectionsAreRefused(t *testing.T) {
	const remote = "postgres://semio:hunter2@db.invalid/semio"
	for _, dsn := range []string{
		remote, // libpq's default: encrypted, unless somebody objects
		remote + "?sslmode=disable", remote + "?sslmode=allow", remote + "?sslmode=prefer", remote + "?sslmode=require",
		"host=192.0.2.1 user=semio",
		"host=localhost,db.invalid user=semio",
	} {
		t.Run(dsn, func(t *testing.T) {
			_, err := pgstore.Open(t.Context(), dsn, pgstore.Options{})
			require.ErrorIs(t, err, pgstore.ErrInsecure)
			require.ErrorContains(t, err, "sslmode=verify-full")
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, dsn := range []string{
		remote + "?sslmode=verify-full", remote + "?sslmode=verify-ca", "host=127.0.0.1 user=semio", "host=::1", "host=localhost", "host=/nowhere",
	} {
		t.Run(dsn, func(t *testing.T) {
			_, err := pgstore.Open(ended, dsn, pgstore.Options{})
			require.ErrorIs(t, err, context.Canceled, "it would have connected")
		})
	}
	_, err := pgstore.Open(ended, remote, pgstore.Options{Insecure: true})
	require.ErrorIs(t, err, context.Canceled)
}

func TestConnectionStrings(t *testing.T) {
	for _, dsn := range []string{
		"postgres://semio:hunter2@db:port/x", "postgres://semio:hunt er2@%zz/", "password=hunter2 host", "postgres://semio:hunter2/x@db:5432:6/",
		"postgres://semio:hunter2@db/x?sslmode=unheard-of",
	} {
		t.Run(dsn, func(t *testing.T) {
			_, err := pgstore.Open(t.Context(), dsn, pgstore.Options{})
			require.ErrorIs(t, err, pgstore.ErrDSN)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := pgstore.Open(t.Context(), "host=db sslmode=verify-full sslrootcert=/nowhere/ca.pem", pgstore.Options{})
	require.ErrorIs(t, err, pgstore.ErrDSN)
	require.ErrorContains(t, err, "/nowhere/ca.pem", "which file it was")
}

func TestNobodyThere(t *testing.T) {
	_, err := pgstore.Open(t.Context(), "host="+t.TempDir()+" user=semio password=hunter2 dbname=x", pgstore.Options{})
	require.ErrorIs(t, err, pgstore.ErrUnavailable)
	require.NotContains(t, err.Error(), "hunter2")

	// Somebody who accepts and says nothing.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	_, err = pgstore.Open(t.Context(), "host=127.0.0.1 sslmode=disable user=semio port="+port, pgstore.Options{Timeout: 30 * time.Millisecond})
	require.ErrorIs(t, err, pgstore.ErrUnavailable)
	require.ErrorContains(t, err, "30ms")
}
