package adversary

import "github.com/semio-iot/semio/e2e"

// leap is more than a world uses of epochs.
const leap = 1 << 20

// numbers are what outlives RAM.
type numbers struct {
	next, seen uint64
	restored   bool
}

// powerCut is what a store panics with in the middle of a call.
type powerCut struct{}

// store is e2e.RestorableEpochs of one end of a binding, whose power can be cut before or after any write, and whose backups can be put back.
type store struct {
	faults *Faults
	now    numbers
	old    []numbers // every state that was durable
	clock  func() uint64
	cut    int // writes until the power is cut; even: before the write, odd: after it. 0: it stays on.
}

var _ e2e.RestorableEpochs = (*store)(nil)

func (s *store) write(change func(*numbers)) {
	before := s.cut == 2
	if s.cut > 0 {
		s.cut--
	}
	if before {
		s.cut = 0
		panic(powerCut{})
	}
	s.old = append(s.old, s.now)
	change(&s.now)
	if s.cut == 1 {
		s.cut = 0
		panic(powerCut{})
	}
}

func (s *store) NextEpoch() (uint64, error) {
	s.write(func(n *numbers) { n.next++ })
	return s.now.next, nil
}

func (s *store) AcceptEpoch(epoch uint64) error {
	if err := e2e.CheckEpoch(s.now.seen, epoch); err != nil {
		return err
	}
	s.write(func(n *numbers) { n.seen = epoch })
	return nil
}

func (s *store) AcceptEcho(epoch uint64) error {
	if err := e2e.CheckEpoch(s.now.seen, epoch); err != nil {
		return err
	}
	s.write(func(n *numbers) { n.seen, n.restored = epoch, false })
	return nil
}

func (s *store) SkipEpochs(highest uint64) error {
	if highest > s.now.next {
		s.write(func(n *numbers) { n.next = highest })
	}
	return nil
}

func (s *store) Restored() (bool, error) { return s.now.restored, nil }

// reboot is what a power cut leaves.
func (s *store) reboot() {
	s.cut = 0
	if s.faults.SeenWrittenLate && len(s.old) > 0 {
		s.now.seen = s.old[len(s.old)-1].seen
	}
}

// restore puts back the i-th state of old, and marks it as one must: the clock is what tells a second restore of a backup from the first, so
// that its epochs lie above those that were used in between.
func (s *store) restore(i int) {
	n := s.old[i]
	n.restored = !s.faults.RestoredUnmarked
	if !s.faults.NoLeap {
		n.next = max(n.next, s.clock())
	}
	s.old = append(s.old, s.now)
	s.now, s.cut = n, 0
}

// Faults are bugs that a test plants, to see that the adversary finds them.
type Faults struct {
	SeenWrittenLate  bool // the highest epoch seen is not durable when AcceptEpoch returns
	RestoredUnmarked bool // a restored store does not know it
	NoLeap           bool // its own epochs are used again
	NonceTwice       bool // the nonce moves with every other message only
	StaticResists    bool // the static profile is said to withstand a stolen key
}
