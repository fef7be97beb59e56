package adversary

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// thief holds the agreement key of one end, its victim, and poses to it as the other one. The ephemeral profile says that he gets nowhere
// but with early data, and there only where he knows the pre-shared key.
type thief struct {
	l      *link
	victim int
	store  *store
	peer   *e2e.Peer

	forged map[[32]byte]string // INITs of his, with their early data
	heard  bool                // the victim has accepted one
}

// stolen is the key exchange of somebody who has his victim's key in the place of his own: he computes the static agreement, and can only
// guess those that need the key of whom he poses as.
type stolen struct {
	own    *ecdh.PublicKey // of whom he poses as
	victim *ecdh.PrivateKey
}

func (s stolen) PublicKey() *ecdh.PublicKey { return s.own }
func (s stolen) Curve() ecdh.Curve          { return ecdh.P256() }

func (s stolen) ECDH(remote *ecdh.PublicKey) ([]byte, error) {
	if remote.Equal(s.victim.PublicKey()) {
		return s.victim.ECDH(s.own)
	}
	return s.victim.ECDH(remote)
}

// newThief returns nil where nobody's key is stolen, or nothing is promised against it.
func newThief(l *link, binding e2e.BindingID) (*thief, error) {
	t := l.terms
	unpromised := t.profile == e2e.ProfileStatic && t.knowsPSK && !l.w.faults.StaticResists || l.oneShot && t.thief == 1
	if t.thief < 0 || unpromised {
		return nil, nil
	}
	psk := t.psk
	if !t.knowsPSK {
		var guess [32]byte
		_, _ = rand.Read(guess[:])
		psk, _ = identity.NewPSK(guess[:])
	}
	victim, other := l.ends[t.thief].party, l.ends[1-t.thief].party
	h := &thief{l: l, victim: t.thief, store: &store{faults: &Faults{}}, forged: map[[32]byte]string{}}
	var err error
	h.peer, err = e2e.NewPeer(e2e.Config{
		Self: other.verified, Key: stolen{other.key.PublicKey(), victim.key}, Remote: victim.verified, Binding: binding, PSK: psk, RequirePSK: !psk.IsZero(),
		Profile: t.profile, Suites: t.suites[1-t.thief], Epochs: h.store,
	})
	return h, err
}

// rob has the thief try something.
func (l *link) rob() error {
	h := l.thief
	if h == nil {
		return nil
	}
	w := l.w
	if l.oneShot {
		s, _ := w.any()
		if _, err := h.peer.OpenRequest(s.record); err == nil && l.genuine(1, s.record) {
			return violation(RuleThief, "he reads a request to the platform")
		}
		return nil
	}
	if w.choose.Choose(2) == 0 {
		return h.initiate()
	}
	// He answers what the victim says.
	s, ok := w.any()
	if !ok || s.side != h.victim || w.links[s.link] != l {
		return nil
	}
	ev, err := h.peer.Receive(w.now, s.record)
	if err != nil {
		return nil
	}
	switch ev.Kind {
	case e2e.KindChallenged: // to an INIT of his
		h.forged[e2e.Digest(ev.Reply)] = ""
	case e2e.KindNone:
	default:
		return violation(RuleThief, "he reads what %s sent: kind %d, %q", l.name(h.victim), ev.Kind, ev.Payload)
	}
	if ev.Reply == nil {
		return nil
	}
	return l.receive(h.victim, ev.Reply)
}

// initiate starts a session with the victim, with early data, and goes on as far as it gets.
func (h *thief) initiate() error {
	l, w := h.l, h.l.w
	// He sees the epochs on the wire, and can go far beyond them.
	ahead := uint64(w.choose.Choose(3))
	if w.choose.Choose(10) == 0 {
		ahead = 1 << 31
	}
	h.store.now.next = max(h.store.now.next, l.ends[h.victim].store.now.seen) + ahead
	if s := l.shelf; s != nil && h.victim == 1 && len(s.bundles) > 0 && w.choose.Choose(2) == 0 {
		// The bundles are public; the agreement of the device's key with one is not.
		if err := h.peer.UsePrekey(s.bundles[len(s.bundles)-1]); err != nil {
			return violation(RuleAPI, "the thief cannot use a prekey: %v", err)
		}
	}
	l.number++
	early := fmt.Sprintf("forged %d", l.number)
	init, err := h.peer.Initiate(w.now, []byte(early))
	if err != nil {
		return violation(RuleAPI, "the thief cannot initiate: %v", err)
	}
	h.forged[e2e.Digest(init)] = early
	return l.receive(h.victim, init)
}

// made says whether a record to an end is the thief's.
func (h *thief) made(to int, record []byte) bool {
	if h == nil || to != h.victim {
		return false
	}
	_, ok := h.forged[e2e.Digest(record)]
	return ok
}

// accepted judges a record that an end took and its peer did not send.
func (h *thief) accepted(to int, record []byte, ev e2e.Event) error {
	if !h.made(to, record) {
		return violation(RuleForged, "accepted %x", record)
	}
	l := h.l
	if !l.terms.knowsPSK {
		return violation(RuleThief, "%s took his INIT, without the pre-shared key", l.name(to))
	}
	if ev.Kind == e2e.KindEarlyData && to == 1 && l.shelf != nil && l.terms.requirePrekey {
		return violation(RuleThief, "%s, which requires prekeys, took early data of his", l.name(to))
	}
	h.heard = true
	l.w.stats.Forged++
	if ev.Reply == nil {
		return nil // it crossed one of the victim's
	}
	if ev.Kind == e2e.KindEarlyData && string(ev.Payload) != h.forged[e2e.Digest(record)] {
		return violation(RuleForged, "%q", ev.Payload)
	}
	// Whatever the victim says to him, he cannot go on.
	if got, err := h.peer.Receive(l.w.now, ev.Reply); err == nil {
		return violation(RuleThief, "he has a session with %s: kind %d", l.name(to), got.Kind)
	}
	return nil
}

// heardBy says whether an end has accepted early data of his. He may then have ended the mark of a restored store as well, by echoing its
// CHALLENGE, and what is replayed after that is early data as good as his own.
func (h *thief) heardBy(side int) bool { return h != nil && h.heard && side == h.victim }

// blocks says whether the thief can have used up the epochs of whom he poses as. That one must wait until the victim speaks to it.
func (h *thief) blocks(from int) bool { return h != nil && h.heard && from != h.victim }
