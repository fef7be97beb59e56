package fuzzy_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
)

// Where the fields of helper data of length n lie; m is the pass-2 mask's size.
type layout struct {
	name     string
	from, to int
	parse    error // of ParseHelperData on any change; nil: it may parse
}

func layoutOf(b []byte) []layout {
	m := len(b) - 816
	return []layout{
		{"magic", 0, 4, fuzzy.ErrHelperMalformed},
		{"version", 4, 5, fuzzy.ErrUnknownSet},
		{"set", 5, 6, fuzzy.ErrUnknownSet},
		{"stride", 6, 8, fuzzy.ErrHelperMalformed},
		{"fingerprint", 8, 16, fuzzy.ErrUnknownSet},
		{"salt", 16, 32, nil},
		{"pass-1 mask", 32, 544, nil},
		{"pass-2 mask", 544, 544 + m, nil},
		{"W", 544 + m, 800 + m, nil},
		{"tag", 800 + m, 816 + m, nil},
	}
}

// Every byte of every field, changed: an error of the right kind, never a key. All
// of them go through the first decoder, one in 61 through the lists as well.
func TestChangedHelperData(t *testing.T) {
	fuzzy.SkipUnderRace(t)
	chip := fuzzy.NewChip(30, fuzzy.Balanced(0.5, 0.05))
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
	response := chip.Read()
	_, _, err := fuzzy.Reconstruct(response, helper)
	require.NoError(t, err)
	raw := helper.Bytes()
	for _, f := range layoutOf(raw) {
		t.Run(f.name, func(t *testing.T) {
			refused := 0
			for i := f.from; i < f.to; i++ {
				for _, flip := range []byte{1 << (i % 8), 0xff} {
					changed := bytes.Clone(raw)
					changed[i] ^= flip
					h, err := fuzzy.ParseHelperData(changed)
					if f.parse != nil {
						require.ErrorIs(t, err, f.parse, "byte %d", i)
						require.Zero(t, h)
						continue
					}
					if err != nil {
						require.ErrorIs(t, err, fuzzy.ErrHelperMalformed, "byte %d", i)
						continue
					}
					if refused%61 == 0 {
						requireRefused(t, response, h, fuzzy.ErrReconstruct)
					}
					_, _, err = fuzzy.ReconstructUpTo(1, response, h)
					require.ErrorIs(t, err, fuzzy.ErrReconstruct, "byte %d", i)
					refused++
				}
			}
			if f.parse == nil {
				require.Positive(t, refused, "some changes must reach the tag")
			}
		})
	}
}

// Another stride that is one pairs other cells.
func TestChangedStride(t *testing.T) {
	chip := fuzzy.NewChip(30, fuzzy.Balanced(0.5, 0.05))
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
	for _, stride := range []byte{2, 4, 32, 128} {
		changed := helper.Bytes()
		changed[7] = stride
		h, err := fuzzy.ParseHelperData(changed)
		require.NoError(t, err)
		requireRefused(t, chip.Read(), h, fuzzy.ErrReconstruct)
	}
}

// A change that keeps the masks' shape: two bits of pass 1 swapped.
func TestSwappedMaskBits(t *testing.T) {
	chip := fuzzy.NewChip(31, fuzzy.Balanced(0.5, 0.05))
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
	raw := helper.Bytes()
	for i := 32; i < 540; i += 10 {
		changed := bytes.Clone(raw)
		changed[i], changed[i+1] = changed[i+1], changed[i]
		if bytes.Equal(changed, raw) {
			continue
		}
		h, err := fuzzy.ParseHelperData(changed)
		require.NoError(t, err)
		_, _, err = fuzzy.ReconstructUpTo(1, chip.Enrolled(), h)
		require.ErrorIs(t, err, fuzzy.ErrReconstruct)
	}
}

func TestCutAndExtendedHelperData(t *testing.T) {
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, fuzzy.NewChip(32, fuzzy.Balanced(0.5, 0.05)).Enrolled())
	raw := helper.Bytes()
	for n := range raw {
		_, err := fuzzy.ParseHelperData(raw[:n])
		require.ErrorIs(t, err, fuzzy.ErrHelperMalformed, "first %d bytes", n)
	}
	for n := 1; n < 300; n++ {
		_, err := fuzzy.ParseHelperData(append(bytes.Clone(raw), make([]byte, n)...))
		require.ErrorIs(t, err, fuzzy.ErrHelperMalformed, "%d bytes more", n)
	}
	_, err := fuzzy.ParseHelperData(make([]byte, 1<<16))
	require.ErrorIs(t, err, fuzzy.ErrHelperMalformed)
}

// The biased chip leaves positions of W and bits of the last mask byte unused; a 1
// in any of them is another encoding of the same thing, and refused.
func TestNonCanonicalHelperData(t *testing.T) {
	padded := 0
	for seed := range uint64(4) {
		_, helper := enroll(t, fuzzy.SRAM1K(), 1, fuzzy.NewChip(40+seed, fuzzy.Balanced(0.76, 0.05)).Enrolled())
		raw := helper.Bytes()
		pass2, pass1 := helper.Symbols()
		used, m := pass2+pass1, len(raw)-816
		require.Less(t, used, 2048)
		for i := used; i < 2048; i++ {
			changed := bytes.Clone(raw)
			changed[544+m+i/8] ^= 0x80 >> (i % 8)
			_, err := fuzzy.ParseHelperData(changed)
			require.ErrorIs(t, err, fuzzy.ErrHelperMalformed, "bit %d of W", i)
		}
		quads := (4096 - countOnes(raw[32:544])) / 2
		for i := quads; i < 8*m; i++ {
			changed := bytes.Clone(raw)
			changed[544+i/8] ^= 0x80 >> (i % 8)
			_, err := fuzzy.ParseHelperData(changed)
			require.ErrorIs(t, err, fuzzy.ErrHelperMalformed, "bit %d of the pass-2 mask", i)
			padded++
		}
	}
	require.Positive(t, padded)

	// Strides that are none.
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, fuzzy.NewChip(33, fuzzy.Balanced(0.5, 0.05)).Enrolled())
	for _, stride := range [][2]byte{{0, 0}, {0, 3}, {0x20, 0}, {0xff, 0xff}} {
		changed := helper.Bytes()
		changed[6], changed[7] = stride[0], stride[1]
		_, err := fuzzy.ParseHelperData(changed)
		require.ErrorIs(t, err, fuzzy.ErrHelperMalformed, "stride %x", stride)
	}
}

func countOnes(b []byte) int {
	n := 0
	for _, x := range b {
		for ; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

// A mask that would need a pass-2 mask of more than 208 bytes does not parse, and
// neither does the largest one with one byte too many.
func TestLongestHelperData(t *testing.T) {
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, fuzzy.NewChip(34, fuzzy.Balanced(0.5, 0.05)).Enrolled())
	header := helper.Bytes()[:32]
	for _, c := range []struct {
		selected, mask2 int
		ok              bool
	}{
		{768, 208, true}, {768, 207, false}, {768, 209, false}, {766, 209, false}, {766, 208, false}, {0, 256, false}, {4096, 0, true},
	} {
		b := bytes.Clone(header)
		mask := make([]byte, 512)
		for i := range c.selected {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		b = append(b, mask...)
		b = append(b, make([]byte, c.mask2+256+16)...)
		_, err := fuzzy.ParseHelperData(b)
		if c.ok {
			require.NoError(t, err, "%+v", c)
		} else {
			require.ErrorIs(t, err, fuzzy.ErrHelperMalformed, "%+v", c)
		}
	}
}

func TestHelperDataIsAValue(t *testing.T) {
	chip := fuzzy.NewChip(35, fuzzy.Balanced(0.5, 0.05))
	_, helper := enroll(t, fuzzy.SRAM1K().WithStride(16), 1, chip.Enrolled())
	raw := helper.Bytes()
	require.Equal(t, sha256.Sum256(raw), helper.Hash())
	parsed, err := fuzzy.ParseHelperData(raw)
	require.NoError(t, err)
	clear(raw)
	clear(parsed.Bytes())
	require.Equal(t, helper, parsed, "changing its bytes from outside changes nothing")
	require.True(t, fuzzy.SRAM1K().WithStride(16) == parsed.Params(), "parameters compare as values")

	var zero fuzzy.HelperData
	require.Nil(t, zero.Bytes())
	require.Equal(t, fuzzy.Params{}, zero.Params())
	pass2, pass1 := zero.Symbols()
	require.Zero(t, pass2+pass1)
	requireRefused(t, chip.Read(), zero, fuzzy.ErrHelperMalformed)
}

// The cells named are those that matter: with all others inverted the report is the
// same, and with one of them inverted it has one error more.
func TestCells(t *testing.T) {
	chip := fuzzy.NewChip(38, fuzzy.Balanced(0.6, 0.05))
	_, helper := enroll(t, fuzzy.SRAM1K().WithStride(4), 1, chip.Enrolled())
	cells := helper.Cells()
	_, want, err := fuzzy.Reconstruct(chip.Enrolled(), helper)
	require.NoError(t, err)
	require.Len(t, cells, want.Cells)

	others := chip.Enrolled()
	for i := range others {
		others[i] ^= 0xff
	}
	seen := map[int]bool{}
	for _, c := range cells {
		require.False(t, seen[c], "cell %d again", c)
		seen[c] = true
		others[c/8] ^= 0x80 >> (c % 8)
	}
	_, report, err := fuzzy.Reconstruct(others, helper)
	require.NoError(t, err)
	require.Equal(t, want, report)
	for _, c := range cells[:50] {
		one := chip.Enrolled()
		one[c/8] ^= 0x80 >> (c % 8)
		_, report, err := fuzzy.Reconstruct(one, helper)
		require.NoError(t, err)
		require.Equal(t, 1, report.Errors)
	}
	require.Nil(t, fuzzy.HelperData{}.Cells())
}

func FuzzParseHelperData(f *testing.F) {
	for seed, ones := range []float64{0.5, 0.7, 0.78} {
		_, h, err := fuzzy.Enroll(fuzzy.SRAM1K(), fuzzy.SeededRandom(1), fuzzy.NewChip(uint64(seed), fuzzy.Balanced(ones, 0.05)).Enrolled())
		require.NoError(f, err)
		f.Add(h.Bytes())
	}
	for _, p := range fuzzy.Sets() {
		chip := fuzzy.NewChipFor(p, 39, fuzzy.Balanced(0.5, 0.03))
		_, h, err := fuzzy.Enroll(p, fuzzy.SeededRandom(1), chip.Read(), chip.Read(), chip.Read())
		require.NoError(f, err)
		f.Add(h.Bytes())
	}
	f.Add([]byte("SEMF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := fuzzy.ParseHelperData(b)
		if err != nil {
			require.Zero(t, h)
			return
		}
		require.Equal(t, b, h.Bytes())
		require.LessOrEqual(t, len(b), h.Params().MaxHelperSize())
		pass2, pass1 := h.Symbols()
		n, _ := h.Params().Code()
		require.LessOrEqual(t, pass2+pass1, n)
		require.Len(t, h.Cells(), 4*pass2+2*pass1)
	})
}

// Whoever changes helper data or response: no panic, and a key only from the
// genuine helper data, and then the right one.
func FuzzReconstruct(f *testing.F) {
	chip := fuzzy.NewChip(36, fuzzy.Balanced(0.5, 0.05))
	key, genuine, err := fuzzy.Enroll(fuzzy.SRAM1K(), fuzzy.SeededRandom(1), chip.Enrolled())
	require.NoError(f, err)
	want := derive(f, key)
	f.Add(genuine.Bytes(), chip.Read())
	f.Add(genuine.Bytes(), make([]byte, 1024))
	f.Add(genuine.Bytes(), fuzzy.NewChip(37, fuzzy.Balanced(0.5, 0.05)).Read())
	f.Fuzz(func(t *testing.T, helper, response []byte) {
		h, err := fuzzy.ParseHelperData(helper)
		if err != nil {
			return
		}
		got, report, err := fuzzy.Reconstruct(response, h)
		if err != nil {
			require.Nil(t, got)
			require.Zero(t, report)
			return
		}
		require.Equal(t, genuine, h)
		require.Equal(t, want, derive(t, got))
	})
}
