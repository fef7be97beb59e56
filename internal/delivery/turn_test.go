package delivery_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/delivery"
)

// peerOf is a peer with other keys over the same epochs, as after a renewal.
func (s *side) peerOf(generation byte) *e2e.Peer {
	p, err := parties()
	require.NoError(s.t, err)
	peer, err := e2e.NewPeer(e2e.Config{
		Self: p[s.index].verified, Key: p[s.index].key, Remote: p[1-s.index].verified,
		Binding: e2e.BindingID{7, generation}, Epochs: s.epochs,
	})
	require.NoError(s.t, err)
	return peer
}

// Two sides turn one after the other, again and again, while events and calls are under way both ways and the network has its faults:
// every event arrives once and in order, every call is answered.
func TestTurn(t *testing.T) {
	for _, first := range []int{0, 1} {
		t.Run(fmt.Sprint("first ", first), func(t *testing.T) {
			_, err := parties()
			require.NoError(t, err)
			synctest.Test(t, func(t *testing.T) {
				net := newNetwork(7)
				net.lose, net.twice, net.old, net.refuse = 50, 50, 50, 50
				dev, app := newPair(t, net, func(c *delivery.Config) { c.KeepSession = true })
				var got [2]recorder
				var mu sync.Mutex // guards runs
				runs := [2]map[string]int{{}, {}}
				for i, s := range []*side{dev, app} {
					s.events = got[i].handle
					s.calls = func(_ context.Context, c delivery.Call) (delivery.Reply, error) {
						mu.Lock()
						runs[i][string(c.Body)]++
						mu.Unlock()
						time.Sleep(time.Second)
						return delivery.Reply{Body: c.Body}, nil
					}
				}
				dev.start()
				app.start()
				defer dev.stop()
				defer app.stop()
				sides := []*side{dev, app}
				var want []string
				var asked int
				done := make(chan error, 64)
				for i := range 40 {
					body := fmt.Sprint(i)
					want = append(want, body)
					for _, s := range sides {
						send(t, s.channel(), body)
					}
					if i%5 == 0 {
						for _, s := range sides {
							asked++
							go func() {
								r, err := s.channel().Call(within(t, 10*time.Minute), "", []byte(body))
								if err == nil && string(r.Body) != body {
									err = fmt.Errorf("call %s: %s", body, r.Body)
								}
								done <- err
							}()
						}
						g := byte(i/5 + 1)
						time.Sleep(time.Duration(i) * 10 * time.Millisecond)
						sides[first].channel().Turn(sides[first].peerOf(g))
						time.Sleep(2 * time.Second)
						sides[1-first].channel().Turn(sides[1-first].peerOf(g))
					}
					time.Sleep(time.Second)
				}
				for _, s := range sides {
					flush(t, s.channel())
				}
				for range asked {
					require.NoError(t, <-done)
				}
				for i := range sides {
					require.Equal(t, want, got[i].bodies())
					for body, n := range runs[i] {
						require.Equal(t, 1, n, "call %s", body)
					}
				}
			})
		})
	}
}

// The session of a side that has turned alone is no use to the other: nothing comes through until that has turned too.
func TestTurnAlone(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, dev, app *side) {
		var got recorder
		app.events = got.handle
		send(t, dev.channel(), "before")
		flush(t, dev.channel())
		dev.channel().Turn(dev.peerOf(1))
		send(t, dev.channel(), "after")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"before"}, got.bodies())
		begin := time.Now()
		app.channel().Turn(app.peerOf(1))
		flush(t, dev.channel())
		require.Equal(t, []string{"before", "after"}, got.bodies())
		require.Less(t, time.Since(begin), 5*time.Minute)

		dev.stop()
		dev.channel().Wipe()
		p := dev.peerOf(2)
		dev.channel().Turn(p)
		_, err := p.Initiate(time.Now(), nil)
		require.ErrorIs(t, err, e2e.ErrWiped)
	})
}
