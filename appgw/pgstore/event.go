package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/identity"
)

// EventTx writes what an event of a device means into the host's tables, within tx, which it neither commits nor rolls back. An error
// undoes the transaction and the event comes again, later. It may be called again with the same event and another tx, so it has no
// effects but through tx. ctx ends after Options.Timeout at the latest: other devices' events may wait for this transaction.
type EventTx func(ctx context.Context, tx *sql.Tx, device identity.DeviceID, e appgw.Event) error

// OnEventTx makes the value of appgw.Config.OnEventTx: f's rows and the note that the event is handled become true in one
// serializable transaction, so each event's rows are there exactly once, whatever dies in between: the database, the host, the
// gateway, the device or the broker. Volatile events may be lost, as always.
//
//	OnEventTx: store.OnEventTx(func(ctx context.Context, tx *sql.Tx, dev identity.DeviceID, e appgw.Event) error {
//		_, err := tx.ExecContext(ctx, `INSERT INTO readings (device, body) VALUES ($1, $2)`, dev.String(), e.Body)
//		return err
//	})
func (s *Store) OnEventTx(f EventTx) func(context.Context, identity.DeviceID, appgw.Event, func(appgw.Tx) error) error {
	return func(ctx context.Context, device identity.DeviceID, e appgw.Event, handled func(appgw.Tx) error) error {
		err := s.kv.UpdateWith(ctx, func(ctx context.Context, host *sql.Tx, tx appgw.Tx) error {
			// The note first: of an event that was handled before f learns nothing.
			if err := handled(tx); err != nil {
				return err
			}
			return f(ctx, host, device, e)
		})
		if err != nil && !errors.Is(err, appgw.ErrHandled) {
			return fmt.Errorf("event %d of %s: %w", e.Seq, device, err)
		}
		return err
	}
}
