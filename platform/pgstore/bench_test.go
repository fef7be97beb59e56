package pgstore_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/pgtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/pgstore"
)

// The server does not sync, so this is the store's own share: a key read and written in each transaction, among 10,000.
func BenchmarkUpdate(b *testing.B) {
	server := pgtest.Start(b)
	s, err := pgstore.Open(b.Context(), server.DSN(), pgstore.Options{})
	require.NoError(b, err)
	defer s.Close()
	key := func(n int64) string { return fmt.Sprintf("mark/%08x", n*2654435761%10_000) }
	require.NoError(b, s.Update(b.Context(), func(tx platform.Tx) error {
		for n := range int64(10_000) {
			if err := tx.Put(key(n), make([]byte, 64)); err != nil {
				return err
			}
		}
		return nil
	}))
	update := func(key string) error {
		return s.Update(b.Context(), func(tx platform.Tx) error {
			v, err := tx.Get(key)
			if err != nil {
				return err
			}
			return tx.Put(key, v)
		})
	}
	b.Run("one after another", func(b *testing.B) {
		for n := int64(0); b.Loop(); n++ {
			require.NoError(b, update(key(n)))
		}
	})
	b.Run("eight at once", func(b *testing.B) {
		b.SetParallelism(4) // for two processors
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := update(key(n.Add(1))); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("the same key", func(b *testing.B) {
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := update(key(0)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
