package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// Terminal is what an action reads and writes. Its methods are safe for concurrent use.
type Terminal struct {
	IO
	Log *slog.Logger

	asJSON bool
	mu     sync.Mutex // guards Out
}

// Print writes one result: text as a line, or v as a line of JSON if -json was given.
func (t *Terminal) Print(v any, format string, a ...any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asJSON {
		enc := json.NewEncoder(t.Out)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		return nil
	}
	if _, err := fmt.Fprintf(t.Out, format+"\n", a...); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// Note tells a person how it goes, on stderr; with -json nobody watches.
func (t *Terminal) Note(format string, a ...any) {
	if !t.asJSON {
		fmt.Fprintf(t.Err, format+"\n", a...)
	}
}

// JSON reports whether -json was given.
func (t *Terminal) JSON() bool { return t.asJSON }

// Interactive reports whether somebody watches stderr on a terminal.
func (t *Terminal) Interactive() bool {
	f, ok := t.Err.(*os.File)
	if !ok || t.asJSON {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

func newLog(verbose bool, w io.Writer) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
