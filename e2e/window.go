package e2e

// windowWidth is how far the newest record may overtake another one where Config.Windowed allows it.
const windowWidth = 64

// window says which counters of one session and direction were received. The zero value has seen none.
type window struct {
	next uint32 // highest counter received + 1
	bits uint64 // bit i: counter next-1-i was received
}

// fresh says whether counter was not received and is not too old to tell. A strict receiver finds everything below the newest too old.
func (w *window) fresh(counter uint32, wide bool) bool {
	if counter >= w.next {
		return true
	}
	behind := w.next - 1 - counter
	return wide && behind < windowWidth && w.bits>>behind&1 == 0
}

// take marks a fresh counter.
func (w *window) take(counter uint32) {
	if counter >= w.next {
		w.bits = w.bits<<(counter-w.next+1) | 1 // a shift by 64 or more clears, in Go
		w.next = counter + 1
		return
	}
	w.bits |= 1 << (w.next - 1 - counter)
}

// touches says whether a fresh counter may still belong to the generation before that of the newest.
func (w *window) touches() bool {
	newest := w.next - 1
	return newest>>ratchetShift > 0 && newest&(1<<ratchetShift-1) < windowWidth-1
}
