package atomicfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/atomicfile"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
)

const limit = 1 << 16

func read(t *testing.T, fsys atomicfile.FS, name string) string {
	t.Helper()
	b, err := fsys.ReadFile(name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return "<none>"
	}
	require.NoError(t, err)
	return string(b)
}

func TestWriteReal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, want := range []string{"first", "", strings.Repeat("longer ", 4000), "short"} {
		require.NoError(t, atomicfile.Write(path, []byte(want), 0o600))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	names, err := atomicfile.OS{}.ReadDir(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"f"}, names, "no temporary file may stay")
	if runtime.GOOS != "windows" {
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), st.Mode())
	}
}

func TestWriteRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, atomicfile.Write("plain", []byte("x"), 0o600))
	require.Equal(t, "x", read(t, atomicfile.OS{}, "plain"))
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	for name, path := range map[string]string{
		"missing directory":   filepath.Join(dir, "none", "f"),
		"a directory":         filepath.Join(dir, "sub"),
		"empty":               "",
		"dot":                 ".",
		"parent":              "..",
		"root":                string(filepath.Separator),
		"temporary file name": filepath.Join(dir, ".atomicfile-0011"),
	} {
		t.Run(name, func(t *testing.T) {
			err := atomicfile.Write(path, []byte("x"), 0o600)
			require.ErrorContains(t, err, "write ")
			require.ErrorContains(t, err, path)
		})
	}
	names, err := atomicfile.OS{}.ReadDir(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"sub"}, names)
}

func TestWriteDoesNotFollowLinks(t *testing.T) {
	dir := t.TempDir()
	victim, link := filepath.Join(dir, "victim"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(victim, []byte("untouched"), 0o600))
	if err := os.Symlink(victim, link); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	require.NoError(t, atomicfile.Write(link, []byte("new"), 0o600))
	require.Equal(t, "untouched", read(t, atomicfile.OS{}, victim))
	require.Equal(t, "new", read(t, atomicfile.OS{}, link))
}

func TestConcurrentWritesDoNotMix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 5 {
				if err := atomicfile.Write(path, bytes.Repeat([]byte{byte('a' + i)}, 5000), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := read(t, atomicfile.OS{}, path)
	require.Len(t, got, 5000)
	require.Equal(t, strings.Repeat(got[:1], 5000), got)
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(path, []byte("12345"), 0o600))
	for name, fsys := range map[string]atomicfile.FS{"os": atomicfile.OS{}, "crashfs": func() atomicfile.FS {
		c := crashfs.New(dir)
		require.NoError(t, atomicfile.WriteFS(c, path, []byte("12345"), 0o600))
		return c
	}()} {
		t.Run(name, func(t *testing.T) {
			b, err := fsys.ReadFile(path, 5)
			require.NoError(t, err)
			require.Equal(t, "12345", string(b))
			_, err = fsys.ReadFile(path, 4)
			require.ErrorIs(t, err, atomicfile.ErrTooLarge)
			_, err = fsys.ReadFile(path+"x", 5)
			require.ErrorIs(t, err, fs.ErrNotExist)
			_, err = fsys.ReadFile(dir, 5)
			require.Error(t, err)
			_, err = fsys.ReadDir(filepath.Join(dir, "none"))
			require.ErrorIs(t, err, fs.ErrNotExist)
		})
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	for name, fsys := range map[string]atomicfile.FS{"os": atomicfile.OS{}, "crashfs": crashfs.New(dir)} {
		t.Run(name, func(t *testing.T) {
			deep := filepath.Join(dir, "a", "b", "c")
			require.NoError(t, fsys.MkdirAll(deep, 0o700))
			require.NoError(t, fsys.MkdirAll(deep, 0o700))
			require.NoError(t, atomicfile.WriteFS(fsys, filepath.Join(deep, "f"), []byte("x"), 0o600))
			require.ErrorIs(t, fsys.MkdirAll(filepath.Join(deep, "f"), 0o700), fs.ErrExist)
			require.Error(t, fsys.MkdirAll(filepath.Join(deep, "f", "g"), 0o700))
			names, err := fsys.ReadDir(filepath.Join(dir, "a"))
			require.NoError(t, err)
			require.Equal(t, []string{"b"}, names)
		})
	}
}

func TestCreateIsExclusive(t *testing.T) {
	dir := t.TempDir()
	for name, fsys := range map[string]atomicfile.FS{"os": atomicfile.OS{}, "crashfs": crashfs.New(dir)} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "f")
			f, err := fsys.Create(path, 0o600)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			_, err = fsys.Create(path, 0o600)
			require.ErrorIs(t, err, fs.ErrExist)
			_, err = fsys.Create(filepath.Join(dir, "none", "f"), 0o600)
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.NoError(t, fsys.Remove(path))
			require.ErrorIs(t, fsys.Remove(path), fs.ErrNotExist)
			require.ErrorIs(t, fsys.Rename(path, path+"2"), fs.ErrNotExist)
		})
	}
}

func TestRemoveAndClean(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, atomicfile.Write(path, []byte("x"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".atomicfile-stale"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".other"), nil, 0o600))
	n, err := atomicfile.Clean(atomicfile.OS{}, dir)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	names, err := atomicfile.OS{}.ReadDir(dir)
	require.NoError(t, err)
	require.Equal(t, []string{".other", "f"}, names)
	require.True(t, atomicfile.IsTemp(".atomicfile-x"))
	require.False(t, atomicfile.IsTemp("f"))

	require.NoError(t, atomicfile.Remove(atomicfile.OS{}, path))
	require.ErrorIs(t, atomicfile.Remove(atomicfile.OS{}, path), fs.ErrNotExist)
	_, err = atomicfile.Clean(atomicfile.OS{}, filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Each call of Write fails once: the error names the step, the old content stands unless the error says otherwise, and nothing of
// the temporary file stays behind.
func TestWriteFaults(t *testing.T) {
	broken := errors.New("medium broken")
	for call, step := range []string{"create", "write", "sync", "close", "rename", "sync"} {
		t.Run(fmt.Sprint(call, " ", step), func(t *testing.T) {
			fsys := crashfs.New("/d")
			require.NoError(t, atomicfile.WriteFS(fsys, "/d/f", []byte("old"), 0o600))
			calls := 0
			fsys.Fail(func(n int, what string) error {
				calls++
				if n == call {
					require.Contains(t, what, step)
					return broken
				}
				return nil
			})
			err := atomicfile.WriteFS(fsys, "/d/f", []byte("new"), 0o600)
			require.ErrorIs(t, err, broken)
			require.ErrorContains(t, err, "write "+filepath.FromSlash("/d/f"))
			require.ErrorContains(t, err, step)
			require.Greater(t, calls, call)
			if call == 5 {
				require.ErrorIs(t, err, atomicfile.ErrNotDurable)
				require.Equal(t, "new", read(t, fsys, "/d/f"))
			} else {
				require.NotErrorIs(t, err, atomicfile.ErrNotDurable)
				require.Equal(t, "old", read(t, fsys, "/d/f"))
			}
			names, err := fsys.ReadDir("/d")
			require.NoError(t, err)
			require.Equal(t, []string{"f"}, names)
		})
	}
}

func TestRemoveFaults(t *testing.T) {
	broken := errors.New("medium broken")
	for call := range 2 {
		fsys := crashfs.New("/d")
		require.NoError(t, atomicfile.WriteFS(fsys, "/d/f", []byte("old"), 0o600))
		fsys.Fail(func(n int, _ string) error {
			if n == call {
				return broken
			}
			return nil
		})
		err := atomicfile.Remove(fsys, "/d/f")
		require.ErrorIs(t, err, broken)
		require.Equal(t, call == 1, errors.Is(err, atomicfile.ErrNotDurable))
		fsys.Fail(nil)
		// The retry makes it durable whatever happened before.
		if err := atomicfile.Remove(fsys, "/d/f"); err != nil {
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		for c := range fsys.Crashes() {
			if c.After == fsys.Ops() {
				require.Equal(t, "<none>", read(t, c.FS, "/d/f"), c)
			}
		}
	}
}

func TestCleanFault(t *testing.T) {
	broken := errors.New("medium broken")
	fsys := crashfs.New("/d")
	f, err := fsys.Create("/d/.atomicfile-1", 0o600)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	fsys.Fail(func(int, string) error { return broken })
	_, err = atomicfile.Clean(fsys, "/d")
	require.ErrorIs(t, err, broken)
}

// The package's promise, at every point where the power may go.
func TestPowerCuts(t *testing.T) {
	contents := []string{"<none>", "first", strings.Repeat("second ", 100), "", "last"}
	fsys := crashfs.New("/d")
	done := []int{0}
	for _, c := range contents[1:] {
		require.NoError(t, atomicfile.WriteFS(fsys, "/d/f", []byte(c), 0o600))
		done = append(done, fsys.Ops())
	}
	require.NoError(t, atomicfile.Remove(fsys, "/d/f"))
	contents, done = append(contents, "<none>"), append(done, fsys.Ops())

	crashes := 0
	for c := range fsys.Crashes() {
		crashes++
		promised := 0
		for i, ops := range done {
			if c.After >= ops {
				promised = i
			}
		}
		allowed := contents[promised:min(promised+2, len(contents))]
		require.Contains(t, allowed, read(t, c.FS, "/d/f"), c)

		// The next boot cleans up and writes on, and may lose power too.
		_, err := atomicfile.Clean(c.FS, "/d")
		require.NoError(t, err)
		before := read(t, c.FS, "/d/f")
		require.NoError(t, atomicfile.WriteFS(c.FS, "/d/f", []byte("after"), 0o600))
		for d := range c.FS.Crashes() {
			got := read(t, d.FS, "/d/f")
			if d.After == c.FS.Ops() {
				require.Equal(t, "after", got, "%v, then %v", c, d)
			} else {
				require.Contains(t, []string{before, "after"}, got, "%v, then %v", c, d)
			}
		}
	}
	require.Greater(t, crashes, 100)
}
