package ca

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/semio-iot/semio/internal/atomicfile"
)

// Store keeps what an authority must not forget. Names are 1 to 80 of 0-9, A-Z, a-z and '-', no two of which differ in case
// only; values are at most 1 MiB. Nothing in it is secret: certificates, lists and names, most of it signed by the CA, which verifies what it reads.
// Methods are called by one goroutine at a time. One authority at a time uses a Store.
type Store interface {
	// Get returns the value of name, which the caller owns, or an error that wraps [fs.ErrNotExist].
	Get(name string) ([]byte, error)
	// Put replaces the value of name. When it returns nil the new value outlives a power cut; when it does not return,
	// the old or the new value stands, whole.
	Put(name string, value []byte) error
}

const maxValue = 1 << 20

// MemStore is a Store in memory, for tests and demonstrations. The zero value is empty and ready.
type MemStore struct {
	mu sync.Mutex // guards m
	m  map[string][]byte
}

// Get implements [Store].
func (s *MemStore) Get(name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.m[name]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", name, fs.ErrNotExist)
	}
	return bytes.Clone(b), nil
}

// Put implements [Store].
func (s *MemStore) Put(name string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[string][]byte)
	}
	s.m[name] = bytes.Clone(value)
	return nil
}

// FileStore is a Store in a directory, a file for each name.
type FileStore struct {
	fsys atomicfile.FS
	dir  string
}

// OpenFileStore returns the store in dir, which it makes if it is missing. Files of writes that a power cut ended are removed.
func OpenFileStore(dir string) (*FileStore, error) {
	return openFileStore(atomicfile.OS{}, dir)
}

func openFileStore(fsys atomicfile.FS, dir string) (*FileStore, error) {
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open CA store: %w", err)
	}
	if _, err := atomicfile.Clean(fsys, dir); err != nil {
		return nil, fmt.Errorf("open CA store: %w", err)
	}
	return &FileStore{fsys, dir}, nil
}

// Get implements [Store].
func (s *FileStore) Get(name string) ([]byte, error) {
	path, err := s.path(name)
	if err != nil {
		return nil, err
	}
	return s.fsys.ReadFile(path, maxValue)
}

// Put implements [Store].
func (s *FileStore) Put(name string, value []byte) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	return atomicfile.WriteFS(s.fsys, path, value, os.FileMode(0o600))
}

func (s *FileStore) path(name string) (string, error) {
	if len(name) < 1 || len(name) > 80 {
		return "", fmt.Errorf("CA store: name of %d characters", len(name))
	}
	for i := range len(name) {
		if c := name[i]; !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '-') {
			return "", fmt.Errorf("CA store: name %q", name)
		}
	}
	return filepath.Join(s.dir, name+".der"), nil
}
