package appgw

import (
	"context"
	"fmt"

	"github.com/semio-iot/semio/e2e"
)

// epochs implements e2e.Epochs over the store.
type epochs struct {
	store   Store
	binding e2e.BindingID
}

func newEpochs(s Store, b e2e.BindingID) epochs { return epochs{s, b} }

var _ e2e.Epochs = epochs{}

func (e epochs) NextEpoch() (next uint64, err error) {
	err = e.update(func(v []uint64) error {
		v[0]++
		next = v[0]
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("take epoch: %w", err)
	}
	return next, nil
}

func (e epochs) AcceptEpoch(epoch uint64) error {
	err := e.update(func(v []uint64) error {
		if err := e2e.CheckEpoch(v[1], epoch); err != nil {
			return err
		}
		v[1] = epoch
		return nil
	})
	if err != nil {
		return fmt.Errorf("accept epoch %d: %w", epoch, err)
	}
	return nil
}

// update changes the two numbers of the record: issued by us, accepted of the other side.
func (e epochs) update(f func([]uint64) error) error {
	return e.store.Update(context.Background(), func(tx Tx) error {
		if err := alive(tx, e.binding); err != nil {
			return err
		}
		v, err := getU64s(tx, keyEpoch(e.binding), 2)
		if err != nil {
			return err
		}
		if err := f(v); err != nil {
			return err
		}
		return putU64s(tx, keyEpoch(e.binding), v...)
	})
}
