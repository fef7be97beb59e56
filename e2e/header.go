package e2e

import "encoding/binary"

// header is the first 16 bytes of each record as two big-endian words: they travel in registers, where a struct of the fields would cost a
// short message a tenth of its time in copies.
type header struct{ hi, lo uint64 }

// makeHeader returns the header of the message counter, which is 0 in a handshake. id is the session's ID, or the binding's hint.
func makeHeader(typ Type, s Suite, flags byte, id [8]byte, counter uint32) header {
	name := binary.BigEndian.Uint64(id[:])
	return header{
		hi: uint64(version<<4|byte(typ))<<56 | uint64(s)<<48 | uint64(flags)<<40 | uint64(generationByte(counter))<<32 | name>>32,
		lo: name<<32 | uint64(counter),
	}
}

func generationByte(counter uint32) byte { return byte(counter >> ratchetShift) }

func (h header) typ() Type        { return Type(h.hi >> 56 & 0x0f) }
func (h header) suite() Suite     { return Suite(h.hi >> 48 & 0xff) }
func (h header) flags() byte      { return byte(h.hi >> 40) }
func (h header) generation() byte { return byte(h.hi >> 32) }
func (h header) counter() uint32  { return uint32(h.lo) }
func (h header) fromB() bool      { return h.flags()&flagB != 0 }
func (h header) profile() Profile { return Profile(h.flags() & flagProfile >> 4) }

// hasSession tells DATA and CLOSE from the records of a handshake.
func (h header) hasSession() bool { return h.typ() == TypeData || h.typ() == TypeClose }

func (h header) id() (id [8]byte) {
	binary.BigEndian.PutUint64(id[:], h.name())
	return id
}

// name is the ID as a number.
func (h header) name() uint64 { return h.hi<<32 | h.lo>>32 }

// put writes the header into the first bytes of b.
func (h header) put(b []byte) {
	_ = b[headerSize-1]
	binary.BigEndian.PutUint64(b, h.hi)
	binary.BigEndian.PutUint64(b[8:], h.lo)
}

func (h header) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, h.hi), h.lo)
}

// counterOf reads the counter from a header.
func counterOf(h []byte) uint32 { return binary.BigEndian.Uint32(h[headerSize-4 : headerSize]) }

// parseHeader checks everything that can be checked without knowing the binding.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || len(b) > MaxRecord {
		return h, false
	}
	h = header{hi: binary.BigEndian.Uint64(b), lo: binary.BigEndian.Uint64(b[8:])}
	t, s := h.typ(), h.suite()
	switch {
	case h.hi>>60 != version || t > TypeChallenge || h.flags()&^allowedFlags[t] != 0 || s == 0 || s > lastSuite:
		return h, false
	case !h.hasSession() && h.counter() != 0:
		return h, false
	}
	return h, h.generation() == generationByte(h.counter())
}
