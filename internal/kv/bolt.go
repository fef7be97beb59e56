package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrLocked reports a file that another process has open. Stop it, or use another file.
var ErrLocked = errors.New("kv: file is in use by another process")

// ErrSchema reports a file, or a table of a database, that is not this kind of store, or one of a later version.
var ErrSchema = errors.New("kv: not a store of this kind")

const (
	bucketMeta = "meta"
	bucketData = "data"
	keySchema  = "schema"
)

// lockWait is how long OpenBolt waits for another process to close the file: long enough for a restart.
const lockWait = 2 * time.Second

// Bolt is a store in one bbolt file.
type Bolt struct{ db *bbolt.DB }

// OpenBolt opens or creates the file, mode 0600. schema names what it holds and its version, for example "semio platform 1"; a file
// with another one is refused with ErrSchema.
func OpenBolt(path, schema string) (*Bolt, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open store %s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists([]byte(bucketMeta))
		if err != nil {
			return err
		}
		switch have := string(meta.Get([]byte(keySchema))); have {
		case schema:
			return nil
		case "":
			if _, err := tx.CreateBucketIfNotExists([]byte(bucketData)); err != nil {
				return err
			}
			return meta.Put([]byte(keySchema), []byte(schema))
		default:
			return fmt.Errorf("%w: it says %q, want %q", ErrSchema, have, schema)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, errors.Join(err, db.Close()))
	}
	return &Bolt{db}, nil
}

// View implements [Store].
func (s *Bolt) View(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return closed(s.db.View(func(tx *bbolt.Tx) error { return f(boltTx{tx.Bucket([]byte(bucketData))}) }))
}

// Update implements [Store].
func (s *Bolt) Update(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return closed(s.db.Update(func(tx *bbolt.Tx) error { return f(boltTx{tx.Bucket([]byte(bucketData))}) }))
}

// Close implements [Store].
func (s *Bolt) Close() error { return s.db.Close() }

func closed(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

type boltTx struct{ b *bbolt.Bucket }

func (t boltTx) Get(key string) ([]byte, error) {
	v := t.b.Get([]byte(key))
	if v == nil {
		return nil, ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (t boltTx) Put(key string, value []byte) error {
	if !t.b.Writable() {
		return ErrReadOnly
	}
	if err := CheckSize(key, value); err != nil {
		return err
	}
	// bbolt keeps the slice until the commit.
	return t.b.Put([]byte(key), append(make([]byte, 0, len(value)), value...))
}

func (t boltTx) Delete(key string) error {
	if !t.b.Writable() {
		return ErrReadOnly
	}
	return t.b.Delete([]byte(key))
}

func (t boltTx) List(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		c := t.b.Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, v = c.Next() {
			if !yield(string(k), bytes.Clone(v)) {
				return
			}
		}
	}
}
