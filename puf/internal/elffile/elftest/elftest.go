// Package elftest writes small ELF files, such as linkers and debuggers of 32-bit microcontrollers make, for tests.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Segment is a loadable part of memory.
type Segment struct {
	Address uint32
	Data    []byte
	Zeros   uint32 // behind the data
}

// Section is a named part of memory. Without Data its content is not in the file (NOBITS).
type Section struct {
	Name    string
	Address uint32
	Size    uint32 // without Data
	Data    []byte
	Flags   elf.SectionFlag
}

// Build makes the file.
func Build(kind elf.Type, segments []Segment, sections []Section) []byte {
	var content bytes.Buffer
	start := uint32(52 + 32*len(segments))
	put := func(b []byte) uint32 {
		at := start + uint32(content.Len())
		content.Write(b)
		return at
	}
	names := []byte{0}
	var progs []elf.Prog32
	for _, s := range segments {
		n := uint32(len(s.Data))
		progs = append(progs, elf.Prog32{
			Type: uint32(elf.PT_LOAD), Off: put(s.Data), Vaddr: s.Address, Paddr: s.Address, Filesz: n, Memsz: n + s.Zeros, Align: 1,
		})
	}
	heads := []elf.Section32{{}}
	for _, s := range sections {
		h := elf.Section32{Name: uint32(len(names)), Type: uint32(elf.SHT_NOBITS), Flags: uint32(s.Flags), Addr: s.Address, Size: s.Size}
		if s.Data != nil {
			h.Type, h.Off, h.Size = uint32(elf.SHT_PROGBITS), put(s.Data), uint32(len(s.Data))
		}
		heads = append(heads, h)
		names = append(append(names, s.Name...), 0)
	}
	table := elf.Section32{Name: uint32(len(names)), Type: uint32(elf.SHT_STRTAB)}
	names = append(names, ".shstrtab\x00"...)
	table.Off, table.Size = put(names), uint32(len(names))
	heads = append(heads, table)

	header := elf.Header32{
		Type: uint16(kind), Machine: uint16(elf.EM_ARM), Version: 1, Ehsize: 52, Phentsize: 32, Phnum: uint16(len(progs)),
		Shoff: start + uint32(content.Len()), Shentsize: 40, Shnum: uint16(len(heads)), Shstrndx: uint16(len(heads) - 1),
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), 1
	if len(progs) > 0 {
		header.Phoff = 52
	}
	var out bytes.Buffer
	for _, part := range []any{header, progs, content.Bytes(), heads} {
		// A bytes.Buffer takes everything, and the parts have fixed sizes.
		_ = binary.Write(&out, binary.LittleEndian, part)
	}
	return out.Bytes()
}
