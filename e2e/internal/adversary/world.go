package adversary

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/e2e/internal/seam"
	"github.com/semio-iot/semio/identity"
)

const (
	maxWire  = 512 // records that the adversary keeps
	maxMail  = 64
	maxBurst = 40_000
)

var epoch0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// World is one game. Close it.
type World struct {
	choose Chooser
	faults Faults
	stop   func()

	now   time.Time
	links []*link
	wire  []sent // what the adversary has recorded
	mail  []sent // what is under way
	used  map[seal]struct{}
	stats Stats
	err   error // that a watcher found

	resting bool
	queue   []sent // what was sent while resting
}

type seal struct {
	key   [8]byte
	nonce [seam.NonceSize]byte
}

type sent struct {
	link, side int
	record     []byte
}

// Stats tell what a world has come to: a run that delivers nothing shows nothing.
type Stats struct {
	Steps, Delivered, Early, Established, Refused, Crashes, Restores, Challenged, Requests, Forged, Returns, Sealed int
}

func (s *Stats) add(t Stats) {
	s.Steps += t.Steps
	s.Delivered += t.Delivered
	s.Early += t.Early
	s.Established += t.Established
	s.Refused += t.Refused
	s.Crashes += t.Crashes
	s.Restores += t.Restores
	s.Challenged += t.Challenged
	s.Requests += t.Requests
	s.Forged += t.Forged
	s.Returns += t.Returns
	s.Sealed += t.Sealed
}

// NewWorld lets choose decide what kind of world it is.
func NewWorld(cast *Cast, choose Chooser, faults Faults) (*World, error) {
	w := &World{choose: choose, faults: faults, now: epoch0, used: map[seal]struct{}{}}
	watcher := &seam.Watcher{Sealed: w.sealed}
	if faults.NonceTwice {
		watcher.Counter = func(n uint32) uint32 { return n / 2 }
	}
	w.stop = seam.Watch(watcher)
	a, b := cast.device, cast.app
	oneShot := choose.Choose(8) == 0
	if oneShot {
		b = cast.platform
		if choose.Choose(2) == 0 {
			a = cast.app
		}
	}
	terms := w.terms()
	// The second binding is of the same pair, under the same terms: a commissioning before or after the first.
	for range 2 {
		l, err := newLink(w, len(w.links), oneShot, terms, a, b)
		if err != nil {
			w.Close()
			return nil, err
		}
		w.links = append(w.links, l)
	}
	return w, nil
}

// terms are what the parties of a binding have agreed on, and what each has chosen for itself.
type terms struct {
	profile  e2e.Profile
	psk      identity.PSK
	suites   [2][]e2e.Suite
	windowed [2]bool
	limits   e2e.Limits

	prekeys, requirePrekey bool // of the application

	thief    int  // whose agreement key was stolen; -1: nobody's
	knowsPSK bool // the thief does, or there is none
}

var suites = [][]e2e.Suite{
	nil,
	{e2e.SuiteGCM, e2e.SuiteCTRHMAC},
	{e2e.SuiteCTRHMAC, e2e.SuiteGCM},
	{e2e.SuiteCTRHMACKEM, e2e.SuiteCTRHMAC},
	{e2e.SuiteGCMKEM, e2e.SuiteGCM, e2e.SuiteCTRHMAC},
}

func (w *World) terms() terms {
	t := terms{thief: -1}
	if w.choose.Choose(4) == 0 {
		t.profile = e2e.ProfileStatic
	}
	if w.choose.Choose(3) > 0 {
		var key [32]byte
		_, _ = rand.Read(key[:])
		t.psk, _ = identity.NewPSK(key[:])
	}
	for i := range 2 {
		t.suites[i] = suites[w.choose.Choose(len(suites))]
		t.windowed[i] = w.choose.Choose(3) == 0
	}
	switch w.choose.Choose(4) {
	case 0:
		t.limits.MaxMessages = 20
	case 1:
		t.limits = e2e.Limits{MaxAge: time.Hour, Linger: time.Minute}
	}
	t.prekeys, t.requirePrekey = w.choose.Choose(2) == 0, w.choose.Choose(2) == 0
	if n := w.choose.Choose(4); n < 2 {
		t.thief, t.knowsPSK = n, t.psk.IsZero() || w.choose.Choose(2) == 0
	}
	return t
}

// sealed is told of every payload that any party, or the thief, seals.
func (w *World) sealed(key [8]byte, nonce [seam.NonceSize]byte) {
	w.stats.Sealed++
	s := seal{key, nonce}
	if _, ok := w.used[s]; ok && w.err == nil {
		w.err = violation(RuleNonce, "key %x, nonce %x", key, nonce)
	}
	w.used[s] = struct{}{}
}

// clock goes faster than epochs are used.
func (w *World) clock() uint64 { return leap + 16*uint64(w.stats.Steps) }

// Close ends the watching.
func (w *World) Close() { w.stop() }

// Stats returns what has happened so far.
func (w *World) Stats() Stats { return w.stats }

// Step does one thing.
func (w *World) Step() (err error) {
	w.stats.Steps++
	defer func() {
		if r := recover(); r != nil {
			err = violation(RuleAPI, "panic: %v", r)
		}
	}()
	l := w.links[0]
	if w.choose.Choose(4) == 0 {
		l = w.links[1]
	}
	side := w.choose.Choose(2)
	switch op := w.choose.Choose(64); {
	case op < 15:
		err = l.speak(side)
	case op < 17:
		err = l.start(side)
	case op < 33:
		err = w.deliver(w.next())
	case op == 33: // lost
		w.next()
	case op < 40:
		err = w.deliver(w.recent())
	case op < 46:
		err = w.deliver(w.any())
	case op < 50:
		err = w.damaged()
	case op == 50:
		err = w.spliced()
	case op == 51: // reflected
		if s, ok := w.any(); ok {
			err = w.give(w.links[s.link], s.side, s.record)
		}
	case op == 52: // to the other binding
		if s, ok := w.any(); ok {
			err = w.give(w.links[1-s.link], w.choose.Choose(2), s.record)
		}
	case op == 53:
		err = l.prekeys()
	case op < 55:
		w.now = w.now.Add(time.Duration(1+w.choose.Choose(90)) * time.Second)
	case op == 55:
		w.now = w.now.Add(time.Duration(1+w.choose.Choose(30)) * time.Minute)
	case op == 56:
		err = l.crash(side)
	case op == 57: // the power is cut at one of the next writes
		l.ends[side].store.cut = 1 + w.choose.Choose(4)
	case op == 58:
		err = l.restore(side)
	case op == 59:
		err = l.again(side)
	case op == 60:
		err = l.hangUp(side)
	case op == 61:
		err = l.rob()
	case op == 62:
		if w.choose.Choose(20) == 0 {
			err = l.burst(side)
		}
	default:
		if w.choose.Choose(8) == 0 {
			err = w.Rest()
		}
	}
	if err == nil {
		err = w.err
	}
	return err
}

// send puts a record on the wire.
func (w *World) send(l *link, side int, record []byte) {
	l.sent[side][e2e.Digest(record)] = struct{}{}
	s := sent{l.index, side, bytes.Clone(record)}
	if w.resting {
		w.queue = append(w.queue, s)
	}
	if w.mail = append(w.mail, s); len(w.mail) > maxMail {
		w.mail = w.mail[1:]
	}
	if len(w.wire) == maxWire { // something old is forgotten, not the oldest
		i := w.choose.Choose(maxWire / 2)
		w.wire = slices.Delete(w.wire, i, i+1)
	}
	w.wire = append(w.wire, s)
}

// next takes the oldest record under way.
func (w *World) next() (sent, bool) {
	if len(w.mail) == 0 {
		return sent{}, false
	}
	s := w.mail[0]
	w.mail = w.mail[1:]
	return s, true
}

func (w *World) recent() (sent, bool) {
	if len(w.wire) == 0 {
		return sent{}, false
	}
	return w.wire[len(w.wire)-1-w.choose.Choose(min(6, len(w.wire)))], true
}

func (w *World) any() (sent, bool) {
	if len(w.wire) == 0 {
		return sent{}, false
	}
	return w.wire[w.choose.Choose(len(w.wire))], true
}

func (w *World) deliver(s sent, ok bool) error {
	if !ok {
		return nil
	}
	return w.give(w.links[s.link], 1-s.side, s.record)
}

// give hands a record to one end, and checks that the record is left as it was.
func (w *World) give(l *link, to int, record []byte) error {
	mine := bytes.Clone(record)
	err := l.receive(to, mine)
	if !bytes.Equal(mine, record) {
		return violation(RuleAPI, "a received record was changed")
	}
	return err
}

func (w *World) damaged() error {
	s, ok := w.any()
	if !ok {
		return nil
	}
	r := bytes.Clone(s.record)
	switch w.choose.Choose(5) {
	case 0: // truncated
		r = r[:w.choose.Choose(len(r))]
	case 1: // lengthened
		r = append(r, byte(w.choose.Choose(256)))
	case 2: // downgraded: suite, flags and offer are where it would be done
		at := []int{0, 1, 2, 3, 24, 25}[w.choose.Choose(6)]
		if at < len(r) {
			r[at] ^= 1 << w.choose.Choose(8)
		}
	case 3: // another counter or epoch
		at := 12 + w.choose.Choose(12)
		if at < len(r) {
			r[at] = byte(w.choose.Choose(256))
		}
	default:
		r[w.choose.Choose(len(r))] ^= 1 << w.choose.Choose(8)
	}
	return w.give(w.links[s.link], w.choose.Choose(2), r)
}

func (w *World) spliced() error {
	a, ok := w.any()
	b, _ := w.any()
	if !ok {
		return nil
	}
	at := w.choose.Choose(1 + min(len(a.record), len(b.record)))
	if w.choose.Choose(2) == 0 {
		at = min(16, len(a.record), len(b.record)) // one's header, the other's body
	}
	return w.give(w.links[a.link], 1-a.side, append(bytes.Clone(a.record[:at]), b.record[at:]...))
}

// Rest is the adversary doing nothing for two minutes: every binding must come to a working session, or exchange, from either side.
func (w *World) Rest() error {
	for _, l := range w.links {
		for _, e := range l.ends {
			e.store.cut = 0
		}
		for _, from := range []int{w.choose.Choose(2), 0, 1} {
			w.now = w.now.Add(2 * time.Minute)
			if err := l.comeBack(from); err != nil {
				return err
			}
			w.stats.Returns++
		}
	}
	return w.err
}

// alive runs f, during which the end's power may be cut, and says whether it was not.
func (w *World) alive(e *end, f func()) (alive bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(powerCut); !ok {
				panic(r)
			}
			w.stats.Crashes++
			if err := e.boot(); err != nil {
				panic(err)
			}
		}
	}()
	f()
	return true
}

func (l *link) name(side int) string {
	return fmt.Sprintf("%v of binding %d", l.ends[side].party.verified.ID(), l.index)
}
