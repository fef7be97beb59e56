package platform_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

func shard(id identity.ID) string { return control.Shard(id) }

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t)
	good := w.cfg
	good.Store = platform.NewMemStore()
	_, err := platform.Open(t.Context(), good)
	require.NoError(t, err)
	other := w.party("P-2")
	for name, change := range map[string]func(*platform.Config){
		"no credential":       func(c *platform.Config) { c.Credential = identity.Credential{} },
		"no signer":           func(c *platform.Config) { c.Signer = nil },
		"no key":              func(c *platform.Config) { c.Key = nil },
		"no roots":            func(c *platform.Config) { c.Roots = nil },
		"no store":            func(c *platform.Config) { c.Store = nil },
		"another's signer":    func(c *platform.Config) { c.Signer = other.signer },
		"another's agreement": func(c *platform.Config) { c.Key = other.key },
		"an application":      func(c *platform.Config) { a := w.party("A-1"); c.Credential, c.Signer, c.Key = a.cred, a.signer, a.key },
		"foreign root":        func(c *platform.Config) { c.Roots = newWorld(t).roots },
		"another prefix":      func(c *platform.Config) { c.Prefix = "semio/2" },
		"another platform":    func(c *platform.Config) { c.Credential, c.Signer, c.Key = other.cred, other.signer, other.key },
		"prefix":              func(c *platform.Config) { c.Prefix = "a/#" },
		"plain broker":        func(c *platform.Config) { c.Broker = "mqtt://localhost:1883" },
		"claim rule":          func(c *platform.Config) { c.Claim = 9 },
		"limits":              func(c *platform.Config) { c.Limits.Workers = -1 },
		"reply too small":     func(c *platform.Config) { c.Limits.MaxReply = 10 },
		"allowance":           func(c *platform.Config) { c.Limits.AppGuesses = platform.Allowance{Burst: 1} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			_, err := platform.Open(t.Context(), cfg)
			require.Error(t, err)
		})
	}
	svc, err := platform.Open(t.Context(), good)
	require.NoError(t, err)
	require.Error(t, svc.Run(t.Context()), "without a link")
}

func TestOpenRefusesDamagedRecords(t *testing.T) {
	for _, key := range []string{"d/D-1", "a/A-1", "c/0000000000000000", "lh"} {
		w := newWorld(t)
		cfg := w.cfg
		cfg.Store = platform.NewMemStore()
		require.NoError(t, cfg.Store.Update(t.Context(), func(tx platform.Tx) error { return tx.Put(key, []byte("damaged")) }))
		_, err := platform.Open(t.Context(), cfg)
		require.Error(t, err, key)
	}
}

// The whole life cycle with a store in a file, closed and opened in every state.
func TestDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		reopen := func() {
			if w.stop != nil {
				w.stop()
				require.NoError(t, w.store.Close())
			}
			var err error
			w.store, err = platform.OpenBoltStore(path)
			require.NoError(t, err)
			w.start()
		}
		reopen()
		dev, app := w.device("D-1"), w.app("A-WATER")
		reopen()
		synctest.Wait()
		require.NoError(t, app.connect(dev).Err())
		before := w.record(dev)
		grants := w.svc.Grants()
		reopen()
		require.Equal(t, before, w.record(dev))
		require.ElementsMatch(t, grants, w.svc.Grants())
		require.NoError(t, app.disconnect(dev).Err())
		reopen()
		require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
		synctest.Wait()
		reopen()
		require.True(t, w.record(dev).Listed)
		require.Equal(t, registry.Retired, w.record(dev).Status)
		require.NoError(t, w.svc.VerifyAudit(t.Context()))
		w.stop()
		require.NoError(t, w.store.Close())
		require.ErrorIs(t, w.svc.Retire(t.Context(), dev.dev()), platform.ErrStoreClosed)
	})
}

// The platform's private keys and the binding's keys are in neither its store nor its log; nor does a Service print them.
func TestNoSecretsKept(t *testing.T) {
	var logged bytes.Buffer
	inWorld(t, func(w *world) {
		w.cfg.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		require.NoError(t, app.connect(dev).Err())
		require.ErrorIs(t, app.do(control.Request{Op: control.OpConnect, Device: dev.dev()}, claimKey(t)).Err(), control.ErrClaimRefused)
		require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
		synctest.Wait()
		w.stop()

		signing, err := w.self.signer.Bytes()
		require.NoError(t, err)
		shared, err := w.self.key.ECDH(dev.key.PublicKey())
		require.NoError(t, err)
		var kept bytes.Buffer
		require.NoError(t, w.store.View(t.Context(), func(tx platform.Tx) error {
			for k, v := range tx.List("") {
				kept.WriteString(k)
				kept.Write(v)
			}
			return nil
		}))
		has := func(text, part string) bool { return strings.Contains(text, part) }
		require.True(t, has(kept.String(), string(dev.cred.Chain[0])), "the search works")
		require.True(t, has(logged.String(), "request decided"))
		printed := fmt.Sprintf("%v %+v", w.svc, w.svc)
		for name, secret := range map[string][]byte{"signing key": signing, "agreement key": w.self.key.Bytes(), "shared secret": shared} {
			for _, form := range []string{string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), fmt.Sprint(secret)} {
				require.False(t, has(kept.String(), form) || has(logged.String(), form) || has(printed, form), name)
			}
		}
	})
}

func TestObserver(t *testing.T) {
	type seen struct{ answered, repeated, decided, acked, enforced, revoked int }
	var n seen
	var w0 *world
	lock := func(f func()) {
		w0.mu.Lock()
		defer w0.mu.Unlock()
		f()
	}
	inWorld(t, func(w *world) {
		w0 = w
		w.cfg.Observer = platform.Observer{
			Answered: func(_ identity.ID, repeated bool) {
				lock(func() {
					n.answered++
					if repeated {
						n.repeated++
					}
				})
			},
			Decided:  func(registry.Kind, identity.ID, uint8) { lock(func() { n.decided++ }) },
			Acked:    func(identity.ID, registry.Kind, int) { lock(func() { n.acked++ }) },
			Enforced: func(identity.ID, error) { lock(func() { n.enforced++ }) },
			Revoked:  func(identity.ID, time.Duration) { lock(func() { n.revoked++ }) },
		}
	}, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		require.NoError(t, app.connect(dev).Err())
		_, init := app.init(poll)
		app.send(init)
		app.send(init)
		require.NoError(t, w.svc.Retire(t.Context(), dev.dev()))
		time.Sleep(3 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Equal(t, 1, n.repeated)
		require.Greater(t, n.answered, 5)
		require.Equal(t, seen{n.answered, 1, 1, 4, 1, 1}, n)
	})
}

// The list outgrows a reply: orders still go out, the platform says so in its log.
func TestListTooLongForAReply(t *testing.T) {
	var logged bytes.Buffer
	inWorld(t, func(w *world) {
		w.cfg.Limits.MaxReply = 4 << 10
		w.cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	}, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		var crl []byte
		for i := range 120 {
			p := w.party(fmt.Sprintf("R-%d", i))
			var err error
			crl, err = w.authority.Revoke(p.id)
			require.NoError(t, err)
		}
		require.Greater(t, len(crl), 4<<10)
		require.NoError(t, w.svc.AddCRL(t.Context(), crl))
		require.NoError(t, app.connect(dev).Err())
		time.Sleep(time.Minute)
		require.Len(t, dev.taken(), 1)
		require.Len(t, app.taken(), 1)
		require.Empty(t, dev.verifier.CRLs())
		w.stop()
		require.Contains(t, logged.String(), "does not fit into a reply")
	})
}

var _ platform.Enforcer = platform.EvictFunc(nil)

func TestEvictFunc(t *testing.T) {
	called := 0
	f := platform.EvictFunc(func(context.Context, identity.ID) error { called++; return nil })
	require.NoError(t, f.Evict(t.Context(), identity.ID{}))
	require.NoError(t, f.Apply(t.Context(), 1, nil, nil))
	require.NoError(t, f.Reconcile(t.Context(), nil))
	require.Equal(t, 1, called)
	require.Equal(t, platform.Caps{Evict: true}, f.Caps())
}
