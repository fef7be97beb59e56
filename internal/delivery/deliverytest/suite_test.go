package deliverytest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/delivery/deliverytest"
)

func TestMemStore(t *testing.T) {
	deliverytest.TestStore(t, func(*testing.T) deliverytest.Harness {
		m := new(deliverytest.MemStore)
		return deliverytest.Harness{Open: func(*testing.T) delivery.Store {
			m = m.Reopen()
			return m
		}}
	})
}

func TestMemStoreFaults(t *testing.T) {
	t.Run("a refused write is not made", func(t *testing.T) {
		m := new(deliverytest.MemStore)
		m.FailWrites(func(write int) error {
			if write == 2 {
				return deliverytest.ErrFault
			}
			return nil
		})
		require.NoError(t, m.Append(1, nil))
		require.ErrorIs(t, m.Append(2, nil), deliverytest.ErrFault)
		require.NoError(t, m.Append(3, nil))
		st, err := m.Load()
		require.NoError(t, err)
		require.Len(t, st.Outbox, 2)
	})
	for steps, made := range []uint64{0, 1, 1, 2, 2} {
		m := new(deliverytest.MemStore)
		m.DieAfter(steps)
		for v := uint64(1); v < 5; v++ {
			_ = m.PutMark(delivery.MarkEvents, v)
		}
		require.True(t, m.Dead())
		_, err := m.Load()
		require.ErrorIs(t, err, deliverytest.ErrFault)
		st, err := m.Reopen().Load()
		require.NoError(t, err)
		require.Equal(t, made, st.Marks[delivery.MarkEvents], "died after %d steps", steps)
	}
}
