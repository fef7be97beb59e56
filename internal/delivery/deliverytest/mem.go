// Package deliverytest has what tests of package delivery and of its Store implementations need: [TestStore], the suite that
// each implementation passes, and [MemStore], a store in memory that fails, or dies, where a test says.
package deliverytest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/semio-iot/semio/internal/delivery"
)

// ErrFault is what a MemStore returns where a test told it to fail.
var ErrFault = errors.New("deliverytest: fault")

// MemStore is a delivery.Store in memory. The zero value is an empty one, ready to use. What it loses at a crash is nothing: a
// crash is [MemStore.Reopen], which leaves the old one dead.
type MemStore struct {
	mu     sync.Mutex // guards everything below
	state  delivery.State
	writes int
	dead   bool
	steps  int // until death; -1 or less: never. Each write has two: before and after it is made
	armed  bool
	fail   func(write int) error
}

// FailWrites makes f decide on each write, counted from 1 since the store was made: an error is returned in its place.
// nil ends it.
func (m *MemStore) FailWrites(f func(write int) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// DieAfter lets the store pass n more steps and then fail for good, as if the process had been killed there. A write is two steps:
// it dies before it is made (and is not) or after (and is, although an error is returned).
func (m *MemStore) DieAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps, m.armed = n, true
}

// Dead reports whether DieAfter has come to its end.
func (m *MemStore) Dead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// Writes is the number of writes asked for so far.
func (m *MemStore) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// Reopen returns a store with the same state and no faults, and kills m.
func (m *MemStore) Reopen() *MemStore {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	return &MemStore{state: clone(m.state)}
}

// Load implements delivery.Store.
func (m *MemStore) Load() (delivery.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return delivery.State{}, ErrFault
	}
	return clone(m.state), nil
}

// Append implements delivery.Store.
func (m *MemStore) Append(seq uint64, frame []byte) error {
	return m.write(func(s *delivery.State) error {
		if seq == 0 || seq < s.Next {
			return fmt.Errorf("deliverytest: append %d: number used before, next is %d", seq, s.Next)
		}
		s.Outbox = append(s.Outbox, delivery.Entry{Seq: seq, Frame: bytes.Clone(frame)})
		s.Next = seq + 1
		return nil
	})
}

// Remove implements delivery.Store.
func (m *MemStore) Remove(upTo uint64) error {
	return m.write(func(s *delivery.State) error {
		for len(s.Outbox) > 0 && s.Outbox[0].Seq <= upTo {
			s.Outbox = s.Outbox[1:]
		}
		return nil
	})
}

// PutMark implements delivery.Store.
func (m *MemStore) PutMark(k delivery.Mark, value uint64) error {
	return m.write(func(s *delivery.State) error {
		if k >= delivery.MarkCount {
			return fmt.Errorf("deliverytest: put mark %d: no such mark", k)
		}
		s.Marks[k] = max(s.Marks[k], value)
		return nil
	})
}

func (m *MemStore) write(do func(*delivery.State) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	if m.step() {
		return ErrFault
	}
	if m.fail != nil {
		if err := m.fail(m.writes); err != nil {
			return err
		}
	}
	if err := do(&m.state); err != nil {
		return err
	}
	if m.step() {
		return ErrFault
	}
	return nil
}

func (m *MemStore) step() (dead bool) {
	if m.armed && !m.dead {
		if m.steps <= 0 {
			m.dead = true
		}
		m.steps--
	}
	return m.dead
}

func clone(s delivery.State) delivery.State {
	c := s
	c.Outbox = nil
	for _, e := range s.Outbox {
		c.Outbox = append(c.Outbox, delivery.Entry{Seq: e.Seq, Frame: bytes.Clone(e.Frame)})
	}
	return c
}
