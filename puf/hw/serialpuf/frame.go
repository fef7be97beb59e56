package serialpuf

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
)

const (
	requestMagic = "PUFR"
	frameMagic   = "PUF1"

	headerSize = len(frameMagic) + 2 + 2
	crcSize    = 4

	// flagFresh says that the memory was without power since the last frame.
	flagFresh = 1

	maxFrame = headerSize + math.MaxUint16 + crcSize

	// chunk is the room for a read beside a frame of the largest size.
	chunk = 4096
)

// appendRequest appends the request for a reading of size bytes.
func appendRequest(dst []byte, size uint16) []byte {
	start := len(dst)
	dst = append(dst, requestMagic...)
	dst = binary.BigEndian.AppendUint16(dst, size)
	dst = binary.BigEndian.AppendUint16(dst, 0)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// frame is a frame with a valid checksum. Its data lies in the scanner's buffer.
type frame struct {
	flags uint16
	data  []byte
}

// scanner finds frames in a stream of bytes that may begin anywhere and contain anything. It holds what was received in one
// buffer of a fixed size, because it is secret: growing would leave copies behind.
type scanner struct {
	buf        []byte
	start, end int  // what is not judged yet
	skipped    int  // bytes that belong to no frame
	broken     bool // a frame failed its checksum
}

func newScanner() *scanner { return &scanner{buf: make([]byte, maxFrame+chunk)} }

// wipe forgets what was received, and keeps count of what was skipped.
func (s *scanner) wipe() {
	clear(s.buf)
	s.skipped += s.end - s.start
	s.start, s.end, s.broken = 0, 0, false
}

// space returns where to read to, at least chunk bytes once next has returned false. received says how many it were.
func (s *scanner) space() []byte {
	if s.start > 0 {
		n := copy(s.buf, s.buf[s.start:s.end])
		s.start, s.end = 0, n
	}
	return s.buf[s.end:]
}

func (s *scanner) received(n int) { s.end += n }

// next returns the next frame with a valid checksum, or false when more bytes are needed. The data is valid until space or wipe.
func (s *scanner) next() (frame, bool) {
	for {
		s.seek()
		have, want := s.pending()
		if want == 0 || have < want {
			return frame{}, false
		}
		b := s.buf[s.start : s.start+want]
		body := b[:want-crcSize]
		if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(b[len(body):]) {
			// The magic may have been noise, or the length damaged: the true frame can begin inside.
			s.broken = true
			s.drop(1)
			continue
		}
		s.start += want
		return frame{flags: binary.BigEndian.Uint16(body[6:]), data: body[headerSize:]}, true
	}
}

// pending tells how many bytes there are of the frame that begins at the start, and how many it has. want is 0 when none begins
// there, and headerSize as long as the length is not known.
func (s *scanner) pending() (have, want int) {
	b := s.buf[s.start:s.end]
	switch {
	case len(b) < len(frameMagic):
		return 0, 0
	case len(b) < headerSize:
		return len(b), headerSize
	}
	return len(b), headerSize + int(binary.BigEndian.Uint16(b[4:])) + crcSize
}

// giveUp drops an incomplete frame's magic, so that next looks behind it: it may have been noise before the true frame. It
// returns false when there is no such frame.
func (s *scanner) giveUp() bool {
	if _, want := s.pending(); want == 0 {
		return false
	}
	s.drop(1)
	return true
}

// seek drops bytes up to the magic, or to what may become one.
func (s *scanner) seek() {
	b := s.buf[s.start:s.end]
	if i := bytes.Index(b, []byte(frameMagic)); i >= 0 {
		s.drop(i)
		return
	}
	keep := min(len(b), len(frameMagic)-1)
	for !bytes.HasPrefix([]byte(frameMagic), b[len(b)-keep:]) {
		keep--
	}
	s.drop(len(b) - keep)
}

func (s *scanner) drop(n int) {
	s.start += n
	s.skipped += n
}
