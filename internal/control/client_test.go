package control_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/control/controltest"
)

// wires joins a client and a test platform without a broker; the test may lose what goes either way.
type wires struct {
	t        *testing.T
	platform *controltest.Platform
	client   *control.Client
	self     controltest.Party
	epochs   controltest.Epochs

	admission []byte
	verifier  *identity.Verifier

	mu      sync.Mutex
	inits   [][]byte // as published
	lose    int      // so many requests are lost
	mute    int      // so many replies are lost
	applied []control.Order
	apply   func(control.Order) error
	crls    int
	keepErr error

	renewal renewal
}

func connect(t *testing.T, w *controltest.World, self controltest.Party, poll time.Duration) *wires {
	l := &wires{t: t, platform: controltest.NewPlatform(t, w), self: self, verifier: w.Verifier(t)}
	l.open(l.platform.Admit(self.Verified), poll)
	return l
}

// open makes the client.
func (l *wires) open(admission []byte, poll time.Duration) {
	t, self := l.t, l.self
	a, platform, err := control.OpenAdmission(admission, l.verifier, self.Verified)
	require.NoError(t, err)
	l.admission = admission
	peer, err := e2e.NewPeer(e2e.Config{Self: self.Verified, Key: self.Key, Remote: platform, Binding: a.Binding, Epochs: &l.epochs})
	require.NoError(t, err)
	l.client, err = control.NewClient(control.ClientConfig{
		Self: self.Verified, Signer: self.Signer, Platform: platform, Peer: peer, Binding: a.Binding, Verifier: l.verifier,
		Publish: l.publish, Poll: poll,
		Apply: func(_ context.Context, o control.Order) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.applied = append(l.applied, o)
			if l.apply != nil {
				return l.apply(o)
			}
			return nil
		},
		KeepCRL: func() error { l.crls++; return l.keepErr },

		CSR: l.renewal.ask, TakeChain: l.renewal.takeChain, Credential: l.renewal.own,
		PeerGeneration: l.renewal.held, TakePeer: l.renewal.takePeer, TakeAdmission: l.renewal.takeAdmission,
	})
	require.NoError(t, err)
}

func (l *wires) publish(_ context.Context, record []byte) error {
	l.mu.Lock()
	l.inits = append(l.inits, record)
	lost := l.lose > 0
	if lost {
		l.lose--
	}
	l.mu.Unlock()
	if lost {
		return nil
	}
	resp := l.platform.Answer(l.self.Verified.ID(), record)
	l.mu.Lock()
	defer l.mu.Unlock()
	if resp == nil {
		return nil
	}
	if l.mute > 0 {
		l.mute--
		return nil
	}
	l.client.Receive(resp)
	return nil
}

// sent is what was published.
func (l *wires) sent() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.inits)
}

// run starts the client and returns what stops it.
func (l *wires) run() (stop func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.client.Run(ctx); err != nil {
			l.t.Error(err)
		}
	}()
	return func() { cancel(); <-done }
}

func (l *wires) install(lifecycle uint64) control.Order {
	d, _ := l.self.Verified.ID().Device()
	return control.Order{
		To: l.self.Verified.ID(), Device: d, Lifecycle: lifecycle, Op: control.OrderInstall,
		Binding: e2e.NewBindingID(), Peer: l.platform.Verified.ID(), Credential: l.platform.Credential,
	}
}

func TestClientAppliesAndAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		for i := range 5 {
			l.platform.Order(l.install(uint64(i + 1)))
		}
		l.apply = func(o control.Order) error {
			switch o.Lifecycle {
			case 2:
				return control.ErrOrderRefused
			case 3:
				return control.ErrOrderSuperseded
			case 4:
				return errors.Join(control.ErrEvidence, errors.New("none"))
			}
			return nil
		}
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))

		var got []control.AckResult
		for _, a := range l.platform.Acks() {
			got = append(got, a.Result)
		}
		require.Equal(t, []control.AckResult{control.AckDone, control.AckRefused, control.AckSuperseded, control.AckRefused, control.AckDone}, got)
		for i, o := range l.applied {
			require.EqualValues(t, i+1, o.Number, "orders are applied in sequence")
		}
	})
}

func TestClientTriesAgainWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		l.platform.Order(l.install(1))
		l.platform.Order(l.install(2))
		failures := 3
		l.apply = func(o control.Order) error {
			if failures--; failures >= 0 {
				return errors.New("disk is full")
			}
			return nil
		}
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		require.Len(t, l.platform.Acks(), 2)
		require.Len(t, l.applied, 5, "the second order waits for the first")
	})
}

// What cannot be carried out yet holds up nothing, and does not make the client spin.
func TestClientLeavesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		l.platform.Order(l.install(1))
		l.platform.Order(l.install(2))
		waits := true
		l.apply = func(o control.Order) error {
			if waits && o.Lifecycle == 1 {
				return fmt.Errorf("%w: the clock is wrong", control.ErrOrderWaits)
			}
			return nil
		}
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		require.Len(t, l.platform.Acks(), 1)
		polls := len(l.sent())
		time.Sleep(10 * time.Hour)
		require.Less(t, len(l.sent())-polls, 20)
		require.Len(t, l.platform.Acks(), 1)
		waits = false
		require.NoError(t, l.client.Sync(t.Context()))
		require.Len(t, l.platform.Acks(), 2)
	})
}

func TestClientResendsTheSameBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "A-1"), time.Hour)
		defer l.run()()
		decided := 0
		l.platform.Decide = func(identity.ID, control.SignedRequest) control.Code { decided++; return control.CodeRetired }
		l.lose, l.mute = 1, 2
		l.client.LinkUp()
		d, err := identity.ParseDeviceID("D-1")
		require.NoError(t, err)
		// The first exchange is the poll of the connect; the request follows in its own.
		require.NoError(t, l.client.Sync(t.Context()))
		// The Sync may have come too late for that one, and have another.
		for i := range 4 {
			require.Equal(t, l.sent()[0], l.sent()[i], "resent unchanged")
		}
		n := len(l.sent())
		l.mute = 2
		res, err := l.client.Do(t.Context(), control.Request{Op: control.OpConnect, Device: d}, nil)
		require.NoError(t, err)
		require.ErrorIs(t, res.Err(), control.ErrRetired)
		require.Equal(t, 1, decided, "the platform answered the repeated INIT with the stored RESP")
		require.Equal(t, l.sent()[n], l.sent()[len(l.sent())-1])
		require.Len(t, l.sent(), n+3)
	})
}

func TestClientBeginsAnewAfterLongSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "A-1"), time.Hour)
		defer l.run()()
		var ids []control.RequestID
		l.platform.Decide = func(_ identity.ID, r control.SignedRequest) control.Code {
			ids = append(ids, r.Request.ID)
			return control.CodeOK
		}
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		l.mute = 5 // as often as one INIT is sent
		d, err := identity.ParseDeviceID("D-1")
		require.NoError(t, err)
		res, err := l.client.Do(t.Context(), control.Request{Op: control.OpConnect, Device: d}, nil)
		require.NoError(t, err)
		require.NoError(t, res.Err())
		require.Len(t, ids, 2)
		require.Equal(t, ids[0], ids[1], "a new INIT carries the same request")
	})
}

// A gateway whose epochs were set back: the platform challenges it, and the same request is made anew and heard.
func TestClientFollowsAChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		self := w.Party(t, "A-WATER")
		before := connect(t, w, self, time.Hour)
		stop := before.run()
		before.client.LinkUp()
		for range 5 {
			require.NoError(t, before.client.Sync(t.Context()))
		}
		stop()

		// The same binding, after a restart with nothing left of the numbers.
		l := &wires{t: t, platform: before.platform, self: self, verifier: before.verifier}
		l.open(before.admission, time.Hour)
		stop = l.run()
		defer stop()
		l.client.LinkUp()
		dev := w.Party(t, "D-METER-1")
		d, _ := dev.Verified.ID().Device()
		began := time.Now()
		res, err := l.client.Do(t.Context(), control.Request{Op: control.OpConnect, Device: d}, nil)
		require.NoError(t, err)
		require.NoError(t, res.Err())
		require.Less(t, time.Since(began), 10*time.Second)
		sent := l.sent()
		require.Zero(t, sent[0][2]&4)
		require.Equal(t, byte(4), sent[1][2]&4, "the second INIT echoes")
	})
}

func TestClientWaitsForTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.Empty(t, l.sent(), "nothing is published without a link")

		l.lose = 1
		l.client.LinkUp()
		synctest.Wait()
		l.client.LinkDown()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, l.sent(), 1)
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		require.Equal(t, l.sent()[0], l.sent()[1], "what was under way goes on")
	})
}

func TestClientPollsAtNudgeAndFromTimeToTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		n := len(l.sent())
		l.client.Receive(control.Nudge())
		synctest.Wait()
		require.Len(t, l.sent(), n+1)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, l.sent(), n+2)
		for range 10 {
			l.client.Receive([]byte("junk"))
		}
		synctest.Wait()
		require.Len(t, l.sent(), n+2, "junk is no nudge")
	})
}

// A platform that was away when the INIT came nudges when it is back: nobody waits for the timer then.
func TestClientResendsAfterANudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		l.lose = 1
		l.client.LinkUp()
		synctest.Wait()
		began := time.Now()
		l.client.Receive(control.Nudge())
		require.NoError(t, l.client.Sync(t.Context()))
		require.Less(t, time.Since(began), time.Second)
		require.Equal(t, l.sent()[0], l.sent()[1])
	})
}

func TestClientTakesOnlyItsOwnOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		// The order of another peer, put among ours by whoever answers in the platform's name.
		other := w.Party(t, "D-2")
		l.platform.Admit(other.Verified)
		o := l.install(1)
		o.To, o.Device = other.Verified.ID(), identity.DeviceID{ID: other.Verified.ID()}
		l.platform.Misplace(l.self.Verified.ID(), l.platform.Order(o))
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		require.Empty(t, l.applied)
		require.Empty(t, l.platform.Acks())
	})
}

func TestClientKeepsRevocationLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		crl, err := w.Authority.Revoke(w.Party(t, "D-2").Verified.ID())
		require.NoError(t, err)
		l.platform.AddCRL(crl)
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		require.Equal(t, [][]byte{crl}, l.verifier.CRLs())
		require.Positive(t, l.crls)
	})
}

// The platform does not send again what the verifier has. What could not be kept is tried again all the same, until it succeeds.
func TestClientTriesAgainToKeepRevocationLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		crl, err := w.Authority.Revoke(w.Party(t, "D-2").Verified.ID())
		require.NoError(t, err)
		l.platform.AddCRL(crl)
		l.keepErr = errors.New("no space left")
		l.client.LinkUp()
		for range 3 {
			require.NoError(t, l.client.Sync(t.Context()))
		}
		tried := l.crls
		require.GreaterOrEqual(t, tried, 3)
		l.keepErr = nil
		for range 3 {
			require.NoError(t, l.client.Sync(t.Context()))
		}
		require.Equal(t, tried+1, l.crls)
	})
}

// Lists of several authorities come one a reply, also that of an issuing CA that the gateway has never heard of.
func TestClientTakesListsOfAllAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		var gone []*identity.Verified
		for i := range 12 {
			issuing := w.Issuing(t, fmt.Sprint("Issuing CA ", i))
			gone = append(gone, issuing.Party(t, fmt.Sprint("D-GONE", i)).Verified)
			crl, err := issuing.Authority.Revoke(gone[i].ID())
			require.NoError(t, err)
			l.platform.AddCRL(crl)
		}
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		require.Equal(t, l.platform.Verifier.CRLNumbers(), l.verifier.CRLNumbers())
		require.Equal(t, 12, l.crls)
		for _, g := range gone {
			require.ErrorIs(t, l.verifier.CheckRevocation(g.Credential()), identity.ErrRevoked)
		}
	})
}

// A list that the gateway cannot use, of an authority that it does not trust, is not sent again and again, and keeps nothing up.
func TestClientNamesListsThatItCannotUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, foreign := controltest.NewWorld(t), controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "D-1"), time.Hour)
		defer l.run()()
		var err error
		l.platform.Verifier, err = identity.NewVerifier(identity.VerifierConfig{Roots: append(foreign.Roots, w.Roots...)})
		require.NoError(t, err)
		theirs, err := foreign.Authority.Revoke(foreign.Party(t, "D-8").Verified.ID())
		require.NoError(t, err)
		ours, err := w.Authority.Revoke(w.Party(t, "D-2").Verified.ID())
		require.NoError(t, err)
		l.platform.AddCRL(theirs)
		l.platform.AddCRL(ours)
		l.client.LinkUp()
		require.NoError(t, l.client.Sync(t.Context()))
		require.Equal(t, [][]byte{ours}, l.verifier.CRLs())
		polls := len(l.sent())
		require.LessOrEqual(t, polls, 3)
		require.NoError(t, l.client.Sync(t.Context()))
		require.Len(t, l.sent(), polls+1, "one question, one answer")

		ours, err = w.Authority.Revoke(w.Party(t, "D-3").Verified.ID())
		require.NoError(t, err)
		l.platform.AddCRL(ours)
		require.NoError(t, l.client.Sync(t.Context()))
		require.Equal(t, [][]byte{ours}, l.verifier.CRLs())
	})
}

func TestClientEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := controltest.NewWorld(t)
		l := connect(t, w, w.Party(t, "A-1"), time.Hour)
		stop := l.run()
		d, err := identity.ParseDeviceID("D-1")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = l.client.Do(ctx, control.Request{Op: control.OpConnect, Device: d}, nil)
		require.ErrorIs(t, err, control.ErrOutcomeUnknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		stop()
		_, err = l.client.Do(t.Context(), control.Request{Op: control.OpConnect, Device: d}, nil)
		require.ErrorIs(t, err, control.ErrOutcomeUnknown)
		require.Error(t, l.client.Sync(t.Context()))
	})
}

func TestOnlyApplicationsAsk(t *testing.T) {
	w := controltest.NewWorld(t)
	l := connect(t, w, w.Party(t, "D-1"), time.Hour)
	_, err := l.client.Do(t.Context(), control.Request{Op: control.OpConnect}, nil)
	require.ErrorIs(t, err, control.ErrForeign)
	_, err = control.NewClient(control.ClientConfig{})
	require.Error(t, err)
}
