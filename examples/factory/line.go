package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/platform/adminhttp"
)

// line is a run of the production line.
type line struct {
	// flags
	dir, party, name, dumps, ca, platform *string
	n, perChip, workers                   *int
	patience                              *time.Duration

	registrar *party.Party
	cred      identity.Credential
	authority *cahttp.Client
	registry  *adminhttp.Client
}

// summary is the last line.
type summary struct {
	Done     int `json:"done"`
	Rejected int `json:"rejected"`
	Failed   int `json:"failed"`
	Open     int `json:"open"` // not begun, because the run ended early
	Sheets   int `json:"sheets"`
}

func (l *line) run(ctx context.Context, t *cli.Terminal, _ []string) error {
	if *l.n < 0 || *l.perChip < 1 || *l.workers < 1 {
		return cli.Usage("-n, -per-chip and -workers count things: want positive numbers")
	}
	if _, err := identity.ParseDeviceID(*l.name + "-0001"); err != nil {
		return cli.Usage("-name: %v", err)
	}
	if err := l.connect(); err != nil {
		return err
	}
	defer l.authority.Close()
	defer l.registry.Close()
	for _, name := range []string{"units", "reports", "stickers"} {
		if err := os.MkdirAll(filepath.Join(*l.dir, name), 0o700); err != nil {
			return err
		}
	}
	lock, err := files.TryLock(filepath.Join(*l.dir, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, name := range []string{"reports", "stickers"} {
		if err := files.Clean(filepath.Join(*l.dir, name)); err != nil {
			return err
		}
	}
	jobs, err := l.plan(ctx)
	if err != nil {
		return err
	}
	sum, err := l.work(ctx, t, jobs)
	var sheets error
	if sum.Sheets, sheets = l.printSheets(jobs); sheets != nil {
		err = errors.Join(err, sheets)
	}
	if e := t.Print(sum, "%d done, %d rejected, %d failed, %d open. Stickers: %d sheets in %s", sum.Done, sum.Rejected, sum.Failed, sum.Open,
		sum.Sheets, filepath.Join(*l.dir, "stickers")); e != nil {
		err = errors.Join(err, e)
	}
	if err == nil && sum.Failed > 0 {
		err = fmt.Errorf("%d units failed: see their reports, and run it again", sum.Failed)
	}
	return err
}

// connect opens the station's party and the clients of authority and platform.
func (l *line) connect() (err error) {
	if l.registrar, err = partycmd.Open(*l.party, identity.RoleRegistrar); err != nil {
		return err
	}
	if l.cred, err = l.registrar.Credential(); err != nil {
		return err
	}
	c, err := l.registrar.TLS()
	if err != nil {
		return err
	}
	v, err := l.registrar.Verifier()
	if err != nil {
		return err
	}
	l.authority, err = cahttp.NewClient(cahttp.ClientConfig{URL: *l.ca, Roots: l.registrar.Roots(), Certificate: &c, Patience: *l.patience})
	if err != nil {
		return cli.Usage("-ca: %v", err)
	}
	l.registry, err = adminhttp.NewClient(adminhttp.ClientConfig{URL: *l.platform, Verifier: v, Certificate: c, Patience: *l.patience})
	if err != nil {
		return cli.Usage("-platform: %v", err)
	}
	return nil
}

// work makes the units. What is wrong with one unit is in its report; what is wrong with the line ends the run.
func (l *line) work(ctx context.Context, t *cli.Terminal, jobs []*job) (sum summary, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	bar := newBar(t, len(jobs))
	defer bar.clear()
	queue := make(chan *job)
	go func() {
		defer close(queue)
		for _, j := range jobs {
			select {
			case queue <- j:
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex // guards sum
	var stations sync.WaitGroup
	for range min(*l.workers, len(jobs)) {
		stations.Go(func() {
			for j := range queue {
				r, err := l.make(ctx, j, bar)
				if err != nil {
					stop(fmt.Errorf("%s: %w", j.id, err))
					return
				}
				mu.Lock()
				switch r.Status {
				case statusDone:
					sum.Done++
				case statusRejected:
					sum.Rejected++
				default:
					sum.Failed++
				}
				mu.Unlock()
				if err := bar.print(r); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	stations.Wait()
	sum.Open = len(jobs) - sum.Done - sum.Rejected - sum.Failed
	return sum, context.Cause(ctx)
}
