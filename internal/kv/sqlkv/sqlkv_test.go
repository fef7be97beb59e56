package sqlkv_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/kv"
	"github.com/semio-iot/semio/internal/kv/sqlkv"
)

// The suite and everything about real transactions run where there is a driver: in platform/pgstore and appgw/pgstore. Here are the
// answers of a server that one cannot make it give at will.

// server answers as it is told. It is a driver's connector and its only connection.
type server struct {
	commit func() error // nil: success
	silent bool         // no answer to a COMMIT, until the context ends
	log    []string
	ctx    context.Context // of the transaction
}

// state is a server's error, as pgx and lib/pq have them.
type state string

func (s state) SQLState() string { return string(s) }
func (s state) Error() string    { return "server says " + string(s) }

func (s *server) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (s *server) Driver() driver.Driver                        { return nil }
func (s *server) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (s *server) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }
func (s *server) Close() error                                 { return nil }

func (s *server) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	s.ctx = ctx
	s.log = append(s.log, fmt.Sprintf("BEGIN %s read-only=%v", sql.IsolationLevel(o.Isolation), o.ReadOnly))
	return s, nil
}

func (s *server) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	s.log = append(s.log, query[:strings.IndexByte(query, ' ')])
	return driver.RowsAffected(1), nil
}

func (s *server) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &marker{}, nil
}

func (s *server) Commit() error {
	s.log = append(s.log, "COMMIT")
	if s.silent {
		<-s.ctx.Done()
		return s.ctx.Err()
	}
	if s.commit != nil {
		return s.commit()
	}
	return nil
}

func (s *server) Rollback() error {
	s.log = append(s.log, "ROLLBACK")
	return nil
}

type marker struct{ done bool }

func (m *marker) Columns() []string { return []string{"v", "current_setting"} }
func (m *marker) Close() error      { return nil }
func (m *marker) Next(dest []driver.Value) error {
	if m.done {
		return io.EOF
	}
	m.done = true
	dest[0], dest[1] = []byte("table 1, test 1"), "on"
	return nil
}

func open(t *testing.T, s *server) *sqlkv.Store {
	t.Helper()
	db := sql.OpenDB(s)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	table, err := sqlkv.ParseTable("t")
	require.NoError(t, err)
	store, err := sqlkv.Open(t.Context(), db, sqlkv.Options{Table: table, Content: "test 1"})
	require.NoError(t, err)
	s.log = nil
	return store
}

func TestFailedCommit(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error // nil: none of the sentinels, and certainly not done
	}{
		{state("08006"), sqlkv.ErrUnknown},
		{state("40003"), sqlkv.ErrUnknown},
		{state("57P01"), sqlkv.ErrUnknown},
		{state("57014"), sqlkv.ErrUnknown},
		{state("58030"), sqlkv.ErrUnknown},
		{state("XX000"), sqlkv.ErrUnknown},
		{driver.ErrBadConn, sqlkv.ErrUnknown},
		{io.ErrUnexpectedEOF, sqlkv.ErrUnknown},
		{context.Canceled, sqlkv.ErrUnknown},
		{state("4"), nil},
		{state("23514"), nil},
		{state("53100"), nil},
		{state("53300"), sqlkv.ErrUnavailable},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			calls := 0
			s := open(t, &server{commit: func() error { return c.err }})
			err := s.Update(t.Context(), func(kv.Tx) error { calls++; return nil })
			require.ErrorIs(t, err, c.err)
			require.Equal(t, 1, calls)
			for _, sentinel := range []error{sqlkv.ErrUnknown, sqlkv.ErrUnavailable, sqlkv.ErrConflict} {
				require.Equal(t, sentinel == c.want, errors.Is(err, sentinel), "%v", err)
			}
		})
	}
}

func TestConflicts(t *testing.T) {
	for _, code := range []state{"40001", "40P01"} {
		for _, hopeless := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s hopeless=%v", string(code), hopeless), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					calls := 0
					database := &server{commit: func() error {
						if calls == 8 && !hopeless {
							return nil
						}
						return code
					}}
					s := open(t, database)
					err := s.Update(t.Context(), func(kv.Tx) error { calls++; return nil })
					want := 8
					if hopeless {
						want = 10
						require.ErrorIs(t, err, sqlkv.ErrConflict)
						require.True(t, sqlkv.Retryable(err))
						require.True(t, sqlkv.Retryable(fmt.Errorf("host: %w", code)))
					} else {
						require.NoError(t, err)
					}
					require.Equal(t, want, calls)
					log := strings.Join(database.log, ", ")
					const one = "BEGIN Serializable read-only=false, "
					require.Equal(t, strings.Repeat(one+"COMMIT, ", 5)+strings.Repeat(one+"LOCK, COMMIT, ", want-5), log+", ", "crowded, then alone")
				})
			})
		}
	}
	t.Run("an ended context ends the waiting", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := open(t, &server{commit: func() error { cancel(); return state("40001") }})
		calls := 0
		require.ErrorIs(t, s.Update(ctx, func(kv.Tx) error { calls++; return nil }), context.Canceled)
		require.Equal(t, 1, calls)
	})
}

func TestCommitsAreNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database := &server{silent: true}
		s := open(t, database)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := s.Update(ctx, func(kv.Tx) error { return nil })
		require.ErrorIs(t, err, sqlkv.ErrUnknown)
		require.Equal(t, sqlkv.DefaultTimeout, time.Since(start), "the time limit ends a COMMIT, the caller's context does not")
	})
}

func TestViews(t *testing.T) {
	database := &server{commit: func() error { return state("40001") }}
	s := open(t, database)
	calls := 0
	require.NoError(t, s.View(t.Context(), func(tx kv.Tx) error {
		calls++
		require.ErrorIs(t, tx.Put("a", nil), kv.ErrReadOnly)
		require.ErrorIs(t, tx.Delete("a"), kv.ErrReadOnly)
		return nil
	}))
	require.Equal(t, 1, calls)
	require.Equal(t, []string{"BEGIN Repeatable Read read-only=true", "COMMIT"}, database.log)

	boom := errors.New("boom")
	require.ErrorIs(t, s.View(t.Context(), func(kv.Tx) error { return boom }), boom)
	require.Equal(t, "ROLLBACK", database.log[len(database.log)-1])
}

func TestTable(t *testing.T) {
	for in, want := range map[string]string{
		"a": `"a"`, "_1": `"_1"`, "s.t": `"s"."t"`, "user": `"user"`, strings.Repeat("a", 63): `"` + strings.Repeat("a", 63) + `"`,
	} {
		table, err := sqlkv.ParseTable(in)
		require.NoError(t, err, in)
		require.Equal(t, want, table.String())
	}
	for _, in := range []string{"", ".", "a.", ".a", "a.b.c", "A", "1", "a-b", "a b", `a"`, "a'", "a;", "ä", "a\x00", strings.Repeat("a", 64), "a." + strings.Repeat("b", 64)} {
		_, err := sqlkv.ParseTable(in)
		require.ErrorIs(t, err, sqlkv.ErrTableName, "%q", in)
	}
	table, err := sqlkv.ParseTable("s.t")
	require.NoError(t, err)
	require.Contains(t, sqlkv.DDL(table, "it's 1"), `VALUES ('', 'table 1, it''s 1');`)
}

func TestOptions(t *testing.T) {
	db := sql.OpenDB(&server{})
	defer db.Close()
	table, err := sqlkv.ParseTable("t")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		db *sql.DB
		o  sqlkv.Options
	}{
		"no database": {nil, sqlkv.Options{Table: table, Content: "test 1"}},
		"no table":    {db, sqlkv.Options{Content: "test 1"}},
		"no content":  {db, sqlkv.Options{Table: table}},
		"timeout":     {db, sqlkv.Options{Table: table, Content: "test 1", Timeout: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sqlkv.Open(t.Context(), c.db, c.o)
			require.Error(t, err)
			require.Error(t, sqlkv.Create(t.Context(), c.db, c.o))
		})
	}
	_, err = sqlkv.Open(t.Context(), db, sqlkv.Options{Table: table, Content: "test 2"})
	require.ErrorIs(t, err, kv.ErrSchema)
	require.ErrorContains(t, err, "test 1")
}
