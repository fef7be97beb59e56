package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/puf"
)

// job is a chip that becomes a device.
type job struct {
	id   identity.DeviceID
	dir  string // unit's folder
	chip unit.Chip
	twin string // not empty: the folder of an earlier chip that this one is
}

// plan gives every chip a name, in the order of the names. Which chip has which name is decided once, and kept in the units' folders.
func (l *line) plan(ctx context.Context) ([]*job, error) {
	jobs, next, err := l.known()
	if err != nil {
		return nil, err
	}
	have := map[unit.Chip]bool{}
	simulated := 0
	for _, j := range jobs {
		have[j.chip] = true
		if j.chip.Kind == "sim" {
			simulated++
		}
	}
	var wanted []unit.Chip
	for ; simulated < *l.n; simulated++ {
		wanted = append(wanted, unit.Chip{Kind: "sim", Seed: rand.Uint64()})
	}
	if *l.dumps != "" {
		real, err := realChips(*l.dumps, *l.perChip)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, real...)
	}
	for _, c := range wanted {
		if have[c] {
			continue
		}
		j, err := l.job(fmt.Sprintf("%s-%04d", *l.name, next), c)
		if err != nil {
			return nil, err
		}
		next++
		u, err := unit.Create(j.dir, c, l.registrar.Roots())
		if err != nil {
			return nil, err
		}
		if err := u.Close(); err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	if len(jobs) == 0 {
		return nil, errors.New("no chips: say with -n how many are simulated, or name a folder of real ones with -dumps")
	}
	return jobs, twins(ctx, jobs)
}

func (l *line) job(name string, c unit.Chip) (*job, error) {
	id, err := identity.ParseDeviceID(name)
	if err != nil {
		return nil, fmt.Errorf("-name %s: %w", *l.name, err)
	}
	return &job{id: id, dir: filepath.Join(*l.dir, "units", name), chip: c}, nil
}

// known are the units of earlier runs, and the first number that none of this name has.
func (l *line) known() (jobs []*job, next int, err error) {
	next = 1
	entries, err := os.ReadDir(filepath.Join(*l.dir, "units"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, next, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), *l.name+"-"); ok {
			if n, err := strconv.Atoi(rest); err == nil && n >= next {
				next = n + 1
			}
		}
		c, err := unit.ReadChip(filepath.Join(*l.dir, "units", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // killed before it was written; the number is not used again
		}
		if err != nil {
			return nil, 0, err
		}
		j, err := l.job(e.Name(), c)
		if err != nil {
			return nil, 0, fmt.Errorf("%s is no unit's folder: %w", e.Name(), err)
		}
		jobs = append(jobs, j)
	}
	return jobs, next, nil
}

// realChips are the windows of the chips whose dumps lie below dir.
func realChips(dir string, perChip int) (chips []unit.Chip, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("-dumps: %w", err)
	}
	for _, e := range entries {
		folder := filepath.Join(dir, e.Name())
		// Stat follows links, which is what keeps dumps out of somebody's working folder.
		if st, err := os.Stat(folder); err != nil || !st.IsDir() || strings.HasPrefix(e.Name(), ".") || !hasDumps(folder) {
			continue
		}
		for i := range perChip {
			chips = append(chips, unit.Chip{Kind: "dumps", Dir: folder, Offset: i * unit.SRAMSize})
		}
	}
	if len(chips) > 0 {
		return chips, nil
	}
	if hasDumps(dir) {
		return nil, fmt.Errorf("-dumps %s: it is a chip itself: name the folder above it", dir)
	}
	return nil, fmt.Errorf("-dumps %s: no sub-folder has .bin or .hex files: make one for each chip, with a file for each power-up", dir)
}

func hasDumps(folder string) bool {
	entries, _ := os.ReadDir(folder) // a folder that cannot be read has none, and its chip is missing from the reports
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		return !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && (ext == ".bin" || ext == ".hex")
	})
}

// twins finds folders of one and the same chip: two devices of it would be two sets of helper data for the same cells, which together
// tell the key. The first keeps the chip.
func twins(ctx context.Context, jobs []*job) error {
	type seen struct {
		job     *job
		reading []byte
	}
	var all []seen
	defer func() {
		for _, s := range all {
			clear(s.reading)
		}
	}()
	for _, j := range jobs {
		if j.chip.Kind != "dumps" {
			continue
		}
		source, err := j.chip.Open()
		if err != nil {
			continue // enrolment tells why
		}
		reading := make([]byte, source.Size())
		if err := source.Measure(ctx, reading); err != nil || puf.Check(reading, puf.Limits{}) != nil {
			continue
		}
		for _, s := range all {
			err := puf.CheckPair(s.reading, reading, puf.Limits{})
			if s.job.chip.Offset == j.chip.Offset && (err == nil || errors.Is(err, puf.ErrIdentical)) {
				j.twin = s.job.chip.Dir
				break
			}
		}
		all = append(all, seen{j, reading})
	}
	return ctx.Err()
}
