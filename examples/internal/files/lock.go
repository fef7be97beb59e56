package files

import (
	"errors"
	"fmt"
	"os"
)

// ErrInUse reports a folder that another process has open.
var ErrInUse = errors.New("in use by another process: end it first")

// Lock keeps other processes out of a folder. It ends with the process, however that ends.
type Lock struct{ f *os.File }

// TryLock takes the lock that the file stands for, or returns [ErrInUse].
func TryLock(path string) (*Lock, error) {
	f, err := openLocked(path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// Close gives the lock back.
func (l *Lock) Close() error { return errors.Join(unlock(l.f), l.f.Close()) }
