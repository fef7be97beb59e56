package devicegw

import (
	"context"

	"github.com/semio-iot/semio/e2e"
)

// maxPrekey is the longest bundle that is kept, in a listRecord. Ours have 165 bytes and less.
const maxPrekey = 256

// loadPrekey uses the one in memory. None, or one that cannot be read or does not verify any more, stops nothing: early data waits for
// the next.
func (g *Gateway) loadPrekey(ctx context.Context, c *connection) {
	r, found, err := load(ctx, g.nvm, namePrekey, c.binding, parseListRecord)
	if err == nil && !found {
		return
	}
	var k *e2e.Prekey
	if err == nil {
		k, err = e2e.OpenPrekey(r, c.verified)
	}
	if err == nil {
		err = c.peer.Load().UsePrekey(k)
	}
	if err != nil {
		g.log.Warn("prekey in memory; early data waits for the next", "err", err)
		return
	}
	c.prekey.Store(k)
}

func (c *connection) prekeyNumber() uint32 {
	if k := c.prekey.Load(); k != nil {
		return k.Number
	}
	return 0
}

// heldPrekey is control.ClientConfig.HeldPrekey.
func (g *Gateway) heldPrekey() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn == nil {
		return 0
	}
	return g.conn.prekeyNumber()
}

// takePrekey is control.ClientConfig.TakePrekey. The platform may pass on what it likes; only the application's signature counts, and a
// later number.
func (g *Gateway) takePrekey(bundle []byte) {
	g.changes.Lock() // no order ends the connection meanwhile
	defer g.changes.Unlock()
	g.mu.Lock()
	conn, peer := g.conn, g.state.Peer
	g.mu.Unlock()
	if conn == nil || peer == nil {
		return
	}
	k, err := e2e.OpenPrekey(bundle, conn.verified)
	if err == nil && len(bundle) > maxPrekey {
		err = e2e.ErrPrekey
	}
	if err == nil && k.Number <= conn.prekeyNumber() {
		return
	}
	if err == nil && g.rec.Profile == e2e.ProfileEphemeral {
		err = conn.peer.Load().UsePrekey(k)
	}
	if err != nil {
		g.log.Warn("prekey that the platform has passed on", "err", err)
		return
	}
	conn.prekey.Store(k)
	if err := save(context.Background(), g.nvm, namePrekey, peer.Binding, listRecord(bundle)); err != nil {
		g.log.Warn("keep prekey; it will come again after a restart", "err", err)
	}
}
