package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/semio-iot/semio/identity"
)

var errFull = errors.New("broker: too many connections: see Limits")

// takeoverWait is for how long a connection waits until the one that it takes the client ID from has ended.
const takeoverWait = 5 * time.Second

// enter counts c from the moment its identity is known, so before the Authorizer is asked: an Evict then either finds c here
// or came before the question.
func (b *Broker) enter(c *conn) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closing:
		return errors.New("broker: closing")
	default:
	}
	if len(b.open) >= b.cfg.Limits.Connections || len(b.byID[c.id]) >= b.cfg.Limits.PerIdentity {
		return errFull
	}
	b.open[c] = struct{}{}
	if b.byID[c.id] == nil {
		b.byID[c.id] = map[*conn]struct{}{}
	}
	b.byID[c.id][c] = struct{}{}
	return nil
}

func (b *Broker) leave(c *conn) {
	_ = c.Close()
	<-c.closed
	c.mu.Lock()
	cl := c.client
	c.mu.Unlock()
	if cl != nil {
		// mochi leaves a client behind whose connection broke between authentication and CONNACK. And of one that was evicted no session stays
		// for whoever comes next under its client ID.
		if cur, ok := b.server.Clients.Get(cl.ID); ok && cur == cl && (cl.Properties.Props.SessionExpiryInterval == 0 || c.evicted.Load()) {
			b.purge(cl)
		}
	}
	b.mu.Lock()
	delete(b.open, c)
	if delete(b.byID[c.id], c); len(b.byID[c.id]) == 0 {
		delete(b.byID, c.id)
	}
	if b.byClient[c.clientID] == c {
		delete(b.byClient, c.clientID)
	}
	b.mu.Unlock()
	close(c.ended)
}

// claim makes c the connection of clientID and ends the one before. It waits for that end: mochi's own takeover lets the old
// connection, while it ends, remove the new one from the list of clients, which leaves it connected and deaf.
func (b *Broker) claim(c *conn, clientID string) error {
	timeout := time.NewTimer(takeoverWait)
	defer timeout.Stop()
	for {
		b.mu.Lock()
		old := b.byClient[clientID]
		if old == nil {
			b.byClient[clientID] = c
			c.clientID = clientID
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		old.kick(packets.ErrSessionTakenOver)
		select {
		case <-old.ended:
		case <-timeout.C:
			return fmt.Errorf("broker: the connection before, of %s, does not end", clientID)
		}
	}
}

func (b *Broker) connections() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*conn, 0, len(b.open))
	for c := range b.open {
		all = append(all, c)
	}
	return all
}

// Evict ends the connections of id, instances included, drops their wills and whatever was queued for them, and forgets their
// sessions. It returns when that is done; when ctx ends earlier, connections are closed but may not all have ended. It does not
// keep id from connecting again: the Authorizer does, so change its answer first.
func (b *Broker) Evict(ctx context.Context, id identity.ID) error {
	if id.IsZero() {
		return errors.New("broker: evict: no identity")
	}
	b.mu.Lock()
	var live []*conn
	for c := range b.byID[id] {
		live = append(live, c)
	}
	b.mu.Unlock()
	for _, c := range live {
		c.evict()
	}
	for _, c := range live {
		select {
		case <-c.ended:
		case <-ctx.Done():
			return fmt.Errorf("broker: evict %s: %w", id, ctx.Err())
		}
	}
	for clientID, cl := range b.server.Clients.GetAll() {
		// Of a session that a connection has taken up since, that connection was accepted after the Authorizer changed.
		if of, _, err := identity.ParseClientID(clientID); err == nil && of == id && cl.Closed() {
			b.purge(cl)
		}
	}
	return nil
}

// purge forgets a session: what is queued would be sent at the next connect without asking anybody, and subscriptions that stay in
// the index would come back to life with the next connection of that client ID.
func (b *Broker) purge(cl *mqtt.Client) {
	cl.ClearInflights()
	b.server.UnsubscribeClient(cl)
	b.server.Clients.Delete(cl.ID)
}
