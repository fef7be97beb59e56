package devicegw

import (
	"context"
	"fmt"
	"sync"

	"github.com/semio-iot/semio/e2e"
)

// epochAhead is how many epochs one write to NVM reserves. A restart loses at most as many; the peers accept jumps.
const epochAhead = 8

// epochs is e2e.RestorableEpochs over one record. It is bound to one binding by the lock's label.
type epochs struct {
	nvm   locked
	name  string
	scope e2e.BindingID

	mu     sync.Mutex // guards what follows, and orders the writes
	rec    epochRecord
	last   uint64 // returned last
	closed bool
}

var _ e2e.RestorableEpochs = (*epochs)(nil)

// openEpochs also tells whether there was a record.
func openEpochs(ctx context.Context, l locked, name string, scope e2e.BindingID) (*epochs, bool, error) {
	rec, found, err := load(ctx, l, name, scope, parseEpochRecord)
	if err != nil {
		return nil, false, fmt.Errorf("read epochs: %w", err)
	}
	return &epochs{nvm: l, name: name, scope: scope, rec: rec, last: rec.Reserved}, found, nil
}

// NextEpoch implements e2e.Epochs.
func (e *epochs) NextEpoch() (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0, ErrNotConnected
	}
	if e.last == e.rec.Reserved {
		next := e.rec
		next.Reserved += epochAhead
		if err := e.save(next); err != nil {
			return 0, fmt.Errorf("reserve epochs: %w", err)
		}
	}
	e.last++
	return e.last, nil
}

// AcceptEpoch implements e2e.Epochs.
func (e *epochs) AcceptEpoch(epoch uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrNotConnected
	}
	if err := e2e.CheckEpoch(e.rec.Accepted, epoch); err != nil {
		return err
	}
	next := e.rec
	next.Accepted = epoch
	if err := e.save(next); err != nil {
		return fmt.Errorf("keep epoch: %w", err)
	}
	return nil
}

// SkipEpochs implements e2e.RestorableEpochs: the peer has seen epochs that this memory does not know.
func (e *epochs) SkipEpochs(highest uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrNotConnected
	}
	if highest <= e.last {
		return nil
	}
	if highest > e.rec.Reserved {
		next := e.rec
		next.Reserved = highest
		if err := e.save(next); err != nil {
			return fmt.Errorf("skip epochs: %w", err)
		}
	}
	e.last = highest
	return nil
}

// AcceptEcho implements e2e.RestorableEpochs.
func (e *epochs) AcceptEcho(epoch uint64) error { return e.AcceptEpoch(epoch) }

// Restored implements e2e.RestorableEpochs. A device does not know that its memory was put back.
func (e *epochs) Restored() (bool, error) { return false, nil }

// save has no context: an epoch must not be given up half-way because a caller lost patience.
func (e *epochs) save(next epochRecord) error {
	if err := save(context.Background(), e.nvm, e.name, e.scope, next); err != nil {
		// The write may have happened: what it reserved is never used, what it accepted never accepted again.
		return err
	}
	e.rec = next
	return nil
}

func (e *epochs) accepted() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec.Accepted
}

// close makes later calls fail, so that nothing of a removed binding is written again.
func (e *epochs) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
}

func (e *epochs) reopen() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = false
}
