package e2e_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

func seedRecords(f *testing.F) {
	vs := load(f)
	for _, v := range vs.Positive {
		f.Add([]byte(v.Init))
		f.Add([]byte(v.Resp))
		for _, m := range v.Messages {
			f.Add([]byte(m.Record))
		}
	}
	for _, n := range vs.Negative {
		f.Add([]byte(n.Record))
	}
	for _, c := range vs.Challenges {
		f.Add([]byte(c.Record))
	}
	f.Add([]byte{})
	f.Add([]byte{0x11, 1, 4, 0})
	f.Add(append([]byte{0x11, 3, 0, 0, 24: 0, 25: 5}, make([]byte, 1184+100)...))
}

// The decoders neither panic nor lose or invent a byte.
func FuzzParse(f *testing.F) {
	seedRecords(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, err := e2e.TypeOf(b)
		_, isHandshake := e2e.HintOf(b)
		if err != nil {
			require.Equal(t, e2e.ErrUnauthentic, err)
			require.False(t, isHandshake)
		} else {
			require.Equal(t, typ != e2e.TypeData && typ != e2e.TypeClose, isHandshake)
			require.Equal(t, b[:16], e2e.RebuildHeader(b))
		}
		if whole, ok := e2e.RebuildInit(b); ok {
			require.Equal(t, b, whole)
			require.Equal(t, e2e.TypeInit, typ)
		}
		if whole, ok := e2e.RebuildChallenge(b); ok {
			require.Equal(t, b, whole)
			require.Equal(t, e2e.TypeChallenge, typ)
		}
		if whole, ok := e2e.RebuildResp(b); ok {
			require.Equal(t, b, whole)
			require.Equal(t, e2e.TypeResp, typ)
		}
	})
}

// Whatever comes from the transport, in whatever state: no panic, and one error, unless it is a vector's genuine record.
func FuzzReceive(f *testing.F) {
	seedRecords(f)
	vs := load(f).Positive
	genuine := map[string]bool{}
	for _, v := range vs {
		genuine[string(v.Init)], genuine[string(v.Resp)] = true, true
		for _, m := range v.Messages {
			genuine[string(m.Record)] = true
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if genuine[string(b)] {
			t.Skip()
		}
		dev, app := vectorPeers(t, vs[0])
		for _, p := range []*e2e.Peer{dev, app} {
			ev, err := p.Receive(start, b)
			require.Equal(t, e2e.ErrUnauthentic, err)
			require.Equal(t, e2e.Event{}, ev)
		}
		establishVector(t, vs[0], dev, app)
		_, err := dev.Initiate(start, nil)
		require.NoError(t, err)
		for _, p := range []*e2e.Peer{dev, app} {
			_, err := p.Receive(start, b)
			require.Error(t, err)
		}
		gw, plat := vectorPeers(t, vs[2])
		x, err := gw.Begin(start)
		require.NoError(t, err)
		_, err = x.Init(nil)
		require.NoError(t, err)
		_, err = plat.OpenRequest(b)
		require.Equal(t, e2e.ErrUnauthentic, err)
		_, err = x.Open(b)
		require.Equal(t, e2e.ErrUnauthentic, err)
	})
}

func FuzzParseEpochWindow(f *testing.F) {
	f.Add(e2e.EpochWindow{}.Marshal())
	f.Add(e2e.EpochWindow{Highest: 5, Bits: 0b10011}.Marshal())
	f.Add(e2e.EpochWindow{Highest: 1 << 40, Bits: 1<<63 | 1}.Marshal())
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := e2e.ParseEpochWindow(b)
		if err != nil {
			require.Zero(t, w)
			return
		}
		require.Equal(t, b, w.Marshal())
		next := w.Highest + 1
		if next == 0 {
			require.ErrorIs(t, w.Accept(next), e2e.ErrStaleEpoch, "after the last number there is none")
			return
		}
		require.NoError(t, w.Accept(next))
		require.ErrorIs(t, w.Accept(next), e2e.ErrReplay)
	})
}

// world is two peers and an adversary who is the whole network.
type world struct {
	t        *testing.T
	now      time.Time
	sides    [2]*side // device, application: what survives a crash
	peers    [2]*e2e.Peer
	wire     []sent // everything ever sent
	messages int
	sender   map[string]int // message -> side
	got      map[string]int // message -> times delivered
	used     map[string]string
}

type sent struct {
	from   int
	record []byte
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, now: start, sides: [2]*side{newSide('D', "D-METER-1"), newSide('A', "A-WATER")},
		sender: map[string]int{}, got: map[string]int{}, used: map[string]string{},
	}
	w.crash(0)
	w.crash(1)
	return w
}

func (w *world) crash(i int) { w.peers[i] = w.sides[i].open(w.t, w.sides[1-i]) }

func (w *world) message(from int) []byte {
	w.messages++
	m := fmt.Sprintf("message %d", w.messages)
	w.sender[m] = from
	return []byte(m)
}

// send puts a record on the wire. Two different records under one (key, nonce) end the test: keys follow from session ID
// and direction, or from the ephemeral point, the nonce from the counter.
func (w *world) send(from int, record []byte) {
	name := fmt.Sprintf("%x/%d/%x", record[4:12], record[2]&1, record[12:16])
	switch record[0] & 0xf {
	case 1:
		name = fmt.Sprintf("I%x", record[26:59])
	case 2:
		name = fmt.Sprintf("R%x", record[16:49])
	}
	if old, ok := w.used[name]; ok {
		require.Equal(w.t, old, string(record), "one key and nonce for two records: %s", name)
	}
	w.used[name] = string(record)
	w.wire = append(w.wire, sent{from, record})
}

func (w *world) seal(i int) {
	m := w.message(i)
	rec, err := w.peers[i].Seal(w.now, nil, m)
	if err != nil {
		require.Nil(w.t, rec)
		return
	}
	w.send(i, rec)
}

func (w *world) initiate(i int, early bool) {
	var m []byte
	if early {
		m = w.message(i)
	}
	init, err := w.peers[i].Initiate(w.now, m)
	require.NoError(w.t, err)
	w.send(i, init)
}

// deliver gives a record to side i; genuine says that the other side sent exactly this.
func (w *world) deliver(i int, record []byte, genuine bool) e2e.Event {
	before := bytes.Clone(record)
	ev, err := w.peers[i].Receive(w.now, record)
	require.Equal(w.t, before, record, "the record is not changed")
	if err != nil {
		require.Equal(w.t, e2e.Event{}, ev)
		return ev
	}
	require.True(w.t, genuine, "accepted a forgery: %x", record)
	if ev.Kind == e2e.KindData || ev.Kind == e2e.KindEarlyData {
		m := string(ev.Payload)
		from, known := w.sender[m]
		require.True(w.t, known, "invented message %q", m)
		require.Equal(w.t, 1-i, from, "reflected message %q", m)
		w.got[m]++
		require.Equal(w.t, 1, w.got[m], "message %q delivered again", m)
	}
	if ev.Reply != nil {
		w.send(i, ev.Reply)
	}
	return ev
}

// rest is the adversary doing nothing: from starts a session, everything arrives.
func (w *world) rest(from int) {
	w.now = w.now.Add(61 * time.Second) // whatever was contended for is not any more
	first := len(w.wire)
	w.initiate(from, true)
	for n := first; n < len(w.wire); n++ {
		w.deliver(1-w.wire[n].from, w.wire[n].record, true)
	}
	for i := range 2 {
		n := len(w.wire)
		w.seal(i)
		require.Len(w.t, w.wire, n+1, "side %d has no session after the adversary rested", i)
		ev := w.deliver(1-i, w.wire[n].record, true)
		require.Equal(w.t, e2e.KindData, ev.Kind)
	}
}

func (w *world) genuine(to int, record []byte) bool {
	for _, s := range w.wire {
		if s.from == 1-to && bytes.Equal(s.record, record) {
			return true
		}
	}
	return false
}

func FuzzAdversary(f *testing.F) {
	f.Add([]byte{2, 5, 0, 4, 1, 0, 0, 1, 5, 2, 4, 3})
	f.Add([]byte{2, 3, 4, 1, 5, 0, 4, 2, 5, 3, 0, 0, 1, 1, 12, 0})
	f.Add([]byte{14, 15, 4, 1, 5, 0, 7, 8, 4, 1, 5, 0, 14, 15, 4, 0, 5, 0})
	f.Add([]byte{2, 5, 0, 4, 1, 5, 2, 0, 0, 0, 0, 5, 6, 5, 4, 5, 5, 5, 3, 6, 5, 0, 3, 255})
	f.Add([]byte{14, 5, 0, 4, 1, 5, 2, 10, 5, 3, 9, 200, 1, 4, 4, 13})
	f.Add([]byte{14, 5, 0, 4, 1, 5, 2, 0, 1, 11, 3, 4, 3, 7, 4, 4, 14, 5, 5, 8, 15})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			script = script[:200]
		}
		w := newWorld(t)
		arg := func() int {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return int(b)
		}
		pick := func() []byte {
			n := arg()
			if len(w.wire) == 0 {
				return nil
			}
			return w.wire[n%len(w.wire)].record
		}
		for len(script) > 0 {
			switch op := arg() % 16; op {
			case 0, 1:
				w.seal(op)
			case 2, 3:
				w.initiate(op-2, false)
			case 14, 15:
				w.initiate(op-14, true)
			case 4, 5: // deliver, repeat, reorder, reflect
				r := bytes.Clone(pick())
				w.deliver(op-4, r, w.genuine(op-4, r))
			case 6: // flip
				r := bytes.Clone(pick())
				if len(r) > 0 {
					r[arg()%len(r)] ^= 1 << (arg() % 8)
				}
				to := arg() % 2
				w.deliver(to, r, w.genuine(to, r))
			case 7, 8:
				w.crash(op - 7)
			case 9:
				w.now = w.now.Add(time.Duration(arg()) * time.Minute)
			case 10: // truncate
				r := bytes.Clone(pick())
				if len(r) > 0 {
					r = r[:arg()%len(r)]
				}
				to := arg() % 2
				w.deliver(to, r, w.genuine(to, r))
			case 11: // splice
				a, b := pick(), pick()
				at := arg()
				r := append(bytes.Clone(a[:min(at, len(a))]), b[min(at, len(b)):]...)
				to := arg() % 2
				w.deliver(to, r, w.genuine(to, r))
			case 12: // resend
				i := arg() % 2
				if r := w.peers[i].Pending(); r != nil {
					w.send(i, r)
				}
			case 13:
				i := arg() % 2
				if r, err := w.peers[i].CloseSession(byte(arg())); err == nil {
					w.send(i, r)
				}
			}
			for _, p := range w.peers {
				p.RenewDue(w.now)
			}
		}
		w.rest(arg() % 2)
		w.rest(1)
		w.rest(0)
	})
}

// The same adversary with a long, fixed sequence of steps, so that go test alone covers much of it.
func TestAdversaryLongRun(t *testing.T) {
	w := newWorld(t)
	state := uint64(1)
	rnd := func(n int) int {
		state = state*6364136223846793005 + 1442695040888963407
		return int(state>>33) % n
	}
	delivered := 0
	for step := range 6000 {
		i := rnd(2)
		switch op := rnd(40); {
		case op == 0:
			w.crash(i)
		case op < 4:
			w.initiate(i, rnd(2) == 0)
		case op < 6:
			w.now = w.now.Add(time.Duration(rnd(40)) * time.Minute)
		case op < 16:
			w.seal(i)
		case op < 20 && len(w.wire) > 0: // something old, or damaged
			r := bytes.Clone(w.wire[rnd(len(w.wire))].record)
			if rnd(2) == 0 {
				r[rnd(len(r))] ^= 1 << rnd(8)
			}
			w.deliver(i, r, w.genuine(i, r))
		case len(w.wire) > 0: // something recent
			s := w.wire[len(w.wire)-1-rnd(min(6, len(w.wire)))]
			w.deliver(1-s.from, s.record, true)
		}
		if step%500 == 499 {
			delivered = len(w.got)
			w.rest(i)
		}
	}
	require.Greater(t, delivered, 200, "a run that delivers nothing shows nothing")
}
