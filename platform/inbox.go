package platform

import (
	"sync"

	"github.com/semio-iot/semio/identity"
)

const (
	perPeer   = 4    // records of one peer that wait; a gateway has one exchange under way
	peersBusy = 4096 // peers with records that wait
)

// inbox hands the records of each peer to one worker at a time, in sequence, and those of different peers to several. It drops what
// exceeds its bounds: gateways send again. One peer cannot fill it.
type inbox struct {
	ready chan identity.ID // peers with records, each at most once; never full

	mu      sync.Mutex // guards waiting
	waiting map[identity.ID][][]byte
}

func newInbox() *inbox {
	return &inbox{ready: make(chan identity.ID, peersBusy), waiting: map[identity.ID][][]byte{}}
}

// put takes a record and reports whether it did.
func (q *inbox) put(from identity.ID, record []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	w, busy := q.waiting[from]
	switch {
	case len(w) >= perPeer || !busy && len(q.waiting) >= peersBusy:
		return false
	case !busy:
		q.ready <- from
	}
	q.waiting[from] = append(w, record)
	return true
}

// work calls f for the next record of a peer taken from ready, then lets the peer queue again.
func (q *inbox) work(from identity.ID, f func(record []byte)) {
	q.mu.Lock()
	record := q.waiting[from][0]
	q.mu.Unlock()
	f(record)
	q.mu.Lock()
	defer q.mu.Unlock()
	// The peer stayed in waiting meanwhile, so nobody else got its records.
	if q.waiting[from] = q.waiting[from][1:]; len(q.waiting[from]) == 0 {
		delete(q.waiting, from)
		return
	}
	q.ready <- from
}
