package puf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/semio-iot/semio/puf/internal/packed"
)

// SysfsRoot is where Linux lists its devices.
const SysfsRoot = "/sys/devices"

// SysfsTrailer is the number of bytes behind the reading that a [Sysfs] source keeps for itself: a marker, and the SHA-256 of what
// it wrote over the reading.
const SysfsTrailer = markerSize + sha256.Size

var (
	// ErrNoRegion says that no exported SRAM was found.
	ErrNoRegion = errors.New("puf: no exported SRAM; give the SRAM's device-tree node, or a reserved part of it, the property export, and enable the kernel's driver (CONFIG_SRAM)")
	// ErrSeveralRegions says that more than one SRAM is exported.
	ErrSeveralRegions = errors.New("puf: several SRAM regions are exported; name one")
	// ErrNotPowerCycled says that the memory still holds what an earlier reading left in it.
	ErrNotPowerCycled = errors.New("puf: the memory was not without power since the last reading; switch the device off, for longer than now, a reset or reboot is not enough")
	// ErrNotKept says that the memory reads back otherwise than it was written.
	ErrNotKept = errors.New("puf: the memory does not keep what is written to it; it is no SRAM, or something else uses the region: reserve it in the device tree")
)

// SysfsConfig says which part of an exported SRAM serves as the PUF. The zero value takes all of it.
type SysfsConfig struct {
	// Offset of the reading in the exported region, in bytes. The reading is followed by [SysfsTrailer] bytes of the source's own.
	Offset int

	// Size of a reading in bytes; default all that the region has after Offset and before the trailer.
	Size int

	// Restart lets a process that starts again within one power-up have that power-up's reading once more, recovered from its
	// inverse, in place of [ErrNotPowerCycled]. Such a reading serves reconstruction and not enrolment, whose checks refuse a
	// reading that repeats.
	Restart bool

	// PowerCycle cuts the power of the memory, restores it, and returns when it can be read again. Nil: only the device's own power-up
	// gives a reading, one each time.
	PowerCycle func(ctx context.Context) error
}

// Sysfs is the [Source] of SRAM that the Linux driver mmio-sram exports as a file, /sys/devices/…/<address>.sram, which root alone may
// read and write.
//
// Measure leaves a marker behind the reading and overwrites the reading with its inverse. The marker, which no power-up brings, shows
// the next Measure whether the memory was without power since: a warm reboot is told from a power-up. The inverse is what
// keeps a cell at its start-up value: a cell that holds that value for years ages away from it, one that holds the other value
// ages towards it (R. Maes and V. van der Leest, "Countering the effects of silicon aging on SRAM PUFs", HOST 2014).
//
// Whoever may read the file can invert the inverse. It is as secret as the reading, and as well kept as the file: by root.
type Sysfs struct {
	path   string
	c      SysfsConfig
	marker []byte

	mu sync.Mutex // one at a time in the memory
}

// OpenSysfs opens an exported SRAM. path is the file, the device's folder with one such file in it, or [SysfsRoot] or another folder
// to search, in which there must be one. It reads nothing of the memory.
//
// Errors: [ErrNoRegion], [ErrSeveralRegions] with their paths, a [*SizeError] for a region that is too small, and those of
// the file system.
func OpenSysfs(path string, c SysfsConfig) (*Sysfs, error) {
	s, err := openSysfs(path, c)
	if err != nil {
		return nil, fmt.Errorf("open exported SRAM: %w", err)
	}
	return s, nil
}

func openSysfs(path string, c SysfsConfig) (*Sysfs, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		found, err := FindSysfs(path)
		switch {
		case err != nil:
			return nil, err
		case len(found) == 0:
			return nil, fmt.Errorf("%s: %w", path, ErrNoRegion)
		case len(found) > 1:
			return nil, fmt.Errorf("%w: %s", ErrSeveralRegions, strings.Join(found, ", "))
		}
		path = found[0]
		if st, err = os.Stat(path); err != nil {
			return nil, err
		}
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file of mmio-sram: %w", path, ErrNoRegion)
	}
	whole := int(min(st.Size(), MaxDump))
	if c.Size == 0 {
		c.Size = whole - c.Offset - SysfsTrailer
	}
	if c.Offset < 0 || c.Size < 1 || c.Offset > MaxDump || c.Size > MaxDump || c.Offset+c.Size+SysfsTrailer > whole {
		want := min(max(c.Offset, 0), MaxDump) + min(max(c.Size, 1), MaxDump) + SysfsTrailer
		return nil, &SizeError{What: fmt.Sprintf("%s, for a reading at %d and a trailer of %d,", path, c.Offset, SysfsTrailer), Got: whole, Want: want}
	}
	return &Sysfs{path: path, c: c, marker: sysfsMarker()}, nil
}

// exported reports the name of a file of mmio-sram: the physical address of the region.
func exported(name string) bool {
	address, ok := strings.CutSuffix(name, ".sram")
	return ok && address != "" && strings.Trim(address, "0123456789abcdef") == ""
}

// FindSysfs lists the files of exported SRAM below root, usually [SysfsRoot], in the order of their names. Folders that may not be read
// are passed over.
func FindSysfs(root string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == root:
			return err
		case err != nil:
			return fs.SkipDir
		case d.Type().IsRegular() && exported(d.Name()):
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for exported SRAM: %w", err)
	}
	return found, nil
}

// Path returns the file in use.
func (s *Sysfs) Path() string { return s.path }

// Size returns the bytes of a reading.
func (s *Sysfs) Size() int { return s.c.Size }

// Measure implements [Source]. A memory that was not without power is reported as a [*CheckError] with [ErrNotPowerCycled]; without
// PowerCycle the error is [ErrExhausted] as well, for there is one reading in a power-up.
func (s *Sysfs) Measure(ctx context.Context, dst []byte) error {
	if len(dst) != s.c.Size {
		return &SizeError{What: "buffer", Got: len(dst), Want: s.c.Size}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("read exported SRAM: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.measure(ctx, dst); err != nil {
		clear(dst)
		return fmt.Errorf("read exported SRAM: %w", err)
	}
	return nil
}

func (s *Sysfs) measure(ctx context.Context, dst []byte) error {
	f, err := s.open()
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	err = s.checkMarker(f)
	switch {
	case err == nil:
	case !errors.Is(err, ErrNotPowerCycled):
		return err
	case s.c.PowerCycle != nil:
		// The driver may go and come with the power.
		f.Close()
		if err := s.c.PowerCycle(ctx); err != nil {
			return fmt.Errorf("power cycle: %w", err)
		}
		if f, err = s.open(); err != nil {
			return err
		}
		if err := s.checkMarker(f); err != nil {
			return err
		}
	case s.c.Restart:
		return s.recover(f, dst, err)
	default:
		return &exhausted{err}
	}
	if _, err := f.ReadAt(dst, int64(s.c.Offset)); err != nil {
		return err
	}
	// The marker is written before the inverse: if another process did both since the first look, part of what was read may be its
	// inverse, and the marker is there.
	if err := s.checkMarker(f); err != nil {
		return err
	}
	return s.overwrite(f, dst)
}

func (s *Sysfs) open() (*os.File, error) {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: the file is root's alone; run as root, or have a udev rule change its owner", err)
	}
	return f, err
}

// trailer is where the marker stands, and behind it the sum.
func (s *Sysfs) trailer() int64 { return int64(s.c.Offset + s.c.Size) }

// checkMarker finds the marker, also when some of its bits have decayed: a memory that was off too briefly has lost a part.
func (s *Sysfs) checkMarker(r io.ReaderAt) error {
	got := make([]byte, markerSize)
	defer clear(got)
	if _, err := r.ReadAt(got, s.trailer()); err != nil {
		return err
	}
	if equal := 8*markerSize - packed.Differing(got, s.marker); equal > markerLimit {
		return &CheckError{
			Err: ErrNotPowerCycled, Got: float64(equal), Limit: markerLimit, Unit: fmt.Sprintf("equal bits of %d in the marker", 8*markerSize),
			Offset: s.c.Size,
		}
	}
	return nil
}

// overwrite leaves marker, sum and inverse, in this order: a process killed in between leaves either the start-up values as they were,
// or a marker.
func (s *Sysfs) overwrite(f *os.File, reading []byte) error {
	left := make([]byte, s.c.Size+SysfsTrailer)
	defer clear(left)
	inverse := left[:s.c.Size]
	for i, b := range reading {
		inverse[i] = ^b
	}
	sum := sha256.Sum256(inverse)
	copy(left[copy(left[s.c.Size:], s.marker)+s.c.Size:], sum[:])
	if _, err := f.WriteAt(left[s.c.Size:], s.trailer()); err != nil {
		return fmt.Errorf("leave the marker: %w", err)
	}
	if _, err := f.WriteAt(inverse, int64(s.c.Offset)); err != nil {
		return fmt.Errorf("leave the inverse: %w", err)
	}
	back := make([]byte, len(left))
	defer clear(back)
	if _, err := f.ReadAt(back, int64(s.c.Offset)); err != nil {
		return fmt.Errorf("look at what was left: %w", err)
	}
	if !bytes.Equal(back, left) {
		return ErrNotKept
	}
	return nil
}

// recover gives the reading behind the inverse that lies in memory, if it is whole. Otherwise the answer is notCycled.
func (s *Sysfs) recover(r io.ReaderAt, dst []byte, notCycled error) error {
	if _, err := r.ReadAt(dst, int64(s.c.Offset)); err != nil {
		return err
	}
	var want [sha256.Size]byte
	if _, err := r.ReadAt(want[:], s.trailer()+markerSize); err != nil {
		return err
	}
	if sum := sha256.Sum256(dst); sum != want {
		return &exhausted{notCycled}
	}
	for i := range dst {
		dst[i] = ^dst[i]
	}
	return nil
}

// exhausted is a failed check of a memory that has no further reading before the device is switched off.
type exhausted struct{ error }

func (e *exhausted) Unwrap() []error { return []error{e.error, ErrExhausted} }

const (
	markerSize = 64

	// markerLimit is the most bits of the marker that a power-up may bring. Half of the marker's bits are ones, so cells of any bias
	// agree with 256 of 512 ± 11.3: 328 or more come with a chance of 1e-10. A memory that kept 28 % of its bits reaches it.
	markerLimit = 327
)

// sysfsMarker is half ones, so that the bias of cells does not matter, and without a pattern that a power-up could show: what SHA-256
// makes of a name, and its inverse.
func sysfsMarker() []byte {
	m := make([]byte, 0, markerSize)
	for _, half := range sha256.Sum256([]byte("semio puf marker 1")) {
		m = append(m, half, ^half)
	}
	return m
}
