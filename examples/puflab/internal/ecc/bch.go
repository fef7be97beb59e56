package ecc

import "fmt"

// BCH is a binary narrow-sense BCH code of length 2^m - 1 in systematic form.
type BCH struct {
	n, k, t   int
	exp, log  []int  // of the field
	generator []byte // coefficients, that of x^0 first
}

// NewBCH returns the code over GF(2^m) that corrects t errors; m is from 3 to 10. Its dimension follows.
func NewBCH(m, t int) (*BCH, error) {
	primitive := map[int]int{3: 0xb, 4: 0x13, 5: 0x25, 6: 0x43, 7: 0x89, 8: 0x11d, 9: 0x211, 10: 0x409}
	p, ok := primitive[m]
	if !ok || t < 1 {
		return nil, fmt.Errorf("ecc: no BCH code over GF(2^%d) for %d errors", m, t)
	}
	c := &BCH{n: 1<<m - 1, t: t}
	c.exp, c.log = make([]int, 2*c.n), make([]int, c.n+1)
	for i, x := 0, 1; i < c.n; i++ {
		c.exp[i], c.exp[i+c.n], c.log[x] = x, x, i
		if x *= 2; x > c.n {
			x ^= p
		}
	}
	// The generator has every power of alpha from 1 to 2t as a root, and their conjugates: one factor (x - root) at a time.
	root := make([]bool, c.n)
	for i := 1; i <= 2*t; i++ {
		for j := i % c.n; !root[j]; j = 2 * j % c.n {
			root[j] = true
		}
	}
	g := []int{1}
	for j, is := range root {
		if !is {
			continue
		}
		next := make([]int, len(g)+1)
		for i, x := range g {
			next[i+1] ^= x
			next[i] ^= c.mul(x, c.exp[j])
		}
		g = next
	}
	for _, x := range g {
		c.generator = append(c.generator, byte(x))
	}
	if c.k = c.n - len(g) + 1; c.k < 1 {
		return nil, fmt.Errorf("ecc: BCH code over GF(2^%d) for %d errors has no message", m, t)
	}
	return c, nil
}

func (c *BCH) mul(a, b int) int {
	if a == 0 || b == 0 {
		return 0
	}
	return c.exp[c.log[a]+c.log[b]]
}

// Len is 2^m - 1.
func (c *BCH) Len() int { return c.n }

// Dimension returns the bits of a message.
func (c *BCH) Dimension() int { return c.k }

// Errors returns how many errors are corrected.
func (c *BCH) Errors() int { return c.t }

// Encode puts the message first, then the remainder. Bit i of the word is the coefficient of x^(n-1-i).
func (c *BCH) Encode(message []byte) []byte {
	word := make([]byte, c.n)
	copy(word, message)
	rest := append([]byte(nil), word...)
	for i := range c.k {
		if rest[i] == 1 {
			for j, g := range c.generator {
				rest[i+c.n-c.k-j] ^= g
			}
		}
	}
	copy(word[c.k:], rest[c.k:])
	return word
}

// Decode finds the error positions with the algorithms of Berlekamp and Massey and of Chien.
func (c *BCH) Decode(word []byte) ([]byte, bool) {
	syndromes, clean := c.syndromes(word)
	message := append([]byte(nil), word[:c.k]...)
	if clean {
		return message, true
	}
	locator := c.locator(syndromes)
	degree := len(locator) - 1
	if degree > c.t {
		return message, false
	}
	found := 0
	for i := range c.n {
		// A root alpha^-i stands for an error at x^i.
		sum := 0
		for j, x := range locator {
			if x != 0 {
				sum ^= c.exp[(c.log[x]+(c.n-i)*j)%c.n]
			}
		}
		if sum == 0 {
			found++
			if at := c.n - 1 - i; at < c.k {
				message[at] ^= 1
			}
		}
	}
	return message, found == degree
}

func (c *BCH) syndromes(word []byte) (s []int, clean bool) {
	s, clean = make([]int, 2*c.t), true
	for i, b := range word {
		if b == 1 {
			power := c.n - 1 - i
			for j := range s {
				s[j] ^= c.exp[power*(j+1)%c.n]
			}
		}
	}
	for _, x := range s {
		clean = clean && x == 0
	}
	return s, clean
}

// locator returns the shortest feedback register of the syndromes, without leading zeros.
func (c *BCH) locator(s []int) []int {
	current, before := []int{1}, []int{1}
	length, gap, last := 0, 1, 1
	for n := range s {
		d := s[n]
		for i := 1; i <= length && i < len(current); i++ {
			d ^= c.mul(current[i], s[n-i])
		}
		if d == 0 {
			gap++
			continue
		}
		factor := c.exp[(c.log[d]-c.log[last]+c.n)%c.n]
		next := make([]int, max(len(current), len(before)+gap))
		copy(next, current)
		for i, x := range before {
			next[i+gap] ^= c.mul(factor, x)
		}
		if 2*length <= n {
			length, before, last, gap = n+1-length, current, d, 1
		} else {
			gap++
		}
		current = next
	}
	for len(current) > 1 && current[len(current)-1] == 0 {
		current = current[:len(current)-1]
	}
	return current
}
