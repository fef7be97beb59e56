// Package puf reads the start-up values of uninitialised SRAM, the physical unclonable function (PUF) that semio's root key comes
// from (section II of the paper), and tells a usable reading from a fault.
//
// Start with a [Source]: [OpenSysfs] for SRAM that Linux exports, [OpenFile] for a dump of one power-up, [OpenDir] for a folder of
// them, pufsim.New for a simulated chip, or an implementation of your own, which the suite in puftest tries. [Window] cuts the part
// that serves as the PUF out of a larger memory. [Check] refuses readings that no working memory gives, and [CheckPair] two that are
// not two power-ups of one chip; both find faults, neither measures entropy, and a pass says nothing of a chip's quality.
//
//	src, err := puf.OpenDir("dumps/board-a")
//	window := puf.Window(src, 4096, 1024)
//	reading := make([]byte, window.Size())
//	err = window.Measure(ctx, reading)
//	err = puf.Check(reading, puf.Limits{})
//
// A reading is a secret: with the helper data of the same region it gives the root key. Clear it after use. A stored dump is a
// copy of the secret for everyone who can read the file, so files suit development and tests, not devices in the field.
package puf

import (
	"context"
	"errors"
	"fmt"
)

// Source gives readings of one region of memory of one chip.
//
// Implementations are safe for concurrent use; they may let concurrent calls wait for each other.
type Source interface {
	// Size returns the number of bytes of a reading. It is positive and never changes.
	Size() int

	// Measure fills dst with a fresh power-up reading: the memory was without power since the last one. len(dst) must be
	// Size(), otherwise Measure returns a *SizeError and takes no reading. On any error the content of dst is undefined.
	// When no further reading can be had, the error wraps ErrExhausted. Measure does not keep dst.
	Measure(ctx context.Context, dst []byte) error
}

// ErrExhausted is returned by a source of stored readings when all have been given.
var ErrExhausted = errors.New("puf: no further power-up stored; record more, or start over with the option Wrap where a reading may repeat")

// SizeError reports a buffer, window or reading of the wrong size.
type SizeError struct {
	What      string // what has the wrong size
	Got, Want int    // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("puf: %s has %d bytes, want %d", e.What, e.Got, e.Want)
}

// Window returns the source of the size bytes at offset of src's readings. Each window of a chip that does not overlap another
// is a PUF of its own. A window that does not lie within src, or has no bytes, is reported by Measure as a *SizeError.
func Window(src Source, offset, size int) Source {
	return &window{src: src, offset: offset, size: size}
}

type window struct {
	src          Source
	offset, size int
}

func (w *window) Size() int { return w.size }

func (w *window) Measure(ctx context.Context, dst []byte) error {
	whole := w.src.Size()
	if w.size <= 0 || w.offset < 0 || w.offset > whole || w.size > whole-w.offset {
		// The end is what the source would need to have; computed without overflow for any ints.
		return &SizeError{What: fmt.Sprintf("source of a window of %d bytes at %d", w.size, w.offset), Got: whole, Want: w.end()}
	}
	if len(dst) != w.size {
		return &SizeError{What: "buffer", Got: len(dst), Want: w.size}
	}
	buf := make([]byte, whole)
	defer clear(buf)
	if err := w.src.Measure(ctx, buf); err != nil {
		return err
	}
	copy(dst, buf[w.offset:])
	return nil
}

// end is the size that the source must have at least.
func (w *window) end() int {
	size, offset := max(w.size, 1), max(w.offset, 0)
	if offset > int(^uint(0)>>1)-size {
		return int(^uint(0) >> 1)
	}
	return offset + size
}
