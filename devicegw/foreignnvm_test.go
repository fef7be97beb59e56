package devicegw_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/internal/control"
)

// flaky is a memory that is not ours: its errors are its own, and reading some names fails for a while.
type flaky struct {
	devicegw.NVM
	name string // of the value that cannot be read
	left int
}

func (f *flaky) Get(ctx context.Context, name string) ([]byte, error) {
	if name == f.name && f.left > 0 {
		f.left--
		return nil, errors.New("bus error")
	}
	return f.NVM.Get(ctx, name)
}

// A refusal is for good, a memory that fails is not.
func TestForeignMemoryThatFailsRefusesNoOrder(t *testing.T) {
	for _, name := range []string{"epoch-app", "marks"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.app("A-FIRST")
			cfg := w.config()
			nvm := &flaky{NVM: cfg.NVM, name: name}
			cfg.NVM = nvm
			gw, err := devicegw.Open(t.Context(), cfg)
			require.NoError(t, err)
			nvm.left = 1
			install := w.install(a)
			err = devicegw.Apply(gw, install)
			require.ErrorContains(t, err, "bus error")
			require.NotErrorIs(t, err, control.ErrOrderRefused)
			require.NoError(t, devicegw.Apply(gw, install))
			require.Equal(t, a.id, gw.Status().Application)
		})
	}
}
