package devicegw_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// A device keeps the lists of all authorities over restarts, and writes only what is new: flash wears.
func TestListsOfSeveralAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newAuthority(t, "Root")
		w := newWorldUnder(t, root.issuing(t, "CA of this device"))
		defer w.serve()()
		others := []*authority{root.issuing(t, "Other CA"), root.issuing(t, "Third CA")}
		gw := w.start()
		w.settle()
		var lists [][]byte
		for i, a := range others {
			p := a.party(t, fmt.Sprint("A-GONE", i))
			crl, err := a.Revoke(p.verified.ID())
			require.NoError(t, err)
			lists = append(lists, crl)
			w.mu.Lock()
			require.NoError(t, w.lists.AddCRL(crl))
			w.mu.Unlock()
		}
		w.give()
		require.Equal(t, w.lists.CRLNumbers(), devicegw.CRLNumbers(gw.Gateway))
		gw.halt(t)

		gw = w.start()
		require.Equal(t, w.lists.CRLNumbers(), devicegw.CRLNumbers(gw.Gateway), "after a restart")
		w.settle()
		before := w.fs.Ops()
		require.NoError(t, devicegw.TakeCRL(gw.Gateway, lists[0]))
		require.Equal(t, before, w.fs.Ops(), "there is nothing new")
		gw.halt(t)
	})
}

// The connected application's CA is revoked: the connection stands still, over a restart too. That is no reason to end it, and a list that the
// revoked CA signs is none either.
func TestApplicationOfARevokedCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newAuthority(t, "Root")
		w := newWorldUnder(t, root.issuing(t, "CA of this device"))
		defer w.serve()()
		doomed := root.issuing(t, "Doomed CA")
		own := w.ca
		w.ca = doomed
		a := w.app("A-FIRST")
		w.ca = own
		gw := w.start()
		w.settle()
		w.give(w.install(a))
		require.Equal(t, a.id, gw.Status().Application)

		crl, err := root.RevokeCertificate(doomed.Certificate())
		require.NoError(t, err)
		w.mu.Lock()
		require.NoError(t, w.lists.AddCRL(crl))
		w.mu.Unlock()
		w.give()
		require.ErrorIs(t, gw.Status().Suspended, identity.ErrRevoked)
		byDoomed, err := doomed.Revoke(a.verified.ID())
		require.NoError(t, err)
		for _, evidence := range [][]byte{crl, byDoomed} {
			o := w.remove(a, crlEvidence(t, evidence))
			w.give(o)
			require.Equal(t, control.AckRefused, w.ack(o.Number))
		}
		require.Equal(t, a.id, gw.Status().Application)
		gw.halt(t)
		gw = w.start()
		require.ErrorIs(t, gw.Status().Suspended, identity.ErrRevoked)
		w.settle()
		w.give(w.remove(a, a.disconnect()))
		require.True(t, gw.Status().Application.IsZero(), "its own word counts")
		gw.halt(t)
	})
}

// A device is wiped by the list of the CA that certified it, and not by the end of that CA.
func TestWipeByAnIssuingCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newAuthority(t, "Root")
		issuing := root.issuing(t, "CA of this device")
		w := newWorldUnder(t, issuing)
		defer w.serve()()
		gw := w.start()
		w.settle()
		wipe := func(crl []byte) control.Order {
			o := w.order(control.OrderWipe, func(o *control.Order) { o.Evidence = crlEvidence(t, crl) })
			w.give(o)
			return o
		}
		other, err := root.RevokeCertificate(root.issuing(t, "Other CA").Certificate())
		require.NoError(t, err)
		o := wipe(other)
		require.Equal(t, control.AckRefused, w.ack(o.Number))
		crl := w.revoke(w.id.ID)
		o = wipe(crl)
		require.Equal(t, control.AckDone, w.ack(o.Number))
		require.ErrorIs(t, <-gw.ended, devicegw.ErrRetired)
	})
}
