package bench

import (
	"bytes"
	"errors"
	"fmt"
)

// maxSize is the longest message: what one TLS record carries.
const maxSize = 16 << 10

// channel is one direction between two ends that share keys. Records are opened in the order in which they were sealed.
type channel interface {
	// ready makes room for n more messages, with new keys where the old ones are used up.
	ready(n int) error
	// seal appends a record to dst.
	seal(dst, plaintext []byte) ([]byte, error)
	// open appends the plaintext to dst.
	open(dst, record []byte) ([]byte, error)
}

// named makes a channel and tells how to call it.
type named struct {
	name string
	ours bool
	make func(*members) (channel, error)
}

const (
	maxBatch      = 4096
	maxBatchBytes = 4 << 20 // of records that wait to be opened
	room          = 64      // more than any record adds to its message
)

func batch(size int) int { return max(1, min(maxBatch, maxBatchBytes/(size+room))) }

// message is size bytes that are not all the same.
func message(size int) []byte {
	m := make([]byte, size)
	for i := range m {
		m[i] = byte(i*7 + i>>8)
	}
	return m
}

var errMismatch = errors.New("what was opened is not what was sealed")

func checkChannel(c channel, msg []byte) error {
	if err := c.ready(1); err != nil {
		return err
	}
	record, err := c.seal(nil, msg)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if len(record) <= len(msg) || bytes.Contains(record, msg) {
		return errors.New("the record is not sealed")
	}
	got, err := c.open(nil, record)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if !bytes.Equal(got, msg) {
		return errMismatch
	}
	return nil
}

func sealCase(n named, m *members, size int) (*Case, error) {
	c, err := n.make(m)
	if err != nil {
		return nil, err
	}
	msg, out := message(size), make([]byte, 0, size+room)
	return &Case{
		Name: n.name, Ours: n.ours, Batch: batch(size),
		Check:   func() error { return checkChannel(c, msg) },
		Prepare: c.ready,
		Do: func(int) error {
			_, err := c.seal(out, msg)
			return err
		},
	}, nil
}

func openCase(n named, m *members, size int) (*Case, error) {
	c, err := n.make(m)
	if err != nil {
		return nil, err
	}
	msg, out := message(size), make([]byte, 0, maxSize+room)
	records := make([][]byte, 0, batch(size))
	return &Case{
		Name: n.name, Ours: n.ours, Batch: batch(size),
		Check: func() error { return checkChannel(c, msg) },
		Prepare: func(n int) error {
			if err := c.ready(n); err != nil {
				return err
			}
			for i := range n {
				if i == len(records) {
					records = append(records, make([]byte, 0, size+room))
				}
				var err error
				if records[i], err = c.seal(records[i][:0], msg); err != nil {
					return err
				}
			}
			return nil
		},
		Do: func(i int) error {
			got, err := c.open(out, records[i])
			if err == nil && len(got) != size {
				err = errMismatch
			}
			return err
		},
	}, nil
}
