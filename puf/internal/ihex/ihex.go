// Package ihex reads Intel HEX files (Intel Hexadecimal Object File Format Specification, revision A, 1988).
//
// [Parse] reads a file into one image, [ParsePieces] into what lies apart. A record is a line
//
//	':' ‖ length u8 ‖ address u16 ‖ type u8 ‖ data (length bytes) ‖ checksum u8
//
// in hexadecimal digits of either case, the sum of all its bytes being 0 mod 256. All six types are read: data (00), end of
// file (01), extended segment address (02), start segment address (03), extended linear address (04), start linear address (05).
package ihex

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// ErrSyntax is wrapped by every error about the file's form.
var ErrSyntax = errors.New("not a well-formed Intel HEX file")

// ErrTooLarge reports a file over a limit of [Options].
var ErrTooLarge = errors.New("larger than the limit")

// GapError reports addresses between two pieces of data that the file does not fill.
type GapError struct {
	Address uint32 // first missing byte
	Length  uint32
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%d bytes are missing at address %#08x; dump the region whole, or say what to fill gaps with", e.Length, e.Address)
}

// Options limit a [Parse].
type Options struct {
	MaxBytes int   // of the image, gaps included; required
	Fill     *byte // what gaps are filled with; nil refuses them
}

// Image is the memory that a file describes.
type Image struct {
	Base  uint32 // address of Data[0], the lowest in the file
	Data  []byte
	Start uint32 // of record 03 (CS<<16 | IP) or 05 (EIP)
	Entry bool   // whether Start was given
}

const (
	maxLine = 1 + 2*(255+5) // characters of the longest record
	maxRuns = 1 << 16       // pieces of an image that do not follow each other in the file
)

// Record types.
const (
	typeData = iota
	typeEnd
	typeSegment
	typeStartSegment
	typeLinear
	typeStartLinear
)

// Piece is contiguous data. Its address is kept in 64 bits, so that no sum wraps.
type Piece struct {
	Address uint64
	Data    []byte
}

// End returns the address behind the last byte.
func (p Piece) End() uint64 { return p.Address + uint64(len(p.Data)) }

type parser struct {
	opts    Options
	image   Image
	runs    []Piece
	total   int
	base    uint64 // of the last record 02 or 04
	segment bool   // base is a segment's: addresses wrap within its 64 KB
	ended   bool
}

// Parse reads a whole file. Blank lines and white space at the end of a line are accepted, anything else outside records, a
// missing end record, data after it, and two values for one address are not.
func Parse(r io.Reader, opts Options) (Image, error) {
	p, err := parse(r, opts)
	if err != nil {
		return Image{}, err
	}
	return p.join()
}

// ParsePieces reads a whole file as [Parse] does, and returns its data in the order of addresses, gaps left out. Fill does not matter.
func ParsePieces(r io.Reader, opts Options) ([]Piece, error) {
	p, err := parse(r, opts)
	if err != nil {
		return nil, err
	}
	merged := p.runs[:1]
	for _, r := range p.runs[1:] {
		if last := &merged[len(merged)-1]; last.End() == r.Address {
			last.Data = append(last.Data, r.Data...)
		} else {
			merged = append(merged, r)
		}
	}
	return merged, nil
}

func parse(r io.Reader, opts Options) (*parser, error) {
	// Records without data would let an endless file run on; a line of one data byte has 13 characters and a line end.
	limit := 64*int64(opts.MaxBytes) + 1<<16
	lr := &io.LimitedReader{R: r, N: limit + 1}
	lines := bufio.NewScanner(lr)
	lines.Buffer(make([]byte, 0, 1024), maxLine+64)
	p := &parser{opts: opts}
	n := 0
	for lines.Scan() {
		n++
		if err := p.line(lines.Bytes()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: %w: longer than any record", n+1, ErrSyntax)
	case err != nil:
		return nil, err
	case lr.N == 0:
		return nil, fmt.Errorf("text of over %d bytes: %w", limit, ErrTooLarge)
	case !p.ended:
		return nil, fmt.Errorf("%w: no end-of-file record, the file was cut short", ErrSyntax)
	}
	return p, p.sort()
}

func (p *parser) line(line []byte) error {
	for len(line) > 0 && (line[len(line)-1] == '\r' || line[len(line)-1] == ' ' || line[len(line)-1] == '\t') {
		line = line[:len(line)-1]
	}
	if len(line) == 0 {
		return nil
	}
	if p.ended {
		return fmt.Errorf("%w: text after the end-of-file record", ErrSyntax)
	}
	if line[0] != ':' {
		return fmt.Errorf("%w: a record starts with a colon", ErrSyntax)
	}
	var buf [maxLine / 2]byte
	digits := line[1:]
	if len(digits)%2 != 0 || len(digits) < 2*5 || len(digits) > 2*len(buf) {
		return fmt.Errorf("%w: %d digits", ErrSyntax, len(digits))
	}
	rec := buf[:len(digits)/2]
	if _, err := hex.Decode(rec, digits); err != nil {
		return fmt.Errorf("%w: not hexadecimal", ErrSyntax)
	}
	if int(rec[0])+5 != len(rec) {
		return fmt.Errorf("%w: record says %d data bytes and has %d", ErrSyntax, rec[0], len(rec)-5)
	}
	var sum byte
	for _, b := range rec {
		sum += b
	}
	if sum != 0 {
		return fmt.Errorf("%w: checksum is wrong", ErrSyntax)
	}
	return p.record(rec[3], uint64(rec[1])<<8|uint64(rec[2]), rec[4:len(rec)-1])
}

func (p *parser) record(kind byte, address uint64, data []byte) error {
	wants := func(n int) error {
		if len(data) != n || address != 0 && kind != typeEnd {
			return fmt.Errorf("%w: record of type %02x with %d data bytes at %#04x", ErrSyntax, kind, len(data), address)
		}
		return nil
	}
	switch kind {
	case typeData:
		return p.data(address, data)
	case typeEnd:
		// Old tools put the entry point into the address field.
		p.ended = true
		return wants(0)
	case typeSegment, typeLinear:
		if err := wants(2); err != nil {
			return err
		}
		shift := 16
		if p.segment = kind == typeSegment; p.segment {
			shift = 4
		}
		p.base = (uint64(data[0])<<8 | uint64(data[1])) << shift
		return nil
	case typeStartSegment, typeStartLinear:
		if err := wants(4); err != nil {
			return err
		}
		if p.image.Entry {
			return fmt.Errorf("%w: two start addresses", ErrSyntax)
		}
		p.image.Start = uint32(data[0])<<24 | uint32(data[1])<<16 | uint32(data[2])<<8 | uint32(data[3])
		p.image.Entry = true
		return nil
	}
	return fmt.Errorf("%w: record type %02x", ErrSyntax, kind)
}

func (p *parser) data(address uint64, data []byte) error {
	const segmentSize = 1 << 16
	if p.segment && address+uint64(len(data)) > segmentSize {
		first := segmentSize - address
		if err := p.add(p.base+address, data[:first]); err != nil {
			return err
		}
		return p.add(p.base, data[first:])
	}
	return p.add(p.base+address, data)
}

func (p *parser) add(start uint64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if start+uint64(len(data)) > math.MaxUint32+1 {
		return fmt.Errorf("%w: data beyond 32 bits of address", ErrSyntax)
	}
	if p.total += len(data); p.total > p.opts.MaxBytes {
		return fmt.Errorf("image of over %d bytes: %w", p.opts.MaxBytes, ErrTooLarge)
	}
	if n := len(p.runs); n > 0 && p.runs[n-1].End() == start {
		p.runs[n-1].Data = append(p.runs[n-1].Data, data...)
		return nil
	}
	if len(p.runs) == maxRuns {
		return fmt.Errorf("image of over %d pieces: %w", maxRuns, ErrTooLarge)
	}
	p.runs = append(p.runs, Piece{start, slices.Clone(data)})
	return nil
}

// sort puts the runs in order.
func (p *parser) sort() error {
	if len(p.runs) == 0 {
		return fmt.Errorf("%w: no data", ErrSyntax)
	}
	slices.SortFunc(p.runs, func(a, b Piece) int { return cmp.Compare(a.Address, b.Address) })
	for i, r := range p.runs[1:] {
		if r.Address < p.runs[i].End() {
			return fmt.Errorf("%w: two values for address %#08x", ErrSyntax, r.Address)
		}
	}
	return nil
}

// join puts the runs into one image.
func (p *parser) join() (Image, error) {
	first, last := p.runs[0], p.runs[len(p.runs)-1]
	for i, r := range p.runs[1:] {
		if end := p.runs[i].End(); r.Address > end && p.opts.Fill == nil {
			return Image{}, &GapError{Address: uint32(end), Length: uint32(r.Address - end)}
		}
	}
	span := last.End() - first.Address
	if span > uint64(p.opts.MaxBytes) {
		return Image{}, fmt.Errorf("image of %d bytes with its gaps, %d allowed: %w", span, p.opts.MaxBytes, ErrTooLarge)
	}
	p.image.Base = uint32(first.Address)
	p.image.Data = make([]byte, 0, span)
	for _, r := range p.runs {
		for first.Address+uint64(len(p.image.Data)) < r.Address {
			p.image.Data = append(p.image.Data, *p.opts.Fill)
		}
		p.image.Data = append(p.image.Data, r.Data...)
		clear(r.Data)
	}
	return p.image, nil
}
