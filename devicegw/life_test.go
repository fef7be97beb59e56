package devicegw_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
	"github.com/semio-iot/semio/internal/control"
)

// From the factory to the end of life, over one broker.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.serve()()
		first, second := w.app("A-FIRST"), w.app("A-SECOND")
		defer first.serve(w.sticker)()
		defer second.serve(w.sticker)()

		var told []string
		var events []string
		gw := w.start(func(c *devicegw.Config) {
			c.OnConnected = func(a identity.AppID) { told = append(told, "connected "+a.String()) }
			c.OnDisconnected = func(a identity.AppID) { told = append(told, "disconnected "+a.String()) }
			c.OnRetired = func() { told = append(told, "retired") }
			c.OnEvent = func(_ context.Context, e devicegw.Event) error {
				events = append(events, string(e.Body))
				return nil
			}
			c.OnCall = func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
				return devicegw.Reply{Type: "text/plain", Body: append([]byte("device did "), c.Body...)}, nil
			}
		})
		w.settle()
		require.True(t, gw.Status().Online)
		_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("to nobody")})
		require.ErrorIs(t, err, devicegw.ErrNotConnected)
		_, err = gw.Call(t.Context(), "", nil)
		require.ErrorIs(t, err, devicegw.ErrNotConnected)
		require.ErrorIs(t, gw.Flush(t.Context()), devicegw.ErrNotConnected)

		waited := make(chan error, 1)
		go func() { waited <- gw.WaitConnected(t.Context()) }()
		w.give(w.install(first))
		require.NoError(t, <-waited)
		require.Equal(t, control.AckDone, w.ack(1))
		st := gw.Status()
		require.Equal(t, first.id, st.Application)
		require.Equal(t, first.binding, st.Binding)
		require.True(t, st.Session)

		for i := range 5 {
			_, err := gw.Send(t.Context(), devicegw.Event{Type: "text/plain", Body: fmt.Appendf(nil, "21.%d", i)})
			require.NoError(t, err)
		}
		require.NoError(t, gw.Flush(t.Context()))
		require.Equal(t, []string{"21.0", "21.1", "21.2", "21.3", "21.4"}, first.received())
		require.Zero(t, gw.Status().Queued)
		r, err := first.channel.Call(t.Context(), "text/plain", []byte("blink"))
		require.NoError(t, err)
		require.Equal(t, "device did blink", string(r.Body))
		r, err = gw.Call(t.Context(), "text/plain", []byte("hello"))
		require.NoError(t, err)
		require.Equal(t, "app says hello", string(r.Body))
		_, err = first.channel.Send(t.Context(), devicegw.Event{Body: []byte("set point 20")})
		require.NoError(t, err)
		require.NoError(t, first.channel.Flush(t.Context()))
		require.Equal(t, []string{"set point 20"}, events)

		w.give(w.remove(first, first.disconnect()))
		require.Equal(t, control.AckDone, w.ack(2))
		require.NoError(t, gw.WaitDisconnected(t.Context()))
		_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("after the end")})
		require.ErrorIs(t, err, devicegw.ErrNotConnected)
		names, err := w.fs.ReadDir("/nvm")
		require.NoError(t, err)
		require.Equal(t, []string{"credential.a", "credential.b", "epoch-platform.v", "identity.a", "identity.b", "state.v"}, names, "something of the connection is left")

		w.give(w.install(second))
		_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("to the second")})
		require.NoError(t, err)
		require.NoError(t, gw.Flush(t.Context()))
		require.Equal(t, []string{"to the second"}, second.received())
		require.Len(t, first.received(), 5)

		crl := w.revoke(w.id.ID)
		w.give(w.order(control.OrderWipe, func(o *control.Order) { o.Evidence = crlEvidence(t, crl) }))
		require.ErrorIs(t, <-gw.ended, devicegw.ErrRetired)
		require.Equal(t, control.AckDone, w.ack(4), "the platform was not told")
		names, err = w.fs.ReadDir("/nvm")
		require.NoError(t, err)
		require.Empty(t, names)
		_, err = w.root.Lock("", nil)
		require.Error(t, err, "the root lives on")
		_, err = gw.Send(t.Context(), devicegw.Event{})
		require.ErrorIs(t, err, devicegw.ErrRetired)
		require.ErrorIs(t, gw.WaitConnected(t.Context()), devicegw.ErrRetired)
		require.Equal(t, []string{
			"connected A-FIRST", "disconnected A-FIRST", "connected A-SECOND", "retired",
		}, told)

		for _, p := range w.wire {
			require.NotContains(t, string(p), "21.0")
			require.NotContains(t, string(p), "hello")
		}
	})
}

// A wipe does not wait for a platform that does not answer, and not for power: it goes on at the next start.
func TestWipeGoesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.serve()
		crl := w.revoke(w.id.ID)
		wipe := w.order(control.OrderWipe, func(o *control.Order) { o.Evidence = crlEvidence(t, crl) })

		// The power goes after the order was written, before anything was erased.
		gw, err := devicegw.Open(t.Context(), w.config())
		require.NoError(t, err)
		require.NoError(t, devicegw.Apply(gw, wipe))
		_, err = devicegw.Open(t.Context(), w.config())
		require.ErrorIs(t, err, devicegw.ErrRetired)
		names, err := w.fs.ReadDir("/nvm")
		require.NoError(t, err)
		require.Empty(t, names)
		stop()

		w = newWorld(t)
		stop = w.serve()
		g := w.start()
		w.settle()
		stop() // the acknowledgement will find nobody
		crl = w.revoke(w.id.ID)
		before := time.Now()
		require.NoError(t, devicegw.Apply(g.Gateway, w.order(control.OrderWipe, func(o *control.Order) { o.Evidence = crlEvidence(t, crl) })))
		require.ErrorIs(t, <-g.ended, devicegw.ErrRetired)
		require.Less(t, time.Since(before), 10*time.Second)
		names, err = w.fs.ReadDir("/nvm")
		require.NoError(t, err)
		require.Empty(t, names)
	})
}

// otherHelper is the same chip with other helper data, otherSigner one with another signing key.
type otherHelper struct{ devicegw.Root }

func (otherHelper) HelperHash() [32]byte { return [32]byte{1} }

type otherSigner struct{ devicegw.Root }

func (otherSigner) Signer() crypto.Signer { return keyRoot("another chip").Signer() }

var issueOptions ca.IssueOptions

func keyRoot(seed string) *roottest.KeyRoot { return roottest.NewKeyRoot(seed) }
func newFS() *crashfs.FS                    { return crashfs.New("/nvm") }

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	open := func(edit func(*devicegw.Config)) error {
		cfg := w.config()
		edit(&cfg)
		_, err := devicegw.Open(ctx, cfg)
		return err
	}
	require.NoError(t, open(func(*devicegw.Config) {}))
	for name, c := range map[string]struct {
		edit func(*devicegw.Config)
		want error
	}{
		"no root":           {func(c *devicegw.Config) { c.Root = nil }, nil},
		"no memory":         {func(c *devicegw.Config) { c.NVM = nil }, nil},
		"no link":           {func(c *devicegw.Config) { c.Link = nil }, nil},
		"link and broker":   {func(c *devicegw.Config) { c.Broker = "mqtts://localhost" }, nil},
		"no certificate":    {func(c *devicegw.Config) { c.Link, c.Broker = nil, "mqtt://localhost" }, nil},
		"not a URL":         {func(c *devicegw.Config) { c.Link, c.Broker = nil, "mqtts://%zz" }, nil},
		"queue too long":    {func(c *devicegw.Config) { c.MaxQueue = 1001 }, nil},
		"queue negative":    {func(c *devicegw.Config) { c.MaxQueue = -1 }, nil},
		"another chip":      {func(c *devicegw.Config) { c.Root = keyRoot("another chip") }, devicegw.ErrWrongRoot},
		"not produced":      {func(c *devicegw.Config) { c.NVM = openCrash(t, newFS()) }, devicegw.ErrNotProduced},
		"other helper data": {func(c *devicegw.Config) { c.Root = otherHelper{w.root} }, devicegw.ErrNotOurs},
		"other signing key": {func(c *devicegw.Config) { c.Root = otherSigner{w.root} }, devicegw.ErrNotOurs},
		"clock of long ago": {func(c *devicegw.Config) { c.Now = func() time.Time { return time.Unix(0, 0) } }, identity.ErrNotYetValid},
	} {
		t.Run(name, func(t *testing.T) {
			err := open(c.edit)
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
	t.Run("ended context", func(t *testing.T) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := devicegw.Open(ended, w.config())
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("one copy of the identity is enough", func(t *testing.T) {
		require.NoError(t, w.fs.Remove("/nvm/identity.a"))
		require.NoError(t, open(func(*devicegw.Config) {}))
		require.NoError(t, w.fs.Remove("/nvm/identity.b"), "the copies were not restored")
		require.NoError(t, open(func(*devicegw.Config) {}))
	})
	t.Run("a copy of the memory in another chip shows the certificate alone", func(t *testing.T) {
		nvm := w.nvm()
		for _, name := range devicegw.AllNames() {
			blob, err := nvm.Get(ctx, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			require.NoError(t, err)
			_, err = keyRoot("another chip").Unlock("semio-devicegw/1 "+name, blob)
			require.Error(t, err)
			if name == "credential" {
				continue // public, and read before there is a root
			}
			require.NotContains(t, string(blob), w.id.String(), "%s lies in the clear", name)
		}
	})
	t.Run("both copies damaged", func(t *testing.T) {
		for _, c := range []string{"a", "b"} {
			f, err := w.fs.Create("/nvm/x"+c, 0o600)
			require.NoError(t, err)
			_, err = f.Write([]byte("rubbish"))
			require.NoError(t, err)
			require.NoError(t, f.Close())
			require.NoError(t, w.fs.Rename("/nvm/x"+c, "/nvm/identity."+c))
		}
		require.ErrorIs(t, open(func(*devicegw.Config) {}), devicegw.ErrDamaged)
	})
}

// A main that calls Run in a loop is told, and does not crash.
func TestRunIsCalledOnce(t *testing.T) {
	w := newWorld(t)
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, gw.Run(ctx))
	require.ErrorContains(t, gw.Run(ctx), "open the gateway again")
}
