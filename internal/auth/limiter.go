package auth

import (
	"context"
	"fmt"
)

// A limiter bounds how many passwords or tokens are checked at a time.
type limiter chan struct{}

func newLimiter(n int) limiter { return make(limiter, n) }

// enter waits for a place, which leave gives back.
func (l limiter) enter(ctx context.Context, name string) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to check %q: %w", name, ctx.Err())
	}
}

func (l limiter) leave() { <-l }
