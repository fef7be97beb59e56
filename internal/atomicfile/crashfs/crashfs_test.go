package crashfs_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/atomicfile"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
)

func content(f *crashfs.FS, name string) string {
	b, err := f.ReadFile(name, 100)
	if err != nil {
		return "<none>"
	}
	return string(b)
}

// after collects the contents of names in all crashes after the last operation.
func after(f *crashfs.FS, names ...string) map[string]bool {
	all := map[string]bool{}
	for c := range f.Crashes() {
		if c.After < f.Ops() {
			continue
		}
		s := ""
		for _, n := range names {
			s += content(c.FS, n) + " "
		}
		all[s] = true
	}
	return all
}

func set(s ...string) map[string]bool {
	all := map[string]bool{}
	for _, x := range s {
		all[x] = true
	}
	return all
}

type step func(t *testing.T, f *crashfs.FS)

func create(name, data string, sync bool) step {
	return func(t *testing.T, f *crashfs.FS) {
		w, err := f.Create(name, 0o600)
		require.NoError(t, err)
		_, err = w.Write([]byte(data))
		require.NoError(t, err)
		if sync {
			require.NoError(t, w.Sync())
		}
		require.NoError(t, w.Close())
	}
}

func rename(from, to string) step {
	return func(t *testing.T, f *crashfs.FS) { require.NoError(t, f.Rename(from, to)) }
}

func remove(name string) step {
	return func(t *testing.T, f *crashfs.FS) { require.NoError(t, f.Remove(name)) }
}

func syncDir(name string) step {
	return func(t *testing.T, f *crashfs.FS) { require.NoError(t, f.SyncDir(name)) }
}

// What each missing step of an atomic write costs must show, or the crash tests of others prove nothing.
func TestWhatMaySurvive(t *testing.T) {
	old := []step{create("/f", "old!", true), syncDir("/")}
	for name, c := range map[string]struct {
		steps []step
		names []string
		want  map[string]bool
	}{
		"complete": {
			append(old, create("/t", "new!", true), rename("/t", "/f"), syncDir("/")),
			[]string{"/f", "/t"}, set("new! <none> "),
		},
		"directory not synced": {
			append(old, create("/t", "new!", true), rename("/t", "/f")),
			[]string{"/f", "/t"}, set("old! <none> ", "old! new! ", "new! <none> "),
		},
		"data not synced": {
			append(old, create("/t", "new!", false), rename("/t", "/f"), syncDir("/")),
			[]string{"/f"}, set(" ", "ne ", "\x00\x00\x00\x00 ", "new! "),
		},
		"removed, not synced": {append(old, remove("/f")), []string{"/f"}, set("old! ", "<none> ")},
		"removed":             {append(old, remove("/f"), syncDir("/")), []string{"/f"}, set("<none> ")},
		"two names in any order": {
			[]step{create("/a", "a", true), create("/b", "b", true)},
			[]string{"/a", "/b"}, set("<none> <none> ", "a <none> ", "<none> b ", "a b "),
		},
		"dependent names in order": {
			append(old, create("/g", "g", true), syncDir("/"), rename("/f", "/h"), rename("/g", "/f")),
			[]string{"/f", "/g", "/h"}, set("old! g <none> ", "<none> g old! ", "g <none> old! "),
		},
		"another directory's sync does not help": {
			[]step{create("/d/a", "a", true), syncDir("/")}, []string{"/d/a"}, set("<none> ", "a "),
		},
		"three groups": {
			[]step{create("/a", "a", true), create("/b", "b", true), create("/c", "c", true)},
			[]string{"/a", "/b", "/c"},
			set("<none> <none> <none> ", "a <none> <none> ", "<none> b <none> ", "<none> <none> c ", "a b <none> ", "a <none> c ",
				"<none> b c ", "a b c "),
		},
		"groups joined": {
			[]step{create("/a", "a", true), create("/b", "b", true), rename("/a", "/b"), create("/c", "c", true)},
			[]string{"/a", "/b", "/c"},
			set("<none> <none> <none> ", "a <none> <none> ", "a b <none> ", "<none> a <none> ", "<none> a c ", "<none> <none> c "),
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := crashfs.New("/d")
			for _, s := range c.steps {
				s(t, f)
			}
			require.Equal(t, c.want, after(f, c.names...))
		})
	}
}

func TestCrashesDoNotDisturb(t *testing.T) {
	f := crashfs.New()
	create("/a", "data", false)(t, f)
	n := 0
	for c := range f.Crashes() {
		n++
		if c.After == f.Ops() && c.Data == "unsynced kept" {
			_ = c.FS.Remove("/a")
		}
		require.Contains(t, c.String(), "power cut after operation")
	}
	require.Equal(t, "data", content(f, "/a"))
	for range f.Crashes() {
		n--
	}
	require.Zero(t, n, "a second enumeration must see the same states")
	for range f.Crashes() {
		break
	}
}

func TestSyncedPartStaysWhole(t *testing.T) {
	f := crashfs.New()
	w, err := f.Create("/a", 0o600)
	require.NoError(t, err)
	require.NoError(t, f.SyncDir("/"))
	_, err = w.Write([]byte("synced"))
	require.NoError(t, err)
	require.NoError(t, w.Sync())
	_, err = w.Write([]byte("+tail"))
	require.NoError(t, err)
	require.Equal(t, set("synced ", "synced+t ", "synced\x00\x00\x00\x00\x00 ", "synced+tail "), after(f, "/a"))
}

func TestFaultsAndMisuse(t *testing.T) {
	broken := errors.New("broken")
	f := crashfs.New("/d", "/e")
	w, err := f.Create("/d/a", 0o600)
	require.NoError(t, err)

	f.Fail(func(int, string) error { return broken })
	n, err := w.Write([]byte("1234"))
	require.ErrorIs(t, err, broken)
	require.Equal(t, 2, n)
	require.ErrorIs(t, w.Sync(), broken)
	require.ErrorIs(t, f.SyncDir("/d"), broken)
	require.ErrorIs(t, f.Rename("/d/a", "/d/b"), broken)
	require.ErrorIs(t, f.Remove("/d/a"), broken)
	require.ErrorIs(t, f.MkdirAll("/x", 0o700), broken)
	_, err = f.Create("/d/c", 0o600)
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, w.Close(), broken)
	f.Fail(nil)
	require.Equal(t, "12", content(f, "/d/a"), "a failed write leaves its first half, other failed calls nothing")

	_, err = w.Write(nil)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, w.Sync(), fs.ErrClosed)
	require.ErrorIs(t, w.Close(), fs.ErrClosed)
	require.ErrorContains(t, f.Rename("/d/a", "/e/a"), "not atomic")
	require.ErrorIs(t, f.SyncDir("/none"), fs.ErrNotExist)
}

func TestFailedSyncDoesNotPersist(t *testing.T) {
	f := crashfs.New()
	w, err := f.Create("/a", 0o600)
	require.NoError(t, err)
	require.NoError(t, f.SyncDir("/"))
	_, err = w.Write([]byte("1234"))
	require.NoError(t, err)
	f.Fail(func(int, string) error { return errors.New("broken") })
	require.Error(t, w.Sync())
	require.Contains(t, after(f, "/a"), " ")
}

var _ atomicfile.FS = (*crashfs.FS)(nil)
