package mqttlink_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
	"github.com/semio-iot/semio/internal/secret"
)

func TestConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got [2]*packets.Connect
		f := &fake{serve: func(n int, s *server) {
			got[min(n, 1)] = s.connack(0, nil)
			if n > 0 {
				s.idle()
			}
		}}
		begin := time.Now()
		r := start(t, f, func(c *mqttlink.Config) {
			c.Username, c.Password = "user", secret.New([]byte("pass"))
			c.KeepAlive, c.ReceiveMaximum, c.MaxPacket = time.Minute, 7, 1000
		})
		<-r.ups
		require.Zero(t, time.Since(begin), "the first attempt is immediate")
		require.Error(t, <-r.downs)
		<-r.ups
		require.NoError(t, r.LastError())
		r.stop()
		for i, c := range got {
			require.NotNil(t, c)
			require.True(t, c.CleanStart, "connection %d", i)
			require.Nil(t, c.Properties.SessionExpiryInterval)
			require.Equal(t, "D-1", c.ClientID)
			require.EqualValues(t, 60, c.KeepAlive)
			require.EqualValues(t, 7, *c.Properties.ReceiveMaximum)
			require.EqualValues(t, 1000, *c.Properties.MaximumPacketSize)
			require.Equal(t, "user", c.Username)
			require.Equal(t, "pass", string(c.Password))
			require.False(t, c.WillFlag)
		}
	})
}

func TestRefusalsThatEndRun(t *testing.T) {
	for code, want := range map[byte]mqttlink.Reason{
		0x84: mqttlink.ReasonProtocol, 0x8c: mqttlink.ReasonProtocol, 0x85: mqttlink.ReasonClientID,
		0x86: mqttlink.ReasonIdentity, 0x87: mqttlink.ReasonIdentity, 0x8a: mqttlink.ReasonIdentity,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{serve: func(_ int, s *server) { s.connack(code, &packets.Properties{ReasonString: "because"}) }}
			begin := time.Now()
			r := start(t, f)
			err := <-r.ended
			var e *mqttlink.ConnectError
			require.ErrorAs(t, err, &e)
			require.Equal(t, want, e.Reason)
			require.Equal(t, code, e.Code)
			require.ErrorContains(t, err, "because")
			require.ErrorContains(t, err, "D-1")
			require.GreaterOrEqual(t, time.Since(begin), 15*time.Minute, "not before its patience is over")
			require.Less(t, time.Since(begin), 20*time.Minute)
			require.Empty(t, r.ups)
			require.ErrorIs(t, r.Publish(context.Background(), "t", nil), link.ErrDown)
		})
	}
}

func TestRefusalsThatMayPassDoNotEndRun(t *testing.T) {
	for _, code := range []byte{0x80, 0x81, 0x82, 0x83, 0x88, 0x89, 0x90, 0x95, 0x97, 0x9c, 0x9d, 0x9f} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{serve: func(_ int, s *server) { s.connack(code, nil) }}
			r := start(t, f, func(c *mqttlink.Config) { c.Patience = -1 })
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			require.Empty(t, r.ended)
			var e *mqttlink.ConnectError
			require.ErrorAs(t, r.LastError(), &e)
			require.Equal(t, mqttlink.ReasonUnavailable, e.Reason)
			require.Greater(t, len(f.attempts()), 24*30, "still trying")
			require.Less(t, len(f.attempts()), 24*70, "with back-off")
			r.stop()
		})
	}
}

// What interrupts a run of refusals starts the patience anew.
func TestPatienceStartsAnew(t *testing.T) {
	for name, interruption := range map[string]struct {
		resets bool
		do     func(s *server) error
	}{
		"success":         {true, func(s *server) error { s.connack(0, nil); return nil }},
		"unreachable":     {true, func(*server) error { return errors.New("no route to host") }},
		"dropped":         {false, func(s *server) error { s.read(); return nil }},
		"CONNACK of 0x88": {false, func(s *server) error { s.connack(0x88, nil); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var interrupted atomic.Bool
				f := &fake{serve: func(_ int, s *server) {
					if time.Since(begin) > 10*time.Minute && interrupted.CompareAndSwap(false, true) {
						_ = interruption.do(s)
						return
					}
					s.connack(0x87, nil)
				}}
				r := start(t, f, func(c *mqttlink.Config) {
					c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
						if name == "unreachable" && time.Since(begin) > 10*time.Minute && interrupted.CompareAndSwap(false, true) {
							return nil, interruption.do(nil)
						}
						return f.dial(ctx, network, address)
					}
				})
				require.Error(t, <-r.ended)
				require.Equal(t, interruption.resets, time.Since(begin) > 24*time.Minute, "ended after %v", time.Since(begin))
			})
		})
	}
}

func TestAttemptsHaveATimeLimit(t *testing.T) {
	for name, serve := range map[string]func(*server){
		"silent after TCP":     func(s *server) { time.Sleep(time.Hour) },
		"silent after CONNECT": func(s *server) { s.read(); time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{serve: func(_ int, s *server) { serve(s) }}
				r := start(t, f)
				time.Sleep(10 * time.Minute)
				require.Greater(t, len(f.attempts()), 3)
				var e *mqttlink.ConnectError
				require.ErrorAs(t, r.LastError(), &e)
				require.Equal(t, mqttlink.ReasonDropped, e.Reason)
				r.stop()
				time.Sleep(time.Hour) // the fake's goroutines
			})
		})
	}
	t.Run("dial that hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int32
			r := start(t, silent(), func(c *mqttlink.Config) {
				c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
					calls.Add(1)
					<-ctx.Done()
					return nil, ctx.Err()
				}
			})
			time.Sleep(10 * time.Minute)
			require.Greater(t, calls.Load(), int32(3))
			var e *mqttlink.ConnectError
			require.ErrorAs(t, r.LastError(), &e)
			require.Equal(t, mqttlink.ReasonUnreachable, e.Reason)
			r.stop()
		})
	})
}

func silent() *fake { return &fake{serve: func(int, *server) {}} }

// A broker that takes the connection and drops it at once is not besieged, though each attempt is a success.
func TestBackoffAfterShortConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(_ int, s *server) {
			s.connack(0, nil)
			s.send(&packets.Disconnect{ReasonCode: 0x8e, Properties: &packets.Properties{}})
		}}
		r := start(t, f)
		time.Sleep(time.Hour)
		require.Less(t, len(f.attempts()), 60)
		require.Greater(t, len(f.attempts()), 25)
		var e *mqttlink.DisconnectError
		require.ErrorAs(t, <-r.downs, &e)
		require.Equal(t, byte(0x8e), e.Code)
		require.ErrorContains(t, e, "another connection uses this client ID")
		r.stop()
		require.Equal(t, len(r.ups), len(r.downs)+1, "one Down was taken above")
	})
}

// After a connection that lasted, the wait is short, and not the same for everybody.
func TestReconnectIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := map[time.Duration]bool{}
		for range 20 {
			f := &fake{serve: func(n int, s *server) {
				s.connack(0, nil)
				if n == 0 {
					time.AfterFunc(time.Hour, func() { _ = s.Close() })
				}
				s.idle()
			}}
			r := start(t, f)
			<-r.ups
			<-r.ups
			at := f.attempts()
			wait := at[1].Sub(at[0]) - time.Hour
			require.LessOrEqual(t, wait, time.Second)
			waits[wait] = true
			r.stop()
		}
		require.Greater(t, len(waits), 10)
	})
}

func TestDeadConnectionIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(n int, s *server) {
			s.connack(0, nil)
			if n > 0 {
				s.idle()
				return
			}
			for s.read() != nil { // and no answer to pings
			}
		}}
		r := start(t, f)
		<-r.ups
		begin := time.Now()
		require.ErrorContains(t, <-r.downs, "keep-alive")
		require.LessOrEqual(t, time.Since(begin), time.Minute, "twice the keep-alive")
		<-r.ups
		r.stop()
	})
}

// A peer that stops reading ends the connection within AckTimeout, also when Run is to end meanwhile.
func TestBlockedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(n int, s *server) {
			s.connack(0, nil)
			s.read()              // the first ping
			time.Sleep(time.Hour) // reads nothing more, and net.Pipe buffers nothing
		}}
		r := start(t, f)
		<-r.ups
		begin := time.Now()
		err := r.Publish(context.Background(), "t", []byte("x"))
		require.ErrorIs(t, err, link.ErrUnacknowledged)
		require.LessOrEqual(t, time.Since(begin), 20*time.Second)
		require.Error(t, <-r.downs)
		<-r.ups
		r.stop()
		time.Sleep(2 * time.Hour)
	})
}

func TestOversizePacketIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(n int, s *server) {
			s.connack(0, nil)
			if n == 0 {
				_, _ = s.Write([]byte{0x32, 0xff, 0xff, 0xff, 0x7f})
			}
			s.idle()
		}}
		r := start(t, f)
		<-r.ups
		require.ErrorContains(t, <-r.downs, "Config.MaxPacket")
		<-r.ups
		r.stop()
	})
}

func TestRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(_ int, s *server) { s.connack(0, nil); s.idle() }}
		r := start(t, f)
		<-r.ups
		require.Error(t, r.Run(context.Background(), link.Receiver{}))
		r.stop()
		require.ErrorIs(t, <-r.downs, context.Canceled)
		require.Error(t, r.Run(context.Background(), link.Receiver{}))
	})
}

func TestEmptyReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(_ int, s *server) {
			s.connack(0, nil)
			s.message(1, "x")
			s.idle()
		}}
		l, err := mqttlink.New(mqttlink.Config{Broker: "mqtt://b", ClientID: "D-1", Dial: f.dial})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, l.Run(ctx, link.Receiver{}))
	})
}

// A program that logs warnings alone says that it waits for its broker, once for each time that it does.
func TestFirstFailureIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		f := &fake{serve: func(_ int, s *server) { s.connack(0x88, nil) }}
		r := start(t, f, func(c *mqttlink.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		})
		time.Sleep(time.Hour)
		r.stop()
		require.Greater(t, len(f.attempts()), 10)
		require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
		require.Contains(t, log.String(), "broker cannot take the connection now")
	})
}

// lockedBuffer is what a log may write and a test read.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
