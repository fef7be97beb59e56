package fuzzy

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/polar"
)

// KeyBytes lets tests of the external package look for what must not be seen.
func KeyBytes(k *RootKey) []byte { return append([]byte(nil), k.key.Expose()...) }

// forge makes helper data as an attacker would who chooses the masks and knows, or
// guesses, the cells they select: he runs the decoder on what he knows, and the
// message it gives is the secret that the tag is made of.
func forge(t *testing.T, s *set, mask1, mask2, known []byte) HelperData {
	code, err := s.code()
	require.NoError(t, err)
	f := &fields{set: s, stride: 1, mask1: mask1, mask2: mask2, w: make([]byte, code.Len()/8)}
	llr := make([]int16, code.Len())
	f.votes(llr, interleaver(code.Len()), known)
	message, codeword := make([]byte, code.Dimension()/8), make([]byte, code.Len())
	require.NoError(t, polar.NewDecoder(code).Decode(message, codeword, llr))
	salt := make([]byte, saltSize)
	body := s.body(1, salt, mask1, mask2, f.w)
	tag, _, err := keys(message, salt, body)
	require.NoError(t, err)
	h, err := ParseHelperData(append(body, tag...))
	require.NoError(t, err)
	return h
}

// without returns helper data's fields with a set that lacks the rules, to show
// that the attack is one.
func without(t *testing.T, h HelperData, minUsed, minKept int) *fields {
	f, err := parse([]byte(h.raw))
	require.NoError(t, err)
	f.set.minUsed, f.set.minKept = minUsed, minKept
	return f
}

// Eight unknown pairs selected: 256 guesses give a valid tag, and then come the next
// eight.
func TestAttackFewPairs(t *testing.T) {
	chip := NewChip(60, CellModel{Ones: 0.5})
	response := chip.Enrolled()
	genuine, _ := setByID(1).masks(1, response)

	// 768 pairs in the mask, the fewest that parse, of which eight are unequal:
	// the equal ones tell nothing and the attacker knows them from the genuine
	// mask.
	mask1 := make([]byte, len(genuine))
	unequal, selected := 0, 0
	for j := range 4096 {
		u := bit(genuine, j)
		if selected == 768 || u == 1 && unequal == 8 {
			continue
		}
		setBit(mask1, j, 1)
		unequal += int(u)
		selected++
	}
	require.Equal(t, 768, selected)
	require.Equal(t, 8, unequal)
	mask2 := make([]byte, mask2Size(4096, mask1))
	h := forge(t, setByID(1), mask1, mask2, response)

	_, _, err := without(t, h, 0, 0).reconstruct(chip.Read())
	require.NoError(t, err, "without the rules the attack works")
	_, _, err = Reconstruct(chip.Read(), h)
	require.ErrorIs(t, err, ErrHelperRefused)
	_, _, err = Reconstruct(make([]byte, 1024), h)
	require.ErrorIs(t, err, ErrHelperRefused, "before the response is looked at")
}

// Enough pairs selected, but all save eight of them equal, which votes nothing.
func TestAttackErasedPairs(t *testing.T) {
	chip := NewChip(61, CellModel{Ones: 0.5})
	response := chip.Enrolled()
	genuine, _ := setByID(1).masks(1, response)
	mask1 := make([]byte, len(genuine))
	unequal := 0
	for j := range 4096 {
		u := bit(genuine, j)
		if u == 1 && unequal == 8 {
			continue
		}
		setBit(mask1, j, 1)
		unequal += int(u)
	}
	mask2 := make([]byte, mask2Size(4096, mask1))
	h := forge(t, setByID(1), mask1, mask2, response)
	require.GreaterOrEqual(t, without(t, h, 0, 0).used(), setByID(1).minUsed, "the first rule alone lets it through")

	_, _, err := without(t, h, setByID(1).minUsed, 0).reconstruct(chip.Read())
	require.NoError(t, err, "without the second rule the attack works")
	_, _, err = Reconstruct(chip.Read(), h)
	require.Equal(t, "reconstruct: "+ErrReconstruct.Error(), err.Error(), "and the answer is that of a wrong tag")
}

// The rule's edge: 55 % not erased pass, one symbol fewer do not.
func TestErasureThreshold(t *testing.T) {
	chip := NewChip(62, CellModel{Ones: 0.5})
	response := chip.Enrolled()
	s := setByID(1)
	genuine, _ := s.masks(1, response)
	for _, c := range []struct {
		kept int
		ok   bool
	}{{1100, true}, {1099, false}} {
		mask1 := make([]byte, len(genuine))
		kept, erased := 0, 0
		for j := range 4096 {
			if u := bit(genuine, j); u == 1 && kept < c.kept {
				setBit(mask1, j, 1)
				kept++
			} else if u == 0 && erased < 2000-c.kept {
				setBit(mask1, j, 1)
				erased++
			}
		}
		h := forge(t, setByID(1), mask1, make([]byte, mask2Size(4096, mask1)), response)
		require.Equal(t, 2000, without(t, h, 0, 0).used())
		_, _, err := Reconstruct(response, h)
		if c.ok {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, ErrReconstruct)
		}
	}
}

// How many bits of the message are left unknown to whoever selects symbols as the
// rules just allow, and arranges them in the codeword so that as few message bits
// as possible depend on those that are not erased. Erasures go through the transform
// as through any polar code: a sum is lost with either side, a repetition with both.
// The arrangements tried keep half of the positions by one bit of their index, and
// half of the other half by two more: three in eight, what the second rule leaves.
func TestErasuresLeaveMessageBits(t *testing.T) {
	SkipUnderRace(t)
	for _, p := range Sets() {
		s := p.set()
		n := s.length()
		least := n
		for a := 1; a < n; a *= 2 {
			for b := 1; b < n; b *= 2 {
				for _, c := range []int{1, 2, 4, n / 2, n / 4} {
					if a == b || b == c || a == c {
						continue
					}
					known := make([]bool, n) // not erased
					for i := range known {
						known[i] = i&a == 0 && (i&b == 0 || i&c == 0)
					}
					least = min(least, s.depending(known))
				}
			}
		}
		t.Logf("%s: at least %d of %d message bits depend on them", s.name, least, s.dimension())
		require.Greater(t, least, 128, s.name)
		require.LessOrEqual(t, 100*3*n/8, s.minKept*s.minUsed, "%s: the rule asks for more than was tried", s.name)
	}
}

// depending counts the message bits that the positions not erased decide.
func (s *set) depending(known []bool) int {
	at := append([]bool(nil), known...)
	for half := len(at) / 2; half >= 1; half /= 2 {
		for i := range at {
			if i&half == 0 {
				x, y := at[i], at[i|half]
				at[i], at[i|half] = x && y, x || y
			}
		}
	}
	count := 0
	for i, x := range at {
		if x {
			count += int(bit(s.info, i))
		}
	}
	return count
}

// Why there is one enrolment for each region, ever. A second one from a slightly
// different reading puts most symbols at other places of the codeword: it tells
// 1,664 new equations about the same unknowns. The test counts, by Gaussian
// elimination, how much of the first enrolment's 2,048 symbols stays unknown.
func TestTwoEnrolmentsLeaveNothing(t *testing.T) {
	SkipUnderRace(t)
	response := NewChip(63, CellModel{Ones: 0.5}).Enrolled()
	later := append([]byte(nil), response...)
	for i := range 10 {
		later[100*i] ^= 0x10
	}
	one, two := parsedEnrolment(t, response), parsedEnrolment(t, later)
	// Pairs that changed are unknowns of their own in the second enrolment.
	unknown := func(j int) int {
		a, b := pair(j, 1)
		if bit(response, a)^bit(later, a)|bit(response, b)^bit(later, b) == 1 {
			return 4096 + j
		}
		return j
	}
	first := func(j int) int { return j }

	require.Equal(t, 384, left(one.equations(first), one.symbolUnknowns(first)), "one enrolment")
	both := append(one.equations(first), two.equations(unknown)...)
	rest := left(both, one.symbolUnknowns(first))
	t.Logf("two enrolments leave %d of 384 bits", rest)
	require.LessOrEqual(t, rest, 3, "two enrolments")
}

func parsedEnrolment(t *testing.T, response []byte) *fields {
	_, h, err := Enroll(SRAM1K(), nil, response)
	require.NoError(t, err)
	f, err := parse([]byte(h.raw))
	require.NoError(t, err)
	return f
}

// symbolUnknowns returns a row for each used symbol. The unknown of a pair is the
// value of its first cell; unknown numbers it.
func (f *fields) symbolUnknowns(unknown func(int) int) []*big.Int {
	var rows []*big.Int
	for _, y := range f.set.symbols(f.stride, f.mask1, f.mask2) {
		rows = append(rows, new(big.Int).SetBit(new(big.Int), unknown(y.a/2), 1))
	}
	return rows
}

// equations returns the left sides of all that helper data tells: that frozen
// positions are 0, and whether the pairs of a quad are equal.
func (f *fields) equations(unknown func(int) int) []*big.Int {
	n := f.set.length()
	at := make([]*big.Int, n)
	place := interleaver(n)
	for i, row := range f.symbolUnknowns(unknown) {
		at[place[i]] = row
	}
	// The transform is its own inverse: u of rows instead of bits.
	for half := 1; half < n; half *= 2 {
		for i := range n {
			if i&half == 0 {
				at[i] = new(big.Int).Xor(at[i], at[i|half])
			}
		}
	}
	var rows []*big.Int
	for i, row := range at {
		if bit(f.set.info, i) == 0 {
			rows = append(rows, row)
		}
	}
	for _, jk := range f.set.quads(f.mask1) {
		row := new(big.Int).SetBit(new(big.Int), unknown(jk[0]), 1)
		rows = append(rows, row.SetBit(row, unknown(jk[1]), 1))
	}
	return rows
}

// left returns how many bits of the wanted rows the known rows do not determine.
func left(known, wanted []*big.Int) int {
	byTop := map[int]*big.Int{}
	add := func(rows []*big.Int) (rank int) {
		for _, r := range rows {
			r = new(big.Int).Set(r)
			for r.Sign() != 0 {
				top := r.BitLen()
				if byTop[top] == nil {
					byTop[top] = r
					rank++
					break
				}
				r.Xor(r, byTop[top])
			}
		}
		return rank
	}
	add(known)
	return add(wanted)
}
