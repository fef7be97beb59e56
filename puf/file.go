package puf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/semio-iot/semio/puf/internal/ihex"
)

// MaxDump is the largest dump that [OpenFile] and [OpenDir] take, in bytes of memory.
const MaxDump = 16 << 20

// ErrFormat is returned for a file that is no dump of a known format.
var ErrFormat = errors.New("puf: unknown dump format; name raw dumps .bin, Intel HEX dumps .hex and ELF core dumps .core or .elf")

// Option changes how dump files are read.
type Option func(*fileOptions)

type fileOptions struct {
	wrap   bool
	start  int
	fill   *byte
	region *Region
	base   uint64
	elf    func(path string, r Region) ([]byte, error) // set with region: who does not use At has no ELF reader in his program
}

// Wrap starts over after the last power-up in place of returning [ErrExhausted]. Readings repeat then, which enrolment refuses.
func Wrap() Option { return func(o *fileOptions) { o.wrap = true } }

// StartAt gives power-up n (from 0) first, for a process that goes on where another ended. With [Wrap], n counts round.
func StartAt(n int) Option { return func(o *fileOptions) { o.start = n } }

// FillGaps fills what an Intel HEX file leaves out between its first and last address with b, in place of refusing the file. Keep
// such parts out of the [Window] in use: they are the same on every chip.
func FillGaps(b byte) Option { return func(o *fileOptions) { o.fill = &b } }

// File is the [Source] of a single stored power-up: the first Measure gives it, later ones return [ErrExhausted].
type File struct{ dir *Dir }

// OpenFile opens a dump: raw (.bin), Intel HEX (.hex), or an ELF file (.core, .elf) that holds memory, such as a debugger's core dump,
// which needs option [At]. It reads the file once to learn its size.
func OpenFile(path string, opts ...Option) (*File, error) {
	if !isDump(path) && ext(path) != ".elf" {
		return nil, fmt.Errorf("open dump %s: %w", path, ErrFormat)
	}
	d, err := newDir([]string{path}, opts)
	if err != nil {
		return nil, fmt.Errorf("open dump: %w", err)
	}
	return &File{dir: d}, nil
}

// Size returns the bytes of the dump.
func (f *File) Size() int { return f.dir.Size() }

// Measure implements [Source].
func (f *File) Measure(ctx context.Context, dst []byte) error { return f.dir.Measure(ctx, dst) }

// Dir is the [Source] of a folder of stored power-ups of one chip: every Measure gives the next one.
type Dir struct {
	powerUps []string
	size     int
	opts     fileOptions

	mu   sync.Mutex // guards next
	next int
}

// OpenDir opens the dumps in a folder: raw (.bin), Intel HEX (.hex) and ELF core dumps (.core), in the order of their names, so number
// them with leading zeros. Files of one stem are one power-up in several formats, of which one is read, first raw, then Intel HEX.
// Other files (a firmware's .elf among them), hidden ones and sub-folders are left alone. All dumps have the size of the first; another one is reported by the Measure that meets it.
func OpenDir(path string, opts ...Option) (*Dir, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("open dumps: %w", err)
	}
	var stems []string
	byStem := map[string]string{}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || strings.HasPrefix(name, ".") || !isDump(name) {
			continue
		}
		stem := name[:len(name)-len(filepath.Ext(name))]
		have, ok := byStem[stem]
		if !ok {
			stems = append(stems, stem)
		}
		if !ok || slices.Index(formats, ext(name)) < slices.Index(formats, ext(have)) {
			byStem[stem] = filepath.Join(path, name)
		}
	}
	if len(stems) == 0 {
		return nil, fmt.Errorf("open dumps %s: no .bin, .hex or .core file in it: %w", path, ErrFormat)
	}
	// Sorted as stems: as file names "1.bin" would follow "1-b.bin".
	slices.Sort(stems)
	files := make([]string, len(stems))
	for i, s := range stems {
		files[i] = byStem[s]
	}
	d, err := newDir(files, opts)
	if err != nil {
		return nil, fmt.Errorf("open dumps: %w", err)
	}
	return d, nil
}

func newDir(files []string, opts []Option) (*Dir, error) {
	d := &Dir{powerUps: files}
	for _, o := range opts {
		o(&d.opts)
	}
	if d.next = d.opts.start; d.next < 0 {
		return nil, fmt.Errorf("puf: option StartAt(%d): power-ups count from 0", d.next)
	}
	first, err := d.read(files[0])
	if err != nil {
		return nil, err
	}
	clear(first)
	d.size = len(first)
	return d, nil
}

// Size returns the bytes of each dump.
func (d *Dir) Size() int { return d.size }

// Len returns the number of stored power-ups.
func (d *Dir) Len() int { return len(d.powerUps) }

// Measure implements [Source]. A dump that cannot be read is not passed over: the next call tries it again.
func (d *Dir) Measure(ctx context.Context, dst []byte) error {
	if len(dst) != d.size {
		return &SizeError{What: "buffer", Got: len(dst), Want: d.size}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("read power-up: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.next
	if d.opts.wrap {
		n %= len(d.powerUps)
	}
	if n >= len(d.powerUps) {
		return fmt.Errorf("read power-up %d of %d: %w", n+1, len(d.powerUps), ErrExhausted)
	}
	b, err := d.read(d.powerUps[n])
	if err != nil {
		return err
	}
	defer clear(b)
	if len(b) != d.size {
		return &SizeError{What: "dump " + d.powerUps[n], Got: len(b), Want: d.size}
	}
	copy(dst, b)
	d.next = n + 1
	return nil
}

func (d *Dir) read(path string) ([]byte, error) {
	// To open a pipe that nobody writes to would wait for ever, so look first.
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read dump: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read dump %s: not a regular file: %w", path, ErrFormat)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read dump: %w", err)
	}
	defer f.Close()
	if st, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("read dump: %w", err)
	}
	var b []byte
	switch ext(path) {
	case ".hex":
		b, err = d.readHex(f)
	case ".bin":
		b, err = d.readRaw(f, st.Size())
	default:
		b, err = d.readELF(path)
	}
	if err != nil {
		clear(b)
		return nil, fmt.Errorf("read dump %s: %w", path, err)
	}
	return b, nil
}

func (d *Dir) readHex(f io.Reader) ([]byte, error) {
	opts := ihex.Options{MaxBytes: MaxDump, Fill: d.opts.fill}
	if d.opts.region == nil || d.opts.fill != nil {
		img, err := ihex.Parse(f, opts)
		if err != nil || d.opts.region == nil {
			return img.Data, err
		}
		defer clear(img.Data)
		return cut([]ihex.Piece{{Address: uint64(img.Base), Data: img.Data}}, *d.opts.region)
	}
	pieces, err := ihex.ParsePieces(f, opts)
	if err != nil {
		return nil, err
	}
	defer wipe(pieces)
	return cut(pieces, *d.opts.region)
}

func (d *Dir) readRaw(f io.Reader, size int64) ([]byte, error) {
	if size == 0 || size > MaxDump {
		return nil, fmt.Errorf("%d bytes, want 1 to %d: %w", size, MaxDump, ErrFormat)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil || d.opts.region == nil {
		return b, err
	}
	defer clear(b)
	return cut([]ihex.Piece{{Address: d.opts.base, Data: b}}, *d.opts.region)
}

func (d *Dir) readELF(path string) ([]byte, error) {
	r := d.opts.region
	if r == nil {
		return nil, fmt.Errorf("an ELF file holds many parts of memory; say with option At which is meant: %w", ErrFormat)
	}
	return d.opts.elf(path, *r)
}

func wipe(pieces []ihex.Piece) {
	for _, p := range pieces {
		clear(p.Data)
	}
}

// formats are the extensions of dumps, first the one that is preferred.
var formats = []string{".bin", ".hex", ".core"}

func ext(name string) string { return strings.ToLower(filepath.Ext(name)) }

func isDump(name string) bool { return slices.Contains(formats, ext(name)) }
