// Package elffile finds in ELF files what the sources of package puf need: where a linked firmware has a section, and the memory
// that a core dump holds. Start with [Open].
package elffile

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/semio-iot/semio/puf/internal/ihex"
)

// maxFile is the largest file taken: firmware with debugging information, or a core dump of a large memory.
const maxFile = 1 << 30

var (
	// ErrFormat reports a file that is no ELF file, or a damaged one.
	ErrFormat = errors.New("not a readable ELF file")
	// ErrTooLarge reports a file over a limit.
	ErrTooLarge = errors.New("larger than the limit")
	errRegular  = errors.New("not a regular file")
)

// File is an open ELF file.
type File struct {
	file *os.File
	elf  *elf.File
}

// Open opens a file. Close it.
func Open(path string) (*File, error) {
	// To open a pipe that nobody writes to would wait for ever, so look first.
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFormat, errRegular)
	case st.Size() > maxFile:
		return nil, fmt.Errorf("%s: %d bytes: %w", path, st.Size(), ErrTooLarge)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	e, err := elf.NewFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFormat, err)
	}
	return &File{file: f, elf: e}, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Section returns address and size of the section of that name which takes place in memory. The error for a missing one lists those
// that could be meant.
func (f *File) Section(name string) (address, size uint64, err error) {
	if f.elf.Type == elf.ET_REL {
		return 0, 0, errors.New("it is not linked, so nothing has an address yet")
	}
	var found *elf.Section
	var others []string
	for _, s := range f.elf.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if s.Name != name {
			if s.Flags&elf.SHF_WRITE != 0 {
				others = append(others, s.Name)
			}
			continue
		}
		if found != nil {
			return 0, 0, fmt.Errorf("two sections %s, at %#x and %#x", name, found.Addr, s.Addr)
		}
		found = s
	}
	if found == nil {
		return 0, 0, fmt.Errorf("no section %s; writable ones are %s", name, orNone(others))
	}
	return found.Addr, found.Size, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names[:min(len(names), 20)], " ")
}

// Memory returns the contents that the file has between from and to: of its loadable segments, or, where it has no segments, as
// objcopy makes them, of its sections. Of memory beyond the content (NOBITS, or the zeros behind a segment) there is nothing.
func (f *File) Memory(from, to uint64, maxBytes int) ([]ihex.Piece, error) {
	var pieces []ihex.Piece
	add := func(address, size uint64, r io.ReaderAt) error {
		end := address + size
		if size == 0 || end < address || end <= from || to <= address {
			return nil
		}
		start, stop := max(address, from), min(end, to)
		if stop-start > uint64(maxBytes) {
			return fmt.Errorf("%d bytes at %#x: %w", stop-start, start, ErrTooLarge)
		}
		maxBytes -= int(stop - start)
		b := make([]byte, stop-start)
		if _, err := r.ReadAt(b, int64(start-address)); err != nil {
			return fmt.Errorf("%w: read %d bytes at %#x: %w", ErrFormat, len(b), start, err)
		}
		pieces = append(pieces, ihex.Piece{Address: start, Data: b})
		return nil
	}
	segments := false
	for _, p := range f.elf.Progs {
		if p.Type == elf.PT_LOAD {
			segments = true
			if err := add(p.Vaddr, p.Filesz, p); err != nil {
				return nil, err
			}
		}
	}
	if segments {
		return pieces, nil
	}
	for _, s := range f.elf.Sections {
		if s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_ALLOC != 0 && s.Flags&elf.SHF_COMPRESSED == 0 {
			if err := add(s.Addr, s.Size, s); err != nil {
				return nil, err
			}
		}
	}
	return pieces, nil
}
