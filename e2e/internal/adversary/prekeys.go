package adversary

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// keepPrekeys is how many prekeys an application keeps, the newest among them.
const keepPrekeys = 2

// shelf is e2e.Prekeys of an application, durable, and the bundles that it has handed out, which everybody sees.
type shelf struct {
	owner   party
	keys    map[uint32]*ecdh.PrivateKey
	bundles []*e2e.Prekey // number i+1
	device  int           // how many of them the device has got
}

// Prekey implements e2e.Prekeys.
func (s *shelf) Prekey(number uint32) (ecdh.KeyExchanger, error) {
	if k, ok := s.keys[number]; ok {
		return k, nil
	}
	return nil, fmt.Errorf("number %d: %w", number, e2e.ErrUnknownPrekey)
}

// rotate makes a prekey and erases an old one.
func (s *shelf) rotate(now time.Time) error {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	number := uint32(len(s.bundles) + 1)
	bundle, err := e2e.SignPrekey(s.owner.signer, s.owner.verified, number, now.Add(time.Hour), key.PublicKey())
	if err != nil {
		return violation(RuleAPI, "sign prekey: %v", err)
	}
	k, err := e2e.OpenPrekey(bundle, s.owner.verified)
	if err != nil {
		return violation(RuleAPI, "open prekey: %v", err)
	}
	s.bundles, s.keys[number] = append(s.bundles, k), key
	delete(s.keys, number-keepPrekeys)
	return nil
}

// prekeys has the application make a prekey, or the device get one.
func (l *link) prekeys() error {
	s := l.shelf
	if s == nil {
		return nil
	}
	if len(s.bundles) == 0 || l.w.choose.Choose(4) == 0 {
		return s.rotate(l.w.now)
	}
	s.device = max(s.device, 1+l.w.choose.Choose(len(s.bundles)))
	return l.usePrekey(l.ends[0].peer)
}

// usePrekey gives a device's peer what the device has.
func (l *link) usePrekey(p *e2e.Peer) error {
	if l.shelf == nil || l.shelf.device == 0 {
		return nil
	}
	if err := p.UsePrekey(l.shelf.bundles[l.shelf.device-1]); err != nil {
		return violation(RuleAPI, "use prekey: %v", err)
	}
	return nil
}
