// Package puftest tries implementations of [puf.Source].
//
// Call [TestSource] from a test of the implementation:
//
//	func TestMySource(t *testing.T) {
//		puftest.TestSource(t, func() puf.Source { return newMySource(t) })
//	}
package puftest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
)

// TestSource tries what the documentation of [puf.Source] promises. open returns a source of a working chip whose readings pass
// the default limits; sources of stored readings start at their first. It is called for each sub-test.
func TestSource(t *testing.T, open func() puf.Source) {
	ctx := t.Context()

	t.Run("size", func(t *testing.T) {
		src := open()
		n := src.Size()
		require.Positive(t, n)
		require.NoError(t, src.Measure(ctx, make([]byte, n)))
		require.Equal(t, n, src.Size(), "Size changed after a reading")
	})

	t.Run("fills the whole buffer", func(t *testing.T) {
		src := open()
		// What Measure leaves alone keeps its fill; of two sources' readings of one chip few bytes differ, all of
		// them if nothing was written.
		zeros, ones := make([]byte, src.Size()), bytes.Repeat([]byte{0xff}, src.Size())
		require.NoError(t, src.Measure(ctx, zeros))
		require.NoError(t, open().Measure(ctx, ones))
		run := 0
		for i := range zeros {
			if run++; zeros[i] != 0 || ones[i] != 0xff {
				run = 0
			}
			require.Less(t, run, 8, "bytes %d to %d were not written", i-run+1, i)
		}
	})

	t.Run("a reading passes the checks", func(t *testing.T) {
		src := open()
		b := make([]byte, src.Size())
		require.NoError(t, src.Measure(ctx, b))
		require.NoError(t, puf.Check(b, puf.Limits{}))
	})

	t.Run("readings are fresh", func(t *testing.T) {
		src := open()
		a, b := make([]byte, src.Size()), make([]byte, src.Size())
		require.NoError(t, src.Measure(ctx, a))
		if err := src.Measure(ctx, b); err != nil {
			require.ErrorIs(t, err, puf.ErrExhausted, "a second reading may fail only because there is none")
			return
		}
		require.NoError(t, puf.CheckPair(a, b, puf.Limits{}))
	})

	t.Run("wrong buffer", func(t *testing.T) {
		src := open()
		first := make([]byte, src.Size())
		for _, n := range []int{0, 1, src.Size() - 1, src.Size() + 1, 2 * src.Size()} {
			if n == src.Size() {
				continue
			}
			var wrong *puf.SizeError
			require.ErrorAs(t, src.Measure(ctx, make([]byte, n)), &wrong, "buffer of %d bytes for a source of %d", n, src.Size())
		}
		require.NoError(t, src.Measure(ctx, first), "a call with a wrong buffer must not use up a reading")
	})

	t.Run("cancelled", func(t *testing.T) {
		src := open()
		gone, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, src.Measure(gone, make([]byte, src.Size())), context.Canceled)
		require.NoError(t, src.Measure(ctx, make([]byte, src.Size())), "a cancelled call must not use up a reading")
	})

	t.Run("keeps no buffer", func(t *testing.T) {
		src := open()
		a, b := make([]byte, src.Size()), make([]byte, src.Size())
		require.NoError(t, src.Measure(ctx, a))
		clear(a)
		err := src.Measure(ctx, b)
		require.Equal(t, make([]byte, src.Size()), a, "a later call wrote into an earlier buffer")
		if err == nil {
			require.NoError(t, puf.Check(b, puf.Limits{}), "clearing an earlier buffer changed a reading")
		}
	})

	t.Run("concurrent use", func(t *testing.T) {
		src := open()
		const callers = 4
		errs := make([]error, callers)
		readings := make([][]byte, callers)
		var wg sync.WaitGroup
		for i := range callers {
			readings[i] = make([]byte, src.Size())
			wg.Go(func() { errs[i] = src.Measure(ctx, readings[i]) })
		}
		wg.Wait()
		good := 0
		for i, err := range errs {
			if errors.Is(err, puf.ErrExhausted) {
				continue
			}
			require.NoError(t, err)
			require.NoError(t, puf.Check(readings[i], puf.Limits{}), "a reading torn between two calls")
			good++
		}
		require.Positive(t, good)
	})
}
