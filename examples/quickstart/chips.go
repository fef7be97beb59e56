package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

const (
	sramSize = 1024 // bytes that serve as PUF
	devices  = 3
)

// chip is the uninitialised SRAM of one device.
type chip struct {
	puf.Source
	what     string // for people
	stored   int    // power-ups, after which they repeat; 0: each is new
	powerUps *atomic.Int64
}

// Measure counts power-ups, to show that each boot reads a new one.
func (c chip) Measure(ctx context.Context, dst []byte) error {
	c.powerUps.Add(1)
	return c.Source.Measure(ctx, dst)
}

// openChips returns one chip for each device: simulated ones, or windows of the real ones below dir.
func openChips(dir string) ([]chip, error) {
	if dir == "" {
		var chips []chip
		for i := range devices {
			chips = append(chips, chip{Source: pufsim.New(uint64(2019+i), pufsim.Config{Size: sramSize}), what: "simulated", powerUps: new(atomic.Int64)})
		}
		return chips, nil
	}
	folders, err := chipFolders(dir)
	if err != nil {
		return nil, err
	}
	// Each device more than there are chips takes the next window of one, which is a PUF of its own.
	if len(folders) > devices {
		folders = folders[:devices]
	}
	if err := differ(folders); err != nil {
		return nil, err
	}
	var chips []chip
	for i := range devices {
		folder, offset := folders[i%len(folders)], i/len(folders)*sramSize
		dumps, err := puf.OpenDir(folder, puf.Wrap())
		if err != nil {
			return nil, fmt.Errorf("chip %s: %w", folder, err)
		}
		if dumps.Len() < 2 {
			return nil, fmt.Errorf("chip %s: one power-up, want two or more: enrolment compares two, and each boot reads the next", folder)
		}
		if dumps.Size() < offset+sramSize {
			return nil, fmt.Errorf("chip %s: dumps of %d bytes, want %d: %d devices take %d bytes each, so add chips or larger dumps",
				folder, dumps.Size(), offset+sramSize, devices, sramSize)
		}
		chips = append(chips, chip{
			Source: puf.Window(dumps, offset, sramSize), what: fmt.Sprintf("%s+%#x", filepath.Base(folder), offset),
			stored: dumps.Len(), powerUps: new(atomic.Int64),
		})
	}
	return chips, nil
}

// chipFolders lists the sub-folders of dir that have dumps.
func chipFolders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of dumps: %w", err)
	}
	var folders []string
	for _, e := range entries {
		folder := filepath.Join(dir, e.Name())
		// Stat follows links, which is what keeps dumps out of somebody's working folder.
		if st, err := os.Stat(folder); err != nil || !st.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		has, err := hasDumps(folder)
		if err != nil {
			return nil, fmt.Errorf("folder of dumps: %w", err)
		}
		if has {
			folders = append(folders, folder)
		}
	}
	if len(folders) > 0 {
		return folders, nil
	}
	if has, err := hasDumps(dir); err == nil && has {
		return nil, fmt.Errorf("folder of dumps %s: it is a chip itself: name the folder above it", dir)
	}
	return nil, fmt.Errorf("folder of dumps %s: no sub-folder has .bin or .hex files: make one for each chip, with a file for each power-up", dir)
}

func hasDumps(folder string) (bool, error) {
	entries, err := os.ReadDir(folder)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		return !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && (ext == ".bin" || ext == ".hex")
	}), err
}

// differ refuses two folders of one chip: their devices would be one device, and the story would say that an attack succeeds.
func differ(folders []string) error {
	var readings [][]byte
	for i, folder := range folders {
		dumps, err := puf.OpenDir(folder)
		if err != nil {
			return fmt.Errorf("chip %s: %w", folder, err)
		}
		reading := make([]byte, dumps.Size())
		defer clear(reading)
		if err := dumps.Measure(context.Background(), reading); err != nil {
			return fmt.Errorf("chip %s: %w", folder, err)
		}
		reading = reading[:min(sramSize, len(reading))]
		if puf.Check(reading, puf.Limits{}) != nil {
			reading = nil // of no working chip; enrolment says why
		}
		for j, other := range readings {
			err := puf.CheckPair(other, reading, puf.Limits{})
			if err == nil || errors.Is(err, puf.ErrIdentical) {
				return fmt.Errorf("folders %s and %s hold power-ups of one chip: put them into one folder", folders[j], folders[i])
			}
		}
		readings = append(readings, reading)
	}
	return nil
}
