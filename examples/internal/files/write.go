package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// unfinished begins the names of files that are being written.
const unfinished = ".new-"

// Clean removes what writes left in dir that a kill or a power cut ended; it may be secret. Nobody else may write there meanwhile: hold the
// folder's lock.
func Clean(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// Write replaces path by a file with b. It has mode 0600 if secret is set, else 0644; it is durable when Write returns nil, and after an
// error the old one stands.
func Write(path string, b []byte, secret bool) error {
	fail := func(err error) error { return fmt.Errorf("write %s: %w", path, err) }
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, unfinished) // mode 0600
	if err != nil {
		return fail(err)
	}
	_, err = f.Write(b)
	if err == nil && !secret {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // the first error is the one to tell
		return fail(err)
	}
	// What a directory cannot do on some systems is not needed there either.
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
	return nil
}
