package fuzzy

import (
	"crypto/subtle"

	"github.com/semio-iot/semio/internal/polar"
)

// candidate is what decoding has come to: the codeword whose message gives the tag
// of helper data, and the key extracted from that message.
type candidate struct {
	f             *fields
	code          *polar.Code
	codeword, prk []byte
	found         int // 1 or 0
	message, word []byte
}

func newCandidate(f *fields, code *polar.Code) *candidate {
	return &candidate{
		f: f, code: code,
		codeword: make([]byte, code.Len()), prk: make([]byte, keySize),
		message: make([]byte, code.Dimension()/8), word: make([]byte, code.Len()),
	}
}

func (c *candidate) wipe() {
	clear(c.codeword)
	clear(c.prk)
	clear(c.message)
	clear(c.word)
}

// decode looks for the candidate with a list of so many paths, or by successive
// cancellation for 1. The work is the same whatever is found, and where.
func (c *candidate) decode(llr []int16, size int) error {
	if size == 1 {
		d := polar.NewDecoder(c.code)
		defer d.Wipe()
		if err := d.Decode(c.message, c.word, llr); err != nil {
			return err
		}
		return c.try()
	}
	d, err := polar.NewListDecoder(c.code, size)
	if err != nil {
		return err
	}
	defer d.Wipe()
	if err := d.Decode(llr); err != nil {
		return err
	}
	for p := range size {
		if err := d.Path(c.message, c.word, p); err != nil {
			return err
		}
		if err := c.try(); err != nil {
			return err
		}
	}
	return nil
}

// try takes message and word if their tag is right and none was before.
func (c *candidate) try() error {
	prk, err := extract(c.message, c.f.salt, c.f.body)
	if err != nil {
		return err
	}
	defer clear(prk)
	tag, err := makeTag(prk, c.f.body)
	if err != nil {
		return err
	}
	first := subtle.ConstantTimeCompare(tag, c.f.tag) &^ c.found
	subtle.ConstantTimeCopy(first, c.codeword, c.word)
	subtle.ConstantTimeCopy(first, c.prk, prk)
	c.found |= first
	return nil
}
