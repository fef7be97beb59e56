package ca

import "github.com/semio-iot/semio/internal/atomicfile"

// OpenStoreOn is OpenFileStore on another file system.
func OpenStoreOn(fsys atomicfile.FS, dir string) (*FileStore, error) { return openFileStore(fsys, dir) }
