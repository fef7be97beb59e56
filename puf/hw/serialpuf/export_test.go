package serialpuf

// Scan runs the frame decoder over stream, given to it in pieces of the sizes in cuts over and over, as if silence followed. It
// returns the readings of the frames found, with their flags.
func Scan(stream []byte, cuts []byte) (found []Found, skipped int) {
	s := newScanner()
	take := func() {
		for {
			f, ok := s.next()
			if !ok {
				return
			}
			found = append(found, Found{f.flags, append([]byte(nil), f.data...)})
		}
	}
	for i := 0; len(stream) > 0; i++ {
		room := s.space()
		if len(room) < chunk {
			panic("less room than promised")
		}
		n := min(len(stream), len(room))
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)])+1)
		}
		copy(room, stream[:n])
		s.received(n)
		stream = stream[n:]
		take()
	}
	for s.giveUp() {
		take()
	}
	s.wipe()
	for _, b := range s.buf {
		if b != 0 {
			panic("wipe left bytes of a reading")
		}
	}
	return found, s.skipped
}

// Found is a frame that Scan found.
type Found struct {
	Flags uint16
	Data  []byte
}
