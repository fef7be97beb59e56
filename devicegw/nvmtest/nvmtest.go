// Package nvmtest shows whether an implementation of devicegw.NVM keeps its contract: call [TestNVM] from a test of yours.
package nvmtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
)

// Harness is one memory, empty at first.
type Harness struct {
	// Open opens the memory. Called again, it opens the same memory a second time, as after a restart; what was opened before
	// is used no more.
	Open func(t *testing.T) devicegw.NVM
}

// TestNVM runs the suite. fresh is called for each part. Power cuts are the implementation's own tests: how to cut the
// power is not known here.
func TestNVM(t *testing.T, fresh func(t *testing.T) Harness) {
	t.Helper()
	ctx := context.Background()
	get := func(t *testing.T, m devicegw.NVM, name string) []byte {
		t.Helper()
		v, err := m.Get(ctx, name)
		require.NoError(t, err, "get %q", name)
		return v
	}
	missing := func(t *testing.T, m devicegw.NVM, name string) {
		t.Helper()
		v, err := m.Get(ctx, name)
		require.ErrorIs(t, err, fs.ErrNotExist, "get %q", name)
		require.Nil(t, v)
	}

	t.Run("an unknown name", func(t *testing.T) {
		m := fresh(t).Open(t)
		missing(t, m, "state")
		require.NoError(t, m.Delete(ctx, "state"), "deleting what is not there is no error")
	})

	for _, size := range []int{0, 1, 33, 1024, 5000, 70_000, devicegw.MaxValue} {
		t.Run(fmt.Sprintf("%d bytes survive", size), func(t *testing.T) {
			h := fresh(t)
			m := h.Open(t)
			v := make([]byte, size)
			_, _ = rand.Read(v)
			require.NoError(t, m.Put(ctx, "state", v))
			require.True(t, bytes.Equal(v, get(t, m, "state")))
			require.True(t, bytes.Equal(v, get(t, h.Open(t), "state")), "after a restart")
		})
	}

	t.Run("too large is refused", func(t *testing.T) {
		m := fresh(t).Open(t)
		require.NoError(t, m.Put(ctx, "state", []byte("old")))
		require.Error(t, m.Put(ctx, "state", make([]byte, devicegw.MaxValue+1)))
		require.Equal(t, []byte("old"), get(t, m, "state"))
	})

	t.Run("put replaces", func(t *testing.T) {
		h := fresh(t)
		m := h.Open(t)
		for _, v := range []string{"a long first value", "short", ""} {
			require.NoError(t, m.Put(ctx, "state", []byte(v)))
			require.Equal(t, v, string(get(t, m, "state")))
		}
		require.Empty(t, get(t, h.Open(t), "state"))
	})

	t.Run("names are apart", func(t *testing.T) {
		h := fresh(t)
		m := h.Open(t)
		// Names that this module uses, and pairs that a careless mapping confuses.
		names := []string{
			"helper", "identity", "state", "outbox-0000", "outbox-0001", "outbox-000", "a", "a-", "a-a", "0", "00",
			strings.Repeat("x", 64), strings.Repeat("x", 63),
		}
		for _, n := range names {
			require.NoError(t, m.Put(ctx, n, []byte("value of "+n)))
		}
		m = h.Open(t)
		for _, n := range names {
			require.Equal(t, "value of "+n, string(get(t, m, n)))
		}
		require.NoError(t, m.Delete(ctx, "a"))
		missing(t, m, "a")
		for _, n := range names {
			if n != "a" {
				require.Equal(t, "value of "+n, string(get(t, m, n)))
			}
		}
	})

	t.Run("delete lasts", func(t *testing.T) {
		h := fresh(t)
		for _, name := range []string{"helper", "identity", "state"} {
			m := h.Open(t)
			require.NoError(t, m.Put(ctx, name, []byte("v")))
			require.NoError(t, m.Delete(ctx, name))
			missing(t, m, name)
			m = h.Open(t)
			missing(t, m, name)
			require.NoError(t, m.Put(ctx, name, []byte("again")))
			require.Equal(t, "again", string(get(t, m, name)))
		}
	})

	t.Run("invalid names are refused", func(t *testing.T) {
		m := fresh(t).Open(t)
		for _, name := range []string{
			"", ".", "..", "../state", "a/b", "a\\b", "/etc", "-a", "A", "a.v", "a b", "ä", "a\x00", "a:b", strings.Repeat("x", 65),
		} {
			require.Error(t, m.Put(ctx, name, []byte("v")), "put %q", name)
			_, err := m.Get(ctx, name)
			require.Error(t, err, "get %q", name)
			require.NotErrorIs(t, err, fs.ErrNotExist, "get %q: an invalid name is not an absent one", name)
			require.Error(t, m.Delete(ctx, name), "delete %q", name)
		}
	})

	t.Run("slices are not shared", func(t *testing.T) {
		m := fresh(t).Open(t)
		v := []byte("value")
		require.NoError(t, m.Put(ctx, "state", v))
		clear(v)
		got := get(t, m, "state")
		require.Equal(t, "value", string(got))
		clear(got)
		require.Equal(t, "value", string(get(t, m, "state")))
	})

	t.Run("an ended context writes nothing", func(t *testing.T) {
		m := fresh(t).Open(t)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if m.Put(ended, "state", []byte("v")) != nil {
			missing(t, m, "state")
		}
	})

	t.Run("names, where the memory lists them", func(t *testing.T) {
		h := fresh(t)
		m := h.Open(t)
		l, ok := m.(devicegw.Lister)
		if !ok {
			t.Skip("it does not")
		}
		names, err := l.Names(ctx)
		require.NoError(t, err)
		require.Empty(t, names)
		want := []string{"helper", "identity", "outbox-0001", "state"}
		for _, n := range append(want, "gone") {
			require.NoError(t, m.Put(ctx, n, []byte("v")))
		}
		require.NoError(t, m.Delete(ctx, "gone"))
		for _, m := range []devicegw.NVM{m, h.Open(t)} {
			names, err := m.(devicegw.Lister).Names(ctx)
			require.NoError(t, err)
			require.ElementsMatch(t, want, names)
		}
	})

	t.Run("from several goroutines", func(t *testing.T) {
		m := fresh(t).Open(t)
		errs := make(chan error, 4*16*2)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 16 {
					errs <- m.Put(ctx, "state", bytes.Repeat([]byte{byte(g)}, 100))
					v, err := m.Get(ctx, "state")
					if err == nil && (len(v) != 100 || !bytes.Equal(v, bytes.Repeat(v[:1], 100))) {
						err = fmt.Errorf("read a mixture in round %d", i)
					}
					errs <- err
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
	})
}
