package puf_test

import (
	"debug/elf"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/internal/elffile/elftest"
	"github.com/semio-iot/semio/puf/puftest"
)

// firmware is what a linker makes of a program with 1,024 bytes of .noinit at 0x20000400.
func firmware(t testing.TB) string {
	const data = elf.SHF_ALLOC | elf.SHF_WRITE
	return write(t, t.TempDir(), "app.elf", elftest.Build(elf.ET_EXEC,
		[]elftest.Segment{{Address: 0x08000000, Data: []byte("code")}, {Address: 0x20000000, Data: []byte("data"), Zeros: 2000}},
		[]elftest.Section{
			{Name: ".data", Address: 0x20000000, Data: []byte("data"), Flags: data},
			{Name: ".noinit", Address: 0x20000400, Size: 1024, Flags: data},
			{Name: ".empty", Address: 0x20000800, Flags: data},
			{Name: ".huge", Address: 0x20000800, Size: puf.MaxDump + 1, Flags: data},
		}))
}

func noinit(t testing.TB) puf.Region {
	r, err := puf.SectionRegion(firmware(t), ".noinit")
	require.NoError(t, err)
	require.Equal(t, puf.Region{Address: 0x20000400, Size: 1024}, r)
	return r
}

// The same memory as each tool dumps it.
func TestSectionOfADump(t *testing.T) {
	r := noinit(t)
	whole := biased(1, 3000, 0.5)
	want := whole[1024:2048]
	dir := t.TempDir()
	for name, path := range map[string]string{
		"raw": write(t, dir, "a.bin", whole),
		"hex": write(t, dir, "b.hex", toHex(whole)),
		// The firmware's flash beside it, far away, as a debugger writes memory regions.
		"hex with a gap": write(t, dir, "c.hex", append([]byte(":020000040800F2\n:0100000001FE\n"), toHex(whole)...)),
		"core": write(t, dir, "d.core", elftest.Build(elf.ET_CORE, []elftest.Segment{
			{Address: 0x20000000 + 1500, Data: whole[1500:]}, {Address: 0x08000000, Data: []byte("code")}, {Address: 0x20000000, Data: whole[:1500]},
		}, nil)),
		"section with content": write(t, dir, "e.elf", elftest.Build(elf.ET_EXEC, nil, []elftest.Section{
			{Name: ".noinit", Address: 0x20000400, Data: want, Flags: elf.SHF_ALLOC},
		})),
	} {
		t.Run(name, func(t *testing.T) {
			src, err := puf.OpenFile(path, puf.At(r), puf.RawBase(0x20000000))
			require.NoError(t, err)
			require.Equal(t, want, measure(t, src))
		})
	}
	filled, err := puf.OpenFile(filepath.Join(dir, "b.hex"), puf.At(r), puf.FillGaps(1))
	require.NoError(t, err)
	require.Equal(t, want, measure(t, filled))
}

func TestSectionOfDumpsIsASource(t *testing.T) {
	dir := t.TempDir()
	for i, b := range readings(t, 1, 4) {
		write(t, dir, string(rune('a'+i))+".core", elftest.Build(elf.ET_CORE, []elftest.Segment{{Address: 0x20000400, Data: b}}, nil))
	}
	write(t, dir, "app.elf", []byte("a firmware is left alone"))
	puftest.TestSource(t, func() puf.Source {
		src, err := puf.OpenDir(dir, puf.At(noinit(t)))
		require.NoError(t, err)
		return src
	})
}

func TestRegionRefuses(t *testing.T) {
	dir := t.TempDir()
	raw := write(t, dir, "a.bin", biased(1, 2000, 0.5))
	hexa := write(t, dir, "b.hex", []byte(":0100000001FE\n:0100040001FA\n:00000001FF\n"))
	core := write(t, dir, "c.core", elftest.Build(elf.ET_CORE, []elftest.Segment{{Address: 100, Data: []byte("abc"), Zeros: 10}}, nil))
	for name, c := range map[string]struct {
		path string
		opts []puf.Option
		want error
		says string
	}{
		"raw without base":   {raw, []puf.Option{puf.At(noinit(t))}, puf.ErrRegion, "no byte at 0x20000400 of 1024 bytes at 0x20000400; it has 0x0-0x7cf"},
		"raw too short":      {raw, []puf.Option{puf.At(noinit(t)), puf.RawBase(0x20000000)}, puf.ErrRegion, "no byte at 0x200007d0"},
		"gap":                {hexa, []puf.Option{puf.At(puf.Region{Size: 5})}, puf.ErrRegion, "no byte at 0x1"},
		"nothing":            {raw, []puf.Option{puf.At(puf.Region{})}, puf.ErrRegion, ""},
		"negative":           {raw, []puf.Option{puf.At(puf.Region{Size: -1})}, puf.ErrRegion, ""},
		"huge":               {core, []puf.Option{puf.At(puf.Region{Size: math.MaxInt32})}, puf.ErrRegion, ""},
		"end of the world":   {core, []puf.Option{puf.At(puf.Region{Address: math.MaxUint64, Size: 2})}, puf.ErrRegion, ""},
		"core, no region":    {core, nil, puf.ErrFormat, "option At"},
		"zeros of a core":    {core, []puf.Option{puf.At(puf.Region{Address: 100, Size: 4})}, puf.ErrRegion, "no byte at 0x67"},
		"firmware":           {firmware(t), []puf.Option{puf.At(noinit(t))}, puf.ErrRegion, "NOBITS"},
		"no ELF file at all": {write(t, dir, "d.core", []byte("x")), []puf.Option{puf.At(noinit(t))}, nil, "not a readable ELF file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := puf.OpenFile(c.path, c.opts...)
			require.ErrorContains(t, err, c.path)
			require.ErrorContains(t, err, c.says)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
}

func TestSectionRegionRefuses(t *testing.T) {
	for _, name := range []string{".noinitx", ".empty", ".huge"} {
		_, err := puf.SectionRegion(firmware(t), name)
		require.ErrorIs(t, err, puf.ErrNoSection)
		require.ErrorContains(t, err, "linker script")
	}
	_, err := puf.SectionRegion(filepath.Join(t.TempDir(), "none"), ".noinit")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// What a real compiler, linker and objcopy make.
func TestRealToolchain(t *testing.T) {
	for _, tool := range []string{"gcc", "objcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here", tool)
		}
	}
	dir := t.TempDir()
	source := write(t, dir, "app.c", []byte(`
unsigned char puf[1024] __attribute__((section(".noinit,\"aw\",@nobits#"), used));
void _start(void) { for (;;) {} }
`))
	run := func(name string, args ...string) {
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	app := filepath.Join(dir, "app.elf")
	run("gcc", "-nostdlib", "-static", "-no-pie", "-o", app, source)
	r, err := puf.SectionRegion(app, ".noinit")
	require.NoError(t, err)
	require.Equal(t, 1024, r.Size)
	_, err = puf.OpenFile(app, puf.At(r))
	require.ErrorIs(t, err, puf.ErrRegion)

	// A dump as Intel HEX, made an ELF file.
	memory := biased(3, 2048, 0.5)
	write(t, dir, "dump.hex", toHex(memory))
	dump := filepath.Join(dir, "dump.elf")
	run("objcopy", "-I", "ihex", "-O", "elf64-little", filepath.Join(dir, "dump.hex"), dump)
	src, err := puf.OpenFile(dump, puf.At(puf.Region{Address: 0x20000100, Size: 1024}))
	require.NoError(t, err)
	require.Equal(t, memory[256:1280], measure(t, src))
}
