package unit

import (
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
	Kind   string // "sim" or "dumps"
	Seed   uint64 // sim
	Dir    string // dumps: folder of power-ups of one chip, absolute
	Offset int    // dumps: where the device's 1,024 bytes begin in them
}

// ParseChip reads what String writes:
//
//	sim:SEED                a simulated chip
//	dumps:FOLDER[@OFFSET]   recorded power-ups of a real chip, .bin or .hex files, and where in them the 1,024 bytes begin
func ParseChip(s string) (Chip, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "sim":
		seed, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			return Chip{}, fmt.Errorf("chip %q: want sim:SEED with a number", s)
		}
		return Chip{Kind: kind, Seed: seed}, nil
	case "dumps":
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
			return Chip{}, fmt.Errorf("chip %q: want dumps:FOLDER", s)
		}
		dir, err := filepath.Abs(c.Dir)
		if err != nil {
			return Chip{}, fmt.Errorf("chip %q: %w", s, err)
		}
		c.Dir = dir
		return c, nil
	}
	return Chip{}, fmt.Errorf("chip %q: want sim:SEED or dumps:FOLDER[@OFFSET]", s)
}

func (c Chip) String() string {
	if c.Kind == "dumps" {
		return fmt.Sprintf("dumps:%s@%d", c.Dir, c.Offset)
	}
	return fmt.Sprintf("sim:%d", c.Seed)
}

// Open returns the chip's memory. Each process gets other power-ups of it, as a real one would give; recorded ones come round.
func (c Chip) Open() (puf.Source, error) {
	if c.Kind == "sim" {
		chip := pufsim.New(c.Seed, pufsim.Config{Size: SRAMSize})
		chip.SetPowerUps(rand.Uint64() / 2)
		return chip, nil
	}
	dumps, err := puf.OpenDir(c.Dir, puf.Wrap())
	if err != nil {
		return nil, fmt.Errorf("chip %s: %w", c, err)
	}
	if dumps.Len() < 2 {
		return nil, fmt.Errorf("chip %s: one power-up, want two or more: enrolment compares two, and each boot reads the next", c)
	}
	if c.Offset > dumps.Size()-SRAMSize {
		return nil, fmt.Errorf("chip %s: dumps of %d bytes, want %d", c, dumps.Size(), c.Offset+SRAMSize)
	}
	if dumps, err = puf.OpenDir(c.Dir, puf.Wrap(), puf.StartAt(rand.IntN(dumps.Len()))); err != nil {
		return nil, fmt.Errorf("chip %s: %w", c, err)
	}
	return puf.Window(dumps, c.Offset, SRAMSize), nil
}
