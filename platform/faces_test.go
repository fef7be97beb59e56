package platform_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform"
)

const day = 24 * time.Hour

func (p party) holder() identity.Holder {
	return identity.Holder{Credential: p.cred, Signer: p.signer, Key: p.key}
}

// successor certifies the platform anew, with the next generation: with other keys, or with the same.
func (w *world) successor(rekey bool) party {
	t := w.t
	next := w.self
	if rekey {
		fresh := w.keys(w.self.id)
		next.signer, next.key = fresh.signer, fresh.key
	}
	chain, err := w.authority.Issue(next.csr(t), ca.IssueOptions{NewKey: rekey})
	require.NoError(t, err)
	return next.with(t, chain, w.self.cred.Generation()+1)
}

// become restarts the platform as another party, which it was not before.
func (w *world) become(next party) {
	w.cfg.Previous = append([]identity.Holder{w.self.holder()}, w.cfg.Previous...)
	w.cfg.Credential, w.cfg.Signer, w.cfg.Key = next.cred, next.signer, next.key
	w.self = next
	w.restart()
}

// The platform is renewed, and rekeyed, while gateways are away: each is understood under what it knows, gets to know the newest, and gets its
// orders under that alone, also those that an earlier key had signed.
func TestPlatformIsRenewed(t *testing.T) {
	for name, rekey := range map[string]bool{"same keys": false, "other keys": true} {
		t.Run(name, func(t *testing.T) {
			inWorldOf(t, ca.Config{Validity: 30 * day}, nil, func(t *testing.T, w *world) {
				dev, app := w.device("D-1"), w.app("A-WATER")
				dev.link.SetOffline(true)
				require.NoError(t, app.connect(dev).Err())
				app.link.SetOffline(true)
				r := dev.ask(control.Message{})
				require.Len(t, r.Orders, 1, "handed out under the old key, and not acknowledged")
				was := dev.peerCfg.Remote
				_, err := control.OpenOrder(r.Orders[0], was)
				require.NoError(t, err)

				time.Sleep(22 * day)
				w.become(w.successor(rekey))
				time.Sleep(22 * day)
				w.become(w.successor(rekey))

				r = dev.ask(control.Message{})
				require.NotNil(t, r)
				require.NotNil(t, r.Admission)
				require.Empty(t, r.Orders)
				again := dev.ask(control.Message{})
				require.Equal(t, r.Admission, again.Admission, "the answer was lost")
				now := dev.turned(dev.party, r.Admission)
				require.Equal(t, was.Generation()+2, now.peerCfg.Remote.Generation())
				require.Equal(t, dev.binding, now.binding)
				r = now.ask(control.Message{})
				require.Nil(t, r.Admission)
				require.Len(t, r.Orders, 1)
				o, err := control.OpenOrder(r.Orders[0], now.peerCfg.Remote)
				require.NoError(t, err)
				ack, err := control.AckOf(dev.id, o.Number, r.Orders[0], control.AckDone).Sign(dev.signer)
				require.NoError(t, err)
				require.Empty(t, now.ask(control.Message{Acks: [][]byte{ack}}).Orders)
				outdated, err := w.svc.Outdated(t.Context())
				require.NoError(t, err)
				require.Equal(t, []identity.ID{app.id}, outdated)

				// Who does not come before the earlier ones are dropped is heard no more.
				w.cfg.Previous = nil
				w.restart()
				require.NotNil(t, now.ask(control.Message{}))
				require.Nil(t, app.ask(control.Message{}))
			})
		})
	}
}

// A peer offers its own new credential to a platform of which it knows an earlier one: one admission tells of both.
func TestBothAreRenewedAtOnce(t *testing.T) {
	inWorldOf(t, ca.Config{Validity: 30 * day, DeviceValidity: 20 * day}, func(w *world) {
		w.cfg.Renewer = &renewer{a: w.authority}
	}, func(t *testing.T, w *world) {
		dev := w.device("D-1")
		dev.link.SetOffline(true)
		time.Sleep(25 * day)
		w.become(w.successor(true))
		next := dev.with(t, dev.obtain(), 1)
		r := dev.ask(control.Message{Credential: next.cred})
		require.NotNil(t, r.Admission)
		now := dev.turned(next, r.Admission)
		require.NotNil(t, now.ask(control.Message{}))
		require.Equal(t, w.self.cred, now.peerCfg.Remote.Credential())
		require.EqualValues(t, 1, w.record(now).Generation)
		require.Nil(t, dev.ask(control.Message{}))
	})
}

func TestPreviousIsChecked(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		first := w.self
		second := w.successor(true)
		other := w.party("P-2")
		open := func(change func(*platform.Config)) error {
			cfg := w.cfg
			cfg.Store = w.store
			cfg.Credential, cfg.Signer, cfg.Key = second.cred, second.signer, second.key
			change(&cfg)
			_, err := platform.Open(t.Context(), cfg)
			return err
		}
		require.ErrorIs(t, open(func(*platform.Config) {}), platform.ErrIdentity, "what it was before is forgotten at the change")
		mixed := first.holder()
		mixed.Key = second.key
		require.ErrorContains(t, open(func(c *platform.Config) { c.Previous = []identity.Holder{mixed} }), "Key is not the agreement key")
		mixed = first.holder()
		mixed.Signer = second.signer
		require.ErrorContains(t, open(func(c *platform.Config) { c.Previous = []identity.Holder{mixed} }), "Signer is not the key")
		require.ErrorContains(t, open(func(c *platform.Config) { c.Previous = []identity.Holder{other.holder()} }), "of P-2")
		require.ErrorContains(t, open(func(c *platform.Config) { c.Previous = []identity.Holder{second.holder()} }), "generation")
		require.ErrorContains(t, open(func(c *platform.Config) { c.Previous = []identity.Holder{{Credential: first.cred}} }), "lacks a Signer or Key")

		w.stop()
		require.NoError(t, open(func(c *platform.Config) { c.Previous = []identity.Holder{first.holder()} }))
		require.NoError(t, open(func(*platform.Config) {}), "dropped later")
		err := open(func(c *platform.Config) { c.Credential, c.Signer, c.Key = first.cred, first.signer, first.key })
		require.ErrorIs(t, err, platform.ErrIdentity, "gateways take no lower generation")
		require.ErrorIs(t, open(func(c *platform.Config) { c.Prefix = "elsewhere" }), platform.ErrIdentity)

		w.cfg.Credential, w.cfg.Signer, w.cfg.Key = second.cred, second.signer, second.key
		w.start()
	})
}

// Whoever has put back a store of before its renewal gets the admission of its present credential again, under the same binding, by being admitted once more.
func TestAdmittedAgainAfterRenewal(t *testing.T) {
	inWorldOf(t, ca.Config{Validity: 30 * day}, nil, func(t *testing.T, w *world) {
		app := w.app("A-WATER")
		app.link.SetOffline(true)
		time.Sleep(25 * day)
		chain, err := w.authority.Renew(app.csr(t))
		require.NoError(t, err)
		next := app.with(t, chain, 1)
		admission := app.ask(control.Message{Credential: next.cred}).Admission
		require.NotNil(t, app.turned(next, admission).ask(control.Message{}))
		require.Nil(t, app.ask(control.Message{}), "the store of before speaks to nobody")
		again, err := w.svc.Admit(t.Context(), next.cred)
		require.NoError(t, err)
		require.NotNil(t, app.turned(next, again).ask(control.Message{}))
		_, err = w.svc.Admit(t.Context(), app.cred)
		require.ErrorIs(t, err, platform.ErrConflict)
	})
}
