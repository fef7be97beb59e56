package devicegw_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
	"github.com/semio-iot/semio/internal/link/linkmem"
)

type (
	linkPublication = linkmem.Publication
	linkFate        = linkmem.Fate
)

// A device loses its power again and again, the broker its messages: the application gets every event that Send took, once
// and in order, and the device every event of the application at least once, in order.
func TestNothingLostOverPowerCuts(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 7))
				w := newWorld(t)
				defer w.serve()()
				a := w.app("A-FIRST")
				defer a.serve(w.sticker)()
				var got []string
				start := func() *gateway {
					return w.start(func(c *devicegw.Config) {
						c.OnEvent = func(_ context.Context, e devicegw.Event) error {
							got = append(got, string(e.Body))
							return nil
						}
					})
				}
				gw := start()
				w.settle()
				w.give(w.install(a))
				w.mu.Lock()
				fates := rand.New(rand.NewPCG(seed, 8))
				w.options.Fate = func(linkPublication) linkFate {
					w.mu.Lock()
					defer w.mu.Unlock()
					switch fates.IntN(10) {
					case 0:
						return linkmem.Drop
					case 1:
						return linkmem.Duplicate
					case 2:
						return linkmem.Unacked
					}
					return linkmem.Deliver
				}
				w.mu.Unlock()

				var sent, told []string
				for life := range 8 {
					for i := range 1 + rng.IntN(6) {
						body := fmt.Sprintf("event %d of life %d", i, life)
						_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte(body)})
						require.NoError(t, err)
						sent = append(sent, body)
						order := fmt.Sprintf("order %d in life %d", i, life)
						_, err = a.channel.Send(t.Context(), devicegw.Event{Body: []byte(order)})
						require.NoError(t, err)
						told = append(told, order)
						time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
					}
					if rng.IntN(2) == 0 {
						gw.link.Cut()
					}
					// The process dies; then the power goes: what was not synced is lost, torn, or there.
					gw.halt(t)
					ops := w.fs.Ops()
					var states []*crashfs.FS
					for c := range w.fs.Crashes() {
						if c.After == ops {
							states = append(states, c.FS)
						}
					}
					w.fs = states[rng.IntN(len(states))]
					gw = start()
					require.Equal(t, a.id, gw.Status().Application)
				}
				w.mu.Lock()
				w.options.Fate = nil
				w.mu.Unlock()
				require.NoError(t, gw.Flush(t.Context()))
				require.NoError(t, a.channel.Flush(t.Context()))
				require.Equal(t, sent, a.received())
				// At least once, in order: without repetitions it is what was told.
				var once []string
				for _, g := range got {
					if len(once) == 0 || once[len(once)-1] != g {
						once = append(once, g)
					}
				}
				require.Equal(t, told, once)
				require.Zero(t, gw.Status().Damaged)
				gw.halt(t)
			})
		})
	}
}

// The broker refuses the topic for a while, the network comes and goes: the device gets through in the end.
func TestSubscriptionComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.serve()()
		a := w.app("A-FIRST")
		defer a.serve(w.sticker)()
		gw := w.start()
		w.settle()
		refused := 0
		w.mu.Lock()
		w.options.Allow = func(client string, act linkmem.Action, topic string) bool {
			if client == w.id.String() && act == linkmem.Subscribe && strings.HasSuffix(topic, "/down") && refused < 3 {
				refused++
				return false
			}
			return true
		}
		w.mu.Unlock()
		w.give(w.install(a))
		require.Equal(t, 3, refused)
		_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("through")})
		require.NoError(t, err)
		require.NoError(t, gw.Flush(t.Context()))

		gw.link.SetOffline(true)
		w.settle()
		require.False(t, gw.Status().Online)
		_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("while away")})
		require.NoError(t, err, "a device without network still takes messages")
		require.Equal(t, 1, gw.Status().Queued)
		gw.link.SetOffline(false)
		require.NoError(t, gw.Flush(t.Context()))
		require.Equal(t, []string{"through", "while away"}, a.received())
		require.NoError(t, gw.Sync(t.Context()))
		gw.halt(t)
	})
}

// A device that was disconnected while it was offline is refused its old topic, hears so from the platform, and is free.
func TestRemovedWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.serve()()
		a, b := w.app("A-FIRST"), w.app("A-SECOND")
		defer b.serve(w.sticker)()
		gw := w.start()
		w.settle()
		w.give(w.install(a))
		gw.link.SetOffline(true)
		_, err := gw.Send(t.Context(), devicegw.Event{Body: []byte("for the first only")})
		require.NoError(t, err)
		w.mu.Lock()
		w.options.Allow = func(client string, _ linkmem.Action, topic string) bool {
			return client != w.id.String() || !strings.Contains(topic, "/A-FIRST/")
		}
		w.mu.Unlock()
		w.give(w.remove(a, a.disconnect()), w.install(b))
		gw.link.SetOffline(false)
		w.settle()
		require.Equal(t, b.id, gw.Status().Application)
		require.Zero(t, gw.Status().Queued)
		_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("for the second")})
		require.NoError(t, err)
		require.NoError(t, gw.Flush(t.Context()))
		require.Equal(t, []string{"for the second"}, b.received())
		gw.halt(t)
	})
}

// An application that does not know the claim code gets nothing, although the authority has certified it and the platform
// has connected it.
func TestWrongClaimCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.serve()()
		a := w.app("A-FALSE")
		code, err := identity.NewClaimCode([]byte("a guessed code!"))
		require.NoError(t, err)
		defer a.serve(identity.Sticker{Device: w.id, Claim: code})()
		gw := w.start()
		w.settle()
		w.give(w.install(a))
		_, err = gw.Send(t.Context(), devicegw.Event{Body: []byte("secret")})
		require.NoError(t, err)
		_, err = a.channel.Send(t.Context(), devicegw.Event{Body: []byte("obey")})
		require.NoError(t, err)
		w.settle()
		require.Empty(t, a.received())
		require.Equal(t, 1, gw.Status().Queued)
		require.False(t, gw.Status().Session)
		require.Positive(t, gw.Status().Records.BadMAC)
		gw.halt(t)
	})
}

// The broker is dialled with the device's certificate over TLS 1.3, and must be a platform's under the pinned roots.
func TestBrokerTLS(t *testing.T) {
	w := newWorld(t)
	listen := func(a *authority, hosts ...string) (url string, peer chan string) {
		key := newSigner(t)
		id, err := identity.ParseID("P-TEST")
		require.NoError(t, err)
		chain, err := a.IssueServer(key.Public(), id, hosts)
		require.NoError(t, err)
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert, VerifyConnection: w.ca.verifier.VerifyTLS,
			Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}},
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		peer = make(chan string, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			c := conn.(*tls.Conn)
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			// In TLS 1.3 the client's refusal of our certificate shows in the first read.
			_, err = c.Read(make([]byte, 1))
			if err != nil {
				peer <- "error: " + err.Error()
				return
			}
			peer <- c.ConnectionState().PeerCertificates[0].Subject.CommonName
		}()
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		return "mqtts://127.0.0.1:" + port, peer
	}
	dial := func(t *testing.T, url string, peer chan string) string {
		cfg := w.config()
		cfg.Link, cfg.Broker = nil, url
		gw, err := devicegw.Open(t.Context(), cfg)
		require.NoError(t, err)
		g := w.run(gw, nil)
		got := <-peer
		g.halt(t)
		return got
	}
	t.Run("right", func(t *testing.T) {
		url, peer := listen(w.ca, "127.0.0.1")
		require.Equal(t, w.id.String(), dial(t, url, peer))
	})
	t.Run("another authority", func(t *testing.T) {
		url, peer := listen(newAuthority(t, "Another CA"), "127.0.0.1")
		require.Contains(t, dial(t, url, peer), "error: ")
	})
	t.Run("another host", func(t *testing.T) {
		url, peer := listen(w.ca, "broker.example")
		require.Contains(t, dial(t, url, peer), "error: ")
	})
}

// The embed of the package documentation.
func Example() {
	run := func(ctx context.Context, root devicegw.Root, nvm devicegw.NVM) error {
		gw, err := devicegw.Open(ctx, devicegw.Config{
			Root: root, NVM: nvm, Broker: "mqtts://broker.example",
			OnCall: func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
				return devicegw.Reply{Type: "text/plain", Body: []byte("done")}, nil
			},
		})
		if err != nil {
			return err
		}
		go func() { _ = gw.Run(ctx) }()
		if err := gw.WaitConnected(ctx); err != nil {
			return err
		}
		_, err = gw.Send(ctx, devicegw.Event{Type: "text/plain", Body: []byte("21.5")})
		return err
	}
	fmt.Println(run(context.Background(), keyRoot("a chip"), openExampleNVM()))
	// Output: open device gateway: devicegw: device is not produced yet
}

func openExampleNVM() devicegw.NVM {
	nvm, err := devicegw.OpenFileNVMOn(crashfs.New("/nvm"), "/nvm")
	if err != nil {
		panic(err)
	}
	return nvm
}
