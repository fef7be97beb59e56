package appgw

import (
	"context"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/internal/kv"
)

// epochs implements e2e.RestorableEpochs over the store.
type epochs struct {
	store   Store
	binding e2e.BindingID
}

func newEpochs(s Store, b e2e.BindingID) epochs { return epochs{s, b} }

var _ e2e.RestorableEpochs = epochs{}

func (e epochs) NextEpoch() (next uint64, err error) {
	err = e.update(func(_ Tx, v []uint64) error {
		v[0]++
		next = v[0]
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("take epoch: %w", err)
	}
	return next, nil
}

func (e epochs) AcceptEpoch(epoch uint64) error { return e.accept(epoch, false) }

func (e epochs) AcceptEcho(epoch uint64) error { return e.accept(epoch, true) }

func (e epochs) accept(epoch uint64, echo bool) error {
	err := e.update(func(tx Tx, v []uint64) error {
		if err := e2e.CheckEpoch(v[1], epoch); err != nil {
			return err
		}
		v[1] = epoch
		if echo {
			return tx.Delete(keyRestored(e.binding))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("accept epoch %d: %w", epoch, err)
	}
	return nil
}

func (e epochs) SkipEpochs(highest uint64) error {
	err := e.update(func(_ Tx, v []uint64) error {
		v[0] = max(v[0], highest)
		return nil
	})
	if err != nil {
		return fmt.Errorf("skip epochs to %d: %w", highest, err)
	}
	return nil
}

func (e epochs) Restored() (restored bool, err error) {
	err = e.store.View(context.Background(), func(tx Tx) error {
		_, err := tx.Get(keyRestored(e.binding))
		restored = err == nil
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("read restore mark: %w", err)
	}
	return restored, nil
}

// update changes the two numbers of the record: issued by us, accepted of the other side.
func (e epochs) update(f func(Tx, []uint64) error) error {
	return e.store.Update(context.Background(), func(tx Tx) error {
		if err := alive(tx, e.binding); err != nil {
			return err
		}
		v, err := getU64s(tx, keyEpoch(e.binding), 2)
		if err != nil {
			return err
		}
		if err := f(tx, v); err != nil {
			return err
		}
		return putU64s(tx, keyEpoch(e.binding), v...)
	})
}
