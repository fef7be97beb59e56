// Package atomicfile replaces files so that a power cut leaves the old content or the new, never a mixture.
//
// Start with [Write]: it writes a temporary file in the same directory, syncs it, renames it over the target and syncs the
// directory. When it returns nil, the new content survives a power cut. [Remove] deletes with the same promise, and [Clean]
// removes what an earlier power cut left of temporary files.
//
// Everything goes through an [FS], so that a test runs it on crashfs, which stops the power at every operation. Use [OS] for
// the real one. The package keeps one copy and no checksum: a medium that returns other bytes than were synced is its caller's
// business.
package atomicfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
)

// ErrNotDurable reports that a change is visible but may be undone by a power cut, because the directory could not be synced. The
// caller writes again, or stops using the medium.
var ErrNotDurable = errors.New("atomicfile: changed, but the directory could not be synced; write again before relying on it")

// ErrTooLarge is returned by ReadFile for a file over its limit.
var ErrTooLarge = errors.New("atomicfile: file is larger than its reader allows")

// FS is what this package asks of a file system. Names are those of package filepath. All methods are safe for concurrent use.
type FS interface {
	// Create makes a new file open for writing; an existing name is an error that wraps fs.ErrExist.
	Create(name string, perm fs.FileMode) (File, error)
	// ReadFile returns the whole file; over limit bytes it returns ErrTooLarge, for a missing one fs.ErrNotExist.
	ReadFile(name string, limit int64) ([]byte, error)
	// ReadDir returns the names (without the directory) in dir, sorted.
	ReadDir(dir string) ([]string, error)
	// Rename replaces newname by oldname in one step. Both lie in one directory.
	Rename(oldname, newname string) error
	// Remove deletes a file; for a missing one it returns fs.ErrNotExist.
	Remove(name string) error
	// MkdirAll makes dir and its parents and returns once their entries are durable. An existing dir is not an error.
	MkdirAll(dir string, perm fs.FileMode) error
	// SyncDir makes creations, renames and removals in dir durable.
	SyncDir(dir string) error
}

// File is a file being written.
type File interface {
	io.Writer
	// Sync makes what was written so far durable, not the name that leads to it.
	Sync() error
	Close() error
}

// tempPrefix marks temporary files; no caller's name may start with it.
const tempPrefix = ".atomicfile-"

// Write replaces path by a file with data on the operating system's file system. See [WriteFS].
func Write(path string, data []byte, perm fs.FileMode) error {
	return WriteFS(OS{}, path, data, perm)
}

// WriteFS replaces path by a file with data and mode perm (before umask). On nil the new content is durable. On an error that
// wraps [ErrNotDurable] the new content is in place but may go; on any other the old content stands. Concurrent writers of one
// path do not mix, the last rename wins. The directory must exist.
func WriteFS(fsys FS, path string, data []byte, perm fs.FileMode) error {
	dir, base := filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	if base == "" || base == "." || base == ".." || strings.HasPrefix(base, tempPrefix) {
		return fmt.Errorf("write %q: %w: not a name for a file", path, fs.ErrInvalid)
	}
	// A random name and exclusive creation: a planted link or a stale file is never written through.
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails since Go 1.24
	temp := filepath.Join(dir, tempPrefix+hex.EncodeToString(random[:]))

	f, err := fsys.Create(temp, perm)
	if err != nil {
		return fmt.Errorf("write %s: create temporary file: %w", path, err)
	}
	err = fill(f, data)
	if err == nil {
		if err = fsys.Rename(temp, path); err != nil {
			err = fmt.Errorf("rename temporary file: %w", err)
		}
	}
	if err != nil {
		// What cannot be removed now is for Clean; the first error is the one to tell.
		_ = fsys.Remove(temp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("write %s: %w: %w", path, ErrNotDurable, err)
	}
	return nil
}

func fill(f File, data []byte) error {
	_, err := f.Write(data)
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("write temporary file: %w", err)
	}
	// Before the rename: otherwise the name may reach the disk first and lead to an empty file.
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return fmt.Errorf("sync temporary file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close temporary file: %w", err)
	}
	return nil
}

// Remove deletes path and returns once that is durable. A missing file gives fs.ErrNotExist, after its directory was synced all the
// same: the one that removed it may have lost power before.
func Remove(fsys FS, path string) error {
	path = filepath.Clean(path)
	removeErr := fsys.Remove(path)
	if removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, removeErr)
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("remove %s: %w: %w", path, ErrNotDurable, err)
	}
	if removeErr != nil {
		return fmt.Errorf("remove %s: %w", path, removeErr)
	}
	return nil
}

// Clean removes the temporary files in dir that a power cut left behind and returns how many. Call it before the first Write: it
// would take the temporary file of a Write under way.
func Clean(fsys FS, dir string) (removed int, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("clean %s: %w", dir, err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		if err := fsys.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("clean %s: %w", dir, err)
		}
		removed++
	}
	return removed, nil
}

// IsTemp reports whether name (without directory) is a temporary file of this package, for callers that list a directory.
func IsTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }
