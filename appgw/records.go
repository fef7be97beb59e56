package appgw

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/kv"
)

// memory is the store with our keys, encodings and encryption.
type memory struct {
	store  Store
	locker Locker
}

// deviceRecord is what an order changes, in one value. It stays, without a connection, when the connection ends: its life-cycle
// number keeps old orders from coming true again.
type deviceRecord struct {
	Version    int
	Lifecycle  uint64
	Connected  bool
	Binding    string              `json:",omitempty"` // hex
	Credential identity.Credential `json:",omitzero"`
	Own        string              `json:",omitempty"` // our certificate that the device was heard under last, SHA-256, hex
	PSK        []byte              `json:",omitempty"` // of the sticker's claim code; none: not yet scanned, or without one
	Leaving    bool                `json:",omitempty"` // this gateway has asked to end the connection
	Refused    string              `json:",omitempty"` // binding of a device that was not taken, hex: what the platform has connected all the same
}

func keyDevice(d identity.DeviceID) string { return "device/" + d.String() }
func keyClaim(d identity.DeviceID) string  { return "claim/" + d.String() }
func keyTomb(b e2e.BindingID) string       { return "tomb/" + b.String() }
func keyEpoch(b e2e.BindingID) string      { return "epoch/" + b.String() }
func keyRestored(b e2e.BindingID) string   { return "restored/" + b.String() }

// bindingKeys are the prefixes of everything that ends with a binding.
func bindingKeys(b e2e.BindingID) []string {
	id := b.String()
	return []string{keyEpoch(b), keyRestored(b), "next/" + id, "mark/" + id + "/", "out/" + id + "/"}
}

// alive fails for a binding that has ended. What still runs of it, a handler that takes its time for example, must not write behind the
// removal.
func alive(tx Tx, b e2e.BindingID) error {
	switch _, err := tx.Get(keyTomb(b)); {
	case errors.Is(err, kv.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("binding %s has ended: %w", b, ErrUnknownDevice)
}

// inUse tells whether a binding is, or was, that of a device or of the platform: each has its epochs from the beginning.
func inUse(tx Tx, b e2e.BindingID) (bool, error) {
	for _, key := range []string{keyTomb(b), keyEpoch(b)} {
		if _, err := tx.Get(key); !errors.Is(err, kv.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

func (m memory) putLocked(tx Tx, key string, plaintext []byte) error {
	locked, err := m.locker.Lock(key, plaintext)
	if err != nil {
		return fmt.Errorf("lock %s: %w", key, err)
	}
	return tx.Put(key, locked)
}

// getLocked returns nil for an absent key.
func (m memory) getLocked(tx Tx, key string) ([]byte, error) {
	locked, err := tx.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := m.locker.Unlock(key, locked)
	if err != nil {
		return nil, fmt.Errorf("unlock %s: %w", key, err)
	}
	return b, nil
}

// connected returns the records of all connected devices. Their PSK is to be cleared.
func (m memory) connected(ctx context.Context) (map[identity.DeviceID]deviceRecord, error) {
	records := map[identity.DeviceID]deviceRecord{}
	err := m.store.View(ctx, func(tx Tx) error {
		const prefix = "device/"
		for key, locked := range tx.List(prefix) {
			id, err := identity.ParseDeviceID(key[len(prefix):])
			if err != nil {
				return fmt.Errorf("store key %s: %w", key, err)
			}
			b, err := m.locker.Unlock(key, locked)
			if err != nil {
				return fmt.Errorf("unlock %s: %w", key, err)
			}
			r, err := parseDeviceRecord(b)
			clear(b)
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			if r.Connected {
				records[id] = r
			}
		}
		return nil
	})
	return records, err
}

func (m memory) putDevice(tx Tx, d identity.DeviceID, r deviceRecord) error {
	r.Version = 1
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	defer clear(b)
	return m.putLocked(tx, keyDevice(d), b)
}

// device returns the zero record for a device that was never connected.
func (m memory) device(tx Tx, d identity.DeviceID) (deviceRecord, error) {
	b, err := m.getLocked(tx, keyDevice(d))
	if err != nil || b == nil {
		return deviceRecord{}, err
	}
	defer clear(b)
	return parseDeviceRecord(b)
}

func parseDeviceRecord(b []byte) (r deviceRecord, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return deviceRecord{}, fmt.Errorf("device record: %w", err)
	}
	if r.Version != 1 {
		return deviceRecord{}, fmt.Errorf("device record of version %d: this gateway knows 1", r.Version)
	}
	return r, nil
}

func (r deviceRecord) binding() (e2e.BindingID, error) { return parseBinding(r.Binding) }

func parseBinding(s string) (b e2e.BindingID, err error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(b) {
		return b, fmt.Errorf("device record: binding %q", s)
	}
	copy(b[:], raw)
	return b, nil
}

func (m memory) update(ctx context.Context, f func(Tx) error) error { return m.store.Update(ctx, f) }

// getU64s reads n numbers, zeros for an absent key.
func getU64s(tx Tx, key string, n int) ([]uint64, error) {
	out := make([]uint64, n)
	b, err := tx.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) != 8*n {
		return nil, fmt.Errorf("store value %s has %d bytes, want %d", key, len(b), 8*n)
	}
	for i := range out {
		out[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return out, nil
}

func putU64s(tx Tx, key string, values ...uint64) error {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return tx.Put(key, b)
}
