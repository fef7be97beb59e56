package appgw

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// A prekey is the newest for prekeyEvery, devices may use it for prekeyLife, and its private half is erased prekeyGrace after that: so long a
// record may lie with the broker. A device that slept longer needs one round trip more. What a thief of the store can read of
// early data is what came within prekeyLife and prekeyGrace.
const (
	prekeyEvery = 7 * 24 * time.Hour
	prekeyLife  = 28 * 24 * time.Hour
	prekeyGrace = 24 * time.Hour
)

// prekeys makes, signs, keeps and erases the gateway's prekeys. It implements e2e.Prekeys.
type prekeys struct {
	memory
	sign func(number uint32, expires time.Time, key *ecdh.PublicKey) ([]byte, error)

	mu      sync.Mutex // guards what follows, and orders the writes
	bundle  []byte     // of the newest, nil: not yet signed in this run
	newest  prekeyRecord
	checked time.Time // for prekeys to erase
}

// prekeyRecord is a prekey in the store. Encoding: number u32 ‖ created u64, Unix seconds ‖ private 32.
type prekeyRecord struct {
	number  uint32
	created time.Time
	private *ecdh.PrivateKey
}

const (
	prefixPrekey    = "prekey/"
	keyPrekeyNumber = "prekeys" // highest number given out
)

func keyPrekey(number uint32) string { return fmt.Sprintf("%s%08x", prefixPrekey, number) }

func (r prekeyRecord) marshal() []byte {
	b := binary.BigEndian.AppendUint32(nil, r.number)
	b = binary.BigEndian.AppendUint64(b, uint64(r.created.Unix()))
	return append(b, r.private.Bytes()...)
}

func parsePrekeyRecord(b []byte) (prekeyRecord, error) {
	if len(b) != 4+8+32 {
		return prekeyRecord{}, fmt.Errorf("prekey in the store has %d bytes", len(b))
	}
	k, err := ecdh.P256().NewPrivateKey(b[12:])
	if err != nil {
		return prekeyRecord{}, fmt.Errorf("prekey in the store: %w", err)
	}
	return prekeyRecord{binary.BigEndian.Uint32(b), time.Unix(int64(binary.BigEndian.Uint64(b[4:])), 0), k}, nil
}

// Prekey implements e2e.Prekeys.
func (p *prekeys) Prekey(number uint32) (ecdh.KeyExchanger, error) {
	var r prekeyRecord
	err := p.store.View(context.Background(), func(tx Tx) (err error) {
		r, err = p.get(tx, number)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !time.Now().Before(r.created.Add(prekeyLife + prekeyGrace)) {
		return nil, e2e.ErrUnknownPrekey // it is only not yet erased
	}
	return r.private, nil
}

func (p *prekeys) get(tx Tx, number uint32) (prekeyRecord, error) {
	plain, err := p.getLocked(tx, keyPrekey(number))
	if err != nil {
		return prekeyRecord{}, err
	}
	if plain == nil {
		return prekeyRecord{}, e2e.ErrUnknownPrekey
	}
	defer clear(plain)
	return parsePrekeyRecord(plain)
}

// within says that now lies at most d behind from, and not before it.
func within(now, from time.Time, d time.Duration) bool {
	age := now.Sub(from)
	return age >= 0 && age < d
}

// current returns the bundle to hand out. It makes a new prekey when it is time, and erases the old ones, once a day.
func (p *prekeys) current(now time.Time) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bundle != nil && within(now, p.newest.created, prekeyEvery) && within(now, p.checked, prekeyGrace) {
		return p.bundle, nil
	}
	var newest prekeyRecord
	err := p.update(context.Background(), func(tx Tx) error {
		if err := p.erase(tx, now); err != nil {
			return err
		}
		highest, err := getU64s(tx, keyPrekeyNumber, 1)
		if err != nil {
			return err
		}
		if newest, err = p.get(tx, uint32(highest[0])); err != nil && !errors.Is(err, e2e.ErrUnknownPrekey) {
			return err
		}
		if newest.private != nil && within(now, newest.created, prekeyEvery) {
			return nil
		}
		newest = prekeyRecord{number: uint32(highest[0]) + 1, created: now.Truncate(time.Second)}
		if newest.private, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
			return err
		}
		plain := newest.marshal()
		defer clear(plain)
		if err := p.putLocked(tx, keyPrekey(newest.number), plain); err != nil {
			return err
		}
		return putU64s(tx, keyPrekeyNumber, uint64(newest.number))
	})
	if err != nil {
		return nil, fmt.Errorf("renew prekey: %w", err)
	}
	p.checked = now
	if p.bundle != nil && newest.number == p.newest.number {
		return p.bundle, nil
	}
	bundle, err := p.sign(newest.number, newest.created.Add(prekeyLife), newest.private.PublicKey())
	if err != nil {
		return nil, err
	}
	p.newest, p.bundle = newest, bundle
	return bundle, nil
}

// follow has the next prekey made and signed under the credential that is in use from now on. putSide has seen to it that it has a
// number of its own: a device must not take it for the one that it has, which is signed under the credential of before.
func (p *prekeys) follow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bundle = nil
}

// erase deletes the prekeys that are past their time, and those from a future that a clock set back has made.
func (p *prekeys) erase(tx Tx, now time.Time) error {
	var gone []string
	for key, locked := range tx.List(prefixPrekey) {
		plain, err := p.locker.Unlock(key, locked)
		if err != nil {
			return fmt.Errorf("unlock %s: %w", key, err)
		}
		r, err := parsePrekeyRecord(plain)
		clear(plain)
		if err != nil {
			return fmt.Errorf("store key %s: %w", key, err)
		}
		if age := now.Sub(r.created); age >= prekeyLife+prekeyGrace || age < -prekeyGrace {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// offer is control.ClientConfig.Prekey.
func (g *Gateway) offer() []byte {
	b, err := g.prekeys.current(time.Now())
	if err != nil {
		g.log.Error("no prekey for the devices; they send without early data", "err", err)
		return nil
	}
	return b
}

var _ e2e.Prekeys = (*prekeys)(nil)
