package main

import (
	"io"
	"log/slog"
	"strings"
	"sync"
)

// newLog returns the log of the parties: to stderr if it was asked for, and the first error of all to first. A step that waited
// for an answer in vain can only say so; the party that could not give it has logged why.
func newLog(verbose bool, stderr io.Writer, first *firstLine) *slog.Logger {
	failures := slog.NewTextHandler(first, &slog.HandlerOptions{
		Level: slog.LevelError,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		},
	})
	if !verbose {
		return slog.New(failures)
	}
	return slog.New(slog.NewMultiHandler(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}), failures))
}

// firstLine is an io.Writer that keeps what was written first.
type firstLine struct {
	mu   sync.Mutex
	line string
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.line == "" {
		f.line = strings.TrimSpace(string(p))
	}
	return len(p), nil
}

func (f *firstLine) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.line
}
