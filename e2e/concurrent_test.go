package e2e_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

// Both sides seal, receive, renew and ask, all at once; what arrives is what was sent, once.
func TestConcurrentUse(t *testing.T) {
	x := newPair(t).establish(t)
	const each = 200
	toApp, toDev := make(chan []byte, 4*each), make(chan []byte, 4*each)
	var mu sync.Mutex
	got := map[string]int{}

	sent := make(chan struct{})
	next := func(in chan []byte) ([]byte, bool) {
		select {
		case rec := <-in:
			return rec, true
		case <-sent:
		}
		select { // nothing comes any more; empty the queue
		case rec := <-in:
			return rec, true
		default:
			return nil, false
		}
	}
	receive := func(p *e2e.Peer, in, out chan []byte) {
		for {
			rec, ok := next(in)
			if !ok {
				return
			}
			ev, err := p.Receive(start, rec)
			if err != nil {
				continue // overtaken by a later counter, or a crossing
			}
			if ev.Reply != nil {
				select {
				case out <- ev.Reply:
				default:
				}
			}
			if ev.Kind == e2e.KindData {
				mu.Lock()
				got[string(ev.Payload)]++
				mu.Unlock()
			}
		}
	}
	send := func(p *e2e.Peer, name byte, out chan []byte) {
		for i := range each {
			rec, err := p.Seal(start, nil, []byte{name, byte(i)})
			if err != nil {
				t.Error(err)
				return
			}
			out <- rec
			if i%50 == 25 {
				init, err := p.Initiate(start, nil)
				if err != nil {
					t.Error(err)
					return
				}
				out <- init
			}
			p.Ready()
			p.Pending()
			p.Stats()
			p.RemoteCapabilities()
			p.EarlyDataReady(start)
			if id, ok := p.Session(); ok {
				if _, err := p.Export(id, "label", 32); err != nil && !errors.Is(err, e2e.ErrNoSession) {
					t.Error(err)
				}
			}
			p.RenewDue(start.Add(time.Duration(i) * time.Minute))
		}
	}
	var senders, receivers sync.WaitGroup
	for i := range byte(2) {
		senders.Go(func() { send(x.dev, 'd'+i*2, toApp) })
		senders.Go(func() { send(x.app, 'e'+i*2, toDev) })
		receivers.Go(func() { receive(x.app, toApp, toDev) })
		receivers.Go(func() { receive(x.dev, toDev, toApp) })
	}
	senders.Wait()
	close(sent)
	receivers.Wait()
	require.NotEmpty(t, got)
	for msg, n := range got {
		require.Equal(t, 1, n, "message %q", msg)
	}
}
