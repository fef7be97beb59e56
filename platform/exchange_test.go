package platform_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/link/linkmem"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

func poll([32]byte) control.Message { return control.Message{} }

// The same INIT gets the same RESP and does nothing twice, also over a restart.
func TestRepeatedRequest(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		app.link.SetOffline(true)
		x, init := app.init(app.connectMessage(dev))
		first := app.send(init)
		require.Len(t, first, 1)
		rec, head := w.record(dev), w.svc.AuditHead()
		require.Equal(t, registry.Connected, rec.Status)

		require.Equal(t, first, app.send(init))
		w.restart()
		require.Equal(t, first, app.send(init))
		rec.Orders = w.record(dev).Orders // the device was handed its own meanwhile
		require.Equal(t, rec.Binding, w.record(dev).Binding)
		require.Equal(t, rec.Lifecycle, w.record(dev).Lifecycle)
		require.Equal(t, head, w.svc.AuditHead())

		reply := app.open(x, first[0])
		require.Equal(t, control.CodeOK, reply.Result.Code)
		require.Len(t, reply.Orders, 1)
	})
}

// The platform dies between commit and publication: the gateway sends again, and gets the answer of the first time.
func TestLostAnswer(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		var lost atomic.Int32
		w.setFate(func(p linkmem.Publication) linkmem.Fate {
			if p.From == "P-1" && p.Topic == (control.Topics{}).ToPeer(app.id) && !control.IsNudge(p.Payload) && lost.Add(1) <= 2 {
				return linkmem.Drop
			}
			return linkmem.Deliver
		})
		require.NoError(t, app.connect(dev).Err())
		require.Equal(t, int32(2+2), lost.Load(), "two lost, the answer, and the poll with the acknowledgement")
		require.Equal(t, 1, count(w.kinds(), registry.KindConnected))
	})
}

func TestBrokerThatRepeats(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.setFate(func(linkmem.Publication) linkmem.Fate { return linkmem.Duplicate })
		dev, app := w.device("D-1"), w.app("A-WATER")
		for range 3 {
			require.NoError(t, app.connect(dev).Err())
			require.NoError(t, app.disconnect(dev).Err())
		}
		require.Equal(t, 3, count(w.kinds(), registry.KindConnected))
		require.Equal(t, 3, count(w.kinds(), registry.KindDisconnected))
		require.Empty(t, w.record(dev).Orders)
	})
}

func count[T comparable](list []T, want T) (n int) {
	for _, v := range list {
		if v == want {
			n++
		}
	}
	return n
}

func TestReplayAndReuse(t *testing.T) {
	var drops sync.Map
	inWorld(t, func(w *world) {
		w.cfg.Observer.Dropped = func(_ identity.ID, why string) {
			n, _ := drops.LoadOrStore(why, new(atomic.Int32))
			n.(*atomic.Int32).Add(1)
		}
	}, func(t *testing.T, w *world) {
		dropped := func(why string) int32 {
			n, ok := drops.Load(why)
			if !ok {
				return 0
			}
			return n.(*atomic.Int32).Load()
		}
		// ignored means that nothing was carried out: the platform asks at most whether the sender is alive.
		ignored := func(answers [][]byte, why string) {
			t.Helper()
			require.LessOrEqual(t, len(answers), 1, why)
			for _, a := range answers {
				typ, err := e2e.TypeOf(a)
				require.NoError(t, err)
				require.Equal(t, e2e.TypeChallenge, typ, why)
			}
		}
		dev, app := w.device("D-1"), w.app("A-WATER")
		app.link.SetOffline(true)
		_, old := app.init(poll)
		require.Len(t, app.send(old), 1)

		app.rewind(app.epochs.n - 1) // the next INIT has the same epoch
		_, twin := app.init(app.connectMessage(dev))
		ignored(app.send(twin), "an epoch that another INIT used")
		require.Equal(t, int32(1), dropped("replay"))
		require.Equal(t, registry.Registered, w.record(dev).Status)

		for range 9 {
			_, init := app.init(poll)
			require.Len(t, app.send(init), 1)
		}
		ignored(app.send(old), "its answer is not kept any more, and it is not carried out again")
		require.Equal(t, int32(2), dropped("replay"))

		app.rewind(app.epochs.n + 70)
		_, init := app.init(poll)
		require.Len(t, app.send(init), 1)
		app.rewind(app.epochs.n - 65)
		_, init = app.init(poll)
		time.Sleep(time.Second) // between CHALLENGEs
		lost := app.send(init)
		require.Len(t, lost, 1)
		ignored(lost, "below the window")
		ignored(app.send(init), "")
		require.Empty(t, app.send(init), "one CHALLENGE a second")

		for _, junk := range [][]byte{nil, {0}, old[:20], append([]byte{old[0] ^ 0x30}, old[1:]...)} {
			require.Empty(t, app.send(junk))
		}
		flipped := append([]byte(nil), init...)
		flipped[len(flipped)-1] ^= 1
		before := dropped("not authentic")
		require.Empty(t, app.send(flipped))
		require.Empty(t, dev.send(old), "another peer's message in this peer's name")
		require.Equal(t, before+2, dropped("not authentic"))

		x, err := app.peer.Begin(time.Now())
		require.NoError(t, err)
		init, err = x.Init([]byte("no message"))
		require.NoError(t, err)
		require.Empty(t, app.send(init))
		require.Equal(t, int32(1), dropped("malformed"))

		// More than any message of a gateway has is not even queued: thousands of peers may have some waiting.
		x, err = app.peer.Begin(time.Now())
		require.NoError(t, err)
		init, err = x.Init(make([]byte, 24<<10))
		require.NoError(t, err)
		require.Empty(t, app.send(init))
		require.Equal(t, int32(1), dropped("size"))
		require.Equal(t, int32(1), dropped("malformed"))

		w.setLawless()
		w.broker.Inject(linkmem.Publication{Topic: "semio/1/ctl/platform/00/A-NOBODY", Payload: old})
		stranger, err := identity.ParseID("A-NOBODY")
		require.NoError(t, err)
		w.broker.Inject(linkmem.Publication{Topic: control.Topics{}.ToPlatform(stranger), Payload: old})
		synctest.Wait()
		require.Equal(t, int32(1), dropped("topic"))
		require.Equal(t, int32(1), dropped("unknown peer"))
	})
}

// The largest message that a gateway makes: as many acknowledgements as fit, and a request.
func TestLargestMessageIsTaken(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		app, dev := w.app("A-"+strings.Repeat("W", 30)), w.device("D-"+strings.Repeat("7", 30))
		app.link.SetOffline(true)
		x, init := app.init(func(th1 [32]byte) control.Message {
			m := app.connectMessage(dev)(th1)
			for i := range 16 {
				ack, err := control.AckOf(app.id, uint64(i+1), nil, control.AckDone).Sign(app.signer)
				require.NoError(t, err)
				m.Acks = append(m.Acks, ack)
			}
			return m
		})
		require.Less(t, len(init), 8<<10, "half of what is taken")
		answers := app.send(init)
		require.Len(t, answers, 1)
		require.NoError(t, app.open(x, answers[0]).Result.Err())
	})
}

// Requests that are authentic as messages, and not the sender's to make (rule 3 of the models).
func TestRequestsOfOthers(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, a, b := w.device("D-1"), w.app("A-WATER"), w.app("A-GAS")
		for _, g := range []*gateway{dev, a, b} {
			g.link.SetOffline(true)
		}
		refused := func(name string, g *gateway, m func(th1 [32]byte) control.Message) {
			t.Helper()
			x, init := g.init(m)
			answers := g.send(init)
			require.Len(t, answers, 1, name)
			require.Equal(t, control.CodeRefused, g.open(x, answers[0]).Result.Code, name)
			require.Equal(t, registry.Registered, w.record(dev).Status, name)
		}
		var captured control.Message
		_, _ = a.init(func(th1 [32]byte) control.Message {
			captured = a.connectMessage(dev)(th1)
			return captured
		})
		refused("wrapped again in a later message", a, func([32]byte) control.Message { return captured })
		refused("another application's", b, func([32]byte) control.Message { return captured })
		refused("another application's transcript forged", b, func(th1 [32]byte) control.Message {
			s := *captured.Request
			s.Transcript = th1
			return control.Message{Request: &s}
		})
		refused("in another's name", b, func(th1 [32]byte) control.Message {
			s, err := captured.Request.Request.Sign(th1, b.signer, dev.claim)
			require.NoError(t, err)
			return control.Message{Request: &s}
		})
		refused("another device after signing", a, func(th1 [32]byte) control.Message {
			m := a.connectMessage(dev)(th1)
			other, err := identity.ParseDeviceID("D-2")
			require.NoError(t, err)
			m.Request.Request.Device = other
			return m
		})
		refused("a device asks", dev, func(th1 [32]byte) control.Message {
			s, err := captured.Request.Request.Sign(th1, dev.signer, dev.claim)
			require.NoError(t, err)
			return control.Message{Request: &s}
		})
		require.Equal(t, 6, count(w.kinds(), registry.KindRefused))

		// A claim proof is for one request only (rule 4).
		x, init := b.init(func(th1 [32]byte) control.Message {
			m := b.connectMessage(dev)(th1)
			m.Request.ClaimProof = captured.Request.ClaimProof
			return m
		})
		require.Equal(t, control.CodeClaimRefused, b.open(x, b.send(init)[0]).Result.Code)
	})
}

func TestForgedAcknowledgements(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		dev.link.SetOffline(true)
		require.NoError(t, app.connect(dev).Err())
		x, init := dev.init(poll)
		reply := dev.open(x, dev.send(init)[0])
		require.Len(t, reply.Orders, 1)
		ack := func(from *gateway, number uint64, order []byte) []byte {
			b, err := control.AckOf(from.id, number, order, control.AckDone).Sign(from.signer)
			require.NoError(t, err)
			return b
		}
		forged, err := control.AckOf(dev.id, 1, reply.Orders[0], control.AckDone).Sign(app.signer)
		require.NoError(t, err)
		for name, b := range map[string][]byte{
			"another signer": forged, "another order": ack(dev, 1, []byte("x")), "another number": ack(dev, 2, reply.Orders[0]),
			"another peer": ack(app, 1, reply.Orders[0]), "junk": []byte("x"),
		} {
			x, init := dev.init(func([32]byte) control.Message { return control.Message{Acks: [][]byte{b}} })
			again := dev.open(x, dev.send(init)[0])
			require.Equal(t, reply.Orders, again.Orders, "%s: the order comes again, the same bytes", name)
		}
		x, init = dev.init(func([32]byte) control.Message {
			return control.Message{Acks: [][]byte{ack(dev, 1, reply.Orders[0]), ack(dev, 1, reply.Orders[0])}}
		})
		require.Empty(t, dev.open(x, dev.send(init)[0]).Orders)
		require.Empty(t, w.record(dev).Orders)
	})
}

func TestConcurrentRequests(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		devs := []*gateway{w.device("D-1"), w.device("D-2"), w.device("D-3")}
		apps := []*gateway{w.app("A-1"), w.app("A-2"), w.app("A-3"), w.app("A-4")}
		var won [3]atomic.Int32
		var wg sync.WaitGroup
		for _, a := range apps {
			wg.Go(func() {
				for i, d := range devs {
					res, err := a.client.Do(t.Context(), control.Request{Op: control.OpConnect, Device: d.dev()}, d.claim)
					switch {
					case err != nil:
						t.Error(err)
					case res.Err() == nil:
						won[i].Add(1)
					case !errors.Is(res.Err(), control.ErrConnectedElsewhere):
						t.Error(res.Err())
					}
				}
			})
		}
		wg.Wait()
		for i := range won {
			require.Equal(t, int32(1), won[i].Load(), "device %d", i+1)
		}
		require.Equal(t, 3, count(w.kinds(), registry.KindConnected))
	})
}

// A list that the gateways do not have yet comes with the next reply, once.
func TestListIsPassedOn(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, gone := w.device("D-1"), w.party("A-GONE")
		crl, err := w.authority.Revoke(gone.id)
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), crl))
		time.Sleep(time.Second)
		require.Equal(t, [][]byte{crl}, dev.verifier.CRLs(), "nudged")
		dev.link.SetOffline(true)
		x, init := dev.init(func([32]byte) control.Message { return control.Message{Lists: dev.verifier.CRLNumbers()} })
		require.Nil(t, dev.open(x, dev.send(init)[0]).CRL)
		x, init = dev.init(poll)
		require.Equal(t, crl, dev.open(x, dev.send(init)[0]).CRL)
	})
}

// faultyStore fails updates, before or after they are durable.
type faultyStore struct {
	platform.Store
	mu     sync.Mutex
	before int
	after  int
}

var errDisk = errors.New("disk full")

func (f *faultyStore) Update(ctx context.Context, fn func(platform.Tx) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before > 0 {
		f.before--
		return f.Store.Update(ctx, func(tx platform.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			return errDisk
		})
	}
	if err := f.Store.Update(ctx, fn); err != nil {
		return err
	}
	if f.after > 0 {
		f.after--
		return errDisk
	}
	return nil
}

func (f *faultyStore) set(before, after int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func TestFailedCommit(t *testing.T) {
	var disk *faultyStore
	inWorld(t, func(w *world) {
		disk = &faultyStore{Store: w.store}
		w.store = disk
	}, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		disk.set(2, 0)
		require.NoError(t, app.connect(dev).Err(), "the gateway sends again")
		require.Equal(t, 1, count(w.kinds(), registry.KindConnected))

		disk.set(1, 0)
		require.ErrorIs(t, w.svc.Retire(t.Context(), dev.dev()), errDisk)
		require.NoError(t, w.svc.Authenticate(dev.id, "D-1"), "nothing has happened")

		// The store did commit, and said that it did not: the platform must not go on from what it remembers.
		disk.set(0, 1)
		require.ErrorIs(t, w.svc.Retire(t.Context(), dev.dev()), errDisk)
		require.Error(t, w.svc.Authenticate(dev.id, "D-1"))
		w.restart()
		require.Error(t, w.svc.Authenticate(dev.id, "D-1"))
		require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
		synctest.Wait()
		require.True(t, w.record(dev).Listed, "the authority is asked all the same")
	})
}

// Two platforms on one store notice it.
func TestSharedStore(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		cfg := w.cfg
		second, err := platform.Open(t.Context(), cfg)
		require.NoError(t, err)
		w.app("A-WATER")
		_, err = second.Admit(t.Context(), w.party("A-GAS").cred)
		require.ErrorIs(t, err, platform.ErrShared)
	})
}

// A flood of one peer's does not keep another from being served, and one worker and one cached peer are enough.
func TestOverload(t *testing.T) {
	var overload atomic.Int32
	inWorld(t, func(w *world) {
		w.cfg.Limits.Workers, w.cfg.Limits.Peers = 1, 1
		w.cfg.Observer.Dropped = func(_ identity.ID, why string) {
			if why == "overload" {
				overload.Add(1)
			}
		}
	}, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		_, init := app.init(poll)
		for range 200 {
			w.broker.Inject(linkmem.Publication{Topic: control.Topics{}.ToPlatform(app.id), Payload: init})
		}
		dev.link.SetOffline(true)
		x, poll := dev.init(poll)
		dev.open(x, dev.send(poll)[0])
		require.NoError(t, app.connect(dev).Err())
	})
}

// What a gateway asks over a broker that loses, repeats and cuts ends as if nothing had happened.
func TestBadBroker(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		r := rand.New(rand.NewPCG(4, 2)) // setFate's functions are called one at a time
		w.setFate(func(linkmem.Publication) linkmem.Fate {
			return []linkmem.Fate{linkmem.Deliver, linkmem.Drop, linkmem.Duplicate, linkmem.Unacked, linkmem.Refuse}[r.IntN(5)]
		})
		for i := range 6 {
			if i%2 == 1 {
				dev.link.Cut()
				app.link.Cut()
			}
			require.NoError(t, app.connect(dev).Err())
			require.NoError(t, app.disconnect(dev).Err())
		}
		w.setFate(nil)
		time.Sleep(30 * time.Minute) // the regular poll at the latest
		require.Empty(t, w.record(dev).Orders)
		require.Equal(t, 6, count(w.kinds(), registry.KindConnected))
		require.Equal(t, 6, count(w.kinds(), registry.KindDisconnected))
	})
}

func TestEpochsOfOnePeerAtATime(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		app := w.app("A-WATER")
		app.link.SetOffline(true)
		type open struct {
			x    *e2e.Exchange
			init []byte
		}
		var all []open
		for range 4 {
			x, init := app.init(poll)
			all = append(all, open{x, init})
		}
		for _, i := range []int{3, 0, 2, 1} { // overtaking within the window is no replay
			answers := app.send(all[i].init)
			require.Len(t, answers, 1)
			app.open(all[i].x, answers[0])
		}
	})
}

// A gateway whose memory was set back is heard again after one more round trip, and its request is carried out once.
func TestGatewayThatLostItsEpochs(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		for range 3 {
			require.NoError(t, app.connect(dev).Err())
			require.NoError(t, app.disconnect(dev).Err())
		}
		app.link.SetOffline(true)
		app.rewind(0)
		x, init := app.init(app.connectMessage(dev))
		answers := app.send(init)
		require.Len(t, answers, 1)
		_, err := x.Open(answers[0])
		require.ErrorIs(t, err, e2e.ErrChallenged)
		require.Equal(t, registry.Registered, w.record(dev).Status)

		x, init = app.init(app.connectMessage(dev))
		answers = app.send(init)
		require.Len(t, answers, 1)
		require.Equal(t, control.CodeOK, app.open(x, answers[0]).Result.Code)
		require.Equal(t, registry.Connected, w.record(dev).Status)
		require.Equal(t, 4, count(w.kinds(), registry.KindConnected))
	})
}
