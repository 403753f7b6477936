package main

import (
	"time"

	"postbag/internal/metrics"
)

// queueAges are the buckets of how long messages have been in the queue.
func queueAges() []time.Duration {
	return []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 120 * time.Hour}
}

// tellQueue tells how many messages wait and for how long, counted when somebody
// asks. A queue that cannot be read tells nothing.
func (h *host) tellQueue(p *metrics.Page) {
	c, err := h.Spool.Census()
	if err != nil {
		return
	}
	p.Head("postbag_queue_messages", "messages in the queue: not attempted yet, or attempted", "gauge")
	p.Sample("postbag_queue_messages", []string{"state", "incoming"}, float64(c.Incoming))
	p.Sample("postbag_queue_messages", []string{"state", "attempted"}, float64(c.Attempted))
	p.Head("postbag_queue_age_seconds", "age of the messages that are in the queue now", "histogram")
	bounds := queueAges()
	counts := make([]uint64, len(bounds)+1)
	var sum time.Duration
	for _, age := range c.Ages {
		at := 0
		for at < len(bounds) && age > bounds[at] {
			at++
		}
		counts[at]++
		sum += age
	}
	p.Buckets("postbag_queue_age_seconds", bounds, counts, sum)
}
