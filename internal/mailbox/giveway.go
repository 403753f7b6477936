package mailbox

import (
	"context"
	"time"
)

const (
	// payYield is for how long paying waits for changes that keep coming: whoever
	// makes them waits while it is paid for so many letters, once in that time.
	payYield = 250 * time.Millisecond

	// payQuiet is how long nobody has changed anything when no more is expected.
	payQuiet = 20 * time.Millisecond
)

// giveWay waits until nobody changes the folder any more, or long enough.
func (b *box) giveWay(ctx context.Context) {
	enough := time.After(payYield)
	for {
		wait := payQuiet - time.Since(time.Unix(0, b.changed.Load()))
		if wait <= 0 {
			return
		}
		select {
		case <-time.After(wait):
		case <-enough:
			return
		case <-ctx.Done():
			return
		}
	}
}
