package devicegw

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/delivery"
)

// outbox is delivery.Store over the NVM: each frame in a slot of its own, locked under the root and bound to the binding, and
// one record with the marks. Every method is one Put, which is what makes it atomic.
type outbox struct {
	nvm     locked
	binding e2e.BindingID
	log     *slog.Logger

	mu      sync.Mutex // guards what follows, and orders the writes
	rec     marksRecord
	next    uint64         // as delivery.State
	slots   map[int]uint64 // number of the frame in each slot in use
	dirty   int            // a slot that a failed Append may have written, or -1; used first, so that no number lies in two
	damaged int            // frames that the memory has lost
	closed  bool
}

var _ delivery.Store = (*outbox)(nil)

func newOutbox(l locked, binding e2e.BindingID, log *slog.Logger) *outbox {
	return &outbox{nvm: l, binding: binding, log: log, slots: map[int]uint64{}, dirty: -1}
}

// Load implements delivery.Store. It also clears what a power cut or an earlier binding left in the slots.
func (o *outbox) Load() (delivery.State, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ctx := context.Background()
	rec, _, err := load(ctx, o.nvm, nameMarks, o.binding, parseMarksRecord)
	if err != nil {
		return delivery.State{}, fmt.Errorf("read marks: %w", err)
	}
	o.rec, o.next = rec, rec.Next
	clear(o.slots)
	var entries []delivery.Entry
	var damaged []string
	names, err := present(ctx, o.nvm.nvm, slotNames())
	if err != nil {
		return delivery.State{}, fmt.Errorf("read outbox: %w", err)
	}
	for slot, name := range slotNames() {
		if len(names) == 0 || names[0] != name {
			continue
		}
		names = names[1:]
		plaintext, err := o.nvm.get(ctx, name, o.binding)
		if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errOtherBinding) {
			continue // most of them
		}
		var f frameRecord
		if err == nil {
			f, err = parseFrameRecord(plaintext)
			clear(plaintext)
		}
		switch {
		case errors.Is(err, ErrDamaged) || errors.Is(err, ErrWrongRoot) || errors.Is(err, errRecord):
			damaged = append(damaged, name)
			o.log.Error("a queued message is lost: its place in non-volatile memory is damaged", "slot", slot, "err", err)
		case err != nil && !errors.Is(err, errOtherBinding):
			return delivery.State{}, fmt.Errorf("read outbox: %w", err)
		case err != nil || f.Seq <= rec.Removed:
			if err := o.nvm.nvm.Delete(ctx, name); err != nil {
				o.log.Warn("clear outbox", "err", err)
			}
		default:
			o.slots[slot] = f.Seq
			o.next = max(o.next, f.Seq+1)
			entries = append(entries, delivery.Entry{Seq: f.Seq, Frame: f.Frame})
		}
	}
	if len(damaged) > 0 {
		// What was lost may have had the highest number, and been sent: skip more numbers than there are slots. Durably, before the
		// damage is cleared away, or the next start would give those numbers again.
		o.damaged += len(damaged)
		o.next += outboxSlots
		rec.Next = o.next
		if err := o.save(rec); err != nil {
			return delivery.State{}, err
		}
		for _, name := range damaged {
			_ = o.nvm.nvm.Delete(ctx, name)
		}
	}
	slices.SortFunc(entries, func(a, b delivery.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return delivery.State{Next: o.next, Marks: rec.Marks, Outbox: entries}, nil
}

// Append implements delivery.Store.
func (o *outbox) Append(seq uint64, frame []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrNotConnected
	}
	if seq == 0 || seq < o.next {
		return fmt.Errorf("devicegw: append %d to the outbox: number was used before, next is %d", seq, o.next)
	}
	slot := o.dirty
	for s := 0; slot < 0 && s < outboxSlots; s++ {
		if _, used := o.slots[s]; !used {
			slot = s
		}
	}
	if slot < 0 {
		return fmt.Errorf("devicegw: append %d to the outbox: %w", seq, delivery.ErrFull)
	}
	if err := save(context.Background(), o.nvm, slotName(slot), o.binding, frameRecord{seq, frame}); err != nil {
		o.dirty = slot
		return fmt.Errorf("append to outbox: %w", err)
	}
	o.dirty = -1
	o.slots[slot], o.next = seq, seq+1
	return nil
}

// Remove implements delivery.Store.
func (o *outbox) Remove(upTo uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrNotConnected
	}
	var gone []int
	rec := o.rec
	for slot, seq := range o.slots {
		if seq <= upTo {
			gone = append(gone, slot)
			rec.Removed = max(rec.Removed, seq)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	rec.Next = max(rec.Next, o.next)
	if err := o.save(rec); err != nil {
		return err
	}
	for _, slot := range gone {
		delete(o.slots, slot)
		if err := o.nvm.nvm.Delete(context.Background(), slotName(slot)); err != nil {
			o.log.Warn("delete a delivered message", "err", err) // it counts as removed; the slot is written over
		}
	}
	return nil
}

// PutMark implements delivery.Store.
func (o *outbox) PutMark(m delivery.Mark, value uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrNotConnected
	}
	if m >= delivery.MarkCount {
		return fmt.Errorf("devicegw: mark %d is unknown", m)
	}
	if value <= o.rec.Marks[m] {
		return nil
	}
	rec := o.rec
	rec.Marks[m] = value
	return o.save(rec)
}

func (o *outbox) save(rec marksRecord) error {
	if err := save(context.Background(), o.nvm, nameMarks, o.binding, rec); err != nil {
		return fmt.Errorf("write marks: %w", err)
	}
	o.rec = rec
	return nil
}

func (o *outbox) lost() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.damaged
}

// close makes later writes fail, so that nothing of a removed binding is written again.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

func (o *outbox) reopen() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = false
}

// clearBinding deletes what belongs to the application's binding, whichever it is. The caller has put the state that ends it.
func clearBinding(ctx context.Context, nvm NVM) error {
	names, err := present(ctx, nvm, append(slotNames(), nameMarks, nameApp, namePrekey))
	if err != nil {
		return err
	}
	for _, name := range names {
		err = errors.Join(err, nvm.Delete(ctx, name))
	}
	return err
}
