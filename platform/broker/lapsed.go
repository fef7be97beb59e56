package broker

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// identify finds out who a client is. One whose certificate is not good any more is let in for a renewal, if the authorizer knows it.
func (b *Broker) identify(c *conn, chain []*x509.Certificate) (err error) {
	c.chain, c.standing.changed = chain, b.cfg.Verifier.Changed() // before the verification
	if c.id, c.instance, c.until, err = b.cfg.Verifier.VerifyClientUntil(chain); err == nil {
		return nil
	}
	renewal, ok := b.cfg.Authorizer.(RenewalAuthorizer)
	if !ok {
		return err
	}
	id, lapsed := b.cfg.Verifier.VerifyClientLapsed(chain)
	if lapsed != nil {
		return err // the first one says why
	}
	hash := sha256.Sum256(chain[0].Raw)
	if renewal.AuthenticateLapsed(id, id.String(), hash) != nil {
		return err
	}
	b.cfg.Logger.Info("certificate is not good any more, let in to renew it", "id", id, "error", err)
	c.id, c.instance, c.lapsed = id, "", &lapsedClient{renewal, hash}
	return nil
}

// lapsedClient is what there is to ask about a client that comes to renew its certificate.
type lapsedClient struct {
	RenewalAuthorizer
	certificate [32]byte
}

// authenticate asks the authorizer about a connection.
func (b *Broker) authenticate(c *conn, clientID string) error {
	if err := b.stands(c); err != nil {
		return err
	}
	if c.lapsed != nil {
		return c.lapsed.AuthenticateLapsed(c.id, clientID, c.lapsed.certificate)
	}
	return b.cfg.Authorizer.Authenticate(c.id, clientID)
}

// allows asks the authorizer about a topic.
func (b *Broker) allows(c *conn, clientID string, a Action, topic string) bool {
	if err := b.stands(c); errors.Is(err, errLeaving) {
		renewal, ok := b.cfg.Authorizer.(RenewalAuthorizer)
		return ok && renewal.AllowLapsed(c.id, clientID, a, topic)
	} else if err != nil {
		return false // revokeLive ends it
	}
	if c.lapsed != nil {
		return c.lapsed.AllowLapsed(c.id, clientID, a, topic)
	}
	return b.cfg.Authorizer.Allow(c.id, clientID, a, topic)
}

// endInTime ends a connection when its certificate does: the client comes back with the next one, or for it.
func (b *Broker) endInTime(c *conn) (stop func()) {
	left := c.until.Sub(b.cfg.Verifier.Now()) // saturates for certificates without expiry
	if c.until.IsZero() || left > 100*365*24*time.Hour {
		return func() {}
	}
	timer := time.AfterFunc(left+time.Second, func() {
		b.cfg.Logger.Info("the certificate of a connection is over", "id", c.id)
		c.kick(packets.ErrNotAuthorized)
	})
	return func() { timer.Stop() }
}
