package fuzzy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// setVectorFiles names a file for each set, beside the older vectorFile.
func setVectorFiles() []string {
	var names []string
	for _, p := range Sets() {
		names = append(names, setVectorFile(p))
	}
	return names
}

func setVectorFile(p Params) string { return "testdata/" + strings.ToLower(p.Name()) + ".json" }

func (v vector) further() [][]byte {
	var out [][]byte
	for _, r := range v.Further {
		out = append(out, r)
	}
	return out
}

func interleaverHash(n int) []byte {
	var b []byte
	for _, at := range interleaver(n) {
		b = binary.BigEndian.AppendUint16(b, uint16(at))
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

func TestGeneratedSetVectors(t *testing.T) {
	SkipUnderRace(t)
	for _, p := range Sets() {
		t.Run(p.Name(), func(t *testing.T) {
			b, err := json.MarshalIndent(makeSetVectors(t, p), "", " ")
			require.NoError(t, err)
			compare(t, setVectorFile(p), append(b, '\n'))
		})
	}
}

func makeSetVectors(t *testing.T, p Params) vectors {
	s := p.set()
	v := vectors{
		Origin:          "go generate ./fuzzy; simulated cells (chip_test.go), no real chip",
		Set:             s.name,
		Information:     s.info,
		InterleaverHash: interleaverHash(s.length()),
	}
	for i, c := range []struct {
		name     string
		stride   int
		readings int
		m        CellModel
	}{
		{"one reading", 1, 1, Balanced(0.5, 0.06)},
		{"three readings, unstable pairs left out", 32, 3, Balanced(0.5, 0.03)},
		{"three readings, biased chip, unused positions", 1, 3, Balanced(0.76, 0.04)},
	} {
		seed := uint64(s.id)<<8 | uint64(i)
		v.Enrolments = append(v.Enrolments, makeSetVector(t, p.WithStride(c.stride), c.name, NewChipFor(p, seed, c.m), c.readings, seed))
	}
	v.Enrolments[0].Readings = append(v.Enrolments[0].Readings, hardReadings(t, v.Enrolments[0])...)
	v.Refused = makeSetNegatives(t, s, v.Enrolments[0], v.Enrolments[2])
	return v
}

func makeSetVector(t *testing.T, p Params, name string, chip *Chip, readings int, seed uint64) vector {
	e := vector{Name: name, Stride: p.Stride(), Response: chip.Read(), Random: make([]byte, saltSize+p.set().dimension()/8)}
	for range readings - 1 {
		e.Further = append(e.Further, chip.Read())
	}
	_, _ = SeededRandom(seed).Read(e.Random)
	key, helper, err := Enroll(p, bytes.NewReader(e.Random), e.Response, e.further()...)
	require.NoError(t, err)
	hash := helper.Hash()
	e.Helper, e.Hash, e.RootKey = helper.Bytes(), hash[:], KeyBytes(key)
	out, err := key.Derive("signing key", nil, 32)
	require.NoError(t, err)
	e.Derived = []derived{{"signing key", nil, out}}
	e.Readings = []reading{makeReading(t, helper, chip.Read())}
	return e
}

func makeReading(t *testing.T, helper HelperData, response []byte) reading {
	_, r, err := Reconstruct(response, helper)
	require.NoError(t, err)
	v := reading{Response: response, Used: r.Used, Erased: r.Erased, Corrected: r.Corrected, Cells: r.Cells, Errors: r.Errors}
	if r.List > 1 {
		v.List = r.List
	}
	return v
}

// hardReadings are the first ones found that need a list: for a decoder's author, the
// proof that his does what ours does.
func hardReadings(t *testing.T, e vector) []reading {
	helper, err := ParseHelperData(e.Helper)
	require.NoError(t, err)
	p := helper.Params()
	var out []reading
	want := 8
	for rate := p.Rating().ErrorRate + 0.04; rate < 0.4; rate += 0.01 {
		chip := NewChipFor(p, 77, Balanced(0.5, rate))
		chip.cells = e.Response
		for range 12 {
			response := chip.Read()
			_, report, err := Reconstruct(response, helper)
			if err == nil && report.List >= want {
				out = append(out, makeReading(t, helper, response))
				if report.List == 32 {
					return out
				}
				want = 32
			}
		}
	}
	require.Fail(t, "no reading that needs a list of 32")
	return nil
}

func makeSetNegatives(t *testing.T, s *set, even, biased vector) []negative {
	response := []byte(even.Readings[0].Response)
	var out []negative
	add := func(name, err string, helper, response []byte) {
		out = append(out, negative{name, helper, response, err})
	}
	change := func(h []byte, at int, x byte) []byte {
		c := bytes.Clone(h)
		c[at] ^= x
		return c
	}
	h, b := []byte(even.Helper), []byte(biased.Helper)
	add("identifier of another set", "unknown set", change(h, 5, s.id^(s.id%5+1)), response)
	add("another fingerprint", "unknown set", change(h, 15, 1), response)
	add("stride as large as the region", "malformed", setStride(h, s.cells), response)
	add("W changed", "no match", change(h, len(h)-tagSize-s.length()/8, 0x10), response)
	add("tag changed", "no match", change(h, len(h)-1, 1), response)
	add("one byte short", "malformed", h[:len(h)-1], response)
	add("W at an unused position", "malformed", change(b, len(b)-tagSize-1, 1), biased.Readings[0].Response)
	add("another chip's helper data", "no match", b, response)
	add("response of another set's size", "response size", h, response[:len(response)/2])

	few := make([]byte, s.mask1Size())
	for j := range s.pairs() * 3 / 16 {
		setBit(few, j, 1)
	}
	add("too few symbols, valid tag", "helper refused", forge(t, s, few, make([]byte, mask2Size(s.pairs(), few)), response).Bytes(), response)
	genuine, _ := s.masks(1, response)
	equal, unequal := make([]byte, s.mask1Size()), 0
	for j := range s.pairs() {
		if bit(genuine, j) == 1 {
			if unequal == 8 {
				continue
			}
			unequal++
		}
		setBit(equal, j, 1)
	}
	add("too many erased, valid tag", "no match", forge(t, s, equal, make([]byte, mask2Size(s.pairs(), equal)), response).Bytes(), response)
	return out
}

func setStride(h []byte, stride int) []byte {
	c := bytes.Clone(h)
	binary.BigEndian.PutUint16(c[6:], uint16(stride))
	return c
}
