package controltest

import (
	"sync"

	"github.com/semio-iot/semio/e2e"
)

// Epochs keeps a binding's epochs in memory.
type Epochs struct {
	mu               sync.Mutex
	issued, accepted uint64
}

var _ e2e.RestorableEpochs = (*Epochs)(nil)

// SkipEpochs implements e2e.RestorableEpochs.
func (e *Epochs) SkipEpochs(highest uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.issued = max(e.issued, highest)
	return nil
}

// AcceptEcho implements e2e.RestorableEpochs.
func (e *Epochs) AcceptEcho(epoch uint64) error { return e.AcceptEpoch(epoch) }

// Restored implements e2e.RestorableEpochs.
func (e *Epochs) Restored() (bool, error) { return false, nil }

// NextEpoch implements e2e.Epochs.
func (e *Epochs) NextEpoch() (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.issued++
	return e.issued, nil
}

// AcceptEpoch implements e2e.Epochs.
func (e *Epochs) AcceptEpoch(epoch uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if epoch <= e.accepted {
		return e2e.ErrStaleEpoch
	}
	e.accepted = epoch
	return nil
}
