package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/identity"
)

// What became of a unit.
const (
	statusDone     = "done"
	statusRejected = "rejected" // the chip is bad
	statusFailed   = "failed"   // authority or platform has refused it; the next run tries again
)

// report is what is known of a unit. It has nothing secret.
type report struct {
	Device identity.DeviceID `json:"device"`
	Chip   string            `json:"chip"`
	Status string            `json:"status"`
	Reason string            `json:"reason,omitempty"`
	Time   time.Time         `json:"time"`

	// Of the reconstruction from a fresh power-up, before the device left the line.
	ErrorRate float64 `json:"error_rate,omitempty"` // share of the cells that differed from enrolment
	Rated     float64 `json:"rated,omitempty"`      // share up to which the root key comes back
}

// final says that the unit needs no further run. To try a rejected chip once more, delete its report.
func (r report) final() bool { return r.Status == statusDone || r.Status == statusRejected }

func (r *report) margin(f fuzzy.Report) { r.ErrorRate, r.Rated = f.ErrorRate(), f.Rated }

// line is the report for people.
func (r report) line() string {
	s := fmt.Sprintf("%-24s %-9s", r.Device, r.Status)
	if r.Status == statusDone {
		return s + fmt.Sprintf(" %.1f %% of the cells differed, good up to %.1f %%", 100*r.ErrorRate, 100*r.Rated)
	}
	return s + " " + r.Reason
}

func (l *line) reportFile(id identity.DeviceID) string {
	return filepath.Join(*l.dir, "reports", id.String()+".json")
}

func (l *line) readReport(j *job) (report, error) {
	r, err := readReport(l.reportFile(j.id))
	if errors.Is(err, fs.ErrNotExist) {
		return report{}, nil
	}
	if err == nil && r.Chip != j.chip.String() {
		err = fmt.Errorf("report %s is of chip %s, the unit has %s: delete the report if the unit is right", l.reportFile(j.id), r.Chip, j.chip)
	}
	return r, err
}

func readReport(path string) (r report, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return report{}, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return report{}, fmt.Errorf("report %s: %w: delete it, the next run writes it anew", path, err)
	}
	return r, nil
}

func (l *line) writeReport(r report) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return files.Write(l.reportFile(r.Device), append(b, '\n'), false)
}

func reports(f *cli.Flags) cli.Action {
	dir := dirFlag(f)
	f.JSON()
	return func(_ context.Context, t *cli.Terminal, _ []string) error {
		entries, err := os.ReadDir(filepath.Join(*dir, "reports"))
		if err != nil {
			return fmt.Errorf("reports of the line in %s: %w", *dir, err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".json") {
				continue
			}
			r, err := readReport(filepath.Join(*dir, "reports", e.Name()))
			if err != nil {
				return err
			}
			if err := t.Print(r, "%s", r.line()); err != nil {
				return err
			}
		}
		return nil
	}
}
