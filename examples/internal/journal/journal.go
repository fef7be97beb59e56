// Package journal keeps events in a file of JSON lines, each exactly once, whatever is killed when.
//
// A gateway hands an event to its handler at least once: after a crash between the handler's effect and the gateway's own mark the event
// comes again. A handler whose effect is a line in this file tells by device, binding and number that the line is there already:
// [Journal.Append] is idempotent. Start with [Open].
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/semio-iot/semio/examples/internal/cli"
)

// Entry is a line: an event of a gateway. Device, Binding and Seq tell it from all others; an event with Seq 0 is volatile, and like no
// other.
type Entry struct {
	Time    time.Time `json:"time"` // when it was handled
	Device  string    `json:"device"`
	Binding string    `json:"binding"`
	Seq     uint64    `json:"seq"`
	Type    string    `json:"type,omitempty"`
	Text    string    `json:"text,omitempty"`  // the body, where it is text
	Bytes   []byte    `json:"bytes,omitempty"` // and where it is not
}

// SetBody puts the body into Text or Bytes.
func (e *Entry) SetBody(body []byte) {
	e.Text, e.Bytes = "", nil
	if utf8.Valid(body) {
		e.Text = string(body)
		return
	}
	e.Bytes = body
}

// String is the body, for people: without what would steer their terminal.
func (e Entry) String() string {
	if e.Bytes != nil {
		return fmt.Sprintf("%d bytes of type %q", len(e.Bytes), e.Type)
	}
	return cli.Printable(e.Text)
}

// channel is a sequence of events whose numbers grow.
type channel struct{ device, binding string }

// Journal is such a file, open. Safe for concurrent use; one process at a time may have the file open.
type Journal struct {
	mu   sync.Mutex // guards what follows
	f    *os.File
	end  int64 // of the last whole line; what lies behind it was torn
	last map[channel]uint64
}

// Open opens or creates the file and reads what is in it. A last line that a crash tore is cut off.
func Open(name string) (*Journal, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{f: f, last: map[channel]uint64{}}
	if err := j.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("read journal %s: %w", name, err)
	}
	return j, nil
}

func (j *Journal) read() error {
	r := bufio.NewReader(j.f)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && torn(line) {
			return j.f.Truncate(j.end)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("line %d is no event: repair it or choose another file: %w", n, err)
		}
		j.note(e)
		j.end += int64(len(line))
	}
}

// torn tells what a crash leaves of a line, or of the room that the file system made for it, from the end of somebody else's file.
func torn(line []byte) bool {
	const begin = `{"time":`
	text := bytes.TrimRight(line, "\x00")
	return bytes.HasPrefix([]byte(begin), text) || bytes.HasPrefix(text, []byte(begin))
}

func (j *Journal) note(e Entry) {
	c := channel{e.Device, e.Binding}
	j.last[c] = max(j.last[c], e.Seq)
}

// Append adds a line, durably, unless it is there, and tells whether it did. After an error the event is not there, and may be
// appended again.
func (j *Journal) Append(e Entry) (added bool, err error) {
	line, err := json.Marshal(e)
	if err != nil {
		return false, fmt.Errorf("journal: %w", err)
	}
	line = append(bytes.TrimSpace(line), '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Seq != 0 && e.Seq <= j.last[channel{e.Device, e.Binding}] {
		return false, nil
	}
	// A write that failed in the middle, on a full disk for example, is written over by the next one.
	if _, err := j.f.WriteAt(line, j.end); err != nil {
		return false, errors.Join(fmt.Errorf("journal: %w", err), j.f.Truncate(j.end))
	}
	if err := j.f.Sync(); err != nil {
		return false, errors.Join(fmt.Errorf("journal: %w", err), j.f.Truncate(j.end))
	}
	j.end += int64(len(line))
	j.note(e)
	return true, nil
}

// Close closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.f.Close()
}
