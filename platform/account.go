package platform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// account is an Allowance in use, durable. Stored are the moment at which it is full again, which is all that has to be known
// (the generic cell rate algorithm), and a count: version u8 = 1 ‖ full again u64 (Unix ms) ‖ count u32.
type account struct {
	key   string
	a     Allowance
	now   time.Time
	full  time.Time
	count uint32
}

func (t *txn) account(key string, a Allowance) (*account, error) {
	c := &account{key: key, a: a, now: t.now, full: t.now}
	raw, err := t.tx.Get(key)
	switch {
	case errors.Is(err, ErrNotFound):
		return c, nil
	case err != nil:
		return nil, err
	case len(raw) != 13 || raw[0] != 1:
		return nil, fmt.Errorf("read %s: %w", key, registry.ErrRecord)
	}
	c.count = binary.BigEndian.Uint32(raw[9:])
	full := time.UnixMilli(int64(binary.BigEndian.Uint64(raw[1:])))
	if full.After(c.full) {
		c.full = full
	}
	// A clock that was set back must not lock anybody out for longer than an empty account would, which is kept so that the
	// wait begins only once.
	if most := t.now.Add(time.Duration(a.Burst) * a.Every); c.full.After(most) {
		c.full = most
		return c, c.save(t.tx)
	}
	return c, nil
}

// left returns how many units can be taken now.
func (c *account) left() int {
	used := (c.full.Sub(c.now) + c.a.Every - 1) / c.a.Every
	return max(0, c.a.Burst-int(used))
}

// take takes one unit, of which there must be one left.
func (c *account) take(tx Tx) error {
	c.full = c.full.Add(c.a.Every)
	return c.save(tx)
}

func (c *account) save(tx Tx) error {
	raw := binary.BigEndian.AppendUint64([]byte{1}, uint64(c.full.UnixMilli()))
	return tx.Put(c.key, binary.BigEndian.AppendUint32(raw, c.count))
}

// refusals of a peer that get an audit entry of their own; the others are counted in the next one.
var refusals = Allowance{Burst: 32, Every: time.Minute}

// refusal writes a refused request to the audit log. A peer cannot fill the log with them.
func (t *txn) refusal(ask *asked, result control.Result) error {
	c, err := t.account(prefixRefusal+ask.peer.String(), refusals)
	if err != nil {
		return err
	}
	if c.left() == 0 {
		if c.count < 1<<32-1 {
			c.count++
		}
		return c.save(t.tx)
	}
	e := AuditEntry{Code: uint8(result.Code), Suppressed: c.count}
	e.Kind, e.Actor = registry.KindRefused, ask.peer
	c.count = 0
	if err := c.take(t.tx); err != nil {
		return err
	}
	// Without a signature that holds, the bytes prove nothing about anybody.
	if ask.valid {
		e.App, e.Device = ask.Request.App, ask.Request.Device
		e.Evidence = registry.Evidence{Kind: registry.EvidenceRequest, Hash: ask.hash}
		if err := t.keep(ask.evidence); err != nil {
			return err
		}
	}
	return t.audit(e)
}
