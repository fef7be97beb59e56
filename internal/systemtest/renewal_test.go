package systemtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/link/linkmem"
	"github.com/semio-iot/semio/internal/systemtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

const day = 24 * time.Hour

var errPower = errors.New("the power is gone")

// fault ends its victim at the nth thing that it does, before that is done or after.
type fault struct {
	n     int
	after bool

	mu   sync.Mutex // guards what follows
	done int
	dead bool
	hit  chan struct{} // closed at the moment
}

// step says whether a thing that the victim does happens, and whether it is the last.
func (f *fault) step() (happens, last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return false, false
	}
	if f.done++; f.done != f.n {
		return true, false
	}
	f.dead = true
	close(f.hit)
	return f.after, true
}

// revive lets the victim do things again.
func (f *fault) revive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = false
}

// disarm returns how many things the victim did, and strikes no more.
func (f *fault) disarm() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n = 0
	return f.done
}

// store is the platform's, whose process ends at a commit.
type store struct {
	platform.Store
	f *fault
}

func (s store) Update(ctx context.Context, f func(platform.Tx) error) error {
	happens, last := s.f.step()
	if !happens {
		return errPower
	}
	err := s.Store.Update(ctx, f)
	if last {
		return errors.Join(err, errPower)
	}
	return err
}

// memory is the device's, whose power ends at a write.
type memory struct {
	devicegw.NVM
	f *fault
}

func (m memory) Put(ctx context.Context, name string, value []byte) error {
	happens, last := m.f.step()
	if !happens {
		return errPower
	}
	err := m.NVM.Put(ctx, name, value)
	if last {
		return errors.Join(err, errPower)
	}
	return err
}

// victims are where a fault strikes.
var victims = []string{"device publishes", "device writes", "platform publishes", "platform commits"}

// A renewal is cut at everything that the device and the platform do, before it is done and after it: it is finished all the same, once.
func TestRenewalCutAnywhere(t *testing.T) {
	for _, victim := range victims {
		t.Run(victim, func(t *testing.T) {
			for n := 1; ; n++ {
				var did int
				for _, after := range []bool{false, true} {
					f := &fault{n: n, after: after}
					synctest.Test(t, func(t *testing.T) { did = max(did, cutRenewal(t, victim, f)) })
					require.False(t, t.Failed(), "%s %d, after %v", victim, n, after)
				}
				if did < n {
					require.Greater(t, n, 4, "too little was done to be cut")
					return
				}
			}
		})
	}
}

// cutRenewal returns how many things the victim did until the end of the renewal.
func cutRenewal(t *testing.T, victim string, f *fault) (did int) {
	f.hit = make(chan struct{})
	w := systemtest.NewWith(t, ca.Config{Validity: 20 * 365 * day, DeviceValidity: 365 * day})
	idle := &fault{hit: make(chan struct{})} // strikes never
	faultOf := map[string]*fault{}
	for _, v := range victims {
		faultOf[v] = idle
	}
	broker := linkmem.New(linkmem.Options{Fate: func(p linkmem.Publication) linkmem.Fate {
		who := "device publishes"
		if p.From == systemtest.PlatformName {
			who = "platform publishes"
		}
		if happens, _ := faultOf[who].step(); !happens {
			return linkmem.Drop
		}
		return linkmem.Deliver
	}})
	kept := platform.NewMemStore()
	configure := func(c *platform.Config) {
		c.Store, c.Link = store{kept, faultOf["platform commits"]}, broker.Client(systemtest.PlatformName)
	}
	w.StartPlatform(configure)
	d := w.NewDevice("D-1")
	power := func(c *devicegw.Config) {
		c.NVM, c.Link, c.Now = memory{c.NVM, faultOf["device writes"]}, broker.Client("D-1"), time.Now
	}
	time.Sleep(250 * day)

	faultOf[victim] = f
	w.RestartPlatform(configure)
	d.PowerUp(power)
	renewed := func() bool {
		rec, err := w.Platform.Device(t.Context(), d.ID)
		require.NoError(t, err)
		return rec.Generation == 2 && d.Gateway.Status().Generation == 2
	}
	for range 100 {
		select {
		case <-f.hit:
			if victim[0] == 'd' {
				d.PowerCut()
				f.revive()
				d.PowerUp(power)
			} else {
				f.revive()
				w.RestartPlatform(configure)
			}
			f.hit = nil
		default:
		}
		if renewed() {
			break
		}
		time.Sleep(time.Minute)
	}
	require.True(t, renewed(), fmt.Sprint(d.Gateway.Status()))
	did = f.disarm()
	require.NoError(t, d.Gateway.Sync(t.Context()))
	require.NoError(t, w.Platform.VerifyAudit(t.Context()))
	n := 0
	for e, err := range w.Platform.Audit(t.Context()) {
		require.NoError(t, err)
		if e.Kind == registry.KindRenewed {
			n++
		}
	}
	require.Equal(t, 1, n)
	d.PowerCut()
	d.PowerUp(power)
	require.NoError(t, d.Gateway.Sync(t.Context()))
	return did
}
