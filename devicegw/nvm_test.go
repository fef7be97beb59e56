package devicegw_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/nvmtest"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
)

func openCrash(t *testing.T, fsys *crashfs.FS) *devicegw.FileNVM {
	t.Helper()
	m, err := devicegw.OpenFileNVMOn(fsys, "/nvm")
	require.NoError(t, err)
	return m
}

func TestFileNVM(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		nvmtest.TestNVM(t, func(*testing.T) nvmtest.Harness {
			fsys := crashfs.New("/nvm")
			return nvmtest.Harness{Open: func(t *testing.T) devicegw.NVM { return openCrash(t, fsys) }}
		})
	})
	t.Run("on disk", func(t *testing.T) {
		nvmtest.TestNVM(t, func(t *testing.T) nvmtest.Harness {
			dir := filepath.Join(t.TempDir(), "a", "nvm")
			return nvmtest.Harness{Open: func(t *testing.T) devicegw.NVM {
				m, err := devicegw.OpenFileNVM(dir)
				require.NoError(t, err)
				return m
			}}
		})
	})
}

// After a power cut at any operation a value is the old one or the new one, and the new one if Put had returned.
func TestFileNVMPowerCut(t *testing.T) {
	ctx := t.Context()
	for _, name := range []string{"state", devicegw.NameIdentity} {
		t.Run(name, func(t *testing.T) {
			fsys := crashfs.New("/")
			m := openCrash(t, fsys)
			var done []int // operations when the i-th step had returned
			values := []string{"first value", "second, longer value", "", "fourth"}
			for _, v := range values {
				require.NoError(t, m.Put(ctx, name, []byte(v)))
				done = append(done, fsys.Ops())
			}
			require.NoError(t, m.Delete(ctx, name))
			done = append(done, fsys.Ops())
			n := 0
			for c := range fsys.Crashes() {
				n++
				step := 0 // steps that had returned
				for step < len(done) && c.After >= done[step] {
					step++
				}
				allowed := map[string]bool{}
				for i := step - 1; i <= step; i++ {
					switch {
					case i < 0 || i >= len(values):
						allowed["absent"] = true
					default:
						allowed["value "+values[i]] = true
					}
				}
				for _, again := range []string{"first boot", "second boot"} {
					m, err := devicegw.OpenFileNVMOn(c.FS, "/nvm")
					require.NoError(t, err, "%v, %s", c, again)
					v, err := m.Get(ctx, name)
					got := "value " + string(v)
					if errors.Is(err, fs.ErrNotExist) {
						got = "absent"
					} else {
						require.NoError(t, err, "%v, %s", c, again)
					}
					require.True(t, allowed[got], "%v, %s: got %q, want one of %v", c, again, got, allowed)
					allowed = map[string]bool{got: true} // what one boot found the next one finds
				}
			}
			require.Greater(t, n, 100)
		})
	}
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		out[e.Name()] = b
	}
	return out
}

func TestFileNVMDamage(t *testing.T) {
	ctx := t.Context()
	damage := map[string]func(t *testing.T, file string){
		"removed": func(t *testing.T, file string) { require.NoError(t, os.Remove(file)) },
		"emptied": func(t *testing.T, file string) { require.NoError(t, os.WriteFile(file, nil, 0o600)) },
		"cut": func(t *testing.T, file string) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, b[:len(b)-1], 0o600))
		},
		"one bit": func(t *testing.T, file string) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			b[len(b)-1] ^= 0x10
			require.NoError(t, os.WriteFile(file, b, 0o600))
		},
		"enormous": func(t *testing.T, file string) {
			require.NoError(t, os.Truncate(file, 100<<20))
		},
		"another name's": func(t *testing.T, file string) {
			b := devicegw.EncodeFile("identitx", []byte("a good file of another name"))
			require.NoError(t, os.WriteFile(file, b, 0o600))
		},
	}
	for what, spoil := range damage {
		for _, copies := range []string{".a", ".b"} {
			t.Run("one of two copies "+what+copies, func(t *testing.T) {
				dir := t.TempDir()
				m, err := devicegw.OpenFileNVM(dir)
				require.NoError(t, err)
				require.NoError(t, m.Put(ctx, "identity", []byte("for life")))
				before := files(t, dir)
				require.Len(t, before, 2)
				spoil(t, filepath.Join(dir, "identity"+copies))
				v, err := m.Get(ctx, "identity")
				require.NoError(t, err)
				require.Equal(t, "for life", string(v))
				require.Equal(t, before, files(t, dir), "the copy was not restored")
				require.Equal(t, 1, m.Repaired())
			})
		}
		t.Run("all copies "+what, func(t *testing.T) {
			dir := t.TempDir()
			m, err := devicegw.OpenFileNVM(dir)
			require.NoError(t, err)
			for name, copies := range map[string][]string{"identity": {".a", ".b"}, "outbox-0001": {".v"}} {
				require.NoError(t, m.Put(ctx, name, []byte("for life")))
				for _, c := range copies {
					spoil(t, filepath.Join(dir, name+c))
				}
				v, err := m.Get(ctx, name)
				require.Nil(t, v)
				if what == "removed" {
					require.ErrorIs(t, err, fs.ErrNotExist)
				} else {
					require.ErrorIs(t, err, devicegw.ErrDamaged)
					require.NotErrorIs(t, err, fs.ErrNotExist)
				}
			}
		})
	}
}

func TestFileNVMClear(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	m, err := devicegw.OpenFileNVM(dir)
	require.NoError(t, err)
	for _, name := range []string{"helper", "identity", "state", "something-else"} {
		require.NoError(t, m.Put(ctx, name, []byte(name)))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.txt"), []byte("not ours"), 0o600))
	require.NoError(t, m.Clear(ctx))
	require.Equal(t, map[string][]byte{"README.txt": []byte("not ours")}, files(t, dir))
	require.NoError(t, m.Clear(ctx), "again")

	t.Run("power cut", func(t *testing.T) {
		fsys := crashfs.New("/nvm")
		m := openCrash(t, fsys)
		require.NoError(t, m.Put(ctx, "helper", []byte("h")))
		require.NoError(t, m.Put(ctx, "state", []byte("s")))
		require.NoError(t, m.Clear(ctx))
		done := fsys.Ops()
		for c := range fsys.Crashes() {
			if c.After < done {
				continue
			}
			names, err := c.FS.ReadDir("/nvm")
			require.NoError(t, err)
			require.Empty(t, names, "%v", c)
		}
	})
}

func TestFileNVMFullDisk(t *testing.T) {
	ctx := t.Context()
	for _, name := range []string{"state", "identity"} {
		// The n-th call from here on fails, for every n, until one Put has passed.
		for n := 1; ; n++ {
			fsys := crashfs.New("/nvm")
			m := openCrash(t, fsys)
			require.NoError(t, m.Put(ctx, name, []byte("old")))
			calls := 0
			fsys.Fail(func(int, string) error {
				if calls++; calls >= n {
					return syscall.ENOSPC
				}
				return nil
			})
			err := m.Put(ctx, name, []byte("new"))
			fsys.Fail(nil)
			if err == nil {
				require.Greater(t, n, 4, "no failure was seen")
				break
			}
			var storage *devicegw.StorageError
			require.ErrorAs(t, err, &storage)
			require.Equal(t, "write", storage.Op)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.Contains(t, err.Error(), "space")
			for _, m := range []*devicegw.FileNVM{m, openCrash(t, fsys)} {
				v, err := m.Get(ctx, name)
				require.NoError(t, err, "call %d", n)
				require.Contains(t, []string{"old", "new"}, string(v), "call %d", n)
			}
			require.NoError(t, m.Put(ctx, name, []byte("new")), "with space again")
			names, err := fsys.ReadDir("/nvm")
			require.NoError(t, err)
			for _, f := range names {
				require.True(t, strings.HasPrefix(f, name), "call %d left %s", n, f)
			}
		}
	}
	t.Run("a restart cleans up", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".atomicfile-0011223344556677"), []byte("torn"), 0o600))
		_, err := devicegw.OpenFileNVM(dir)
		require.NoError(t, err)
		require.Empty(t, files(t, dir))
	})
	t.Run("a file in the way", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "nvm")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		_, err := devicegw.OpenFileNVM(file)
		require.Error(t, err)
	})
}

func TestReadErrorIsNoAbsence(t *testing.T) {
	dir := t.TempDir()
	m, err := devicegw.OpenFileNVM(dir)
	require.NoError(t, err)
	for _, name := range []string{"state", "identity"} {
		require.NoError(t, m.Put(t.Context(), name, []byte("v")))
		for _, ext := range []string{".v", ".a", ".b"} {
			if os.Remove(filepath.Join(dir, name+ext)) == nil {
				require.NoError(t, os.Mkdir(filepath.Join(dir, name+ext), 0o700)) // cannot be read as a file
			}
		}
		_, err = m.Get(t.Context(), name)
		require.NotErrorIs(t, err, fs.ErrNotExist)
		require.NotErrorIs(t, err, devicegw.ErrDamaged)
		var storage *devicegw.StorageError
		require.ErrorAs(t, err, &storage)
		require.Equal(t, "read", storage.Op)
	}
}

func FuzzDecodeFile(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(devicegw.EncodeFile("state", nil))
	f.Add(devicegw.EncodeFile("state", []byte("value")))
	f.Add(devicegw.EncodeFile("stat", []byte("value")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, ok := devicegw.DecodeFile("state", raw)
		if ok && !bytes.Equal(devicegw.EncodeFile("state", v), raw) {
			t.Fatalf("accepted a second encoding of %q", v)
		}
	})
}

func ExampleOpenFileNVM() {
	dir, _ := os.MkdirTemp("", "semio-nvm")
	defer os.RemoveAll(dir)
	nvm, err := devicegw.OpenFileNVM(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	fmt.Println(nvm.Put(ctx, "state", []byte("value")))
	_, err = nvm.Get(ctx, "identity")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// <nil>
	// true
}
