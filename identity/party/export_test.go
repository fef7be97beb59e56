package party

import (
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/atomicfile"
)

func CreateOn(fsys atomicfile.FS, dir string, id identity.ID) (*Party, error) {
	return create(fsys, dir, id)
}

func OpenOn(fsys atomicfile.FS, dir string) (*Party, error) { return open(fsys, dir) }

const MaxPrevious = maxPrevious
