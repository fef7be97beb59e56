package main

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// forEach calls do for 0 to n-1 on all cores and returns the first error, after which, or after ctx has ended, it starts no more.
func forEach(ctx context.Context, n int, p *progress, what string, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					cancel(err)
					return
				}
				p.step(what, int(done.Add(1)), n)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
