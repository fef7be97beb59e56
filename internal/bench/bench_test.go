package bench_test

import (
	"strings"
	"testing"

	"github.com/semio-iot/semio/internal/bench"
	"github.com/stretchr/testify/require"
)

// Benchmark runs every contender by itself. The ratios command compares them better; this is for benchstat and profiles:
//
//	go test -bench '/seal_64_B/' ./internal/bench
func Benchmark(b *testing.B) {
	groups, err := bench.Groups()
	require.NoError(b, err)
	for _, g := range groups {
		b.Run(strings.ReplaceAll(g.String(), ", ", "_"), func(b *testing.B) {
			cases, err := g.Open()
			require.NoError(b, err)
			for _, c := range cases {
				b.Run(c.Name, func(b *testing.B) { runCase(b, c, g.Size) })
				if c.Close != nil {
					require.NoError(b, c.Close())
				}
			}
		})
	}
}

func runCase(b *testing.B, c *bench.Case, size int) {
	require.NoError(b, c.Check())
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		i := n % c.Batch
		if i == 0 && c.Prepare != nil {
			b.StopTimer()
			if err := c.Prepare(c.Batch); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		if err := c.Do(i); err != nil {
			b.Fatal(err)
		}
	}
}
