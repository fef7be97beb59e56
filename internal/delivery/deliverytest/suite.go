package deliverytest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/delivery"
)

// Harness is one durable place for the state of one binding, empty at first.
type Harness struct {
	// Open opens the place. Called again, it opens the same place a second time, and the store opened before it is used no
	// more: as after a restart of the process.
	Open func(t *testing.T) delivery.Store

	// Raw returns every byte that the implementation keeps at rest. nil skips the check that plaintext is not among them, as for
	// a store in memory.
	Raw func(t *testing.T) []byte
}

// TestStore shows that an implementation keeps the contract of delivery.Store. fresh is called for each part.
func TestStore(t *testing.T, fresh func(t *testing.T) Harness) {
	t.Helper()
	frame := func(seq uint64) []byte { return fmt.Appendf(nil, "the plaintext of frame %d", seq) }
	seqs := func(s delivery.State) (out []uint64) {
		for _, e := range s.Outbox {
			out = append(out, e.Seq)
		}
		return out
	}
	load := func(t *testing.T, s delivery.Store) delivery.State {
		t.Helper()
		st, err := s.Load()
		require.NoError(t, err)
		return st
	}

	t.Run("a new binding is the zero state", func(t *testing.T) {
		st := load(t, fresh(t).Open(t))
		require.Zero(t, st.Next)
		require.Zero(t, st.Marks)
		require.Empty(t, st.Outbox)
	})

	t.Run("the outbox survives in order", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		// Past 256 and 65,536, so that an order by text or by a short integer shows.
		want := []uint64{1, 2, 9, 10, 11, 255, 256, 257, 65535, 65536, 1 << 32, 1<<32 + 1}
		for _, seq := range want {
			require.NoError(t, s.Append(seq, frame(seq)))
		}
		st := load(t, h.Open(t))
		require.Equal(t, want, seqs(st))
		for _, e := range st.Outbox {
			require.Equal(t, frame(e.Seq), e.Frame, "frame %d", e.Seq)
		}
		require.Equal(t, uint64(1<<32+2), st.Next)
	})

	t.Run("arguments are not kept", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		b := frame(1)
		require.NoError(t, s.Append(1, b))
		clear(b)
		require.Equal(t, frame(1), load(t, h.Open(t)).Outbox[0].Frame)
	})

	t.Run("an empty frame is an entry", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		require.NoError(t, s.Append(1, nil))
		st := load(t, h.Open(t))
		require.Equal(t, []uint64{1}, seqs(st))
		require.Empty(t, st.Outbox[0].Frame)
	})

	t.Run("a used number is refused", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		require.NoError(t, s.Append(5, frame(5)))
		for _, seq := range []uint64{0, 1, 4, 5} {
			require.Error(t, s.Append(seq, frame(99)), "append %d after 5", seq)
		}
		st := load(t, h.Open(t))
		require.Equal(t, []uint64{5}, seqs(st))
		require.Equal(t, frame(5), st.Outbox[0].Frame)
	})

	t.Run("next outlives the entries", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		for seq := uint64(1); seq <= 3; seq++ {
			require.NoError(t, s.Append(seq, frame(seq)))
		}
		require.NoError(t, s.Remove(3))
		s = h.Open(t)
		st := load(t, s)
		require.Empty(t, st.Outbox)
		require.Equal(t, uint64(4), st.Next)
		require.Error(t, s.Append(3, frame(3)), "a number used before a restart")
		require.NoError(t, s.Append(4, frame(4)))
	})

	t.Run("remove takes the oldest", func(t *testing.T) {
		for _, tc := range []struct {
			upTo uint64
			left []uint64
		}{
			{0, []uint64{2, 3, 300, 301}}, {1, []uint64{2, 3, 300, 301}}, {2, []uint64{3, 300, 301}},
			{299, []uint64{300, 301}}, {300, []uint64{301}}, {301, nil}, {1 << 60, nil},
		} {
			h := fresh(t)
			s := h.Open(t)
			load(t, s)
			for _, seq := range []uint64{2, 3, 300, 301} {
				require.NoError(t, s.Append(seq, frame(seq)))
			}
			require.NoError(t, s.Remove(tc.upTo))
			require.NoError(t, s.Remove(tc.upTo), "again")
			st := load(t, h.Open(t))
			require.Equal(t, tc.left, seqs(st), "remove up to %d", tc.upTo)
			require.Equal(t, uint64(302), st.Next, "remove up to %d", tc.upTo)
		}
	})

	t.Run("remove from an empty outbox", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		require.NoError(t, s.Remove(7))
		require.Zero(t, load(t, h.Open(t)).Next)
	})

	t.Run("marks survive, apart, and never sink", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		require.NoError(t, s.PutMark(delivery.MarkEvents, 7))
		require.NoError(t, s.PutMark(delivery.MarkCalls, 300))
		require.NoError(t, s.PutMark(delivery.MarkNumbers, 1<<40))
		require.NoError(t, s.PutMark(delivery.MarkEvents, 8))
		require.NoError(t, s.PutMark(delivery.MarkCalls, 299))
		want := [delivery.MarkCount]uint64{8, 300, 1 << 40}
		st := load(t, h.Open(t))
		require.Equal(t, want, st.Marks)
		require.Zero(t, st.Next)
		require.Empty(t, st.Outbox)
	})

	t.Run("an unknown mark is refused", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		require.Error(t, s.PutMark(delivery.MarkCount, 1))
		require.Error(t, s.PutMark(255, 1))
		require.Zero(t, load(t, h.Open(t)).Marks)
	})

	t.Run("from several goroutines", func(t *testing.T) {
		h := fresh(t)
		s := h.Open(t)
		load(t, s)
		const n = 20
		errs := make(chan error, 4*n)
		var wg sync.WaitGroup
		wg.Go(func() {
			for seq := uint64(1); seq <= n; seq++ {
				errs <- s.Append(seq, frame(seq))
				errs <- s.Remove(seq / 2)
			}
		})
		for _, m := range []delivery.Mark{delivery.MarkEvents, delivery.MarkCalls} {
			wg.Go(func() {
				for v := uint64(1); v <= n; v++ {
					errs <- s.PutMark(m, v)
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
		st := load(t, h.Open(t))
		require.Equal(t, uint64(n+1), st.Next)
		require.Len(t, st.Outbox, n/2)
		require.Equal(t, uint64(n), st.Marks[delivery.MarkEvents])
		require.Equal(t, uint64(n), st.Marks[delivery.MarkCalls])
	})

	t.Run("no plaintext at rest", func(t *testing.T) {
		h := fresh(t)
		if h.Raw == nil {
			t.Skip("kept in memory")
		}
		s := h.Open(t)
		load(t, s)
		secret := []byte("the temperature is 36.6 degrees")
		require.NoError(t, s.Append(1, secret))
		raw := h.Raw(t)
		require.NotEmpty(t, raw, "Raw found nothing to look at")
		require.False(t, bytes.Contains(raw, secret), "a frame lies in the clear")
		require.Equal(t, secret, load(t, h.Open(t)).Outbox[0].Frame)
	})
}
