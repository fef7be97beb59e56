package broker_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform/broker"
)

func TestAccessIsCheckedAtEachStep(t *testing.T) {
	w := newWorld(t)
	w.rules.set("publish no", true)
	w.rules.set("subscribe no", true)
	w.rules.set("subscribe no/#", true)
	app, dev := w.join("A-WATER"), w.join("D-1")
	require.Equal(t, []byte{0x87, 1, 0x87}, app.subscribe(1, "no", "yes", "no/#"))
	require.EqualValues(t, 0x87, dev.publish(1, "no", "x"))
	require.Zero(t, dev.publish(2, "yes", "1"))
	require.Equal(t, "1", string(app.message().Payload))

	// A right that ends while the subscription stands.
	w.rules.set("A-WATER receive yes", true)
	require.Zero(t, dev.publish(3, "yes", "2"))
	dev.sync() // PUBACK comes before the deliveries
	app.sync()
	w.rules.set("A-WATER receive yes", false)
	require.Zero(t, dev.publish(4, "yes", "3"))
	require.Equal(t, "3", string(app.message().Payload))
	require.EqualValues(t, 4, w.broker.Stats().Denied)
}

func TestSystemAndSharedFiltersAreRefused(t *testing.T) {
	w := newWorld(t)
	c := w.join("A-WATER")
	for i, f := range []string{"$SYS/#", "$SYS/broker/version", "$sys/#", "$share/g/a", "$SHARE/g/#", "$anything", "$/a"} {
		require.Equal(t, []byte{0x87}, c.subscribe(uint16(i+1), f), f)
	}
	// What matches everything matches no system topic, retained ones included.
	require.Equal(t, []byte{1, 1}, c.subscribe(20, "#", "+/broker/version"))
	c.sync()
	for i, topic := range []string{"$SYS/broker/version", "$SYS", "$share/g/a", "$x"} {
		require.EqualValues(t, 0x87, c.publish(uint16(i+30), topic, "x"), topic)
	}
	c.sync()
	require.NotContains(t, w.rules.questions(), "$", "nobody is asked")
}

func TestWhatWasAnnouncedAsUnsupportedEndsTheConnection(t *testing.T) {
	w := newWorld(t)
	retained, exactly, wild := publishPacket(1, "t", "x"), publishPacket(1, "t", "x"), publishPacket(1, "a/+", "x")
	retained.Retain = true
	exactly.QoS = 2
	alias, one := publishPacket(1, "t", "x"), uint16(1)
	alias.Properties.TopicAlias = &one
	for name, c := range map[string]struct {
		packet packet
		reason byte
	}{
		"retained":       {retained, 0x9a},
		"QoS 2":          {exactly, 0x9b},
		"wildcards":      {wild, 0x90},
		"topic alias":    {alias, 0x94},
		"PUBREL":         {&packets.Pubrel{PacketID: 1, Properties: &packets.Properties{}}, 0x82},
		"second CONNECT": {connectPacket("D-1"), 0x82},
	} {
		t.Run(name, func(t *testing.T) {
			id := "D-" + strings.ToUpper(strings.ReplaceAll(name, " ", ""))
			sub := w.join("A-" + id[2:])
			sub.subscribe(1, "#")
			c2 := w.join(id)
			c2.send(c.packet)
			require.Equal(t, c.reason, c2.disconnected())
			sub.sync() // nothing was delivered
		})
	}
	// Nothing retained reaches a later subscriber.
	late := w.join("A-LATE")
	late.subscribe(1, "#")
	late.sync()
}

func TestSubscriptionLimit(t *testing.T) {
	w := newWorld(t, limits(broker.Limits{Subscriptions: 3}))
	c := w.join("A-WATER")
	require.Equal(t, []byte{1, 1, 1, 0x87}, c.subscribe(1, "a", "b", "c", "d"))
	require.Equal(t, []byte{1, 0x87}, c.subscribe(2, "b", "e"), "again is not more")
}

func willPacket(clientID, topic, payload string, delay uint32) *packets.Connect {
	p := connectPacket(clientID)
	p.WillFlag, p.WillTopic, p.WillMessage, p.WillQOS = true, topic, []byte(payload), 1
	p.WillProperties = &packets.Properties{WillDelayInterval: &delay}
	return p
}

func TestWill(t *testing.T) {
	t.Run("forbidden topic", func(t *testing.T) {
		for _, topic := range []string{"no", "$SYS/x", "a/+"} {
			w := newWorld(t)
			w.rules.set("publish no", true)
			sub := w.join("A-WATER")
			sub.subscribe(1, "#")
			c := w.connect(w.cert("D-1"), willPacket("D-1", topic, "x", 0))
			require.GreaterOrEqual(t, c.connack.ReasonCode, byte(0x80))
			c.disconnected()
			w.stop()
			require.NotContains(t, w.rules.questions(), "receive "+topic)
		}
	})
	t.Run("retained", func(t *testing.T) {
		w := newWorld(t)
		p := willPacket("D-1", "t", "x", 0)
		p.WillRetain = true
		require.EqualValues(t, 0x9a, w.connect(w.cert("D-1"), p).connack.ReasonCode)
	})
	t.Run("sent when the connection breaks", func(t *testing.T) {
		w := newWorld(t)
		sub := w.join("A-WATER")
		sub.subscribe(1, "t")
		c := w.connect(w.cert("D-1"), willPacket("D-1", "t", "gone", 3600))
		require.Zero(t, c.connack.ReasonCode)
		_ = c.conn.NetConn().Close()
		require.Equal(t, "gone", string(sub.message().Payload), "without delay: mochi would send a delayed will unchecked")
	})
	t.Run("right lost since", func(t *testing.T) {
		w := newWorld(t)
		sub := w.join("A-WATER")
		sub.subscribe(1, "t")
		c := w.connect(w.cert("D-1"), willPacket("D-1", "t", "gone", 0))
		w.rules.set("D-1 publish t", true)
		_ = c.conn.NetConn().Close()
		w.gone("D-1")
		sub.sync()
	})
	t.Run("dropped by Evict", func(t *testing.T) {
		w := newWorld(t)
		sub := w.join("A-WATER")
		sub.subscribe(1, "t")
		c := w.connect(w.cert("D-1"), willPacket("D-1", "t", "gone", 0))
		require.NoError(t, w.broker.Evict(context.Background(), mustID("D-1")))
		require.EqualValues(t, 0x98, c.disconnected())
		sub.sync()
	})
}

// gone waits until no connection of id is left: there is nothing to see, so it takes the client ID over, which waits.
func (w *world) gone(id string) {
	require.Eventually(w.t, func() bool { return w.broker.Stats().Connections == 1 }, patience, time.Millisecond, id)
}

func TestEvict(t *testing.T) {
	w := newWorld(t)
	app := w.join("A-WATER")
	cert := w.cert("D-1")
	dev := w.connect(cert, connectPacket("D-1"))
	dev.subscribe(1, "down")
	app.subscribe(1, "up")

	w.rules.set("authenticate D-1", true)
	start := time.Now()
	require.NoError(t, w.broker.Evict(context.Background(), mustID("D-1")))
	require.Less(t, time.Since(start), 2*time.Second)
	require.EqualValues(t, 0x98, dev.disconnected())
	require.EqualValues(t, 0x87, w.connect(cert, connectPacket("D-1")).connack.ReasonCode)
	app.sync() // others stay

	require.NoError(t, w.broker.Evict(context.Background(), mustID("D-NEVER")), "idempotent")
	require.Error(t, w.broker.Evict(context.Background(), identity.ID{}))
}

func TestEvictReachesAllInstances(t *testing.T) {
	w := newWorld(t)
	cert := w.cert("A-WATER")
	one, two := w.connect(cert, connectPacket("A-WATER--1")), w.connect(cert, connectPacket("A-WATER--2"))
	other := w.join("A-WATER-2")
	require.NoError(t, w.broker.Evict(context.Background(), mustID("A-WATER")))
	require.EqualValues(t, 0x98, one.disconnected())
	require.EqualValues(t, 0x98, two.disconnected())
	other.sync()
}

func sessionPacket(clientID string, clean bool) *packets.Connect {
	p, hour := connectPacket(clientID), uint32(3600)
	p.CleanStart, p.Properties.SessionExpiryInterval = clean, &hour
	return p
}

// mochi sends what is queued for a session at the next connect, and asks nobody whether it may.
func TestEvictPurgesSessions(t *testing.T) {
	w := newWorld(t, limits(broker.Limits{SessionExpiry: time.Hour}))
	app := w.join("A-WATER")
	cert := w.cert("D-1")
	absent := func() {
		c := w.connect(cert, sessionPacket("D-1", true))
		c.subscribe(1, "down")
		c.sync()
		_ = c.conn.NetConn().Close()
		w.gone("D-1")
		require.Zero(t, app.publish(1, "down", "queued"))
	}

	absent()
	c := w.connect(cert, sessionPacket("D-1", false))
	require.True(t, c.connack.SessionPresent)
	require.Equal(t, "queued", string(c.message().Payload), "sessions do work")
	_ = c.conn.NetConn().Close()
	w.gone("D-1")

	absent()
	require.NoError(t, w.broker.Evict(context.Background(), mustID("D-1")))
	c = w.connect(cert, sessionPacket("D-1", false))
	require.False(t, c.connack.SessionPresent)
	require.Zero(t, app.publish(2, "down", "later"))
	c.sync() // neither the queue nor the subscription is there
}

func TestNoSessionsByDefault(t *testing.T) {
	w := newWorld(t)
	cert := w.cert("D-1")
	c := w.connect(cert, sessionPacket("D-1", true))
	require.EqualValues(t, 0, *c.connack.Properties.SessionExpiryInterval)
	c.subscribe(1, "down")
	hour := uint32(3600)
	// mochi would believe the DISCONNECT.
	c.send(&packets.Disconnect{Properties: &packets.Properties{SessionExpiryInterval: &hour}})
	c.disconnected()
	c = w.connect(cert, sessionPacket("D-1", false))
	require.False(t, c.connack.SessionPresent)
}

func TestSessionExpiryOfDisconnectIsLimited(t *testing.T) {
	w := newWorld(t, limits(broker.Limits{SessionExpiry: time.Second}))
	cert := w.cert("D-1")
	c := w.connect(cert, sessionPacket("D-1", true))
	require.EqualValues(t, 1, *c.connack.Properties.SessionExpiryInterval)
}

// slowRules holds Authenticate up.
type slowRules struct {
	*rules
	entered, release chan struct{}
	once             sync.Once
}

func (r *slowRules) Authenticate(id identity.ID, clientID string) error {
	r.once.Do(func() {
		close(r.entered)
		<-r.release
	})
	return nil // what was true when it was asked
}

// A connection that has its yes but is not in mochi's list yet is found by Evict all the same.
func TestEvictDuringConnect(t *testing.T) {
	slow := &slowRules{entered: make(chan struct{}), release: make(chan struct{})}
	w := newWorld(t, func(c *broker.Config) {
		slow.rules = c.Authorizer.(*rules)
		c.Authorizer = slow
	})
	c := &client{t: t, conn: w.dial(w.cert("D-1"))}
	c.send(connectPacket("D-1"))
	<-slow.entered
	evicted := make(chan error, 1)
	go func() { evicted <- w.broker.Evict(context.Background(), mustID("D-1")) }()
	require.Eventually(t, func() bool {
		_ = c.conn.SetReadDeadline(time.Now().Add(patience))
		_, err := c.conn.Read(make([]byte, 64))
		var ne net.Error
		return err != nil && !(asNet(err, &ne) && ne.Timeout())
	}, patience, time.Millisecond, "the connection ends while Authenticate runs")
	close(slow.release)
	require.NoError(t, <-evicted)
	require.Zero(t, w.broker.Stats().Connections)
}

func TestEvictHonoursContext(t *testing.T) {
	slow := &slowRules{entered: make(chan struct{}), release: make(chan struct{})}
	w := newWorld(t, func(c *broker.Config) {
		slow.rules = c.Authorizer.(*rules)
		c.Authorizer = slow
	})
	c := &client{t: t, conn: w.dial(w.cert("D-1"))}
	c.send(connectPacket("D-1"))
	<-slow.entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, w.broker.Evict(ctx, mustID("D-1")), context.Canceled)
	close(slow.release)
}

func TestObserverSeesEverything(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	w := newWorld(t, func(c *broker.Config) {
		c.Observer = func(from identity.ID, topic string, payload []byte) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s %s %s", from, topic, payload))
		}
	})
	w.rules.set("publish no", true)
	c := w.connect(w.cert("D-1"), willPacket("D-1", "will", "w", 0))
	c.publish(1, "yes", "1")
	c.publish(2, "no", "2")
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"D-1 will w", "D-1 yes 1", "D-1 no 2"}, seen)
}

func TestLogsHoldNoPayload(t *testing.T) {
	w := newWorld(t)
	p := willPacket("D-1", "t", "SECRET-will", 0)
	p.UsernameFlag, p.Username, p.PasswordFlag, p.Password = true, "u", true, []byte("SECRET-password")
	c := w.connect(w.cert("D-1"), p)
	c.subscribe(1, "t")
	c.publish(2, "no", "SECRET-payload")
	retained := publishPacket(3, "t", "SECRET-payload") // is refused, and mochi logs it
	retained.Retain = true
	c.send(retained)
	c.disconnected()
	again := w.connect(w.cert("D-2"), connectPacket("D-2"))
	again.send(p) // a second CONNECT is logged as a whole
	again.disconnected()
	w.stop()
	require.Contains(t, w.log.String(), "D-1")
	require.Contains(t, w.log.String(), "mochi: ")
	require.NotContains(t, w.log.String(), "SECRET")
	require.NotContains(t, w.log.String(), fmt.Sprint([]byte("SECRET-payload"))[1:20])
}
