// Package storetest tries implementations of [keyvault.Store]: call [TestStore] from a test of yours.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
)

// TestStore tries what the documentation of [keyvault.Store] promises but for durability, which takes a power cut. fresh
// returns an empty store; it is called for each sub-test.
func TestStore(t *testing.T, fresh func(t *testing.T) keyvault.Store) {
	ctx := context.Background()
	const name = keyvault.DefaultName
	get := func(t *testing.T, s keyvault.Store, want []byte) {
		t.Helper()
		got, err := s.Get(ctx, name)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "got %d bytes, want %d", len(got), len(want))
	}

	t.Run("missing", func(t *testing.T) {
		s := fresh(t)
		_, err := s.Get(ctx, name)
		require.ErrorIs(t, err, fs.ErrNotExist)
		if err := s.Delete(ctx, name); err != nil {
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	})

	t.Run("put, replace, delete", func(t *testing.T) {
		s := fresh(t)
		for _, size := range []int{1, 1024, 100} {
			value := bytes.Repeat([]byte{byte(size)}, size)
			require.NoError(t, s.Put(ctx, name, value))
			get(t, s, value)
		}
		_, err := s.Get(ctx, "other")
		require.ErrorIs(t, err, fs.ErrNotExist, "a value under another name")
		require.NoError(t, s.Delete(ctx, name))
		_, err = s.Get(ctx, name)
		require.ErrorIs(t, err, fs.ErrNotExist, "the value outlived Delete")
		require.NoError(t, s.Put(ctx, name, []byte("again")))
		get(t, s, []byte("again"))
	})

	t.Run("names do not mix", func(t *testing.T) {
		s := fresh(t)
		require.NoError(t, s.Put(ctx, name, []byte("one")))
		require.NoError(t, s.Put(ctx, "helper-2", []byte("two")))
		get(t, s, []byte("one"))
		require.NoError(t, s.Delete(ctx, "helper-2"))
		get(t, s, []byte("one"))
	})

	t.Run("slices are not shared", func(t *testing.T) {
		s := fresh(t)
		value := []byte("value")
		require.NoError(t, s.Put(ctx, name, value))
		clear(value)
		get(t, s, []byte("value"))
		got, err := s.Get(ctx, name)
		require.NoError(t, err)
		clear(got)
		get(t, s, []byte("value"))
	})

	t.Run("never a mixture", func(t *testing.T) {
		s := fresh(t)
		values := [][]byte{bytes.Repeat([]byte{1}, 900), bytes.Repeat([]byte{2}, 1000)}
		require.NoError(t, s.Put(ctx, name, values[0]))
		var wg sync.WaitGroup
		var putErr error
		wg.Go(func() {
			for i := range 20 {
				putErr = errors.Join(putErr, s.Put(ctx, name, values[i%2]))
			}
		})
		for range 20 {
			got, err := s.Get(ctx, name)
			require.NoError(t, err, "a value that is being replaced is there")
			require.True(t, bytes.Equal(got, values[0]) || bytes.Equal(got, values[1]), "a mixture of two values")
		}
		wg.Wait()
		require.NoError(t, putErr)
	})
}
