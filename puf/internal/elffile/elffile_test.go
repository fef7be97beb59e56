package elffile_test

import (
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf/internal/elffile"
	"github.com/semio-iot/semio/puf/internal/elffile/elftest"
	"github.com/semio-iot/semio/puf/internal/ihex"
)

func open(t testing.TB, b []byte) (*elffile.File, error) {
	path := filepath.Join(t.TempDir(), "a.elf")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	f, err := elffile.Open(path)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

const data = elf.SHF_ALLOC | elf.SHF_WRITE

func TestSection(t *testing.T) {
	firmware := elftest.Build(elf.ET_EXEC, nil, []elftest.Section{
		{Name: ".text", Address: 0x08000000, Data: []byte{1, 2}, Flags: elf.SHF_ALLOC | elf.SHF_EXECINSTR},
		{Name: ".data", Address: 0x20000000, Data: []byte{3, 4}, Flags: data},
		{Name: ".noinit", Address: 0x20000100, Size: 1024, Flags: data},
		{Name: ".twice", Address: 1, Size: 2, Flags: data},
		{Name: ".twice", Address: 3, Size: 4, Flags: data},
		{Name: ".comment", Data: []byte("GCC")},
	})
	f, err := open(t, firmware)
	require.NoError(t, err)
	address, size, err := f.Section(".noinit")
	require.NoError(t, err)
	require.Equal(t, [2]uint64{0x20000100, 1024}, [2]uint64{address, size})
	for name, want := range map[string]string{
		".nonit": "no section .nonit; writable ones are .data .noinit .twice .twice", ".twice": "two sections .twice, at 0x1 and 0x3",
		".comment": "no section .comment", "": "no section",
	} {
		_, _, err := f.Section(name)
		require.ErrorContains(t, err, want)
	}
	f, err = open(t, elftest.Build(elf.ET_REL, nil, []elftest.Section{{Name: ".noinit", Size: 1024, Flags: data}}))
	require.NoError(t, err)
	_, _, err = f.Section(".noinit")
	require.ErrorContains(t, err, "not linked")
	f, err = open(t, elftest.Build(elf.ET_CORE, nil, nil))
	require.NoError(t, err)
	_, _, err = f.Section(".noinit")
	require.ErrorContains(t, err, "writable ones are none")
}

func TestMemory(t *testing.T) {
	core := elftest.Build(elf.ET_CORE, []elftest.Segment{
		{Address: 0x20000000, Data: []byte{0, 1, 2, 3}, Zeros: 100}, {Address: 0xfffffffe, Data: []byte{8, 9}},
	}, []elftest.Section{{Name: ".data", Address: 0x30000000, Data: []byte{7}, Flags: data}})
	objcopy := elftest.Build(elf.ET_EXEC, nil, []elftest.Section{
		{Name: ".sec1", Address: 0x20000000, Data: []byte{0, 1, 2, 3}, Flags: data}, {Name: ".noinit", Address: 0x20000004, Size: 8, Flags: data},
		{Name: ".comment", Data: []byte("GCC")},
	})
	for name, c := range map[string]struct {
		file     []byte
		from, to uint64
		want     []ihex.Piece
	}{
		"all of a segment":  {core, 0x1fffffff, 0x20000100, []ihex.Piece{{Address: 0x20000000, Data: []byte{0, 1, 2, 3}}}},
		"its middle":        {core, 0x20000001, 0x20000003, []ihex.Piece{{Address: 0x20000001, Data: []byte{1, 2}}}},
		"zeros behind it":   {core, 0x20000004, 0x20000008, nil},
		"top of the memory": {core, 0xffffffff, 1 << 40, []ihex.Piece{{Address: 0xffffffff, Data: []byte{9}}}},
		"no section beside": {core, 0x30000000, 0x30000001, nil},
		"sections alone":    {objcopy, 0, 1 << 40, []ihex.Piece{{Address: 0x20000000, Data: []byte{0, 1, 2, 3}}}},
		"nothing":           {core, 5, 5, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := open(t, c.file)
			require.NoError(t, err)
			got, err := f.Memory(c.from, c.to, 100)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	f, err := open(t, core)
	require.NoError(t, err)
	_, err = f.Memory(0, 1<<40, 5)
	require.ErrorIs(t, err, elffile.ErrTooLarge)

	// A segment that reaches beyond the end of the file.
	short, err := open(t, core[:len(core)-1])
	if err == nil {
		_, err = short.Memory(0, 1<<40, 100)
	}
	require.ErrorIs(t, err, elffile.ErrFormat)
}

func TestOpenRefuses(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("hello"), []byte(elf.ELFMAG), elftest.Build(elf.ET_EXEC, nil, nil)[:60]} {
		_, err := open(t, b)
		require.ErrorIs(t, err, elffile.ErrFormat)
	}
	_, err := elffile.Open(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = elffile.Open(t.TempDir())
	require.ErrorIs(t, err, elffile.ErrFormat)
	big := filepath.Join(t.TempDir(), "big.elf")
	require.NoError(t, os.WriteFile(big, nil, 0o600))
	require.NoError(t, os.Truncate(big, 1<<30+1))
	_, err = elffile.Open(big)
	require.ErrorIs(t, err, elffile.ErrTooLarge)
}

// FuzzOpen: whatever the file holds, there is no panic and no more memory than allowed.
func FuzzOpen(f *testing.F) {
	f.Add(elftest.Build(elf.ET_CORE, []elftest.Segment{{Address: 16, Data: []byte("abc"), Zeros: 3}}, nil), uint64(0), uint64(99))
	f.Add(elftest.Build(elf.ET_EXEC, nil, []elftest.Section{{Name: ".noinit", Address: 5, Data: []byte("abc"), Flags: data}}), uint64(0), uint64(99))
	f.Fuzz(func(t *testing.T, b []byte, from, to uint64) {
		file, err := open(t, b)
		if err != nil {
			return
		}
		_, _, _ = file.Section(".noinit")
		pieces, err := file.Memory(from, to, 1000)
		total := 0
		for _, p := range pieces {
			total += len(p.Data)
			require.True(t, from <= p.Address && p.End() <= to)
		}
		require.LessOrEqual(t, total, 1000)
		require.True(t, err == nil || pieces == nil)
	})
}
