package publicbroker_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/systemtest"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/publicbroker"
)

// world is a system whose parties have no other way to each other than a public broker.
type world struct {
	*systemtest.System
	t      *testing.T
	broker string

	mu      sync.Mutex // guards dropped
	dropped int        // messages that the platform did not answer
}

func newWorld(t *testing.T, broker string) *world {
	w := &world{System: systemtest.New(t), t: t, broker: broker}
	w.StartPlatform(func(c *platform.Config) {
		c.Link, c.Prefix = w.link(), publicbroker.RandomPrefix()
		c.Observer.Dropped = func(identity.ID, string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.dropped++
		}
	})
	return w
}

func (w *world) refused() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

func (w *world) link() *publicbroker.Link {
	l, err := publicbroker.New(publicbroker.Config{Broker: w.broker})
	require.NoError(w.t, err)
	return l
}

// application is a provider's back-end.
type application struct {
	*appgw.Gateway
	mu  sync.Mutex // guards got
	got map[identity.DeviceID][]string
}

func (w *world) application(name string) *application {
	t := w.t
	p := w.Party(name)
	admission, err := w.Platform.Admit(t.Context(), p.Credential)
	require.NoError(t, err)
	key := make([]byte, appgw.LockerKeySize)
	rand.Read(key)
	w.AddSecret("store key of "+name, key)
	locker, err := appgw.NewLocker(key)
	require.NoError(t, err)
	a := &application{got: map[identity.DeviceID][]string{}}
	a.Gateway, err = appgw.Open(t.Context(), appgw.Config{
		Credential: p.Credential, Signer: p.Signer, Key: p.Key, Roots: w.Roots,
		Locker: locker, Store: appgw.NewMemStore(), Admission: admission, Link: w.link(),
		OnEvent: func(_ context.Context, d identity.DeviceID, e appgw.Event) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.got[d] = append(a.got[d], string(e.Body))
			return nil
		},
	})
	require.NoError(t, err)
	w.Live(a.Run)
	return a
}

func (a *application) events(d identity.DeviceID) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.got[d]...)
}

// device notes what reaches it.
type device struct {
	*systemtest.Device
	mu     sync.Mutex // guards what follows
	events []string
	calls  []string
}

func (w *world) device(name string) *device {
	d := &device{Device: w.NewDevice(name)}
	d.PowerUp(func(c *devicegw.Config) {
		c.Link = w.link()
		c.OnEvent = func(_ context.Context, e devicegw.Event) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.events = append(d.events, string(e.Body))
			return nil
		}
		c.OnCall = func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.calls = append(d.calls, string(c.Body))
			return devicegw.Reply{Body: fmt.Appendf(nil, "%s did %s", marker, c.Body)}, nil
		}
	})
	return d
}

func (d *device) seen() (events, calls []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.events...), append([]string(nil), d.calls...)
}

// marker is in everything that anybody says.
const marker = "TOP SECRET"
