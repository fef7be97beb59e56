package kv

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Mem is a store in memory, for tests and for what need not survive. The zero value is empty and ready.
type Mem struct {
	mu     sync.RWMutex // held by a transaction from begin to end
	data   map[string][]byte
	closed bool
}

// View implements [Store].
func (m *Mem) View(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrClosed
	}
	return f(&memTx{data: m.data})
}

// Update implements [Store].
func (m *Mem) Update(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	tx := &memTx{data: m.data, changes: map[string][]byte{}}
	if err := f(tx); err != nil {
		return err
	}
	if m.data == nil {
		m.data = map[string][]byte{}
	}
	for k, v := range tx.changes {
		if v == nil {
			delete(m.data, k)
		} else {
			m.data[k] = v
		}
	}
	return nil
}

// Close implements [Store].
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

type memTx struct {
	data    map[string][]byte
	changes map[string][]byte // nil value: deleted; nil map: read-only
}

func (t *memTx) get(key string) ([]byte, bool) {
	if v, ok := t.changes[key]; ok {
		return v, v != nil
	}
	v, ok := t.data[key]
	return v, ok
}

func (t *memTx) Get(key string) ([]byte, error) {
	v, ok := t.get(key)
	if !ok {
		return nil, ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (t *memTx) Put(key string, value []byte) error {
	if t.changes == nil {
		return ErrReadOnly
	}
	if err := CheckSize(key, value); err != nil {
		return err
	}
	t.changes[key] = append(make([]byte, 0, len(value)), value...)
	return nil
}

func (t *memTx) Delete(key string) error {
	if t.changes == nil {
		return ErrReadOnly
	}
	t.changes[key] = nil
	return nil
}

func (t *memTx) List(prefix string) iter.Seq2[string, []byte] {
	keys := map[string]bool{}
	for _, m := range []map[string][]byte{t.data, t.changes} {
		for k := range m {
			if strings.HasPrefix(k, prefix) {
				keys[k] = true
			}
		}
	}
	return func(yield func(string, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if v, ok := t.get(k); ok && !yield(k, bytes.Clone(v)) {
				return
			}
		}
	}
}
