package devicegw_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/delivery/deliverytest"
)

var (
	bindingA = e2e.BindingID{1}
	bindingB = e2e.BindingID{2}
)

func TestKeyRoot(t *testing.T) {
	n := 0
	roottest.TestRoot(t, func(*testing.T) roottest.Harness {
		n++
		seed := fmt.Sprintf("seed %d", n)
		return roottest.Harness{
			Open:  func(*testing.T) devicegw.Root { return roottest.NewKeyRoot(seed) },
			Other: func(*testing.T) devicegw.Root { return roottest.NewKeyRoot(seed + " of another chip") },
		}
	})
}

// plainNVM hides what a memory can do beyond the contract.
type plainNVM struct{ devicegw.NVM }

func TestOutbox(t *testing.T) {
	deliverytest.TestStore(t, func(t *testing.T) deliverytest.Harness {
		fsys := crashfs.New("/nvm")
		root := roottest.NewKeyRoot("outbox")
		return deliverytest.Harness{
			Open: func(t *testing.T) delivery.Store { return devicegw.NewOutbox(root, openCrash(t, fsys), bindingA) },
			Raw:  func(t *testing.T) []byte { return raw(t, fsys) },
		}
	})
}

func TestOutboxOnPlainMemory(t *testing.T) {
	fsys := crashfs.New("/nvm")
	root := roottest.NewKeyRoot("outbox")
	open := func() delivery.Store { return devicegw.NewOutbox(root, plainNVM{openCrash(t, fsys)}, bindingA) }
	s := open()
	for seq := uint64(1); seq <= 5; seq++ {
		require.NoError(t, s.Append(seq, []byte{byte(seq)}))
	}
	require.NoError(t, s.Remove(2))
	st, err := open().Load()
	require.NoError(t, err)
	require.Len(t, st.Outbox, 3)
	require.Equal(t, uint64(3), st.Outbox[0].Seq)
	require.NoError(t, devicegw.ClearBinding(plainNVM{openCrash(t, fsys)}))
	require.Empty(t, raw(t, fsys))
}

func raw(t *testing.T, fsys *crashfs.FS) []byte {
	t.Helper()
	names, err := fsys.ReadDir("/nvm")
	require.NoError(t, err)
	var all []byte
	for _, n := range names {
		b, err := fsys.ReadFile("/nvm/"+n, 1<<30)
		require.NoError(t, err)
		all = append(all, b...)
	}
	return all
}

// A script of sends, acknowledgements and marks, cut at every operation: what had returned holds, what had not is whole or
// absent, and no number is used twice.
func TestOutboxPowerCut(t *testing.T) {
	fsys := crashfs.New("/nvm")
	root := roottest.NewKeyRoot("outbox")
	store := devicegw.NewOutbox(root, openCrash(t, fsys), bindingA)
	_, err := store.Load()
	require.NoError(t, err)

	type view struct {
		next, low uint64 // low: oldest entry
		events    uint64
	}
	now := view{low: 1}
	states := []view{now}
	done := []int{fsys.Ops()}
	step := func(err error, v view) {
		require.NoError(t, err)
		states, done = append(states, v), append(done, fsys.Ops())
		now = v
	}
	frame := func(seq uint64) []byte { return fmt.Appendf(nil, "frame %d", seq) }
	add := func(seq uint64) { step(store.Append(seq, frame(seq)), view{seq + 1, now.low, now.events}) }
	remove := func(upTo uint64) { step(store.Remove(upTo), view{now.next, upTo + 1, now.events}) }
	mark := func(v uint64) { step(store.PutMark(delivery.MarkEvents, v), view{now.next, now.low, v}) }
	add(1)
	add(2)
	mark(7)
	remove(1)
	add(3)
	remove(3)
	mark(8)
	add(4)

	n := 0
	for c := range fsys.Crashes() {
		if n++; n%2 != 0 {
			continue
		}
		i := 0
		for i+1 < len(done) && c.After >= done[i+1] {
			i++
		}
		nvm, err := devicegw.OpenFileNVMOn(c.FS, "/nvm")
		require.NoError(t, err)
		st, err := devicegw.NewOutbox(root, nvm, bindingA).Load()
		require.NoError(t, err, "%v", c)
		got := view{next: st.Next, events: st.Marks[delivery.MarkEvents], low: st.Next}
		if len(st.Outbox) > 0 {
			got.low = st.Outbox[0].Seq
		}
		if got.next == 0 {
			got.low = 1
		}
		ok := got == states[i] || i+1 < len(states) && got == states[i+1]
		require.True(t, ok, "%v: got %+v, want %+v or the one after it", c, got, states[i])
		for j, e := range st.Outbox {
			require.Equal(t, got.low+uint64(j), e.Seq, "%v", c)
			require.Equal(t, frame(e.Seq), e.Frame, "%v", c)
		}
	}
	require.Greater(t, n, 100)
}

func TestOutboxFaults(t *testing.T) {
	t.Run("a failed append does not lie in two slots", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		root := roottest.NewKeyRoot("outbox")
		s := devicegw.NewOutbox(root, openCrash(t, fsys), bindingA)
		_, err := s.Load()
		require.NoError(t, err)
		require.NoError(t, s.Append(1, []byte("one")))
		require.NoError(t, s.Append(2, []byte("two")))
		broken := errors.New("directory cannot be synced")
		fsys.Fail(func(_ int, what string) error {
			if strings.HasPrefix(what, "syncdir") || strings.HasPrefix(what, "sync dir") {
				return broken
			}
			return nil
		})
		err = s.Append(3, []byte("first try"))
		fsys.Fail(nil)
		require.ErrorIs(t, err, broken)
		require.NoError(t, s.Remove(1), "frees a slot before that of the failed append")
		require.NoError(t, s.Append(3, []byte("second try")))
		st, err := devicegw.NewOutbox(root, openCrash(t, fsys), bindingA).Load()
		require.NoError(t, err)
		require.Equal(t, []delivery.Entry{{Seq: 2, Frame: []byte("two")}, {Seq: 3, Frame: []byte("second try")}}, st.Outbox)
	})

	t.Run("another binding sees nothing", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		root := roottest.NewKeyRoot("outbox")
		s := devicegw.NewOutbox(root, openCrash(t, fsys), bindingA)
		_, err := s.Load()
		require.NoError(t, err)
		require.NoError(t, s.Append(1, []byte("one")))
		require.NoError(t, s.PutMark(delivery.MarkCalls, 9))
		st, err := devicegw.NewOutbox(root, openCrash(t, fsys), bindingB).Load()
		require.NoError(t, err)
		require.Zero(t, st)
	})

	t.Run("a damaged frame costs that message and no number", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		root := roottest.NewKeyRoot("outbox")
		s := devicegw.NewOutbox(root, openCrash(t, fsys), bindingA)
		_, err := s.Load()
		require.NoError(t, err)
		for seq := uint64(1); seq <= 3; seq++ {
			require.NoError(t, s.Append(seq, []byte("frame")))
		}
		require.NoError(t, fsys.Rename("/nvm/outbox-0000.v", "/nvm/outbox-0002.v")) // a good file under a false name
		require.NoError(t, fsys.SyncDir("/nvm"))
		began := fsys.Ops()
		load := func(fsys *crashfs.FS) delivery.State {
			st, err := devicegw.NewOutbox(root, openCrash(t, fsys), bindingA).Load()
			require.NoError(t, err)
			require.Greater(t, st.Next, uint64(3), "3 may have been sent")
			return st
		}
		require.Equal(t, []delivery.Entry{{Seq: 2, Frame: []byte("frame")}}, load(fsys).Outbox)
		load(fsys) // nothing was written under the numbers in between
		for c := range fsys.Crashes() {
			if c.After >= began {
				load(c.FS)
			}
		}
	})

	t.Run("damaged marks are not a new binding", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		root := roottest.NewKeyRoot("outbox")
		s := devicegw.NewOutbox(root, openCrash(t, fsys), bindingA)
		require.NoError(t, s.PutMark(delivery.MarkEvents, 9))
		require.NoError(t, s.Append(1, []byte("frame")))
		require.NoError(t, fsys.Rename("/nvm/outbox-0000.v", "/nvm/marks.v"))
		_, err := devicegw.NewOutbox(root, openCrash(t, fsys), bindingA).Load()
		require.ErrorIs(t, err, devicegw.ErrDamaged)
	})

	t.Run("full", func(t *testing.T) {
		s := devicegw.NewOutbox(roottest.NewKeyRoot("outbox"), openCrash(t, crashfs.New("/nvm")), bindingA)
		for seq := uint64(1); seq <= devicegw.OutboxSlots; seq++ {
			require.NoError(t, s.Append(seq, nil))
		}
		require.ErrorIs(t, s.Append(devicegw.OutboxSlots+1, nil), devicegw.ErrFull)
		require.NoError(t, s.Remove(1))
		require.NoError(t, s.Append(devicegw.OutboxSlots+1, nil))
	})
}

func TestEpochs(t *testing.T) {
	root := roottest.NewKeyRoot("epochs")
	open := func(t *testing.T, fsys *crashfs.FS, b e2e.BindingID) e2e.Epochs {
		t.Helper()
		e, err := devicegw.OpenEpochs(root, openCrash(t, fsys), b)
		require.NoError(t, err)
		return e
	}

	t.Run("power cut", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		e := open(t, fsys, bindingA)
		type use struct {
			ops            int
			next, accepted uint64
		}
		var uses []use
		for i := range uint64(20) {
			n, err := e.NextEpoch()
			require.NoError(t, err)
			require.NoError(t, e.AcceptEpoch(i*10+1))
			uses = append(uses, use{fsys.Ops(), n, i*10 + 1})
		}
		for c := range fsys.Crashes() {
			var last use
			for _, u := range uses {
				if c.After >= u.ops {
					last = u
				}
			}
			e := open(t, c.FS, bindingA)
			n, err := e.NextEpoch()
			require.NoError(t, err)
			require.Greater(t, n, last.next, "%v", c)
			require.LessOrEqual(t, n, last.next+20, "%v", c)
			if last.accepted > 0 {
				require.ErrorIs(t, e.AcceptEpoch(last.accepted), e2e.ErrStaleEpoch, "%v", c)
			}
		}
	})

	t.Run("begins at 1 and rises by 1", func(t *testing.T) {
		e := open(t, crashfs.New("/nvm"), bindingA)
		for want := uint64(1); want <= 30; want++ {
			n, err := e.NextEpoch()
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
	})

	t.Run("of each binding apart", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		require.NoError(t, open(t, fsys, bindingA).AcceptEpoch(5))
		require.NoError(t, open(t, fsys, bindingB).AcceptEpoch(1))
	})

	t.Run("skips what the peer has seen", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		e := open(t, fsys, bindingA).(e2e.RestorableEpochs)
		_, err := e.NextEpoch()
		require.NoError(t, err)
		began := fsys.Ops()
		require.NoError(t, e.SkipEpochs(1000))
		require.NoError(t, e.SkipEpochs(500))
		skipped := fsys.Ops()
		n, err := e.NextEpoch()
		require.NoError(t, err)
		require.Equal(t, uint64(1001), n)
		require.NoError(t, e.AcceptEcho(4))
		require.ErrorIs(t, e.AcceptEpoch(4), e2e.ErrStaleEpoch)
		for c := range fsys.Crashes() {
			if c.After < began {
				continue
			}
			n, err := open(t, c.FS, bindingA).NextEpoch()
			require.NoError(t, err)
			require.Greater(t, n, uint64(1), "%v", c)
			if c.After >= skipped {
				require.Greater(t, n, uint64(1000), "%v", c)
			}
		}
	})

	t.Run("a failing memory gives no epoch", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		e := open(t, fsys, bindingA)
		fsys.Fail(func(int, string) error { return errors.New("broken") })
		_, err := e.NextEpoch()
		var storage *devicegw.StorageError
		require.ErrorAs(t, err, &storage)
		require.ErrorAs(t, e.AcceptEpoch(1), &storage)
		fsys.Fail(nil)
		n, err := e.NextEpoch()
		require.NoError(t, err)
		require.Equal(t, uint64(1), n)
		require.NoError(t, e.AcceptEpoch(1))
	})

	t.Run("refuses replay and jump", func(t *testing.T) {
		e := open(t, crashfs.New("/nvm"), bindingA)
		require.NoError(t, e.AcceptEpoch(3))
		require.ErrorIs(t, e.AcceptEpoch(3), e2e.ErrStaleEpoch)
		require.ErrorIs(t, e.AcceptEpoch(2), e2e.ErrStaleEpoch)
		require.ErrorIs(t, e.AcceptEpoch(3+1<<33), e2e.ErrEpochJump)
		require.NoError(t, e.AcceptEpoch(4))
	})
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{1})
	f.Add(append([]byte{1}, make([]byte, 16)...))
	f.Add(append([]byte{1}, make([]byte, 28)...))
	f.Add(append([]byte{1}, make([]byte, 26)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, again := range devicegw.ParseAnyRecord(data) {
			require.Equal(t, data, again, "accepted a second encoding")
		}
	})
}
