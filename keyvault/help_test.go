package keyvault_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// memory is a store that can be told to fail.
type memory struct {
	mu     sync.Mutex // guards what follows
	values map[string][]byte
	puts   int
	// Called before each operation; an error is its result.
	fail func(op, name string) error
	// forget drops what is put, keep ignores Delete, spoil changes what is put.
	forget, keep, spoil bool
	// strict makes Delete of a missing value an error.
	strict bool
}

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) check(op, name string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(op, name)
}

func (m *memory) Get(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("get", name); err != nil {
		return nil, err
	}
	b, ok := m.values[name]
	if !ok {
		return nil, &fs.PathError{Op: "get", Path: name, Err: fs.ErrNotExist}
	}
	return bytes.Clone(b), nil
}

func (m *memory) Put(_ context.Context, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("put", name); err != nil {
		return err
	}
	m.puts++
	if m.forget {
		return nil
	}
	m.values[name] = bytes.Clone(value)
	if m.spoil {
		m.values[name][0] ^= 1
	}
	return nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("delete", name); err != nil {
		return err
	}
	if _, ok := m.values[name]; !ok && m.strict {
		return fs.ErrNotExist
	}
	if !m.keep {
		delete(m.values, name)
	}
	return nil
}

// script is a source that does at each call what its next step says, and then as the chip does.
type script struct {
	*pufsim.Chip
	steps []func(dst []byte) error
	calls int
}

func (s *script) Measure(ctx context.Context, dst []byte) error {
	s.calls++
	if s.calls <= len(s.steps) && s.steps[s.calls-1] != nil {
		return s.steps[s.calls-1](dst)
	}
	return s.Chip.Measure(ctx, dst)
}

var errBroken = errors.New("wire broken")

func broken([]byte) error { return errBroken }

func constant(dst []byte) error {
	for i := range dst {
		dst[i] = 0xa5
	}
	return nil
}

func from(chip *pufsim.Chip) func([]byte) error {
	return func(dst []byte) error { return chip.Measure(context.Background(), dst) }
}

func exhausted([]byte) error { return puf.ErrExhausted }

func chip(seed uint64) *pufsim.Chip { return pufsim.New(seed, pufsim.Config{}) }

// enroll gives an open vault with its chip and its store.
func enroll(t testing.TB, seed uint64) (*keyvault.Vault, *pufsim.Chip, *memory) {
	t.Helper()
	c, store := chip(seed), newMemory()
	v, err := keyvault.Enroll(context.Background(), c, store, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v, c, store
}

func open(t testing.TB, src puf.Source, store keyvault.Store) *keyvault.Vault {
	t.Helper()
	v, err := keyvault.Open(context.Background(), src, store, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}
