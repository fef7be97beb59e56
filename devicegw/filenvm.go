package devicegw

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/semio-iot/semio/internal/atomicfile"
)

// FileNVM is an NVM in a directory, for one process at a time. A value is a file of its own, replaced as a whole:
//
//	"SNVM" ‖ version 1 ‖ SHA-256 over (those 5 bytes ‖ length of the name u8 ‖ name ‖ value) ‖ value
//
// Most values are one file, <name>.v. What is seldom written and needed for life (helper data, identity) lies in two copies,
// <name>.a and <name>.b: either one is enough, and Get restores the other.
type FileNVM struct {
	fsys atomicfile.FS
	dir  string

	mu       sync.Mutex // orders everything that touches the directory
	unsynced bool       // a removal may not be durable yet
	repaired int
}

var (
	_ NVM    = (*FileNVM)(nil)
	_ Lister = (*FileNVM)(nil)
)

const fileHeader = "SNVM\x01"

// OpenFileNVM opens the memory in dir, which is made if it does not exist, and removes what a power cut left of unfinished
// writes.
func OpenFileNVM(dir string) (*FileNVM, error) { return openFileNVM(atomicfile.OS{}, dir) }

func openFileNVM(fsys atomicfile.FS, dir string) (*FileNVM, error) {
	fail := func(err error) (*FileNVM, error) { return nil, fmt.Errorf("open non-volatile memory: %w", err) }
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	if _, err := atomicfile.Clean(fsys, dir); err != nil {
		return fail(err)
	}
	// What a process that was killed removed is only durable from here on.
	if err := fsys.SyncDir(dir); err != nil {
		return fail(err)
	}
	return &FileNVM{fsys: fsys, dir: dir}, nil
}

// files are the copies of a value, the one written first and believed first at the head.
func (n *FileNVM) files(name string) []string {
	base := filepath.Join(n.dir, name)
	if name == nameHelper || name == nameCredential || name == nameIdentity {
		return []string{base + ".a", base + ".b"}
	}
	return []string{base + ".v"}
}

func (n *FileNVM) begin(ctx context.Context, op, name string) error {
	if !validName(name) {
		return &StorageError{op, name, fmt.Errorf("%w: want 1 to 64 of [0-9a-z-]", fs.ErrInvalid)}
	}
	if err := ctx.Err(); err != nil {
		return &StorageError{op, name, err}
	}
	return nil
}

// Get implements [NVM].
func (n *FileNVM) Get(ctx context.Context, name string) ([]byte, error) {
	if err := n.begin(ctx, "read", name); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	files := n.files(name)
	var value, good []byte
	var missing, bad int
	var broken error // of the medium
	stale := make([]bool, len(files))
	for i, file := range files {
		raw, err := n.fsys.ReadFile(file, int64(len(fileHeader)+sha256.Size+MaxValue))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing++
			stale[i] = true
			continue
		case errors.Is(err, atomicfile.ErrTooLarge):
			bad++
			stale[i] = true
			continue
		case err != nil:
			broken = err
			continue
		}
		v, ok := decodeFile(name, raw)
		switch {
		case !ok:
			bad++
			stale[i] = true
		case good == nil:
			value, good = v, raw
		default:
			stale[i] = !bytes.Equal(raw, good)
		}
	}
	switch {
	case good != nil:
	case broken != nil:
		return nil, &StorageError{"read", name, broken}
	case bad > 0:
		return nil, fmt.Errorf("read %q: %w", name, ErrDamaged)
	default:
		return nil, fmt.Errorf("read %q: %w", name, fs.ErrNotExist)
	}
	for i, file := range files {
		// The value is good whether or not its second copy can be restored now; the next Get tries again.
		if stale[i] && atomicfile.WriteFS(n.fsys, file, good, 0o600) == nil {
			n.repaired++
		}
	}
	return bytes.Clone(value), nil
}

// Put implements [NVM].
func (n *FileNVM) Put(ctx context.Context, name string, value []byte) error {
	if err := n.begin(ctx, "write", name); err != nil {
		return err
	}
	if len(value) > MaxValue {
		return &StorageError{"write", name, fmt.Errorf("%w: %d bytes, at most %d", fs.ErrInvalid, len(value), MaxValue)}
	}
	raw := encodeFile(name, value)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, file := range n.files(name) {
		if err := atomicfile.WriteFS(n.fsys, file, raw, 0o600); err != nil {
			return &StorageError{"write", name, err}
		}
	}
	return nil
}

// Delete implements [NVM].
func (n *FileNVM) Delete(ctx context.Context, name string) error {
	if err := n.begin(ctx, "delete", name); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.remove(n.files(name)); err != nil {
		return &StorageError{"delete", name, err}
	}
	return nil
}

// Clear deletes every value with all its copies, and looks whether they are gone: the device's end of life. Other files in the
// directory are left alone.
func (n *FileNVM) Clear(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &StorageError{"delete", "*", err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	files, err := n.list()
	if err == nil {
		err = n.remove(files)
	}
	if err == nil {
		files, err = n.list()
	}
	if err == nil && len(files) > 0 {
		err = fmt.Errorf("still there: %q", files)
	}
	if err != nil {
		return &StorageError{"delete", "*", err}
	}
	return nil
}

// Names implements [Lister].
func (n *FileNVM) Names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, &StorageError{"read", "*", err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	files, err := n.list()
	if err != nil {
		return nil, &StorageError{"read", "*", err}
	}
	var names []string
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		if validName(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func (n *FileNVM) list() ([]string, error) {
	names, err := n.fsys.ReadDir(n.dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, file := range names {
		base, ext, _ := strings.Cut(file, ".")
		if validName(base) && (ext == "a" || ext == "b" || ext == "v") || atomicfile.IsTemp(file) {
			files = append(files, filepath.Join(n.dir, file))
		}
	}
	return files, nil
}

// Repaired counts the copies that Get has restored since the memory was opened. More than a few mean a failing medium.
func (n *FileNVM) Repaired() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.repaired
}

func (n *FileNVM) remove(files []string) error {
	for _, file := range files {
		switch err := n.fsys.Remove(file); {
		case err == nil:
			n.unsynced = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if !n.unsynced {
		return nil
	}
	if err := n.fsys.SyncDir(n.dir); err != nil {
		return fmt.Errorf("%w: %w", atomicfile.ErrNotDurable, err)
	}
	n.unsynced = false
	return nil
}

func encodeFile(name string, value []byte) []byte {
	sum := fileSum(name, value)
	b := make([]byte, 0, len(fileHeader)+len(sum)+len(value))
	b = append(b, fileHeader...)
	b = append(b, sum[:]...)
	return append(b, value...)
}

func decodeFile(name string, raw []byte) ([]byte, bool) {
	rest, ok := bytes.CutPrefix(raw, []byte(fileHeader))
	if !ok || len(rest) < sha256.Size {
		return nil, false
	}
	value := rest[sha256.Size:]
	sum := fileSum(name, value)
	return value, subtle.ConstantTimeCompare(sum[:], rest[:sha256.Size]) == 1
}

// fileSum covers the name, so that a file under a false name is damage, not a value.
func fileSum(name string, value []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte(fileHeader))
	h.Write([]byte{byte(len(name))})
	h.Write([]byte(name))
	h.Write(value)
	h.Sum(sum[:0])
	return sum
}
