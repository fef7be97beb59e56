package fuzzy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// testdata/vectors.json and the files of the sets are made by this file (go generate ./fuzzy) from simulated
// chips: for implementations in other languages, and to notice when a change here
// would lock out devices in the field. Byte strings are in hex.
const vectorFile = "testdata/vectors.json"

type vectors struct {
	Origin      string   `json:"origin"`
	Set         string   `json:"set"`
	Information hexBytes `json:"information_positions"`
	Interleaver []int    `json:"interleaver,omitempty"`
	// InterleaverHash is SHA-256 of the positions, 16 bits each, big-endian.
	InterleaverHash hexBytes   `json:"interleaver_sha256,omitempty"`
	Enrolments      []vector   `json:"enrolments"`
	Refused         []negative `json:"refused"`
}

type vector struct {
	Name     string     `json:"name"`
	Stride   int        `json:"stride"`
	Response hexBytes   `json:"response"`
	Further  []hexBytes `json:"further,omitempty"` // readings after the first
	Random   hexBytes   `json:"random"`            // salt, then the secret
	Helper   hexBytes   `json:"helper"`
	Hash     hexBytes   `json:"helper_sha256"`
	RootKey  hexBytes   `json:"root_key"`
	Derived  []derived  `json:"derived"`
	Readings []reading  `json:"readings"`
}

type derived struct {
	Label   string   `json:"label"`
	Context hexBytes `json:"context"`
	Out     hexBytes `json:"out"`
}

type reading struct {
	Response  hexBytes `json:"response"`
	Used      int      `json:"used"`
	Erased    int      `json:"erased"`
	Corrected int      `json:"corrected"`
	Cells     int      `json:"cells"`
	Errors    int      `json:"errors"`
	List      int      `json:"list,omitempty"` // paths of the decoder, if more than one
}

type negative struct {
	Name     string   `json:"name"`
	Helper   hexBytes `json:"helper"`
	Response hexBytes `json:"response"`
	Error    string   `json:"error"`
}

// errorNames are the names of errors in the vectors.
var errorNames = map[string]error{
	"malformed":         ErrHelperMalformed,
	"unknown set":       ErrUnknownSet,
	"helper refused":    ErrHelperRefused,
	"response size":     ErrResponseSize,
	"response constant": ErrResponseConstant,
	"no match":          ErrReconstruct,
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func TestGeneratedVectors(t *testing.T) {
	b, err := json.MarshalIndent(makeVectors(t), "", " ")
	require.NoError(t, err)
	compare(t, vectorFile, append(b, '\n'))
}

// TestVectors reads the committed files as a stranger would.
func TestVectors(t *testing.T) {
	for _, name := range append([]string{vectorFile}, setVectorFiles()...) {
		t.Run(name, func(t *testing.T) { testVectors(t, name) })
	}
}

func testVectors(t *testing.T, name string) {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	var v vectors
	require.NoError(t, json.Unmarshal(b, &v))
	p, err := ParseSet(v.Set)
	require.NoError(t, err)
	require.Equal(t, p.set().info, []byte(v.Information))
	if v.Interleaver != nil {
		require.Equal(t, interleaver(p.set().length()), v.Interleaver)
	} else {
		require.Equal(t, interleaverHash(p.set().length()), []byte(v.InterleaverHash))
	}
	require.NotEmpty(t, v.Enrolments)
	for _, e := range v.Enrolments {
		t.Run(e.Name, func(t *testing.T) {
			key, helper, err := Enroll(p.WithStride(e.Stride), bytes.NewReader(e.Random), e.Response, e.further()...)
			require.NoError(t, err)
			require.Equal(t, []byte(e.Helper), helper.Bytes())
			hash := helper.Hash()
			require.Equal(t, []byte(e.Hash), hash[:])
			require.Equal(t, []byte(e.RootKey), KeyBytes(key))
			require.NotEmpty(t, e.Readings)
			for _, r := range e.Readings {
				again, report, err := Reconstruct(r.Response, helper)
				require.NoError(t, err)
				require.Equal(t, Report{r.Used, r.Erased, r.Corrected, r.Cells, r.Errors, p.Rating().ErrorRate, max(1, r.List)}, report)
				for _, d := range e.Derived {
					out, err := again.Derive(d.Label, d.Context, len(d.Out))
					require.NoError(t, err)
					require.Equal(t, []byte(d.Out), out, "%q", d.Label)
				}
			}
		})
	}
	require.Greater(t, len(v.Refused), len(v.Enrolments))
	for _, n := range v.Refused {
		t.Run(n.Name, func(t *testing.T) {
			want, ok := errorNames[n.Error]
			require.True(t, ok, n.Error)
			h, err := ParseHelperData(n.Helper)
			if err == nil {
				_, _, err = Reconstruct(n.Response, h)
			}
			require.ErrorIs(t, err, want)
			for name, other := range errorNames {
				require.Equal(t, name == n.Error, errors.Is(err, other), "%v is %s only", err, n.Error)
			}
		})
	}
}

func makeVectors(t *testing.T) vectors {
	v := vectors{
		Origin:      "go generate ./fuzzy; simulated cells (chip_test.go), no real chip",
		Set:         "SRAM1K",
		Information: setByID(1).info,
		Interleaver: interleaver(2048),
	}
	for i, c := range []struct {
		name   string
		stride int
		m      CellModel
	}{
		{"even chip, stride 1", 1, Balanced(0.5, 0.06)},
		{"even chip, stride 32, many errors", 32, Balanced(0.5, 0.18)},
		{"biased chip, unused positions", 1, Balanced(0.77, 0.05)},
	} {
		chip := NewChip(uint64(1000+i), c.m)
		random := make([]byte, 64)
		_, _ = SeededRandom(uint64(2000 + i)).Read(random)
		key, helper, err := Enroll(SRAM1K().WithStride(c.stride), bytes.NewReader(random), chip.Enrolled())
		require.NoError(t, err)
		hash := helper.Hash()
		e := vector{
			Name: c.name, Stride: c.stride, Response: chip.Enrolled(), Random: random,
			Helper: helper.Bytes(), Hash: hash[:], RootKey: KeyBytes(key),
		}
		for _, d := range []struct {
			label, context string
			n              int
		}{{"signing key", "", 32}, {"signing key", "\x00\x01", 48}, {"x", "y", 100}} {
			out, err := key.Derive(d.label, []byte(d.context), d.n)
			require.NoError(t, err)
			e.Derived = append(e.Derived, derived{d.label, hexBytes(d.context), out})
		}
		for range 2 {
			r := reading{Response: chip.Read()}
			_, report, err := Reconstruct(r.Response, helper)
			require.NoError(t, err)
			r.Used, r.Erased, r.Corrected, r.Cells, r.Errors = report.Used, report.Erased, report.Corrected, report.Cells, report.Errors
			e.Readings = append(e.Readings, r)
		}
		v.Enrolments = append(v.Enrolments, e)
	}
	v.Refused = makeNegatives(t, v.Enrolments[0], v.Enrolments[2])
	return v
}

func makeNegatives(t *testing.T, even, biased vector) []negative {
	response := even.Readings[0].Response
	var out []negative
	add := func(name, err string, helper, response []byte) {
		out = append(out, negative{name, helper, response, err})
	}
	change := func(h []byte, at int, x byte) []byte {
		c := bytes.Clone(h)
		c[at] ^= x
		return c
	}
	h := []byte(even.Helper)
	m := len(h) - 816
	add("another magic", "malformed", change(h, 0, 0x20), response)
	add("a later version", "unknown set", change(h, 4, 3), response)
	add("another set", "unknown set", change(h, 5, 3), response)
	add("another fingerprint", "unknown set", change(h, 15, 1), response)
	add("stride 3", "malformed", change(h, 7, 2), response)
	add("stride 0", "malformed", change(h, 7, 1), response)
	add("stride 32", "no match", change(h, 7, 33), response)
	add("salt changed", "no match", change(h, 16, 0x80), response)
	add("two pairs swapped", "no match", swapBits(h, 32), response)
	add("pass-2 mask changed", "no match", change(h, 544, 0x40), response)
	add("W changed", "no match", change(h, 544+m+10, 0x01), response)
	add("tag changed", "no match", change(h, len(h)-1, 0x01), response)
	add("one byte short", "malformed", h[:len(h)-1], response)
	add("one byte long", "malformed", append(bytes.Clone(h), 0), response)
	add("empty", "malformed", nil, response)
	b := []byte(biased.Helper)
	add("W at an unused position", "malformed", change(b, len(b)-tagSize-1, 0x01), biased.Readings[0].Response)
	add("helper data of another chip", "no match", b, response)
	add("another chip's response", "no match", h, NewChip(1, CellModel{Ones: 0.5}).Enrolled())
	add("response of zeros", "response constant", h, make([]byte, 1024))
	add("response of one word", "response constant", h, bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 256))
	add("response short", "response size", h, response[:1023])
	few := make([]byte, 512)
	for j := range 768 {
		setBit(few, j, 1)
	}
	add("too few symbols, valid tag", "helper refused", forge(t, setByID(1), few, make([]byte, 208), response).Bytes(), response)

	// As many pairs as allowed, nearly all of them equal.
	genuine, _ := setByID(1).masks(1, response)
	equal := make([]byte, 512)
	unequal := 0
	for j := range 4096 {
		if bit(genuine, j) == 1 {
			if unequal == 8 {
				continue
			}
			unequal++
		}
		setBit(equal, j, 1)
	}
	erased := forge(t, setByID(1), equal, make([]byte, mask2Size(4096, equal)), response)
	add("too many erased, valid tag", "no match", erased.Bytes(), response)
	return out
}

// swapBits exchanges the first bit of b from byte i on with the next that differs.
func swapBits(b []byte, i int) []byte {
	c := bytes.Clone(b)
	for j := 8*i + 1; ; j++ {
		if bit(b, j) != bit(b, 8*i) {
			c[i] ^= 0x80
			c[j/8] ^= 0x80 >> (j % 8)
			return c
		}
	}
}
