package queue

import (
	"sync"
	"time"
)

// A pacer spreads reports to one sender: whoever's address is on many letters
// that fail, perhaps without his doing, gets a few at once and the others one
// after the other. None is dropped.
type pacer struct {
	mu   sync.Mutex
	next map[string]time.Time // when the report after the last would be due, were there no burst
}

const (
	reportBurst = 20          // reports to one sender at once
	reportEvery = time.Minute // after them, one in so much time
)

// wait says how long the next report to a sender is to wait.
func (p *pacer) wait(sender string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		p.next = map[string]time.Time{}
	}
	next := p.next[sender]
	if next.Before(now) {
		next = now
	}
	p.next[sender] = next.Add(reportEvery)
	return max(next.Sub(now)-(reportBurst-1)*reportEvery, 0)
}

// tidy forgets senders who may have a burst again.
func (p *pacer) tidy(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for sender, next := range p.next {
		if next.Before(now) {
			delete(p.next, sender)
		}
	}
}
