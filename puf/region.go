package puf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/semio-iot/semio/puf/internal/elffile"
	"github.com/semio-iot/semio/puf/internal/ihex"
)

var (
	// ErrNoSection is returned by [SectionRegion] for an ELF file that has no such section in memory.
	ErrNoSection = errors.New("puf: no such section in memory; check the name against the linker script or map file")
	// ErrRegion is returned for a dump that does not hold the whole region.
	ErrRegion = errors.New("puf: the dump does not hold the region; dump that part of the memory, and give a raw dump's first address with option RawBase. A firmware's ELF file has no content of .noinit (NOBITS)")
)

// Region is a part of a memory.
type Region struct {
	Address uint64
	Size    int // bytes
}

func (r Region) String() string { return fmt.Sprintf("%d bytes at %#x", r.Size, r.Address) }

// SectionRegion tells where a linked firmware has a section, such as ".noinit": in an ELF file (.elf, .axf), for option [At]. The section
// itself is not read, and is usually not there: linkers give uninitialised memory no content in the file (NOBITS).
//
// Keep the section as large as a reading and leave it alone in the start-up code; at its end the firmware may keep what tells a reset from
// a power-up.
func SectionRegion(path, name string) (Region, error) {
	f, err := elffile.Open(path)
	if err != nil {
		return Region{}, fmt.Errorf("look up section: %w", err)
	}
	defer f.Close()
	address, size, err := f.Section(name)
	if err != nil {
		return Region{}, fmt.Errorf("look up section in %s: %w: %w", path, err, ErrNoSection)
	}
	if size == 0 || size > MaxDump {
		return Region{}, fmt.Errorf("look up section in %s: %s has %d bytes, want 1 to %d: %w", path, name, size, MaxDump, ErrNoSection)
	}
	return Region{Address: address, Size: int(size)}, nil
}

// At cuts the region out of each dump, so that a reading has its size. Intel HEX and ELF dumps know their addresses; for raw ones say with
// [RawBase] where they begin.
func At(r Region) Option { return func(o *fileOptions) { o.region, o.elf = &r, regionOfELF } }

// regionOfELF reads region r of the memory in an ELF file.
func regionOfELF(path string, r Region) ([]byte, error) {
	f, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	end := r.Address + uint64(max(r.Size, 0))
	pieces, err := f.Memory(r.Address, max(end, r.Address), MaxDump)
	if err != nil {
		return nil, err
	}
	defer wipe(pieces)
	return cut(pieces, r)
}

// RawBase is the address of the first byte of raw dumps, for [At]; 0 without it.
func RawBase(address uint64) Option { return func(o *fileOptions) { o.base = address } }

// cut copies region r out of pieces that do not overlap, in whatever order, or says which bytes are missing.
func cut(pieces []ihex.Piece, r Region) ([]byte, error) {
	if r.Size < 1 || r.Size > MaxDump || r.Address+uint64(r.Size) < r.Address {
		return nil, fmt.Errorf("region of %v: %w", r, ErrRegion)
	}
	slices.SortFunc(pieces, func(a, b ihex.Piece) int { return cmp.Compare(a.Address, b.Address) })
	out := make([]byte, 0, r.Size)
	for _, p := range pieces {
		at := r.Address + uint64(len(out))
		if p.Address <= at && at < p.End() {
			out = append(out, p.Data[at-p.Address:][:min(p.End()-at, uint64(r.Size-len(out)))]...)
		}
		if len(out) == r.Size {
			return out, nil
		}
	}
	clear(out)
	return nil, fmt.Errorf("%w: no byte at %#x of %v; it has %s", ErrRegion, r.Address+uint64(len(out)), r, describe(pieces))
}

// describe lists what a dump has, for an error.
func describe(pieces []ihex.Piece) string {
	if len(pieces) == 0 {
		return "none"
	}
	const most = 8
	var s []string
	for _, p := range pieces[:min(len(pieces), most)] {
		s = append(s, fmt.Sprintf("%#x-%#x", p.Address, p.End()-1))
	}
	if len(pieces) > most {
		s = append(s, fmt.Sprintf("and %d more", len(pieces)-most))
	}
	return strings.Join(s, ", ")
}
