package unit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// SRAMSize is the number of bytes that serve as PUF.
const SRAMSize = 1024

// Chip says which SRAM a device has.
type Chip struct {
	Kind   string // "sim", "dumps" or "sysfs"
	Seed   uint64 // sim
	Dir    string // dumps: folder of power-ups of one chip; sysfs: where puf.OpenSysfs looks; absolute
	Offset int    // where the device's 1,024 bytes begin
}

// ParseChip reads what String writes:
//
//	sim:SEED                a simulated chip
//	dumps:FOLDER[@OFFSET]   recorded power-ups of a real chip, .bin or .hex files, and where in them the 1,024 bytes begin
//	sysfs:PATH[@OFFSET]     this machine's SRAM, which Linux exports as a file, or the only such file below PATH, /sys/devices for example
func ParseChip(s string) (Chip, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "sim":
		seed, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			return Chip{}, fmt.Errorf("chip %q: want sim:SEED with a number", s)
		}
		return Chip{Kind: kind, Seed: seed}, nil
	case "dumps", "sysfs":
		dir, at, found := rest, "", false
		// From the end, since a folder's name may have an @.
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			dir, at, found = rest[:i], rest[i+1:], true
		}
		c := Chip{Kind: kind, Dir: dir}
		if n, err := strconv.Atoi(at); err == nil && n >= 0 {
			c.Offset = n
		} else if found {
			c.Dir = rest
		}
		if c.Dir == "" {
			return Chip{}, fmt.Errorf("chip %q: want %s:PATH", s, kind)
		}
		dir, err := filepath.Abs(c.Dir)
		if err != nil {
			return Chip{}, fmt.Errorf("chip %q: %w", s, err)
		}
		c.Dir = dir
		return c, nil
	}
	return Chip{}, fmt.Errorf("chip %q: want sim:SEED, dumps:FOLDER[@OFFSET] or sysfs:PATH[@OFFSET]", s)
}

func (c Chip) String() string {
	if c.Kind == "sim" {
		return fmt.Sprintf("sim:%d", c.Seed)
	}
	return fmt.Sprintf("%s:%s@%d", c.Kind, c.Dir, c.Offset)
}

// Open returns the chip's memory, as the factory wants it. Each process gets other power-ups of a simulated or recorded chip, as a real one
// would give; recorded ones come round. A machine's own SRAM has one reading in a power-up.
func (c Chip) Open() (puf.Source, error) { return c.open(false) }

// open opens the memory; with restart, a process that starts again within a power-up gets its reading again.
func (c Chip) open(restart bool) (source puf.Source, err error) {
	switch c.Kind {
	case "sim":
		chip := pufsim.New(c.Seed, pufsim.Config{Size: SRAMSize})
		chip.SetPowerUps(rand.Uint64() / 2)
		return chip, nil
	case "sysfs":
		source, err = puf.OpenSysfs(c.Dir, puf.SysfsConfig{Offset: c.Offset, Size: SRAMSize, Restart: restart})
	default:
		source, err = c.openDumps()
	}
	if err != nil {
		return nil, fmt.Errorf("chip %s: %w", c, err)
	}
	return source, nil
}

func (c Chip) openDumps() (puf.Source, error) {
	dumps, err := puf.OpenDir(c.Dir, puf.Wrap())
	if err != nil {
		return nil, err
	}
	if dumps.Len() < 2 {
		return nil, errors.New("one power-up, want two or more: enrolment compares two, and each boot reads the next")
	}
	if c.Offset > dumps.Size()-SRAMSize {
		return nil, fmt.Errorf("dumps of %d bytes, want %d", dumps.Size(), c.Offset+SRAMSize)
	}
	if dumps, err = puf.OpenDir(c.Dir, puf.Wrap(), puf.StartAt(rand.IntN(dumps.Len()))); err != nil {
		return nil, err
	}
	return puf.Window(dumps, c.Offset, SRAMSize), nil
}
