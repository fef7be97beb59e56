package platform_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform"
)

// listBroker keeps a list of permissions, and fails now and then.
type listBroker struct {
	r    *rand.Rand
	slow time.Duration

	mu      sync.Mutex // guards what follows
	have    map[platform.Grant]bool
	rev     uint64
	failing bool
	calls   []string
}

var errBusy = errors.New("broker is busy")

func (b *listBroker) call(name string) error {
	b.calls = append(b.calls, name)
	if b.failing && b.r.IntN(3) == 0 {
		// What a broker did before it failed is not known.
		for g := range b.have {
			delete(b.have, g)
			break
		}
		return errBusy
	}
	return nil
}

func (b *listBroker) Apply(_ context.Context, rev uint64, add, del []platform.Grant) error {
	time.Sleep(b.slow)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("apply"); err != nil {
		return err
	}
	if rev < b.rev {
		return errors.New("revision goes back")
	}
	b.rev = rev
	for _, g := range del {
		delete(b.have, g)
	}
	for _, g := range add {
		b.have[g] = true
	}
	return nil
}

func (b *listBroker) Evict(context.Context, identity.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.call("evict")
}

func (b *listBroker) Reconcile(_ context.Context, all []platform.Grant) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("reconcile"); err != nil {
		return err
	}
	b.have = map[platform.Grant]bool{}
	for _, g := range all {
		b.have[g] = true
	}
	return nil
}

func (b *listBroker) Caps() platform.Caps { return platform.Caps{Grants: true, Evict: true} }

func (b *listBroker) fail(f bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failing = f
}

// A broker that keeps a list ends with exactly what Allow allows, whatever fails on the way.
func TestBrokerWithAList(t *testing.T) {
	for _, failing := range []bool{false, true} {
		b := &listBroker{r: rand.New(rand.NewPCG(7, 7)), have: map[platform.Grant]bool{}}
		inWorld(t, func(w *world) { w.cfg.Enforcer = b }, func(t *testing.T, w *world) {
			b.fail(failing)
			devs := []*gateway{w.device("D-1"), w.device("D-2"), w.device("D-3")}
			apps := []*gateway{w.app("A-1"), w.app("A-2")}
			check := func() {
				t.Helper()
				b.fail(false)
				time.Sleep(time.Minute)
				b.mu.Lock()
				defer b.mu.Unlock()
				want := map[platform.Grant]bool{}
				for _, g := range w.svc.Grants() {
					want[g] = true
				}
				require.Equal(t, want, b.have)
			}
			r := rand.New(rand.NewPCG(1, 1))
			for range 20 {
				d, a := devs[r.IntN(3)], apps[r.IntN(2)]
				_ = a.connect(d)
				if r.IntN(2) == 0 {
					_ = a.disconnect(d)
				}
			}
			check()
			b.fail(failing)
			require.NoError(t, w.svc.Retire(t.Context(), devs[0].dev()))
			synctest.Wait()
			crl, err := w.authority.Revoke(apps[0].id)
			require.NoError(t, err)
			require.NoError(t, w.svc.AddCRL(t.Context(), crl))
			check()
			require.Contains(t, b.calls, "evict")
			if !failing {
				require.Equal(t, 1, count(b.calls, "reconcile"), "at the start")
			}
			before := maps.Clone(b.have)
			w.restart()
			time.Sleep(time.Second)
			require.Equal(t, before, b.have)
		})
	}
}

// The order at a revocation is: permission first, then the connection.
func TestPermissionGoesBeforeConnection(t *testing.T) {
	b := &listBroker{have: map[platform.Grant]bool{}, slow: 100 * time.Millisecond}
	inWorld(t, func(w *world) { w.cfg.Enforcer = b }, func(t *testing.T, w *world) {
		a := w.app("A-1")
		time.Sleep(time.Second)
		b.mu.Lock()
		b.calls = nil
		b.mu.Unlock()
		crl, err := w.authority.Revoke(a.id)
		require.NoError(t, err)
		require.NoError(t, w.svc.AddCRL(t.Context(), crl))
		time.Sleep(time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Equal(t, 0, slices.Index(b.calls, "apply"))
		require.Contains(t, b.calls, "evict")
	})
}

// stuckStore hangs in Update until it is let go.
type stuckStore struct {
	platform.Store
	stuck chan struct{} // closed: go on
}

func (s *stuckStore) Update(ctx context.Context, f func(platform.Tx) error) error {
	select {
	case <-s.stuck:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.Store.Update(ctx, f)
}

// What the broker asks at each packet never waits for the store.
func TestAllowDoesNotBlock(t *testing.T) {
	var disk *stuckStore
	inWorld(t, func(w *world) {
		open := make(chan struct{})
		close(open)
		disk = &stuckStore{w.store, open}
		w.store = disk
	}, func(t *testing.T, w *world) {
		dev := w.device("D-1")
		disk.stuck = make(chan struct{})
		go w.svc.Retire(t.Context(), dev.dev())
		synctest.Wait()
		require.NoError(t, w.svc.Authenticate(dev.id, "D-1"))
		require.True(t, w.svc.Allow(dev.id, "D-1", platform.ActionPublish, "semio/1/ctl/platform/"+shard(dev.id)+"/D-1"))
		close(disk.stuck)
		synctest.Wait()
		require.Error(t, w.svc.Authenticate(dev.id, "D-1"))
	})
}
