package puftest_test

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/puftest"
)

// faulty changes one thing about a good source.
type faulty struct {
	*pufsim.Chip
	measure func(c *pufsim.Chip, ctx context.Context, dst []byte) error
}

func (f faulty) Measure(ctx context.Context, dst []byte) error { return f.measure(f.Chip, ctx, dst) }

// faults are sources that break the contract, and what of the suite must notice.
var faults = map[string]struct {
	part string
	make func() func(c *pufsim.Chip, ctx context.Context, dst []byte) error
}{
	"writes half": {"fills_the_whole_buffer", func() func(*pufsim.Chip, context.Context, []byte) error {
		return func(c *pufsim.Chip, ctx context.Context, dst []byte) error {
			b := make([]byte, len(dst))
			err := c.Measure(ctx, b)
			copy(dst, b[:len(b)/2])
			return err
		}
	}},
	"constant": {"a_reading_passes_the_checks", func() func(*pufsim.Chip, context.Context, []byte) error {
		return func(c *pufsim.Chip, ctx context.Context, dst []byte) error {
			err := c.Measure(ctx, dst)
			clear(dst)
			return err
		}
	}},
	"replays": {"readings_are_fresh", func() func(*pufsim.Chip, context.Context, []byte) error {
		return func(c *pufsim.Chip, ctx context.Context, dst []byte) error {
			if err := ctx.Err(); err != nil || len(dst) != c.Size() {
				return c.Measure(ctx, dst)
			}
			return pufsim.New(1, pufsim.Config{}).Measure(ctx, dst)
		}
	}},
	"another chip each time": {"readings_are_fresh", func() func(*pufsim.Chip, context.Context, []byte) error {
		seed := uint64(0)
		return func(c *pufsim.Chip, ctx context.Context, dst []byte) error {
			seed++
			return pufsim.New(seed, pufsim.Config{}).Measure(ctx, dst)
		}
	}},
	"takes any buffer": {"wrong_buffer", func() func(*pufsim.Chip, context.Context, []byte) error {
		return func(c *pufsim.Chip, ctx context.Context, dst []byte) error {
			b := make([]byte, c.Size())
			err := c.Measure(ctx, b)
			copy(dst, b)
			return err
		}
	}},
	"deaf to its context": {"cancelled", func() func(*pufsim.Chip, context.Context, []byte) error {
		return func(c *pufsim.Chip, _ context.Context, dst []byte) error { return c.Measure(context.Background(), dst) }
	}},
	"keeps the buffer": {"keeps_no_buffer", func() func(*pufsim.Chip, context.Context, []byte) error {
		var kept []byte
		return func(c *pufsim.Chip, ctx context.Context, dst []byte) error {
			err := c.Measure(ctx, dst)
			copy(kept, dst)
			kept = dst
			return err
		}
	}},
}

const faultVariable = "SEMIO_PUFTEST_FAULT"

// TestSuiteNoticesFaults runs the suite on broken sources, each in a process of its own, because the suite fails its test.
func TestSuiteNoticesFaults(t *testing.T) {
	if name := os.Getenv(faultVariable); name != "" {
		f := faults[name]
		puftest.TestSource(t, func() puf.Source { return faulty{pufsim.New(1, pufsim.Config{}), f.make()} })
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestSuiteNoticesFaults$", "-test.v")
			cmd.Env = append(os.Environ(), faultVariable+"="+name)
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "the suite passes a source that %s\n%s", name, out)
			require.Contains(t, string(out), "--- FAIL: TestSuiteNoticesFaults/"+f.part+" ", "another part of the suite failed")
		})
	}
}
