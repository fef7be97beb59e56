package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/identity"
)

func TestBar(t *testing.T) {
	id, err := identity.ParseDeviceID("D-1")
	require.NoError(t, err)
	for _, draw := range []bool{true, false} {
		var out, errs bytes.Buffer
		b := &bar{t: &cli.Terminal{IO: cli.IO{Out: &out, Err: &errs}, Log: slog.New(slog.DiscardHandler)}, all: 2, draw: draw}
		b.step(id, "enrol")
		require.NoError(t, b.print(report{Device: id, Status: statusRejected, Reason: "bad"}))
		b.step(id, "sticker")
		b.clear()
		require.Equal(t, "D-1                      rejected  bad\n", out.String(), "lines are whole")
		if !draw {
			require.Empty(t, errs.String())
			continue
		}
		frames := strings.Split(errs.String(), "\r\x1b[K")
		require.Contains(t, frames[1], "] 0/2  D-1: enrol")
		require.Contains(t, errs.String(), "["+strings.Repeat("█", 15)+strings.Repeat("·", 15)+"] 1/2  D-1: sticker")
		require.Empty(t, frames[len(frames)-1], "it is gone at the end")
	}
}
