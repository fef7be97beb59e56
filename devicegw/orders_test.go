package devicegw_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
	"github.com/semio-iot/semio/internal/control"
)

// A connected device is given orders that it must not carry out, over the whole way from the broker.
func TestOrdersRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.serve()()
		first, second := w.app("A-FIRST"), w.app("A-SECOND")
		defer first.serve(w.sticker)()
		old := w.app("A-OLD")         // connected once
		crlOfOther := func() []byte { // names somebody else
			w.ca.party(t, "A-GONE")
			id, err := identity.ParseID("A-GONE")
			require.NoError(t, err)
			return w.revoke(id)
		}()
		foreign := newAuthority(t, "Another CA")
		foreignApp := &app{party: foreign.party(t, "A-FOREIGN"), w: w, binding: e2e.NewBindingID()}
		falsePlatform := foreign.party(t, "P-TEST")
		device2 := deviceID(t, "D-2002")

		gw := w.start()
		w.settle()
		installOld := w.install(old)
		w.give(installOld)
		w.give(w.remove(old, old.disconnect()))
		w.give(w.install(first))
		require.Equal(t, first.id, gw.Status().Application)
		revision := gw.Status().Revision

		untouched := func(t *testing.T) {
			t.Helper()
			st := gw.Status()
			require.Equal(t, first.id, st.Application)
			require.Equal(t, first.binding, st.Binding)
			require.Equal(t, revision, st.Revision)
			require.False(t, st.Retired)
			_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("still here")})
			require.NoError(t, err)
			require.NoError(t, gw.Flush(t.Context()))
		}
		otherEnd := func(edit func(*control.Request)) []byte { return first.disconnect(edit) }

		for _, c := range []struct {
			name  string
			order func() control.Order
			want  control.AckResult // 0: not even acknowledged
		}{
			{"install while connected", func() control.Order { return w.install(second) }, control.AckRefused},
			{"install of another binding with the same application", func() control.Order {
				o := w.install(first)
				o.Binding = e2e.NewBindingID()
				return o
			}, control.AckRefused},
			{"to another device, about it", func() control.Order {
				o := w.install(second)
				o.To, o.Device = device2.ID, device2
				return o
			}, 0},
			{"to this device, about another", func() control.Order {
				o := w.install(second)
				o.Device = device2
				return o
			}, control.AckRefused},
			{"of another binding with the platform", func() control.Order {
				o := w.install(second)
				o.PlatformBinding = e2e.NewBindingID()
				return o
			}, 0},
			{"of another platform's name", func() control.Order {
				o := w.install(second)
				p, err := identity.ParsePlatformID("P-OTHER")
				require.NoError(t, err)
				o.Platform = p
				return o
			}, 0},
			{"install of long ago, as it was", func() control.Order { return installOld }, control.AckDone}, // and changes nothing
			{"install of long ago under a new number", func() control.Order {
				o := installOld
				o.Number = w.order(control.OrderInstall).Number
				return o
			}, control.AckSuperseded},
			{"another order under a used number", func() control.Order {
				o := w.remove(first, first.disconnect())
				o.Number = installOld.Number
				return o
			}, control.AckRefused},
			{"remove with an old life-cycle number", func() control.Order {
				o := w.remove(first, first.disconnect())
				o.Lifecycle = revision
				return o
			}, control.AckSuperseded},
			{"remove with rubbish as evidence", func() control.Order { return w.remove(first, []byte("because")) }, control.AckRefused},
			{"remove without evidence", func() control.Order { return w.remove(first, nil) }, 0}, // has no valid form
			{"remove by the request of another application", func() control.Order { return w.remove(first, second.disconnect()) }, control.AckRefused},
			{"remove by a request in another's name", func() control.Order {
				stolen := &app{party: second.party, w: w, id: first.id, binding: first.binding}
				return w.remove(first, stolen.disconnect())
			}, control.AckRefused},
			{"remove by a request for another binding", func() control.Order {
				return w.remove(first, otherEnd(func(r *control.Request) { r.Binding = old.binding }))
			}, control.AckRefused},
			{"remove by a request for another device", func() control.Order {
				return w.remove(first, otherEnd(func(r *control.Request) { r.Device = device2 }))
			}, control.AckRefused},
			{"remove by a request to connect", func() control.Order {
				return w.remove(first, otherEnd(func(r *control.Request) { r.Op, r.Binding = control.OpConnect, e2e.BindingID{} }))
			}, control.AckRefused},
			{"remove by the list of somebody else", func() control.Order { return w.remove(first, crlEvidence(t, crlOfOther)) }, control.AckRefused},
			{"remove of a binding that is not", func() control.Order {
				o := w.remove(first, first.disconnect())
				o.Binding = e2e.NewBindingID()
				return o
			}, control.AckRefused},
			{"remove of another application", func() control.Order {
				o := w.remove(first, first.disconnect())
				o.Peer = second.verified.ID()
				return o
			}, control.AckRefused},
			{"wipe by a list that does not name the device", func() control.Order {
				return w.order(control.OrderWipe, func(o *control.Order) { o.Evidence = crlEvidence(t, crlOfOther) })
			}, control.AckRefused},
			{"wipe by the application's request", func() control.Order {
				return w.order(control.OrderWipe, func(o *control.Order) { o.Evidence = first.disconnect() })
			}, control.AckRefused},
			{"wipe by a list of another authority", func() control.Order {
				csr, err := identity.NewCSR(w.root.Signer(), w.id.ID, identity.CSROptions{HelperHash: w.root.HelperHash()})
				require.NoError(t, err)
				_, err = foreign.Issue(csr, issueOptions)
				require.NoError(t, err)
				crl, err := foreign.Revoke(w.id.ID)
				require.NoError(t, err)
				return w.order(control.OrderWipe, func(o *control.Order) { o.Evidence = crlEvidence(t, crl) })
			}, control.AckRefused},
			{"wipe without evidence", func() control.Order { return w.order(control.OrderWipe) }, 0},
			{"unknown operation", func() control.Order { return w.order(99) }, 0},
		} {
			w.mu.Lock()
			clear(w.acks)
			w.orders = nil
			w.mu.Unlock()
			o := c.order()
			w.give(o)
			require.Equal(t, c.want, w.ack(o.Number), c.name)
			untouched(t)
		}

		// Signed by keys that are not the platform's.
		for name, signer := range map[string]*party{"a false platform": falsePlatform, "the application": first.party} {
			w.mu.Lock()
			clear(w.acks)
			w.orders = nil
			w.mu.Unlock()
			o := w.remove(first, first.disconnect())
			b, err := o.Sign(signer.signer)
			require.NoError(t, err)
			w.mu.Lock()
			w.orders = append(w.orders, b)
			w.mu.Unlock()
			w.nudge()
			w.settle()
			require.Zero(t, w.ack(o.Number), name)
			untouched(t)
		}

		// And when it is free again, these do not get in.
		w.mu.Lock()
		w.orders = nil
		w.mu.Unlock()
		w.give(w.remove(first, first.disconnect()))
		require.True(t, gw.Status().Application.IsZero())
		for _, c := range []struct {
			name  string
			order func() control.Order
		}{
			{"application of another authority", func() control.Order { return w.install(foreignApp) }},
			{"a device as application", func() control.Order {
				o := w.install(second)
				o.Peer, o.Credential = w.id.ID, w.device.Credential()
				return o
			}},
			{"a platform as application", func() control.Order {
				o := w.install(second)
				o.Peer, o.Credential = w.platform.verified.ID(), w.platform.credential
				return o
			}},
			{"another name than the certificate's", func() control.Order {
				o := w.install(second)
				o.Peer = first.verified.ID()
				return o
			}},
			{"endorsement of another", func() control.Order {
				o := w.install(second)
				o.Credential.Endorsement = first.credential.Endorsement
				return o
			}},
			{"about another device", func() control.Order {
				o := w.install(second)
				o.Device = device2
				return o
			}},
			{"a binding that has ended", func() control.Order {
				o := w.install(second)
				o.Binding = first.binding
				return o
			}},
			{"the platform's own binding", func() control.Order {
				o := w.install(second)
				o.Binding = w.binding
				return o
			}},
		} {
			o := c.order()
			w.give(o)
			require.Equal(t, control.AckRefused, w.ack(o.Number), c.name)
			require.True(t, gw.Status().Application.IsZero(), c.name)
		}
		// A revoked application does not get in either, nor one whose list came before.
		crl := w.revoke(second.verified.ID())
		w.mu.Lock()
		require.NoError(t, w.lists.AddCRL(crl))
		w.mu.Unlock()
		o := w.install(second)
		w.give(o)
		require.Equal(t, control.AckRefused, w.ack(o.Number))

		third := w.app("A-THIRD")
		w.give(w.install(third))
		require.Equal(t, third.id, gw.Status().Application, "nothing of it all keeps a good order out")
		gw.halt(t)
	})
}

// The certificate of the connected application is revoked: the connection stands still, and the list is reason to end it.
func TestRevokedApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.serve()()
		a := w.app("A-FIRST")
		gw := w.start()
		w.settle()
		w.give(w.install(a))
		_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("before")})
		require.NoError(t, err)

		crl := w.revoke(a.verified.ID())
		w.mu.Lock()
		require.NoError(t, w.lists.AddCRL(crl))
		w.mu.Unlock()
		w.give()
		_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("after")})
		require.ErrorIs(t, err, devicegw.ErrSuspended)
		require.ErrorIs(t, err, identity.ErrRevoked)
		require.ErrorIs(t, gw.Status().Suspended, identity.ErrRevoked)
		require.Equal(t, a.id, gw.Status().Application, "only an order with evidence ends it")
		gw.halt(t)

		gw = w.start()
		_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("after a restart")})
		require.ErrorIs(t, err, identity.ErrRevoked, "the list was not kept")
		w.settle()
		w.give(w.remove(a, crlEvidence(t, crl)))
		require.True(t, gw.Status().Application.IsZero())
		require.NoError(t, gw.Status().Suspended)
		b := w.app("A-SECOND")
		w.give(w.install(b))
		require.Equal(t, b.id, gw.Status().Application)
		gw.halt(t)
	})
}

// A memory that does not take a list is no reason to go on with whom it names; and the list is written as soon as that can be done.
func TestRevokedApplicationAndAFailingMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newAuthority(t, "Root")
		w := newWorldUnder(t, root.issuing(t, "CA of this device"))
		defer w.serve()()
		a := w.app("A-FIRST")
		gw := w.start()
		w.settle()
		w.give(w.install(a))
		take := func(crl []byte) {
			w.mu.Lock()
			require.NoError(t, w.lists.AddCRL(crl))
			w.mu.Unlock()
			w.give()
		}
		failed := 0
		w.fs.Fail(func(_ int, what string) error {
			if strings.Contains(what, "revoked-0") {
				failed++
				return errors.New("broken")
			}
			return nil
		})
		take(w.revoke(a.verified.ID()))
		require.Positive(t, failed)
		require.ErrorIs(t, gw.Status().Suspended, identity.ErrRevoked)
		_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("after")})
		require.ErrorIs(t, err, devicegw.ErrSuspended)

		// One bad place keeps no other list out.
		other := root.issuing(t, "Other CA")
		crl, err := other.Revoke(other.party(t, "A-GONE").verified.ID())
		require.NoError(t, err)
		take(crl)
		gw.halt(t)
		idle, err := devicegw.Open(t.Context(), w.config())
		require.NoError(t, err)
		require.Len(t, devicegw.CRLNumbers(idle), 1, "the other one")
		gw = w.start()
		w.settle() // the list comes again, and fails again
		require.ErrorIs(t, gw.Status().Suspended, identity.ErrRevoked)

		w.fs.Fail(nil)
		w.give()
		gw.halt(t)
		gw = w.start()
		require.Len(t, devicegw.CRLNumbers(gw.Gateway), 2)
		require.ErrorIs(t, gw.Status().Suspended, identity.ErrRevoked)
		gw.halt(t)
	})
}

// Cut at every operation of a series of orders, the device is before or after one of them, and takes up the rest.
func TestOrdersPowerCut(t *testing.T) {
	w := newWorld(t)
	first, second := w.app("A-FIRST"), w.app("A-SECOND")
	orders := []control.Order{w.install(first), w.remove(first, first.disconnect()), w.install(second)}
	done := []int{}
	w.fs = rebase(t, w.fs)
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	apps := []identity.AppID{{}}
	done = append(done, w.fs.Ops())
	for i, o := range orders {
		require.NoError(t, devicegw.Apply(gw, o))
		if i == 0 {
			_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("queued")})
			require.NoError(t, err)
		}
		done = append(done, w.fs.Ops())
		apps = append(apps, gw.Status().Application)
	}
	require.Equal(t, []identity.AppID{{}, first.id, {}, second.id}, apps)

	n := 0
	for c := range w.fs.Crashes() {
		if n++; n%3 != 0 {
			continue // each costs an Open; a third of them covers every operation
		}
		i := 0
		for i+1 < len(done) && c.After >= done[i+1] {
			i++
		}
		cfg := w.config()
		cfg.NVM = openCrash(t, c.FS)
		gw, err := devicegw.Open(t.Context(), cfg)
		require.NoError(t, err, "%v", c)
		app := gw.Status().Application
		require.True(t, app == apps[i] || i+1 < len(apps) && app == apps[i+1], "%v: connected with %v after %d orders", c, app, i)
		// All come again, as from a platform that has heard nothing.
		for _, o := range orders {
			require.NoError(t, devicegw.Apply(gw, o), "%v", c)
		}
		require.Equal(t, second.id, gw.Status().Application, "%v", c)
		require.Zero(t, gw.Status().Queued, "%v: a message for the first application reaches the second", c)
	}
	require.Greater(t, n, 100)
}

// rebase is the file system with its record forgotten, so that a test's crashes begin here.
func rebase(t *testing.T, f *crashfs.FS) *crashfs.FS {
	t.Helper()
	var last *crashfs.FS
	for c := range f.Crashes() {
		last = c.FS // all synced: the last crash is the present
	}
	require.NotNil(t, last)
	return last
}

// A memory that fails leaves the device where it was; the order comes again.
func TestOrdersOnFullMemory(t *testing.T) {
	w := newWorld(t)
	a := w.app("A-FIRST")
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	full := func() { w.fs.Fail(func(int, string) error { return syscall.ENOSPC }) }
	var storage *devicegw.StorageError

	install := w.install(a)
	full()
	err = devicegw.Apply(gw, install)
	require.ErrorAs(t, err, &storage)
	require.NotErrorIs(t, err, control.ErrOrderRefused, "a full memory must not refuse an order for good")
	require.True(t, gw.Status().Application.IsZero())
	w.fs.Fail(nil)
	require.NoError(t, devicegw.Apply(gw, install))

	full()
	_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("no room")})
	require.ErrorIs(t, err, syscall.ENOSPC)
	remove := w.remove(a, a.disconnect())
	require.ErrorAs(t, devicegw.Apply(gw, remove), &storage)
	require.Equal(t, a.id, gw.Status().Application)
	w.fs.Fail(nil)
	_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("room again")})
	require.NoError(t, err, "the connection did not survive a removal that failed")
	require.NoError(t, devicegw.Apply(gw, remove))
	require.True(t, gw.Status().Application.IsZero())
}

// What still runs of a removed connection writes nothing any more.
func TestRemovedConnectionIsFrozen(t *testing.T) {
	w := newWorld(t)
	a := w.app("A-FIRST")
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.NoError(t, devicegw.Apply(gw, w.install(a)))
	late := devicegw.LateSender(gw) // had the connection in hand before it ended
	require.NoError(t, late([]byte("in time")))
	require.NoError(t, devicegw.Apply(gw, w.remove(a, a.disconnect())))
	require.Error(t, late([]byte("too late")))
	names, err := w.fs.ReadDir("/nvm")
	require.NoError(t, err)
	require.Equal(t, []string{"credential.a", "credential.b", "epoch-platform.v", "identity.a", "identity.b", "state.v"}, names)
}

// The same where a revocation has suspended the connection before: its handlers may still run.
func TestSuspendedConnectionIsFrozen(t *testing.T) {
	w := newWorld(t)
	a := w.app("A-FIRST")
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.NoError(t, devicegw.Apply(gw, w.install(a)))
	late := devicegw.LateSender(gw)
	require.NoError(t, late([]byte("in time")))
	crl := w.revoke(a.verified.ID())
	require.NoError(t, devicegw.TakeCRL(gw, crl))
	require.Error(t, late([]byte("suspended")))
	require.NoError(t, devicegw.Apply(gw, w.remove(a, crlEvidence(t, crl))))
	b := w.app("A-SECOND")
	require.NoError(t, devicegw.Apply(gw, w.install(b)))
	require.Error(t, late([]byte("into the next one's slots")))

	gw, err = devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.Zero(t, gw.Status().Queued)
}

func TestQueueIsBounded(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.MaxQueue = 3
	gw, err := devicegw.Open(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, devicegw.Apply(gw, w.install(w.app("A-FIRST"))))
	for range 3 {
		_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("x")})
		require.NoError(t, err)
	}
	_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("x")})
	require.ErrorIs(t, err, devicegw.ErrFull)
	require.Equal(t, 3, gw.Status().Queued)
}

// The floor under the time rises with what the platform says, and outlives the power.
func TestTimeFloor(t *testing.T) {
	w := newWorld(t)
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	later := time.Now().AddDate(0, 6, 0)
	devicegw.KeepTime(gw, later)
	gw, err = devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.False(t, devicegw.Now(gw).Before(later.Truncate(time.Second)))
	devicegw.KeepTime(gw, later.AddDate(-1, 0, 0))
	require.False(t, devicegw.Now(gw).Before(later.Truncate(time.Second)), "the floor sank")

	devicegw.KeepTime(gw, later.AddDate(3, 0, 0))
	gw, err = devicegw.Open(t.Context(), w.config())
	require.NoError(t, err, "the platform's certificate has ended, which it may come to renew")

	// A platform's clock that is wrong by a century does not put everything that the authority dates behind the device.
	devicegw.KeepTime(gw, later.AddDate(100, 0, 0))
	require.WithinDuration(t, w.platform.verified.NotAfter(), devicegw.Now(gw), time.Hour)
}

func TestDamagedState(t *testing.T) {
	for _, name := range []string{"state", "epoch-platform"} {
		for what, spoil := range map[string]func(w *world) error{
			"missing":        func(w *world) error { return w.nvm().Delete(t.Context(), name) },
			"another name's": func(w *world) error { return w.fs.Rename("/nvm/identity.b", "/nvm/"+name+".v") },
			"not locked":     func(w *world) error { return w.nvm().Put(t.Context(), name, append(w.binding[:], 1, 2, 3)) },
		} {
			w := newWorld(t)
			gw, err := devicegw.Open(t.Context(), w.config())
			require.NoError(t, err)
			require.NoError(t, devicegw.Apply(gw, w.install(w.app("A-FIRST"))))
			require.NoError(t, spoil(w))
			_, err = devicegw.Open(t.Context(), w.config())
			want := devicegw.ErrDamaged
			if what == "not locked" {
				want = devicegw.ErrWrongRoot
			}
			require.ErrorIs(t, err, want, "%s %s", name, what)
		}
	}
}

// Cut at every operation of a wipe, the device never comes back to life, not even on a root that has forgotten nothing.
func TestWipePowerCut(t *testing.T) {
	w := newWorld(t)
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	require.NoError(t, devicegw.Apply(gw, w.install(w.app("A-FIRST"))))
	_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("queued")})
	require.NoError(t, err)
	w.fs = rebase(t, w.fs)
	gw, err = devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	crl := w.revoke(w.id.ID)
	require.NoError(t, devicegw.Apply(gw, w.order(control.OrderWipe, func(o *control.Order) { o.Evidence = crlEvidence(t, crl) })))
	ordered := w.fs.Ops()
	_, err = devicegw.Open(t.Context(), w.config()) // erases
	require.ErrorIs(t, err, devicegw.ErrRetired)
	n := 0
	for c := range w.fs.Crashes() {
		if c.After < ordered {
			continue
		}
		n++
		cfg := w.config()
		cfg.Root, cfg.NVM = keyRoot("the chip"), openCrash(t, c.FS)
		_, err := devicegw.Open(t.Context(), cfg)
		require.True(t, errors.Is(err, devicegw.ErrRetired) || errors.Is(err, devicegw.ErrNotProduced), "%v: %v", c, err)
	}
	require.Greater(t, n, 20)
}
