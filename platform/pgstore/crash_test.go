package pgstore_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/pgtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/pgstore"
)

// Writers change three keys together while the server is killed. Afterwards each has all three or none, and everything that was
// confirmed.
func TestKilledUnderUpdates(t *testing.T) {
	server := pgtest.Start(t)
	s := open(t, server.DSN(), pgstore.Options{MaxConns: 6})
	const writers, rounds = 4, 3
	var confirmed [writers]atomic.Int64
	write := func(w int, n int64) error {
		return s.Update(t.Context(), func(tx platform.Tx) error {
			for _, part := range []string{"a", "b", "c"} {
				if err := tx.Put(fmt.Sprintf("%d/%s", w, part), fmt.Append(make([]byte, 40_000), n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for round := range rounds {
		var done sync.WaitGroup
		enough := make(chan bool, writers)
		for w := range writers {
			done.Go(func() {
				for i := 0; ; i++ {
					n := confirmed[w].Load() + 1
					if err := write(w, n); err != nil {
						if !errors.Is(err, pgstore.ErrUnavailable) && !errors.Is(err, pgstore.ErrUnknown) {
							t.Error(err)
						}
						return
					}
					confirmed[w].Store(n)
					if i == 10 {
						enough <- true
					}
				}
			})
		}
		for range writers {
			<-enough
		}
		server.Kill(t)
		done.Wait()
		require.ErrorIs(t, write(0, 0), pgstore.ErrUnavailable, "round %d: nobody there", round)
		server.Restart(t)

		// The same store goes on by itself. In the order of the keys: of each writer the first one says how far it came.
		kept := all(t, s)
		for _, k := range slices.Sorted(maps.Keys(kept)) {
			v := kept[k]
			var w int
			var part rune
			_, err := fmt.Sscanf(k, "%d/%c", &w, &part)
			require.NoError(t, err)
			var n int64
			_, err = fmt.Sscan(v[40_000:], &n)
			require.NoError(t, err)
			if part == 'a' {
				have := confirmed[w].Load()
				require.Contains(t, []int64{have, have + 1}, n, "what was confirmed is there, and at most one more")
				confirmed[w].Store(n)
			}
			require.Equal(t, confirmed[w].Load(), n, "%s in round %d", k, round)
		}
	}
}

func testCut(t *testing.T, server *pgtest.Server) {
	cutter := server.NewCutter(t)
	s := open(t, cutter.DSN(), pgstore.Options{Table: tableName(t)})
	direct := fresh(t, server)
	put(t, s, "a", "0")

	for i, c := range []struct {
		name string
		cut  pgtest.Cut
		done bool
	}{
		{"before the server had it", pgtest.BeforeCommit, false},
		{"before the answer", pgtest.AfterCommit, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := all(t, s)["a"]
			value := fmt.Sprint(i + 1)
			calls := 0
			err := s.Update(t.Context(), func(tx platform.Tx) error {
				calls++
				cutter.Next(c.cut)
				return tx.Put("a", []byte(value))
			})
			require.ErrorIs(t, err, pgstore.ErrUnknown, "from here the two look the same")
			require.ErrorContains(t, err, "COMMIT")
			require.Equal(t, 1, calls, "what may have happened is not done again")
			want := before
			if c.done {
				want = value
			}
			require.Equal(t, want, all(t, direct)["a"])
			require.Equal(t, want, all(t, s)["a"], "the store has reconnected")
		})
	}
	t.Run("no answer", func(t *testing.T) {
		s := open(t, cutter.DSN(), pgstore.Options{Table: tableName(t) + "2", Timeout: time.Second})
		err := s.Update(t.Context(), func(tx platform.Tx) error {
			cutter.Next(pgtest.Silence)
			return tx.Put("a", []byte("1"))
		})
		require.ErrorIs(t, err, pgstore.ErrUnknown)
		require.Equal(t, map[string]string{"a": "1"}, all(t, s))
	})
}
