package fuzzy

// enrolled is what several readings say: the majority of each cell and, one a
// byte, its doubts: how many readings say otherwise.
type enrolled struct {
	response []byte
	doubts   []byte
	readings int
}

func (e *enrolled) wipe() {
	clear(e.response)
	clear(e.doubts)
}

// selectSymbols makes the masks that leave out the most doubtful symbols: by the
// strictest limit that keeps pass 1 at 13/16 of the code's length, of an unbiased
// chip's pairs nearly one in five, and none of a chip that has not so many.
//
// That tells nothing of the values. Exchange the two cells of a pair, in every
// reading: its symbol turns into the complement, and the masks stay at every
// limit, since they look at sums over both cells alone. Exchange the two pairs of
// a quad: pass 1 stays at every limit, so the limit chosen stays, and with it all
// quads. Cells that are exchangeable, which von Neumann's trick assumes without
// doubts as well, therefore have both values with one probability under any masks.
// (A limit chosen by what pass 2 yields would break this: at another limit the two
// pairs stand in different quads.)
func (s *set) selectSymbols(stride int, e *enrolled) (mask1, mask2 []byte) {
	for limit := range e.readings / 2 {
		mask1, mask2 = s.stableMasks(stride, e, limit)
		if 16*ones(mask1) >= 13*s.length() {
			return mask1, mask2
		}
	}
	return s.stableMasks(stride, e, e.readings)
}

// stableMasks selects the symbols whose pair has at most limit doubts, or whose
// quad at most one more than two such pairs. Masks are public, and so is the
// outcome of each comparison here.
func (s *set) stableMasks(stride int, e *enrolled, limit int) (mask1, mask2 []byte) {
	unequal := make([]byte, s.mask1Size())
	mask1 = make([]byte, s.mask1Size())
	doubts := func(j int) int {
		a, b := pair(j, stride)
		return int(e.doubts[a]) + int(e.doubts[b])
	}
	for j := range s.pairs() {
		a, b := pair(j, stride)
		d := bit(e.response, a) ^ bit(e.response, b)
		setBit(unequal, j, d)
		setBit(mask1, j, d&within(doubts(j), limit))
	}
	mask2 = make([]byte, mask2Size(s.pairs(), mask1))
	for q, jk := range s.quads(mask1) {
		a, _ := pair(jk[0], stride)
		c, _ := pair(jk[1], stride)
		// A pair left out above stands among the equal ones, and spoils its quad.
		whole := 1 ^ (bit(unequal, jk[0]) | bit(unequal, jk[1]))
		differ := bit(e.response, a) ^ bit(e.response, c)
		setBit(mask2, q, differ&whole&within(doubts(jk[0])+doubts(jk[1]), 2*limit+1))
	}
	return mask1, mask2
}

// within returns 1 if n <= limit, else 0.
func within(n, limit int) byte { return byte((n-limit-1)>>31) & 1 }
