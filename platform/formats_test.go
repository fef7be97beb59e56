package platform

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform/registry"
)

func FuzzParseAuditEntry(f *testing.F) {
	d, err := identity.ParseDeviceID("D-1")
	require.NoError(f, err)
	e := AuditEntry{Seq: 7, Time: time.UnixMilli(1_700_000_000_000), Prev: [32]byte{1}, Code: 3, Suppressed: 9}
	e.Entry = registry.Entry{Kind: registry.KindConnected, Device: d, Lifecycle: 2, Revision: 2, Order: 5, Evidence: registry.Evidence{Kind: registry.EvidenceCRL, Hash: [32]byte{2}}}
	raw, err := e.marshal()
	require.NoError(f, err)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseAuditEntry(b)
		if err != nil {
			require.ErrorIs(t, err, ErrAudit)
			return
		}
		again, err := e.marshal()
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

func FuzzParseQueued(f *testing.F) {
	d, err := identity.ParseDeviceID("D-1")
	require.NoError(f, err)
	raw, err := queued{device: d, signed: []byte("order")}.marshal()
	require.NoError(f, err)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseQueued(b)
		if err != nil {
			require.ErrorIs(t, err, registry.ErrRecord)
			return
		}
		again, err := q.marshal()
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

// The account's arithmetic, which a clock that jumps must not upset.
func TestAccount(t *testing.T) {
	store := NewMemStore()
	now := time.UnixMilli(1_700_000_000_000)
	a := Allowance{Burst: 3, Every: time.Minute}
	left := func() (n int) {
		require.NoError(t, store.Update(t.Context(), func(tx Tx) error {
			c, err := (&txn{tx: tx, now: now}).account("k", a)
			require.NoError(t, err)
			n = c.left()
			return nil
		}))
		return n
	}
	take := func() {
		require.NoError(t, store.Update(t.Context(), func(tx Tx) error {
			c, err := (&txn{tx: tx, now: now}).account("k", a)
			require.NoError(t, err)
			return c.take(tx)
		}))
	}
	require.Equal(t, 3, left())
	take()
	take()
	require.Equal(t, 1, left())
	now = now.Add(time.Minute)
	require.Equal(t, 2, left())
	take()
	take()
	require.Equal(t, 0, left())
	now = now.Add(59 * time.Second)
	require.Equal(t, 0, left())
	now = now.Add(time.Second)
	require.Equal(t, 1, left())
	now = now.Add(-24 * time.Hour) // the clock was set back
	require.Equal(t, 0, left())
	now = now.Add(3 * time.Minute)
	require.Equal(t, 3, left())
	now = now.Add(1000 * time.Hour)
	require.Equal(t, 3, left(), "never more than the burst")

	require.NoError(t, store.Update(t.Context(), func(tx Tx) error { return tx.Put("k", []byte{9}) }))
	require.ErrorIs(t, store.View(t.Context(), func(tx Tx) error {
		_, err := (&txn{tx: tx, now: now}).account("k", a)
		return err
	}), registry.ErrRecord)
}

// The inbox gives a peer's records to one worker at a time and in sequence.
func TestInbox(t *testing.T) {
	q := newInbox()
	a, err := identity.ParseID("A-1")
	require.NoError(t, err)
	b, err := identity.ParseID("A-2")
	require.NoError(t, err)
	for i := range byte(perPeer) {
		require.True(t, q.put(a, []byte{i}))
	}
	require.False(t, q.put(a, []byte{9}))
	require.True(t, q.put(b, []byte{0}))
	require.Len(t, q.ready, 2)
	var got []byte
	q.work(<-q.ready, func(r []byte) {
		got = append(got, r[0])
		require.Len(t, q.ready, 1, "nobody else gets the peer meanwhile")
	})
	for len(q.ready) > 0 {
		id := <-q.ready
		q.work(id, func(r []byte) {
			if id == a {
				got = append(got, r[0])
			}
		})
	}
	require.Equal(t, []byte{0, 1, 2, 3}, got)
	require.Empty(t, q.waiting)
}
