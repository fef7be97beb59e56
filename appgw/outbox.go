package appgw

import (
	"context"
	"fmt"
	"strconv"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/delivery"
)

// outbox implements delivery.Store for one binding over the gateway's store.
type outbox struct {
	memory
	binding e2e.BindingID
	id      string // of binding, hex
}

var _ delivery.Store = outbox{}

func newOutbox(m memory, b e2e.BindingID) outbox { return outbox{m, b, b.String()} }

func (o outbox) keyNext() string                { return "next/" + o.id }
func (o outbox) keyMark(m delivery.Mark) string { return fmt.Sprintf("mark/%s/%d", o.id, m) }
func (o outbox) prefix() string                 { return "out/" + o.id + "/" }
func (o outbox) keyFrame(seq uint64) string     { return fmt.Sprintf("%s%016x", o.prefix(), seq) }

// Load implements delivery.Store.
func (o outbox) Load() (s delivery.State, err error) {
	err = o.store.View(context.Background(), func(tx Tx) error {
		s = delivery.State{}
		next, err := getU64s(tx, o.keyNext(), 1)
		if err != nil {
			return err
		}
		s.Next = next[0]
		for m := range delivery.MarkCount {
			v, err := getU64s(tx, o.keyMark(m), 1)
			if err != nil {
				return err
			}
			s.Marks[m] = v[0]
		}
		for key, locked := range tx.List(o.prefix()) {
			seq, err := strconv.ParseUint(key[len(o.prefix()):], 16, 64)
			if err != nil {
				return fmt.Errorf("store key %s: %w", key, err)
			}
			frame, err := o.locker.Unlock(key, locked)
			if err != nil {
				return fmt.Errorf("unlock %s: %w", key, err)
			}
			s.Outbox = append(s.Outbox, delivery.Entry{Seq: seq, Frame: frame})
		}
		return nil
	})
	if err != nil {
		return delivery.State{}, fmt.Errorf("load outbox: %w", err)
	}
	return s, nil
}

// Append implements delivery.Store.
func (o outbox) Append(seq uint64, frame []byte) error {
	return o.store.Update(context.Background(), func(tx Tx) error {
		if err := alive(tx, o.binding); err != nil {
			return err
		}
		next, err := getU64s(tx, o.keyNext(), 1)
		if err != nil {
			return err
		}
		if seq == 0 || seq < next[0] {
			return fmt.Errorf("append %d to outbox: number was used before, next is %d", seq, next[0])
		}
		if err := o.putLocked(tx, o.keyFrame(seq), frame); err != nil {
			return err
		}
		return putU64s(tx, o.keyNext(), seq+1)
	})
}

// Remove implements delivery.Store.
func (o outbox) Remove(upTo uint64) error {
	return o.store.Update(context.Background(), func(tx Tx) error {
		var gone []string
		for key := range tx.List(o.prefix()) {
			if key > o.keyFrame(upTo) {
				break
			}
			gone = append(gone, key)
		}
		for _, key := range gone {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// mark notes in a transaction of the host that event seq is handled, or returns ErrHandled.
func (o outbox) mark(tx Tx, seq uint64) error {
	if err := alive(tx, o.binding); err != nil {
		return err
	}
	key := o.keyMark(delivery.MarkEvents)
	have, err := getU64s(tx, key, 1)
	if err != nil {
		return err
	}
	if seq <= have[0] {
		return fmt.Errorf("event %d: %w", seq, ErrHandled)
	}
	return putU64s(tx, key, seq)
}

// PutMark implements delivery.Store.
func (o outbox) PutMark(m delivery.Mark, value uint64) error {
	if m >= delivery.MarkCount {
		return fmt.Errorf("appgw: mark %d is unknown", m)
	}
	return o.store.Update(context.Background(), func(tx Tx) error {
		if err := alive(tx, o.binding); err != nil {
			return err
		}
		have, err := getU64s(tx, o.keyMark(m), 1)
		if err != nil {
			return err
		}
		if value <= have[0] {
			return nil
		}
		return putU64s(tx, o.keyMark(m), value)
	})
}
