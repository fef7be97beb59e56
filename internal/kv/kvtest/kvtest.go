// Package kvtest holds the suite that every [kv.Store] passes.
package kvtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/kv"
)

// TestStore runs the suite. open returns the same store each time it is called with the same name: the suite closes and opens again.
// forgets says that a closed store is empty afterwards, as one in memory is.
func TestStore(t *testing.T, open func(t *testing.T, name string) kv.Store, forgets bool) {
	ctx := t.Context()
	fresh := func(t *testing.T) kv.Store {
		s := open(t, strings.ReplaceAll(t.Name(), "/", "_"))
		t.Cleanup(func() { s.Close() })
		return s
	}

	t.Run("put, get, delete", func(t *testing.T) {
		s := fresh(t)
		update(t, s, func(tx kv.Tx) error {
			_, err := tx.Get("a")
			require.ErrorIs(t, err, kv.ErrNotFound)
			v := []byte("1")
			require.NoError(t, tx.Put("a", v))
			v[0] = 'x' // not kept
			require.NoError(t, tx.Put("empty", nil))
			got, err := tx.Get("a")
			require.NoError(t, err, "a transaction sees its own writes")
			require.Equal(t, "1", string(got))
			got[0] = 'y' // a copy
			return nil
		})
		require.Equal(t, map[string]string{"a": "1", "empty": ""}, all(t, s, ""))
		update(t, s, func(tx kv.Tx) error {
			require.NoError(t, tx.Delete("a"))
			require.NoError(t, tx.Delete("absent"))
			_, err := tx.Get("a")
			require.ErrorIs(t, err, kv.ErrNotFound)
			return nil
		})
		require.Equal(t, map[string]string{"empty": ""}, all(t, s, ""))
	})

	t.Run("list in order of bytes", func(t *testing.T) {
		s := fresh(t)
		update(t, s, func(tx kv.Tx) error {
			for _, k := range []string{"d/b", "d/", "d/a\xff", "d/a", "d0", "c", "e"} {
				require.NoError(t, tx.Put(k, []byte(k)))
			}
			var inside []string
			for k := range tx.List("d/") {
				inside = append(inside, k)
			}
			require.Equal(t, []string{"d/", "d/a", "d/a\xff", "d/b"}, inside)
			return nil
		})
		var keys []string
		require.NoError(t, s.View(ctx, func(tx kv.Tx) error {
			for k, v := range tx.List("d/") {
				require.Equal(t, k, string(v))
				if keys = append(keys, k); len(keys) == 3 {
					break
				}
			}
			return nil
		}))
		require.Equal(t, []string{"d/", "d/a", "d/a\xff"}, keys)
		require.Empty(t, all(t, s, "nothing"))
	})

	t.Run("an error undoes everything", func(t *testing.T) {
		s := fresh(t)
		update(t, s, func(tx kv.Tx) error { return tx.Put("kept", []byte("1")) })
		boom := errors.New("boom")
		require.ErrorIs(t, s.Update(ctx, func(tx kv.Tx) error {
			require.NoError(t, tx.Put("new", []byte("2")))
			require.NoError(t, tx.Put("kept", []byte("2")))
			require.NoError(t, tx.Delete("kept"))
			return boom
		}), boom)
		require.Equal(t, map[string]string{"kept": "1"}, all(t, s, ""))
	})

	t.Run("refused", func(t *testing.T) {
		s := fresh(t)
		update(t, s, func(tx kv.Tx) error {
			require.ErrorIs(t, tx.Put("", nil), kv.ErrSize)
			require.ErrorIs(t, tx.Put(strings.Repeat("k", kv.MaxKey+1), nil), kv.ErrSize)
			require.ErrorIs(t, tx.Put("k", make([]byte, kv.MaxValue+1)), kv.ErrSize)
			return tx.Put(strings.Repeat("k", kv.MaxKey), make([]byte, kv.MaxValue))
		})
		require.NoError(t, s.View(ctx, func(tx kv.Tx) error {
			require.ErrorIs(t, tx.Put("k", nil), kv.ErrReadOnly)
			require.ErrorIs(t, tx.Delete("k"), kv.ErrReadOnly)
			return nil
		}))
		done, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, s.View(done, func(kv.Tx) error { return nil }), context.Canceled)
		require.ErrorIs(t, s.Update(done, func(kv.Tx) error { return nil }), context.Canceled)
	})

	t.Run("updates follow one another", func(t *testing.T) {
		s := fresh(t)
		const writers, rounds = 8, 5
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range rounds {
					if err := s.Update(ctx, increment); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, strconv.Itoa(writers*rounds), all(t, s, "")["n"])
	})

	t.Run("closed", func(t *testing.T) {
		s := fresh(t)
		update(t, s, func(tx kv.Tx) error { return tx.Put("a", []byte("1")) })
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.View(ctx, func(kv.Tx) error { return nil }), kv.ErrClosed)
		require.ErrorIs(t, s.Update(ctx, func(kv.Tx) error { return nil }), kv.ErrClosed)
		if forgets {
			return
		}
		require.Equal(t, map[string]string{"a": "1"}, all(t, fresh(t), ""), "what was committed is there after opening again")
	})
}

func increment(tx kv.Tx) error {
	n := 0
	switch v, err := tx.Get("n"); {
	case err == nil:
		if n, err = strconv.Atoi(string(v)); err != nil {
			return err
		}
	case !errors.Is(err, kv.ErrNotFound):
		return err
	}
	return tx.Put("n", fmt.Append(nil, n+1))
}

func update(t *testing.T, s kv.Store, f func(kv.Tx) error) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), f))
}

func all(t *testing.T, s kv.Store, prefix string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, s.View(t.Context(), func(tx kv.Tx) error {
		for k, v := range tx.List(prefix) {
			out[k] = string(v)
		}
		return nil
	}))
	return out
}
