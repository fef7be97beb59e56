package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/semio-iot/semio/puf"
)

// maxReadings is the most that the readings of all chips may take together, in bytes.
const maxReadings = 1 << 30

// chip is a chip of which power-ups are stored.
type chip struct {
	name     string
	readings [][]byte // in the order of their names, all of one size, at least one
}

// loadChips reads the dumps in dirs: each is either a folder of dumps of one chip or a folder of such folders. What cannot be read is
// a wrongUsage error.
func loadChips(ctx context.Context, dirs []string, p *progress, opts ...puf.Option) ([]chip, error) {
	if len(dirs) == 0 {
		return nil, usagef("name a folder of power-up dumps (.bin, .hex or .core), one for each chip, or a folder of such folders")
	}
	var folders []string
	for _, dir := range dirs {
		found, err := chipFolders(dir, opts)
		if err != nil {
			return nil, wrongUsage{err}
		}
		folders = append(folders, found...)
	}
	names := chipNames(folders)
	chips := make([]chip, len(folders))
	left := maxReadings
	for i, folder := range folders {
		p.step("reading dumps", i, len(folders))
		src, err := puf.OpenDir(folder, opts...)
		if err != nil {
			return nil, wrongUsage{err}
		}
		if left -= src.Size() * src.Len(); left < 0 {
			return nil, usagef("the dumps are larger than %d MB together; name fewer folders", maxReadings>>20)
		}
		chips[i].name = names[i]
		for {
			b := make([]byte, src.Size())
			err := src.Measure(ctx, b)
			if errors.Is(err, puf.ErrExhausted) {
				break
			}
			if err != nil {
				return nil, wrongUsage{err}
			}
			chips[i].readings = append(chips[i].readings, b)
		}
	}
	return chips, nil
}

// chipFolders returns dir if dumps lie in it, otherwise its sub-folders with dumps.
func chipFolders(dir string, opts []puf.Option) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open dumps: %w", err)
	}
	var sub []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if st, err := os.Stat(path); err == nil && st.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			sub = append(sub, path)
		}
	}
	if _, err := puf.OpenDir(dir, opts...); err == nil || !errors.Is(err, puf.ErrFormat) || len(sub) == 0 {
		return []string{dir}, err
	}
	var found []string
	for _, path := range sub {
		switch _, err := puf.OpenDir(path, opts...); {
		case err == nil:
			found = append(found, path)
		case !errors.Is(err, puf.ErrFormat):
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("open dumps: neither %s nor a folder in it has .bin, .hex or .core files: %w", dir, puf.ErrFormat)
	}
	return found, nil
}

// chipNames are the folders' last parts, or the whole paths where those would be alike.
func chipNames(folders []string) []string {
	count := map[string]int{}
	for _, f := range folders {
		count[filepath.Base(f)]++
	}
	names := make([]string, len(folders))
	for i, f := range folders {
		if names[i] = filepath.Base(f); count[names[i]] > 1 || names[i] == "." {
			names[i] = f
		}
	}
	return names
}
