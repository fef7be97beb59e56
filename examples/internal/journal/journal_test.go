package journal_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/journal"
)

func entry(device, binding string, seq uint64, body string) journal.Entry {
	e := journal.Entry{Time: time.Unix(1, 0).UTC(), Device: device, Binding: binding, Seq: seq}
	e.SetBody([]byte(body))
	return e
}

func open(t *testing.T, name string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { j.Close() })
	return j
}

func lines(t *testing.T, name string) (out []journal.Entry) {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	for line := range bytes.Lines(b) {
		var e journal.Entry
		require.NoError(t, json.Unmarshal(line, &e), "%s", line)
		out = append(out, e)
	}
	return out
}

func TestEachEventOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "events")
	j := open(t, name)
	want := []journal.Entry{
		entry("D-1", "aa", 1, "1"), entry("D-1", "aa", 2, "2"), entry("D-2", "aa", 1, "\xff\x00"), entry("D-1", "bb", 1, "after commissioning anew"),
		entry("D-1", "bb", 7, "numbers may have gaps"), entry("D-1", "bb", 0, "volatile"), entry("D-1", "bb", 0, "volatile"),
	}
	for _, e := range want {
		added, err := j.Append(e)
		require.NoError(t, err)
		require.True(t, added)
	}
	again := func(j *journal.Journal) {
		for _, e := range want[:5] {
			added, err := j.Append(e)
			require.NoError(t, err)
			require.False(t, added, "%v", e)
		}
	}
	again(j)
	require.NoError(t, j.Close())
	again(open(t, name))
	require.Equal(t, want, lines(t, name))
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "what devices say is nobody else's business")
}

// A crash leaves any beginning of the last line.
func TestTornLastLine(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	j := open(t, whole)
	first, second := entry("D-1", "aa", 1, "one"), entry("D-1", "aa", 2, "two")
	for _, e := range []journal.Entry{first, second} {
		_, err := j.Append(e)
		require.NoError(t, err)
	}
	b, err := os.ReadFile(whole)
	require.NoError(t, err)
	after := bytes.IndexByte(b, '\n') + 1
	for n := after; n < len(b); n++ {
		name := filepath.Join(dir, "torn")
		require.NoError(t, os.WriteFile(name, b[:n], 0o600))
		j := open(t, name)
		added, err := j.Append(first)
		require.NoError(t, err)
		require.False(t, added)
		added, err = j.Append(second)
		require.NoError(t, err)
		require.True(t, added, "cut at %d", n)
		require.Equal(t, []journal.Entry{first, second}, lines(t, name))
	}
	// Space that the file system gave to the line, and no data.
	name := filepath.Join(dir, "zeros")
	require.NoError(t, os.WriteFile(name, append(b[:after+9:after+9], make([]byte, 20)...), 0o600))
	added, err := open(t, name).Append(second)
	require.NoError(t, err)
	require.True(t, added)
	require.Equal(t, []journal.Entry{first, second}, lines(t, name))
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for text, line := range map[string]string{"Dear diary,\n{}\n": "line 1", "Dear diary": "line 1", "{}\n{}\nx": "line 3", "{}\nx\n": "line 2"} {
		name := filepath.Join(dir, "notes")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		_, err := journal.Open(name)
		require.ErrorContains(t, err, line+" is no event: repair it or choose another file")
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, text, string(b), "somebody's file is left alone")
	}
	_, err := journal.Open(dir)
	require.Error(t, err)
}

func TestForPeople(t *testing.T) {
	for body, want := range map[string]string{
		"21.5 °C":           "21.5 °C",
		"\x1b[2Jgone\nnext": `"\x1b[2Jgone\nnext"`,
		"\xff\xfe":          `2 bytes of type ""`,
	} {
		require.Equal(t, want, entry("D-1", "aa", 1, body).String())
	}
}
