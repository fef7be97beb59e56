package appgw

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/semio-iot/semio/internal/delivery"
)

// restoreSkip is by how much MarkRestored moves the numbers of this side on, at least: far more than were used since any backup.
const restoreSkip = 1 << 24

// restoreEra is the time whose distance, in seconds, is added to restoreSkip. Whoever restores the same backup a second time then comes out
// above what was used after the first time; with a fixed step it would be the same numbers again. Both together stay far below 2^32, the
// jump that a peer refuses, so that several restores may pass before a device is heard.
var restoreEra = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// MarkRestored makes a store usable that was restored from a backup; call it before Open, once. Every number of this side skips those
// that were used after the backup, and every device has to prove that it is alive before something is accepted of it that may be
// old (package e2e: CHALLENGE), which costs it one round trip. What came in or was sent between backup and restore is lost,
// unless the other side still has it: events that were handled in that time are not delivered again.
//
// A gateway that goes on with a restored store without it may take a replay of early data for new, and its own events are taken for
// repeats of others.
func MarkRestored(ctx context.Context, s Store) error {
	by := restoreSkip + uint64(max(0, time.Since(restoreEra)/time.Second))
	err := s.Update(ctx, func(tx Tx) error {
		if err := skip(tx, keyPrekeyNumber, 1, 1<<16); err != nil {
			return err
		}
		var ids []string
		for key := range tx.List("epoch/") {
			ids = append(ids, strings.TrimPrefix(key, "epoch/"))
		}
		for _, id := range ids {
			if err := skip(tx, "epoch/"+id, 2, by); err != nil {
				return err
			}
			if err := skip(tx, "next/"+id, 1, by); err != nil {
				return err
			}
			if err := skip(tx, fmt.Sprintf("mark/%s/%d", id, delivery.MarkNumbers), 1, by); err != nil {
				return err
			}
			if err := tx.Put("restored/"+id, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("appgw: mark store as restored: %w", err)
	}
	return nil
}

// skip adds by to the first of n numbers.
func skip(tx Tx, key string, n int, by uint64) error {
	v, err := getU64s(tx, key, n)
	if err != nil {
		return err
	}
	v[0] += by
	return putU64s(tx, key, v...)
}
