package broker

// window keeps the receive maximum of a client (MQTT 5, 4.9): messages beyond it wait, first in, first out. mochi's own
// way takes the waiting ones in any order within a second, and forgets to count them when they are acknowledged, after which a
// client that once fell behind receives nothing more.
type window struct {
	size    int
	unacked map[uint16]struct{}
	queue   [][]byte
	bytes   int // in queue
}

func newWindow() window { return window{size: 65535, unacked: map[uint16]struct{}{}} }

// enter counts a message and reports whether it may be sent now; if not, a copy is queued.
func (w *window) enter(id uint16, p []byte) bool {
	if len(w.queue) == 0 && len(w.unacked) < w.size {
		w.unacked[id] = struct{}{}
		return true
	}
	w.queue = append(w.queue, append([]byte(nil), p...))
	w.bytes += len(p)
	return false
}

// leave counts an acknowledgement and appends to out what may be sent now. A packet ID that is not awaited changes nothing.
func (w *window) leave(id uint16, out []byte) []byte {
	delete(w.unacked, id)
	for len(w.queue) > 0 && len(w.unacked) < w.size {
		p := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.bytes -= len(p)
		next, _ := messageID(p)
		w.unacked[next] = struct{}{}
		out = append(out, p...)
	}
	return out
}

func (w *window) pending() int { return len(w.unacked) + len(w.queue) }

func (w *window) reset() {
	size := w.size
	*w = newWindow()
	w.size = size
}

// messageID returns the packet ID of a PUBLISH with QoS above 0. p is what the broker encoded.
func messageID(p []byte) (uint16, bool) {
	if len(p) == 0 || p[0]>>4 != 3 || p[0]&0x06 == 0 {
		return 0, false
	}
	i := 1
	for i < len(p) && i < 5 && p[i]&0x80 != 0 {
		i++
	}
	i++
	if i+2 > len(p) {
		return 0, false
	}
	i += 2 + (int(p[i])<<8 | int(p[i+1]))
	if i+2 > len(p) {
		return 0, false
	}
	return uint16(p[i])<<8 | uint16(p[i+1]), true
}
