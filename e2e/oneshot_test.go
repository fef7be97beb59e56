package e2e_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

// registry behaves like the platform's store: window, digest and RESP change together.
type registry struct {
	window  e2e.EpochWindow
	replies map[uint64]stored
	handled []string
}

type stored struct {
	digest [32]byte
	resp   []byte
}

func (r *registry) serve(p *e2e.Peer, init []byte) ([]byte, error) {
	req, err := p.OpenRequest(init)
	if err != nil {
		return nil, err
	}
	if old, ok := r.replies[req.Epoch()]; ok && old.digest == req.Digest() {
		return old.resp, nil
	}
	if err := r.window.Accept(req.Epoch()); err != nil {
		return nil, err
	}
	r.handled = append(r.handled, string(req.Body()))
	resp, err := req.Reply([]byte("re: " + string(req.Body())))
	if err != nil {
		return nil, err
	}
	if r.replies == nil {
		r.replies = make(map[uint64]stored)
	}
	r.replies[req.Epoch()] = stored{req.Digest(), resp}
	return resp, nil
}

func platformPair(t testing.TB, who *side) (*e2e.Peer, *e2e.Peer, *registry) {
	noPSK := func(c *e2e.Config, psk *[]byte) { *psk, c.RequirePSK = nil, false }
	plat := newSide('P', "P-CITY")
	return who.open(t, plat, noPSK), plat.open(t, who, noPSK), &registry{}
}

func ask(t testing.TB, p *e2e.Peer, body string) (*e2e.Exchange, []byte) {
	t.Helper()
	x, err := p.Begin(start)
	require.NoError(t, err)
	require.Equal(t, start, x.Began())
	init, err := x.Init([]byte(body))
	require.NoError(t, err)
	return x, init
}

func TestExchange(t *testing.T) {
	for _, who := range []*side{newSide('D', "D-METER-1"), newSide('A', "A-WATER")} {
		t.Run(who.name, func(t *testing.T) {
			p, plat, reg := platformPair(t, who)
			x, err := p.Begin(start)
			require.NoError(t, err)
			signed := x.Transcript()
			init, err := x.Init([]byte("connect"))
			require.NoError(t, err)
			_, err = x.Init([]byte("something else"))
			require.ErrorIs(t, err, e2e.ErrWrongUse)

			req, err := plat.OpenRequest(init)
			require.NoError(t, err)
			require.Equal(t, signed, req.Transcript())
			require.Equal(t, uint64(1), req.Epoch())
			require.Equal(t, e2e.Digest(init), req.Digest())
			require.Equal(t, "connect", string(req.Body()))

			resp, err := reg.serve(plat, init)
			require.NoError(t, err)
			again, err := reg.serve(plat, init)
			require.NoError(t, err)
			require.Equal(t, resp, again, "same INIT, same RESP")
			require.Equal(t, []string{"connect"}, reg.handled)

			for i := range resp {
				bad := bytes.Clone(resp)
				bad[i] ^= 0x10
				_, err := x.Open(bad)
				require.Equal(t, e2e.ErrUnauthentic, err, "byte %d", i)
				_, err = x.Open(resp[:i])
				require.Equal(t, e2e.ErrUnauthentic, err, "length %d", i)
			}
			body, err := x.Open(resp)
			require.NoError(t, err)
			require.Equal(t, "re: connect", string(body))
			_, err = x.Open(resp)
			require.ErrorIs(t, err, e2e.ErrReplay)

			for i := range init {
				bad := bytes.Clone(init)
				bad[i] ^= 0x10
				_, err := plat.OpenRequest(bad)
				require.Equal(t, e2e.ErrUnauthentic, err, "byte %d", i)
				_, err = plat.OpenRequest(init[:i])
				require.Equal(t, e2e.ErrUnauthentic, err, "length %d", i)
			}
		})
	}
}

func TestExchangeRepliesOnce(t *testing.T) {
	p, plat, _ := platformPair(t, newSide('D', "D-METER-1"))
	_, init := ask(t, p, "poll")
	req, err := plat.OpenRequest(init)
	require.NoError(t, err)
	_, err = req.Reply(make([]byte, e2e.MaxPayload+1))
	require.ErrorIs(t, err, e2e.ErrTooLarge)
	_, err = req.Reply(nil)
	require.NoError(t, err)
	_, err = req.Reply(nil)
	require.ErrorIs(t, err, e2e.ErrWrongUse)
}

func TestExchangesOvertakeEachOther(t *testing.T) {
	p, plat, reg := platformPair(t, newSide('A', "A-WATER"))
	var xs []*e2e.Exchange
	var inits [][]byte
	for i := range 66 {
		x, init := ask(t, p, fmt.Sprint(i))
		xs, inits = append(xs, x), append(inits, init)
	}
	for _, i := range []int{65, 2, 40, 64} {
		resp, err := reg.serve(plat, inits[i])
		require.NoError(t, err)
		for j, x := range xs {
			body, err := x.Open(resp)
			if j == i {
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint("re: ", i), string(body))
				break
			}
			require.Error(t, err)
		}
	}
	_, err := reg.serve(plat, inits[1])
	require.ErrorIs(t, err, e2e.ErrStaleEpoch, "64 behind")
}

// A device restored from a backup, or its thief, uses an epoch a second time.
func TestSameEpochOtherInit(t *testing.T) {
	who := newSide('D', "D-METER-1")
	p, plat, reg := platformPair(t, who)
	_, init := ask(t, p, "first")
	_, err := reg.serve(plat, init)
	require.NoError(t, err)

	who.epochs.next = 0
	p, _, _ = platformPair(t, who)
	_, other := ask(t, p, "second")
	_, err = reg.serve(plat, other)
	require.ErrorIs(t, err, e2e.ErrReplay)
	require.Equal(t, []string{"first"}, reg.handled)
}

// Sessions and one-shot exchanges live in bindings of their own, so that no record means two things.
func TestWrongUse(t *testing.T) {
	who := newSide('D', "D-METER-1")
	p, plat, _ := platformPair(t, who)
	x, init := ask(t, p, "poll")
	s := newPair(t)
	for name, call := range map[string]func() error{
		"initiate towards a platform": func() error { _, err := p.Initiate(start, nil); return err },
		"initiate as a platform":      func() error { _, err := plat.Initiate(start, nil); return err },
		"receive as a platform":       func() error { _, err := plat.Receive(start, init); return err },
		"receive from a platform":     func() error { _, err := p.Receive(start, init); return err },
		"begin as a platform":         func() error { _, err := plat.Begin(start); return err },
		"open a request as a device":  func() error { _, err := p.OpenRequest(init); return err },
		"begin in a session binding":  func() error { _, err := s.dev.Begin(start); return err },
		"open a request in a session binding": func() error {
			init, err := s.dev.Initiate(start, nil)
			require.NoError(t, err)
			_, err = s.app.OpenRequest(init)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorIs(t, call(), e2e.ErrWrongUse) })
	}
	_, err := x.Open(init)
	require.Equal(t, e2e.ErrUnauthentic, err)
	_, err = plat.OpenRequest(nil)
	require.Equal(t, e2e.ErrUnauthentic, err)

	y, err := p.Begin(start)
	require.NoError(t, err)
	_, err = y.Init(make([]byte, e2e.MaxPayload+1))
	require.ErrorIs(t, err, e2e.ErrTooLarge)
	_, err = y.Init(nil)
	require.NoError(t, err, "the refusal used nothing up")
}

func TestExchangeAfterWipe(t *testing.T) {
	p, plat, _ := platformPair(t, newSide('D', "D-METER-1"))
	x, init := ask(t, p, "poll")
	req, err := plat.OpenRequest(init)
	require.NoError(t, err)
	resp, err := req.Reply(nil)
	require.NoError(t, err)
	y, err := p.Begin(start)
	require.NoError(t, err)
	p.Wipe()
	plat.Wipe()
	_, err = x.Open(resp)
	require.ErrorIs(t, err, e2e.ErrWiped)
	_, err = y.Init(nil)
	require.ErrorIs(t, err, e2e.ErrWiped)
	_, err = p.Begin(start)
	require.ErrorIs(t, err, e2e.ErrWiped)
	_, err = plat.OpenRequest(init)
	require.ErrorIs(t, err, e2e.ErrWiped)
}

func TestConcurrentExchanges(t *testing.T) {
	p, plat, _ := platformPair(t, newSide('A', "A-WATER"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			x, err := p.Begin(start)
			if err != nil {
				t.Error(err)
				return
			}
			init, err := x.Init([]byte{byte(i)})
			if err != nil {
				t.Error(err)
				return
			}
			req, err := plat.OpenRequest(init)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := req.Reply(req.Body())
			if err != nil {
				t.Error(err)
				return
			}
			if body, err := x.Open(resp); err != nil || !bytes.Equal(body, []byte{byte(i)}) {
				t.Errorf("exchange %d: got %x, %v", i, body, err)
			}
		})
	}
	wg.Wait()
}

// A gateway that lost its epochs is told from where on it is heard, and begins its request anew.
func TestExchangeChallenged(t *testing.T) {
	who := newSide('D', "D-METER-1")
	p, plat, reg := platformPair(t, who)
	for range 70 {
		_, init := ask(t, p, "poll")
		_, err := reg.serve(plat, init)
		require.NoError(t, err)
	}
	who.epochs = &memEpochs{}
	p, _, _ = platformPair(t, who)
	x, init := ask(t, p, "connect")
	req, err := plat.OpenRequest(init)
	require.NoError(t, err)
	require.ErrorIs(t, reg.window.Check(req.Epoch()), e2e.ErrStaleEpoch)
	challenge, err := req.Challenge(start, reg.window)
	require.NoError(t, err)
	_, err = req.Challenge(start, reg.window)
	require.ErrorIs(t, err, e2e.ErrStaleEpoch, "one a second")

	other, _ := ask(t, p, "another")
	_, err = other.Open(challenge)
	require.Equal(t, e2e.ErrUnauthentic, err, "it is for one INIT")
	for i := range challenge {
		bad := bytes.Clone(challenge)
		bad[i] ^= 1
		_, err := x.Open(bad)
		require.Equal(t, e2e.ErrUnauthentic, err)
		_, err = x.Open(challenge[:i])
		require.Equal(t, e2e.ErrUnauthentic, err)
	}
	who.epochs.fail = errDisk
	_, err = x.Open(challenge)
	require.ErrorIs(t, err, errDisk, "it may come again")
	who.epochs.fail = nil
	_, err = x.Open(challenge)
	require.ErrorIs(t, err, e2e.ErrChallenged)
	_, err = x.Open(challenge)
	require.ErrorIs(t, err, e2e.ErrReplay)

	x, init = ask(t, p, "connect")
	require.Equal(t, byte(4), init[2]&4)
	resp, err := reg.serve(plat, init)
	require.NoError(t, err)
	body, err := x.Open(resp)
	require.NoError(t, err)
	require.Equal(t, "re: connect", string(body))
	_, init = ask(t, p, "poll")
	require.Zero(t, init[2]&4, "an echo is used once")
	req, err = plat.OpenRequest(init)
	require.NoError(t, err)
	_, err = req.Challenge(start.Add(time.Hour), reg.window)
	require.ErrorIs(t, err, e2e.ErrWrongUse, "nothing is wrong with this one")
	plat.Wipe()
	require.NoError(t, reg.window.Accept(req.Epoch()))
	_, err = req.Challenge(start.Add(time.Hour), reg.window)
	require.ErrorIs(t, err, e2e.ErrWiped)
}
