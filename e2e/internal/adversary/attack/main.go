// Command attack lets the adversary of its parent package loose on package e2e:
//
//	go run ./e2e/internal/adversary/attack -steps 10000000 -seed 1
//
// It says on stderr how far it is, and on stdout what came to pass, with -json for programs. When a rule breaks it exits with 1 and tells
// how to see it again; 2 means that it could not begin.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/semio-iot/semio/e2e/internal/adversary"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// report is the output with -json.
type report struct {
	Seed      uint64          `json:"seed"`
	Stats     adversary.Stats `json:"stats"`
	Seconds   float64         `json:"seconds"`
	Violation *found          `json:"violation"`
}

type found struct {
	Episode uint64 `json:"episode"`
	Step    int    `json:"step"`
	Rule    string `json:"rule"`
	Detail  string `json:"detail"`
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("attack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	steps := flags.Int("steps", 1_000_000, "number of steps")
	seed := flags.Uint64("seed", 1, "seed of the adversary's decisions")
	episode := flags.Uint64("episode", 0, "first episode: to see a finding again")
	asJSON := flags.Bool("json", false, "report in JSON")
	nonceTwice := flags.Bool("plant-nonce-twice", false, "plant a bug, which must be found: the nonce moves with every other message only")
	seenLate := flags.Bool("plant-seen-late", false, "plant a bug, which must be found: the highest epoch seen is written too late")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || *steps < 1 {
		fmt.Fprintln(stderr, "attack: -steps wants a number of at least 1, and there are no other arguments")
		return 2
	}
	cast, err := adversary.NewCast()
	if err != nil {
		fmt.Fprintln(stderr, "attack:", err)
		return 2
	}
	began, told := time.Now(), time.Now()
	progress := func(s adversary.Stats) {
		if time.Since(told) < 5*time.Second {
			return
		}
		told = time.Now()
		fmt.Fprintf(stderr, "%d of %d steps, %.0fs\n", s.Steps, *steps, time.Since(began).Seconds())
	}
	faults := adversary.Faults{NonceTwice: *nonceTwice, SeenWrittenLate: *seenLate}
	stats, err := adversary.Run(cast, *seed, *episode, *steps, faults, progress)
	r := report{Seed: *seed, Stats: stats, Seconds: time.Since(began).Seconds()}
	var finding *adversary.Finding
	var v *adversary.Violation
	switch {
	case errors.As(err, &finding) && errors.As(err, &v):
		r.Violation = &found{finding.Episode, finding.Step, v.Rule, v.Detail}
	case err != nil:
		fmt.Fprintln(stderr, "attack:", err)
		return 2
	}
	if *asJSON {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(r); err != nil {
			return 2
		}
	} else {
		fmt.Fprintf(stdout, "%d steps in %.0fs: %+v\n", stats.Steps, r.Seconds, stats)
	}
	if r.Violation != nil {
		fmt.Fprintf(stderr, "BROKEN: %v\nagain with: go run ./e2e/internal/adversary/attack -seed %d -episode %d -steps %d\n",
			err, *seed, finding.Episode, finding.Step+1)
		return 1
	}
	return 0
}
