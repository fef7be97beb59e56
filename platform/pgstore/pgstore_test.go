package pgstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/pgtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/pgstore"
	"github.com/semio-iot/semio/platform/storetest"
)

// One server for all that leave it alive, since making a database takes seconds. Each test has a table of its own.
func TestPostgreSQL(t *testing.T) {
	server := pgtest.Start(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *pgtest.Server)
	}{
		{"suite", testSuite},
		{"open", testOpen},
		{"open refuses", testOpenRefuses},
		{"roles", testRoles},
		{"keys that are no text", testKeys},
		{"lists of many pages", testPages},
		{"no write skew", testSkew},
		{"a crowd gets through", testCrowd},
		{"views are snapshots", testSnapshot},
		{"a swallowed error", testSwallowedError},
		{"a swallowed conflict", testSwallowedConflict},
		{"connection ended by the server", testTerminated},
		{"panic", testPanic},
		{"context", testContext},
		{"time limit", testTimeLimit},
		{"close waits", testClose},
		{"commit cut off", testCut},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, server) })
	}
}

func open(t *testing.T, dsn string, o pgstore.Options) *pgstore.Store {
	t.Helper()
	s, err := pgstore.Open(t.Context(), dsn, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// fresh returns a store with a table of the test's name.
func fresh(t *testing.T, server *pgtest.Server) *pgstore.Store {
	t.Helper()
	return open(t, server.DSN(), pgstore.Options{Table: tableName(t)})
}

func tableName(t *testing.T) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
	return name[max(0, len(name)-60):]
}

// database is a second way in, past the store.
func database(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func run(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
}

func put(t *testing.T, s platform.Store, key, value string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), func(tx platform.Tx) error { return tx.Put(key, []byte(value)) }))
}

func all(t *testing.T, s platform.Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, s.View(t.Context(), func(tx platform.Tx) error {
		for k, v := range tx.List("") {
			out[k] = string(v)
		}
		return nil
	}))
	return out
}

func testSuite(t *testing.T, server *pgtest.Server) {
	storetest.TestStore(t, func(t *testing.T, name string) platform.Store { return fresh(t, server) }, false)
}

func testKeys(t *testing.T, server *pgtest.Server) {
	s := fresh(t, server)
	keys := []string{"\x00", "\x00\x00", "a", "a\x00", "a\x00b", "a'b\\", "a\xfe", "a\xff", "a\xff\xff", "b", "\xff", "\xff\xff", strings.Repeat("\xff", 512)}
	for _, k := range keys {
		put(t, s, k, k)
	}
	require.NoError(t, s.View(t.Context(), func(tx platform.Tx) error {
		for _, c := range []struct {
			prefix string
			want   []string
		}{
			{"", keys},
			{"a", keys[2:9]},
			{"a\xff", keys[7:9]},
			{"\xff", keys[10:]},
			{strings.Repeat("\xff", 512), keys[12:]},
			{strings.Repeat("\xff", 513), nil},
			{"\x00", keys[:2]},
			{"a\x01", nil},
		} {
			var got []string
			for k, v := range tx.List(c.prefix) {
				require.Equal(t, k, string(v))
				got = append(got, k)
			}
			require.Equal(t, c.want, got, "%q", c.prefix)
		}
		// The row that says what the table holds is nobody's.
		for _, k := range []string{"", strings.Repeat("k", 513)} {
			_, err := tx.Get(k)
			require.ErrorIs(t, err, platform.ErrNotFound)
		}
		return nil
	}))
	require.NoError(t, s.Update(t.Context(), func(tx platform.Tx) error { return tx.Delete("") }))
	require.NoError(t, s.Close())
	require.Len(t, all(t, fresh(t, server)), len(keys))
}

func testPages(t *testing.T, server *pgtest.Server) {
	s := fresh(t, server)
	const many, big = 5000, 5
	require.NoError(t, s.Update(t.Context(), func(tx platform.Tx) error {
		for i := range many {
			if err := tx.Put(fmt.Sprintf("small/%05d", i), fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		for i := range big {
			if err := tx.Put(fmt.Sprintf("big/%d", i), make([]byte, 4<<20-i)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, s.View(t.Context(), func(tx platform.Tx) error {
		n := 0
		for k, v := range tx.List("small/") {
			require.Equal(t, fmt.Sprintf("small/%05d", n), k)
			require.Equal(t, fmt.Sprint(n), string(v))
			if n%1000 == 0 { // other keys can be read meanwhile
				_, err := tx.Get("big/0")
				require.NoError(t, err)
			}
			n++
		}
		require.Equal(t, many, n)
		n = 0
		for _, v := range tx.List("big/") {
			require.Len(t, v, 4<<20-n)
			n++
		}
		require.Equal(t, big, n)
		n = 0
		for range tx.List("small/") {
			if n++; n == 40 { // in the second page
				break
			}
		}
		_, err := tx.Get("big/1")
		require.NoError(t, err, "a list that was left does not stand in the way")
		return nil
	}))
}

// Two who each read what the other one writes: one after the other they would never both go ahead.
func testSkew(t *testing.T, server *pgtest.Server) {
	s := fresh(t, server)
	put(t, s, "x", "1")
	put(t, s, "y", "1")
	var together, done sync.WaitGroup
	together.Add(2)
	var calls [2]int
	for i, mine := range []string{"x", "y"} {
		done.Go(func() {
			err := s.Update(t.Context(), func(tx platform.Tx) error {
				calls[i]++
				sum := 0
				for _, v := range tx.List("") {
					sum += int(v[0] - '0')
				}
				if calls[i] == 1 { // both have read before one writes
					together.Done()
					together.Wait()
				}
				if sum < 2 {
					return nil
				}
				return tx.Put(mine, []byte("0"))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	require.Equal(t, 3, calls[0]+calls[1], "one of the two ran again")
	got := all(t, s)
	require.Equal(t, 1, strings.Count(got["x"]+got["y"], "1"), "%v", got)
}

func testCrowd(t *testing.T, server *pgtest.Server) {
	s := open(t, server.DSN(), pgstore.Options{Table: tableName(t), MaxConns: 16})
	other := open(t, server.DSN(), pgstore.Options{Table: tableName(t), MaxConns: 16})
	const writers, rounds = 24, 10
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for range rounds {
				err := []platform.Store{s, other}[w%2].Update(t.Context(), func(tx platform.Tx) error {
					n := 0
					if v, err := tx.Get("n"); err == nil {
						if _, err := fmt.Sscan(string(v), &n); err != nil {
							return err
						}
					}
					return tx.Put("n", fmt.Append(nil, n+1))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	require.Equal(t, fmt.Sprint(writers*rounds), all(t, s)["n"])
}

func testSnapshot(t *testing.T, server *pgtest.Server) {
	s := fresh(t, server)
	put(t, s, "a", "1")
	calls := 0
	require.NoError(t, s.View(t.Context(), func(tx platform.Tx) error {
		calls++
		v, err := tx.Get("a")
		require.NoError(t, err)
		require.Equal(t, "1", string(v))
		put(t, s, "a", "2") // neither waits for the other
		put(t, s, "b", "2")
		v, err = tx.Get("a")
		require.NoError(t, err)
		require.Equal(t, "1", string(v))
		_, err = tx.Get("b")
		require.ErrorIs(t, err, platform.ErrNotFound)
		return nil
	}))
	require.Equal(t, 1, calls)
	require.Equal(t, map[string]string{"a": "2", "b": "2"}, all(t, s))
}

// PostgreSQL answers the COMMIT of a failed transaction with a rollback, and f may have taken the failure for something else.
func testSwallowedError(t *testing.T, server *pgtest.Server) {
	s := fresh(t, server)
	put(t, s, "a", "1")
	db := database(t, server.DSN())
	run(t, db, `ALTER TABLE `+tableName(t)+` ADD CONSTRAINT "refused" CHECK (v <> 'bad')`)
	err := s.Update(t.Context(), func(tx platform.Tx) error {
		require.NoError(t, tx.Put("b", []byte("2")))
		require.Error(t, tx.Put("c", []byte("bad")))
		_, err := tx.Get("a")
		require.ErrorContains(t, err, "refused", "the first error, not what follows from it")
		for range tx.List("") {
			t.Error("listed in a failed transaction")
		}
		return nil
	})
	require.ErrorContains(t, err, "refused")
	require.Equal(t, map[string]string{"a": "1"}, all(t, s))

	var leaked platform.Tx
	require.NoError(t, s.Update(t.Context(), func(tx platform.Tx) error { leaked = tx; return nil }))
	require.ErrorContains(t, leaked.Put("d", nil), "over")
}

// What f makes of a conflict does not matter: it was undone, and runs again.
func testSwallowedConflict(t *testing.T, server *pgtest.Server) {
	for name, result := range map[string]error{"as success": nil, "as another error": errors.New("no idea")} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t, server)
			put(t, s, "a", "1")
			calls := 0
			require.NoError(t, s.Update(t.Context(), func(tx platform.Tx) error {
				calls++
				_, err := tx.Get("a")
				require.NoError(t, err)
				if calls == 1 {
					put(t, s, "a", "2")
				}
				if err := tx.Put("a", []byte("3")); err != nil {
					require.ErrorIs(t, err, pgstore.ErrConflict)
					return result
				}
				return nil
			}))
			require.Equal(t, 2, calls)
			require.Equal(t, map[string]string{"a": "3"}, all(t, s))
		})
	}
}

func testTerminated(t *testing.T, server *pgtest.Server) {
	s := open(t, server.DSN()+" application_name=doomed", pgstore.Options{Table: tableName(t)})
	db := database(t, server.DSN())
	end := func() {
		run(t, db, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'doomed'`)
	}
	err := s.Update(t.Context(), func(tx platform.Tx) error {
		end()
		return tx.Put("a", nil)
	})
	require.ErrorIs(t, err, pgstore.ErrUnavailable)
	err = s.Update(t.Context(), func(tx platform.Tx) error {
		require.NoError(t, tx.Put("a", nil))
		end()
		return nil
	})
	require.ErrorIs(t, err, pgstore.ErrUnknown, "the first that we hear of it is at COMMIT")
	require.Empty(t, all(t, s))
}

func testPanic(t *testing.T, server *pgtest.Server) {
	s := open(t, server.DSN(), pgstore.Options{Table: tableName(t), MaxConns: 1})
	require.PanicsWithValue(t, "boom", func() {
		s.Update(t.Context(), func(tx platform.Tx) error {
			require.NoError(t, tx.Put("a", nil))
			panic("boom")
		})
	})
	require.Empty(t, all(t, s), "undone, and the only connection is free again")
}

func testContext(t *testing.T, server *pgtest.Server) {
	s := fresh(t, server)
	put(t, s, "a", "1")

	t.Run("ends inside f", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Update(ctx, func(tx platform.Tx) error {
			require.NoError(t, tx.Put("a", []byte("2")))
			cancel()
			return nil
		})
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, pgstore.ErrUnknown)
		require.Equal(t, map[string]string{"a": "1"}, all(t, s))
	})
	t.Run("ends before a statement", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.View(ctx, func(tx platform.Tx) error {
			cancel()
			for range tx.List("") {
				t.Error("listed")
			}
			return nil
		})
		require.ErrorIs(t, err, context.Canceled, "also when f could not see it")
	})
	t.Run("ends while another holds the row", func(t *testing.T) {
		tx, err := database(t, server.DSN()).BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer tx.Rollback()
		_, err = tx.ExecContext(t.Context(), `UPDATE testpostgresql_context SET v = '3' WHERE k = 'a'`)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err = s.Update(ctx, func(tx platform.Tx) error { return tx.Put("a", []byte("2")) })
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	require.Equal(t, map[string]string{"a": "1"}, all(t, s))
}

func testTimeLimit(t *testing.T, server *pgtest.Server) {
	s := open(t, server.DSN(), pgstore.Options{Table: tableName(t), Timeout: time.Second, MaxConns: 1})
	put(t, s, "a", "1")
	tx, err := database(t, server.DSN()).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `UPDATE `+tableName(t)+` SET v = '3' WHERE k = 'a'`)
	require.NoError(t, err)
	err = s.Update(t.Context(), func(tx platform.Tx) error { return tx.Put("a", []byte("2")) })
	require.ErrorIs(t, err, pgstore.ErrUnavailable)
	require.NoError(t, tx.Rollback())
	// Nobody is free, and nobody becomes it.
	err = s.Update(t.Context(), func(platform.Tx) error {
		return s.View(t.Context(), func(platform.Tx) error { return nil })
	})
	require.ErrorIs(t, err, pgstore.ErrUnavailable)
	put(t, s, "a", "4")
	require.Equal(t, map[string]string{"a": "4"}, all(t, s))
}

func testClose(t *testing.T, server *pgtest.Server) {
	s := fresh(t, server)
	inside, goOn, closed := make(chan bool), make(chan bool), make(chan error)
	updated := make(chan error)
	go func() {
		updated <- s.Update(t.Context(), func(tx platform.Tx) error {
			close(inside)
			<-goOn
			return tx.Put("a", []byte("1"))
		})
	}()
	<-inside
	go func() { closed <- s.Close() }()
	for s.View(t.Context(), func(platform.Tx) error { return nil }) == nil {
	}
	select {
	case <-closed:
		t.Fatal("closed under a transaction")
	default:
	}
	close(goOn)
	require.NoError(t, <-updated)
	require.NoError(t, <-closed)
	require.NoError(t, s.Close(), "twice is no error")
	require.ErrorIs(t, s.View(t.Context(), func(platform.Tx) error { return nil }), platform.ErrStoreClosed)
	require.Equal(t, map[string]string{"a": "1"}, all(t, fresh(t, server)))
}
