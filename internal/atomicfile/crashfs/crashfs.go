// Package crashfs is a file system in memory that shows what a power cut may leave behind.
//
// Run the code under test on [New], then range over [FS.Crashes]: for each prefix of its operations, and for each way in which
// unsynced work may have reached the medium or not, it yields a file system as found at the next boot. Reopen it there and check
// what must hold; [FS.Ops] at the moment a call returned tells which crashes came after its promise.
//
//	fsys := crashfs.New("/nvm")
//	atomicfile.WriteFS(fsys, "/nvm/a", []byte("old"), 0o600)
//	written := fsys.Ops()
//	atomicfile.WriteFS(fsys, "/nvm/a", []byte("new"), 0o600)
//	for c := range fsys.Crashes() {
//		if c.After >= written { /* c.FS holds "old" or "new", never anything else */ }
//	}
//
// The model is more hostile than most real file systems. Data written and not synced may be missing, torn, zeros or there, whatever
// became of the name. Creations, renames and removals not followed by SyncDir may be missing from any point on, and those
// that share no name may be missing independently. A single rename is atomic.
package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/semio-iot/semio/internal/atomicfile"
)

type opKind int

const (
	opMkdir opKind = iota
	opCreate
	opWrite
	opSync
	opRename
	opRemove
	opSyncDir
)

// op is one recorded operation. A failed one is recorded only if it had an effect.
type op struct {
	kind opKind
	name string // the directory for opMkdir and opSyncDir
	to   string // opRename
	node int    // opCreate, opWrite, opSync
	data []byte // opWrite
}

func (o op) String() string {
	switch o.kind {
	case opMkdir:
		return "mkdir " + o.name
	case opCreate:
		return "create " + o.name
	case opWrite:
		return fmt.Sprintf("write %d bytes to %s", len(o.data), o.name)
	case opSync:
		return "sync " + o.name
	case opRename:
		return "rename " + o.name + " to " + o.to
	case opRemove:
		return "remove " + o.name
	default:
		return "sync directory " + o.name
	}
}

// FS is a recording file system. It implements [atomicfile.FS].
type FS struct {
	mu    sync.Mutex // guards all below
	base  tree       // durable state at the start of the record
	now   tree       // what a running program sees
	nodes int        // number of the next file
	log   []op
	calls int
	fail  func(call int, what string) error
}

// tree is a directory tree with its files' contents.
type tree struct {
	dirs  map[string]bool
	names map[string]int // path to file number
	data  map[int][]byte
}

func (t tree) clone() tree {
	c := tree{dirs: maps.Clone(t.dirs), names: maps.Clone(t.names), data: make(map[int][]byte, len(t.data))}
	for n, b := range t.data {
		c.data[n] = slices.Clone(b)
	}
	return c
}

// New returns an empty file system in which dirs exist.
func New(dirs ...string) *FS {
	t := tree{dirs: map[string]bool{".": true, string(filepath.Separator): true}, names: map[string]int{}, data: map[int][]byte{}}
	for _, d := range dirs {
		for d = filepath.Clean(d); !t.dirs[d]; d = filepath.Dir(d) {
			t.dirs[d] = true
		}
	}
	return start(t)
}

func start(t tree) *FS {
	next := 0
	for n := range t.data {
		next = max(next, n+1)
	}
	return &FS{base: t.clone(), now: t, nodes: next}
}

// Ops returns the number of operations recorded so far.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.log)
}

// Fail sets a function that is asked before every changing call (create, write, sync, close, rename, remove, mkdir, sync
// directory) with the number of the call from 0 and its description; an error it returns is the call's result. A failed write has
// stored the first half; every other failed call has no effect. nil ends it. The count starts anew.
func (f *FS) Fail(fail func(call int, what string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.calls = fail, 0
}

// check asks the injected fault. Called with mu held.
func (f *FS) check(what string) error {
	n := f.calls
	f.calls++
	if f.fail == nil {
		return nil
	}
	return f.fail(n, what)
}

func (f *FS) record(o op) { f.log = append(f.log, o) }

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Create implements [atomicfile.FS].
func (f *FS) Create(name string, _ fs.FileMode) (atomicfile.File, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("create " + name); err != nil {
		return nil, pathError("create", name, err)
	}
	if _, ok := f.now.names[name]; ok || f.now.dirs[name] {
		return nil, pathError("create", name, fs.ErrExist)
	}
	if !f.now.dirs[filepath.Dir(name)] {
		return nil, pathError("create", name, fs.ErrNotExist)
	}
	node := f.nodes
	f.nodes++
	f.now.names[name] = node
	f.now.data[node] = nil
	f.record(op{kind: opCreate, name: name, node: node})
	return &file{fs: f, name: name, node: node}, nil
}

// ReadFile implements [atomicfile.FS].
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	node, ok := f.now.names[name]
	if !ok {
		return nil, pathError("read", name, fs.ErrNotExist)
	}
	if int64(len(f.now.data[node])) > limit {
		return nil, pathError("read", name, atomicfile.ErrTooLarge)
	}
	return slices.Clone(f.now.data[node]), nil
}

// ReadDir implements [atomicfile.FS].
func (f *FS) ReadDir(dir string) ([]string, error) {
	dir = filepath.Clean(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.now.dirs[dir] {
		return nil, pathError("readdir", dir, fs.ErrNotExist)
	}
	var names []string
	for name := range f.now.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	for name := range f.now.dirs {
		if name != dir && filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Rename implements [atomicfile.FS].
func (f *FS) Rename(oldname, newname string) error {
	oldname, newname = filepath.Clean(oldname), filepath.Clean(newname)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("rename " + oldname + " to " + newname); err != nil {
		return pathError("rename", oldname, err)
	}
	if filepath.Dir(oldname) != filepath.Dir(newname) {
		return pathError("rename", oldname, errors.New("crashfs: rename across directories is not atomic; keep both names in one"))
	}
	if _, ok := f.now.names[oldname]; !ok {
		return pathError("rename", oldname, fs.ErrNotExist)
	}
	if f.now.dirs[newname] {
		return pathError("rename", newname, fs.ErrExist)
	}
	o := op{kind: opRename, name: oldname, to: newname}
	f.now.apply(o)
	f.record(o)
	return nil
}

// Remove implements [atomicfile.FS].
func (f *FS) Remove(name string) error {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("remove " + name); err != nil {
		return pathError("remove", name, err)
	}
	if _, ok := f.now.names[name]; !ok {
		return pathError("remove", name, fs.ErrNotExist)
	}
	o := op{kind: opRemove, name: name}
	f.now.apply(o)
	f.record(o)
	return nil
}

// MkdirAll implements [atomicfile.FS].
func (f *FS) MkdirAll(dir string, _ fs.FileMode) error {
	dir = filepath.Clean(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now.dirs[dir] {
		return nil
	}
	if err := f.check("mkdir " + dir); err != nil {
		return pathError("mkdir", dir, err)
	}
	for d := dir; !f.now.dirs[d]; d = filepath.Dir(d) {
		if _, ok := f.now.names[d]; ok {
			return pathError("mkdir", d, fs.ErrExist)
		}
	}
	o := op{kind: opMkdir, name: dir}
	f.now.apply(o)
	f.record(o)
	return nil
}

// SyncDir implements [atomicfile.FS].
func (f *FS) SyncDir(dir string) error {
	dir = filepath.Clean(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("sync directory " + dir); err != nil {
		return pathError("sync", dir, err)
	}
	if !f.now.dirs[dir] {
		return pathError("sync", dir, fs.ErrNotExist)
	}
	f.record(op{kind: opSyncDir, name: dir})
	return nil
}

// apply carries out an operation on names. One that finds nothing to act on (its predecessor was lost) does nothing.
func (t tree) apply(o op) {
	switch o.kind {
	case opMkdir:
		for d := o.name; !t.dirs[d]; d = filepath.Dir(d) {
			t.dirs[d] = true
		}
	case opCreate:
		t.names[o.name] = o.node
	case opRename:
		if node, ok := t.names[o.name]; ok {
			t.names[o.to] = node
			delete(t.names, o.name)
		}
	case opRemove:
		delete(t.names, o.name)
	}
}

type file struct {
	fs     *FS
	name   string
	node   int
	closed bool // guarded by fs.mu
}

func (w *file) Write(b []byte) (int, error) {
	w.fs.mu.Lock()
	defer w.fs.mu.Unlock()
	if w.closed {
		return 0, pathError("write", w.name, fs.ErrClosed)
	}
	err := w.fs.check("write " + w.name)
	if err != nil {
		b = b[:len(b)/2]
		err = pathError("write", w.name, err)
	}
	w.fs.now.data[w.node] = append(w.fs.now.data[w.node], b...)
	w.fs.record(op{kind: opWrite, name: w.name, node: w.node, data: slices.Clone(b)})
	return len(b), err
}

func (w *file) Sync() error {
	w.fs.mu.Lock()
	defer w.fs.mu.Unlock()
	if w.closed {
		return pathError("sync", w.name, fs.ErrClosed)
	}
	if err := w.fs.check("sync " + w.name); err != nil {
		return pathError("sync", w.name, err)
	}
	w.fs.record(op{kind: opSync, name: w.name, node: w.node})
	return nil
}

func (w *file) Close() error {
	w.fs.mu.Lock()
	defer w.fs.mu.Unlock()
	if w.closed {
		return pathError("close", w.name, fs.ErrClosed)
	}
	w.closed = true
	if err := w.fs.check("close " + w.name); err != nil {
		return pathError("close", w.name, err)
	}
	return nil
}
