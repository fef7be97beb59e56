package bench_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/semio-iot/semio/internal/bench"
	"github.com/stretchr/testify/require"
)

func eachChannel(t *testing.T, f func(t *testing.T, c bench.Channel)) {
	all, err := bench.Channels()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 6)
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			made, err := c.Make()
			require.NoError(t, err)
			f(t, made)
		})
	}
}

func pattern(size int) []byte { return bytes.Repeat([]byte("21.4 degrees, "), size/14+1)[:size] }

func TestChannelsRoundTrip(t *testing.T) {
	eachChannel(t, func(t *testing.T, c bench.Channel) {
		require.NoError(t, c.Ready(64))
		var records [][]byte
		for i := range 12 {
			msg := pattern(bench.Sizes()[i%4])
			rec, err := c.Seal([]byte("before"), msg)
			require.NoError(t, err)
			require.Equal(t, "before", string(rec[:6]))
			rec = rec[6:]
			require.Greater(t, len(rec), len(msg))
			require.LessOrEqual(t, len(rec), len(msg)+64)
			require.NotContains(t, string(rec), "degrees")
			for _, r := range records {
				require.NotEqual(t, r, rec, "two messages under one nonce")
			}
			records = append(records, rec)
		}
		for i, rec := range records {
			got, err := c.Open([]byte("before"), bytes.Clone(rec))
			require.NoError(t, err)
			// What appends to dst returns it; e2e's event holds the payload alone.
			require.Equal(t, string(pattern(bench.Sizes()[i%4])), strings.TrimPrefix(string(got), "before"))
		}
	})
}

func TestChannelsRefuse(t *testing.T) {
	for name, spoil := range map[string]func(r []byte) []byte{
		"changed":   func(r []byte) []byte { r[len(r)-20] ^= 1; return r },
		"wrong tag": func(r []byte) []byte { r[len(r)-1] ^= 0x80; return r },
		"cut short": func(r []byte) []byte { return r[:len(r)-1] },
		"nothing":   func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			eachChannel(t, func(t *testing.T, c bench.Channel) {
				require.NoError(t, c.Ready(1))
				rec, err := c.Seal(nil, pattern(100))
				require.NoError(t, err)
				_, err = c.Open(nil, spoil(rec))
				require.Error(t, err)
			})
		})
	}
	t.Run("repeated", func(t *testing.T) {
		eachChannel(t, func(t *testing.T, c bench.Channel) {
			require.NoError(t, c.Ready(1))
			rec, err := c.Seal(nil, pattern(100))
			require.NoError(t, err)
			_, err = c.Open(nil, bytes.Clone(rec))
			require.NoError(t, err)
			_, err = c.Open(nil, rec)
			require.Error(t, err)
		})
	})
}

// Our sessions end; the harness must not run into their limit.
func TestSessionsAreRenewed(t *testing.T) {
	all, err := bench.Channels()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(all[0].Name, "e2e "))
	c, err := all[0].Make()
	require.NoError(t, err)
	for range 5 {
		require.NoError(t, c.Ready(bench.SessionMessages*2/3))
		rec, err := c.Seal(nil, pattern(10))
		require.NoError(t, err)
		got, err := c.Open(nil, rec)
		require.NoError(t, err)
		require.Equal(t, pattern(10), got)
	}
}

// Every contender of every group: its own check, a batch, a second one, and the end.
func TestGroups(t *testing.T) {
	groups, err := bench.Groups()
	require.NoError(t, err)
	require.Len(t, groups, 4*len(bench.Sizes())+1)
	names := map[string]bool{}
	for _, g := range groups {
		t.Run(g.String(), func(t *testing.T) {
			require.False(t, names[g.String()])
			names[g.String()] = true
			cases, err := g.Open()
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(cases), 3)
			require.True(t, cases[0].Ours)
			seen := map[string]bool{}
			for _, c := range cases {
				require.False(t, seen[c.Name], c.Name)
				seen[c.Name] = true
				require.NoError(t, c.Check(), c.Name)
				for _, n := range []int{2, 3} {
					if c.Prepare != nil {
						require.NoError(t, c.Prepare(n), c.Name)
					}
					for i := range n {
						require.NoError(t, c.Do(i), c.Name)
					}
				}
				if g.Op != "seal" { // there the other end has missed records by now
					require.NoError(t, c.Check(), c.Name)
				}
				if c.Close != nil {
					require.NoError(t, c.Close(), c.Name)
				}
			}
		})
	}
}
