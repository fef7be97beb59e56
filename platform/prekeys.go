package platform

import (
	"bytes"
	"errors"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// An application hands its prekeys to its devices through the platform, which keeps the newest and can do nothing with it but
// withhold it: devices verify the application's signature.

// offered returns the prekey bundle that an application sent, nil for none or a bad one.
func (s *Service) offered(p *peer, m control.Message) []byte {
	if len(m.Prekey) == 0 {
		return nil
	}
	if _, err := e2e.OpenPrekey(m.Prekey, p.self); err != nil {
		s.log.Warn("prekey refused", "peer", p.id, "err", err)
		return nil
	}
	return m.Prekey
}

// keepPrekey keeps a bundle that offered has verified, unless a later one of the same certificate is there.
func (t *txn) keepPrekey(p *peer, bundle []byte) error {
	key := prefixPrekey + p.id.String()
	kept, err := t.tx.Get(key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if bytes.Equal(kept, bundle) {
		return nil
	}
	if old, err := e2e.OpenPrekey(kept, p.self); err == nil {
		if k, err := e2e.OpenPrekey(bundle, p.self); err != nil || k.Number < old.Number {
			return nil
		}
	}
	return t.tx.Put(key, bundle)
}

// prekeyFor returns the newest prekey of the application that a device is connected with, nil if there is none or the device has it.
func (t *txn) prekeyFor(id identity.ID, held uint32) ([]byte, error) {
	dev, ok := id.Device()
	if !ok {
		return nil, nil
	}
	d, ok := t.state.Device(dev)
	if !ok || d.App.IsZero() {
		return nil, nil
	}
	bundle, err := t.tx.Get(prefixPrekey + d.App.String())
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil || e2e.PrekeyNumber(bundle) == held {
		return nil, err
	}
	return bundle, nil
}
