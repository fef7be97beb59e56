package devicegw_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
)

const year = 365 * 24 * time.Hour

// A certificate is renewed while messages are under way both ways: each arrives once, in order, and the calls are answered.
func TestRenewalInOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, ca.Config{Validity: 20 * year, DeviceValidity: year})
		defer w.serve()()
		a := w.app("A-FIRST")
		defer a.serve(w.sticker)()
		var got []string
		gw := w.start(func(c *devicegw.Config) {
			c.Poll = 24 * time.Hour
			c.OnEvent = func(_ context.Context, e devicegw.Event) error {
				got = append(got, string(e.Body))
				return nil
			}
			c.OnCall = func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
				return devicegw.Reply{Body: c.Body}, nil
			}
		})
		w.settle()
		w.give(w.install(a))
		binding := gw.Status().Binding
		time.Sleep(200 * 24 * time.Hour)
		_, asked := w.counts()
		require.Zero(t, asked, "more than a third is left")
		time.Sleep(50 * 24 * time.Hour)
		_, asked = w.counts()
		require.Positive(t, asked)
		require.Less(t, asked, 20, "once a poll")
		require.EqualValues(t, 1, gw.Status().Generation)

		w.with(func() { w.issue = true })
		var want []string
		for i := range 30 {
			body := fmt.Sprint(i)
			want = append(want, body)
			_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte(body)})
			require.NoError(t, err)
			_, err = a.channel.Send(t.Context(), devicegw.Event{Body: []byte(body)})
			require.NoError(t, err)
			switch i {
			case 10:
				w.nudge()
			case 20: // the platform has told the application
				a.channel.Turn(a.peer())
			}
			time.Sleep(time.Second)
		}
		require.NoError(t, gw.Flush(t.Context()))
		require.NoError(t, a.channel.Flush(t.Context()))
		require.Equal(t, want, a.received())
		require.Equal(t, want, got)
		st := gw.Status()
		require.EqualValues(t, 2, st.Generation)
		require.Equal(t, binding, st.Binding)
		require.Greater(t, time.Until(st.Certified), 360*24*time.Hour)
		r, err := a.channel.Call(t.Context(), "", []byte("still there?"))
		require.NoError(t, err)
		require.Equal(t, "still there?", string(r.Body))
		gw.halt(t)

		// The same after a restart, and orders go on.
		gw = w.start()
		w.settle()
		require.EqualValues(t, 2, gw.Status().Generation)
		w.give(w.remove(a, a.disconnect()))
		require.True(t, gw.Status().Application.IsZero())
		gw.halt(t)
	})
}

// A device that was off for years learns the time from the platform, and comes back by itself; so does its connection with an application
// that was renewed meanwhile.
func TestRenewalAfterYears(t *testing.T) {
	for _, clock := range []bool{false, true} {
		t.Run(fmt.Sprint("with a clock ", clock), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorldOf(t, ca.Config{Validity: 9 * year, DeviceValidity: year})
				w.issue = true
				defer w.serve()()
				a := w.app("A-FIRST")
				trust := func(c *devicegw.Config) {
					if clock {
						c.Now = time.Now
					}
				}
				gw := w.start(trust)
				w.settle()
				w.give(w.install(a))
				_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("of long ago")})
				require.NoError(t, err)
				gw.halt(t)

				time.Sleep(8 * year)
				a.party = w.ca.renewed(t, a.party)
				w.with(func() { w.peer = a.verified })
				gw = w.start(trust)
				w.settle()
				w.settle()
				require.EqualValues(t, 2, gw.Status().Generation)
				require.EqualValues(t, 1, devicegw.PeerGeneration(gw.Gateway))
				require.Equal(t, a.id, gw.Status().Application)
				require.NoError(t, gw.Status().Suspended)
				defer a.serve(w.sticker)()
				require.NoError(t, gw.Flush(t.Context()))
				require.Equal(t, []string{"of long ago"}, a.received())
				before, _ := w.counts()
				time.Sleep(time.Hour)
				polls, _ := w.counts()
				require.Less(t, polls, before+10, "it has what it wants")
				gw.halt(t)
			})
		})
	}
}

// A device's time begins with its certificate, also before anybody has told it the time.
func TestTimeBeginsWithTheCertificate(t *testing.T) {
	w := newWorld(t)
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.False(t, devicegw.Now(gw).Before(w.device.Certificate().NotBefore))
}

// A platform that cannot help is not asked without end.
func TestRenewalIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, ca.Config{Validity: 20 * year, DeviceValidity: year})
		defer w.serve()()
		gw := w.start()
		gw.halt(t)
		time.Sleep(3 * year)
		gw = w.start()
		time.Sleep(time.Hour)
		polls, asked := w.counts()
		require.Positive(t, asked)
		require.Less(t, polls, 20)
		gw.halt(t)
	})
}

// A platform whose certificate is over may be anybody who has its key by now: nothing but an admission that proves itself is believed.
func TestPlatformThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, ca.Config{Validity: year})
		stop := w.serve()
		gw := w.start()
		w.settle()
		gw.halt(t)
		stop()
		time.Sleep(2 * year)
		defer w.serve()()
		clock := func(c *devicegw.Config) { c.Now = time.Now }
		gw = w.start(clock)
		w.settle()
		a := w.app("A-FIRST")
		w.give(w.install(a))
		require.True(t, gw.Status().Application.IsZero())
		require.Zero(t, w.ack(1))

		heir := w.ca.renewed(t, w.platform)
		stranger := w.ca.party(t, "P-OTHER")
		for name, bad := range map[string]*party{"another platform": stranger, "the one that is over": w.platform} {
			w.with(func() { w.heir = bad })
			w.nudge()
			w.settle()
			require.True(t, gw.Status().Application.IsZero(), name)
		}
		w.with(func() { w.heir = heir })
		w.nudge()
		w.settle()
		w.with(func() { require.Equal(t, heir, w.platform, "the device speaks with the new one") })
		gw.halt(t)
		gw = w.start(clock)
		w.give()
		require.Equal(t, control.AckDone, w.ack(1), "what waited is carried out now")
		require.Equal(t, a.id, gw.Status().Application)
		gw.halt(t)
	})
}

// counts returns how often the device has asked, and asked for a certificate.
func (w *world) counts() (polls, asked int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.polls, w.asked
}

// with changes the platform while it answers.
func (w *world) with(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// often has certificates that are worth renewing at once.
func often(t *testing.T) *world {
	w := newWorldOf(t, ca.Config{Validity: 2 * time.Minute, DeviceValidity: 2 * time.Minute})
	w.clock = time.Now
	return w
}

// Cut at every operation of a renewal, the device has one credential or the other, whole, and gets to the new one from there.
func TestRenewalPowerCut(t *testing.T) {
	w := often(t)
	a := w.app("A-FIRST")
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.NoError(t, devicegw.Apply(gw, w.install(a)))
	_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("queued")})
	require.NoError(t, err)
	w.fs = rebase(t, w.fs)
	gw, err = devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)

	old := devicegw.Self(gw)
	chain, err := w.ca.Issue(devicegw.Request(gw), ca.IssueOptions{})
	require.NoError(t, err)
	devicegw.TakeChain(gw, chain)
	offered := w.fs.Ops()
	next, err := w.ca.verifier.Verify(devicegw.Offer(gw), identity.RoleDevice)
	require.NoError(t, err)
	admission := w.admission(w.platform, next)
	require.True(t, devicegw.TakeAdmission(gw, admission))
	admitted := w.fs.Ops()
	app := w.ca.renewed(t, a.party)
	devicegw.TakePeer(gw, app.credential)
	all := w.fs.Ops()

	n := 0
	for c := range w.fs.Crashes() {
		if n++; n%3 != 0 {
			continue
		}
		cfg := w.config()
		cfg.NVM = openCrash(t, c.FS)
		gw, err := devicegw.Open(t.Context(), cfg)
		require.NoError(t, err, "%v", c)
		self := devicegw.Self(gw).CertificateHash()
		require.True(t, self == next.CertificateHash() || c.After < admitted && self == old.CertificateHash(), "%v", c)
		require.True(t, c.After < all || devicegw.PeerGeneration(gw) == 1, "%v", c)
		require.Equal(t, 1, gw.Status().Queued, "%v", c)

		if self == old.CertificateHash() {
			if c.After >= offered {
				require.Equal(t, next.Credential(), devicegw.Offer(gw), "%v", c)
			}
			if len(devicegw.Offer(gw).Chain) == 0 {
				require.NotNil(t, devicegw.Request(gw), "%v", c)
				devicegw.TakeChain(gw, chain)
			}
			require.True(t, devicegw.TakeAdmission(gw, admission), "%v", c)
		}
		devicegw.TakePeer(gw, app.credential)
		gw, err = devicegw.Open(t.Context(), cfg)
		require.NoError(t, err, "%v", c)
		require.Equal(t, next.CertificateHash(), devicegw.Self(gw).CertificateHash(), "%v", c)
		require.EqualValues(t, 1, devicegw.PeerGeneration(gw), "%v", c)
		require.Empty(t, devicegw.Offer(gw).Chain, "%v", c)
		require.Equal(t, 1, gw.Status().Queued, "%v", c)
	}
	require.Greater(t, n, 60)
}

// A device that trusts two roots does not mind what the older one says of its way to the newer one: that is no reason to renew, and would be none
// after a renewal.
func TestNoRenewalForAWayThatIsNotNeeded(t *testing.T) {
	for name, renewal := range map[string]bool{"both roots": false, "the older root alone": true} {
		t.Run(name, func(t *testing.T) {
			first := ca.Config{Name: "Root", Signer: newSigner(t), Store: new(ca.MemStore)}
			v := authorityOf(t, first).verifier
			young, err := ca.RollOver(ca.Config{Name: first.Name, Signer: newSigner(t), Store: first.Store, Earlier: []crypto.Signer{first.Signer}})
			require.NoError(t, err)
			if name == "both roots" {
				v, err = identity.NewVerifier(identity.VerifierConfig{Roots: young.Roots()})
				require.NoError(t, err)
			}
			w := newWorldUnder(t, &authority{young, v})
			gw, err := devicegw.Open(t.Context(), w.config())
			require.NoError(t, err)
			require.Nil(t, devicegw.Request(gw))
			chain := devicegw.Self(gw).Credential().Chain
			require.Len(t, chain, 2)
			cross, err := x509.ParseCertificate(chain[1])
			require.NoError(t, err)
			crl, err := young.RevokeCertificate(cross)
			require.NoError(t, err)
			require.NoError(t, devicegw.TakeCRL(gw, crl))
			require.Equal(t, renewal, devicegw.Request(gw) != nil)
		})
	}
}

// Whatever the platform passes on, the device takes what its authority has certified for it and what is newer than what it has.
func TestRenewalRefuses(t *testing.T) {
	w := often(t)
	a := w.app("A-FIRST")
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.NoError(t, devicegw.Apply(gw, w.install(a)))
	self := devicegw.Self(gw)

	foreign := newAuthorityOf(t, "Foreign CA", ca.Config{})
	byForeign, err := foreign.Issue(devicegw.Request(gw), ca.IssueOptions{})
	require.NoError(t, err)
	for name, chain := range map[string][][]byte{
		"the one in use":    self.Credential().Chain,
		"another device's":  w.ca.party(t, "D-2").credential.Chain,
		"an application's":  a.credential.Chain,
		"another authority": byForeign,
		"junk":              {[]byte("junk")},
	} {
		devicegw.TakeChain(gw, chain)
		require.Empty(t, devicegw.Offer(gw).Chain, name)
	}

	first, err := w.ca.Issue(devicegw.Request(gw), ca.IssueOptions{})
	require.NoError(t, err)
	devicegw.TakeChain(gw, first)
	require.Nil(t, devicegw.Request(gw), "there is one")
	next, err := w.ca.verifier.Verify(devicegw.Offer(gw), identity.RoleDevice)
	require.NoError(t, err)
	require.EqualValues(t, 2, next.Generation())

	other := w.ca.party(t, "D-3")
	binding := w.binding
	w.binding[0] ^= 1
	otherBinding := w.admission(w.platform, next)
	w.binding = binding
	forged := w.admission(&party{signer: a.signer, credential: w.platform.credential}, next)
	for name, b := range map[string][]byte{
		"another device": w.admission(w.platform, other.verified), "another binding": otherBinding, "not the platform's signature": forged,
		"another platform": w.admission(w.ca.party(t, "P-OTHER"), next),
		"all generations":  w.admission(w.ca.certify(t, *w.platform, w.platform.verified.ID(), math.MaxUint32), next), "the one that is in force": w.admitted, "junk": []byte("junk"),
	} {
		require.False(t, devicegw.TakeAdmission(gw, b), name)
		require.Equal(t, self.CertificateHash(), devicegw.Self(gw).CertificateHash(), name)
	}
	require.True(t, devicegw.TakeAdmission(gw, w.admission(w.platform, next)))
	require.False(t, devicegw.TakeAdmission(gw, w.admitted), "the old one again")
	require.Equal(t, next.CertificateHash(), devicegw.Self(gw).CertificateHash())

	// The platform's own credential goes up as well.
	newer := w.ca.renewed(t, w.platform)
	require.True(t, devicegw.TakeAdmission(gw, w.admission(newer, next)))
	require.False(t, devicegw.TakeAdmission(gw, w.admission(w.platform, next)))

	renewed := w.ca.renewed(t, a.party)
	again := w.ca.renewed(t, renewed)
	devicegw.TakePeer(gw, again.credential)
	require.EqualValues(t, 2, devicegw.PeerGeneration(gw))
	devicegw.TakePeer(gw, renewed.credential)
	devicegw.TakePeer(gw, w.ca.renewed(t, w.ca.renewed(t, w.ca.renewed(t, w.ca.party(t, "A-SECOND")))).credential)
	devicegw.TakePeer(gw, identity.Credential{Chain: [][]byte{[]byte("junk")}})
	devicegw.TakePeer(gw, w.ca.certify(t, *a.party, a.id.ID, math.MaxUint32).credential)
	require.EqualValues(t, 2, devicegw.PeerGeneration(gw))
	last := w.ca.renewed(t, again)
	require.NoError(t, devicegw.TakeCRL(gw, w.revoke(a.id.ID)))
	devicegw.TakePeer(gw, last.credential)
	require.EqualValues(t, 2, devicegw.PeerGeneration(gw), "it is revoked")
	require.ErrorIs(t, gw.Status().Suspended, devicegw.ErrSuspended)
}

// The evidence for an end of the connection is judged with the application's credential of now.
func TestRemovalAfterRekeying(t *testing.T) {
	w := often(t)
	a := w.app("A-FIRST")
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.NoError(t, devicegw.Apply(gw, w.install(a)))
	byOldKey := a.disconnect()
	next := &party{signer: newSigner(t), key: w.ca.party(t, "A-KEYS").key}
	csr, err := identity.NewCSR(next.signer, a.id.ID, identity.CSROptions{})
	require.NoError(t, err)
	_, err = w.ca.Issue(csr, ca.IssueOptions{NewKey: true})
	require.NoError(t, err)
	a.party = w.ca.certify(t, *next, a.id.ID, 1)
	devicegw.TakePeer(gw, a.credential)
	require.EqualValues(t, 1, devicegw.PeerGeneration(gw))
	require.ErrorIs(t, devicegw.Apply(gw, w.remove(a, byOldKey)), control.ErrOrderRefused)
	require.NoError(t, devicegw.Apply(gw, w.remove(a, a.disconnect())))
	require.True(t, gw.Status().Application.IsZero())
}

// What was offered and ran out may have been accepted all the same: the next offer is of a later generation.
func TestOffersCountOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := often(t)
		gw, err := devicegw.Open(t.Context(), w.config())
		require.NoError(t, err)
		for generation := devicegw.Self(gw).Generation() + 1; generation < 5; generation++ {
			chain, err := w.ca.Issue(devicegw.Request(gw), ca.IssueOptions{})
			require.NoError(t, err)
			devicegw.TakeChain(gw, chain)
			require.Equal(t, generation, devicegw.Offer(gw).Generation())
			time.Sleep(time.Hour)
		}
	})
}

// Whoever writes the memory can put back a certificate that was waiting once: the device does not turn to what came before the one in use.
func TestOldPendingCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := often(t)
		gw, err := devicegw.Open(t.Context(), w.config())
		require.NoError(t, err)
		var pending []byte
		for range 2 {
			chain, err := w.ca.Issue(devicegw.Request(gw), ca.IssueOptions{})
			require.NoError(t, err)
			devicegw.TakeChain(gw, chain)
			if pending == nil {
				pending, err = w.nvm().Get(t.Context(), "renewal")
				require.NoError(t, err)
			}
			next, err := w.ca.verifier.Verify(devicegw.Offer(gw), identity.RoleDevice)
			require.NoError(t, err)
			require.True(t, devicegw.TakeAdmission(gw, w.admission(w.platform, next)))
			time.Sleep(time.Minute)
		}
		require.NoError(t, w.nvm().Put(t.Context(), "renewal", pending))
		gw, err = devicegw.Open(t.Context(), w.config())
		require.NoError(t, err)
		require.EqualValues(t, 3, devicegw.Self(gw).Generation())
		require.Empty(t, devicegw.Offer(gw).Chain)
	})
}
