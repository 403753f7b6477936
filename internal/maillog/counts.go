package maillog

import (
	"strings"
	"time"

	"postbag/internal/metrics"
)

// counts are the metrics of the events. Those of the zero counts are nil and count
// nothing.
type counts struct {
	received, refused, notTaken, delivered, deferred, failed, logins *metrics.Counters
	commit                                                           *metrics.Histogram
}

// Count has the events counted from now on, whatever the level of the log. It is
// called before the first event.
func (l *Log) Count(set *metrics.Set) {
	l.counts = counts{
		received:  set.Counters("postbag_received_total", "letters that were taken, durably", "proto"),
		refused:   set.Counters("postbag_refused_total", "senders and recipients that were refused, by the code of RFC 3463", "status"),
		notTaken:  set.Counters("postbag_not_taken_total", "letters that were refused as a whole, by the code of RFC 3463", "status"),
		delivered: set.Counters("postbag_delivered_total", "recipients whose letter has arrived, in a mailbox here or at another host", "to"),
		deferred:  set.Counters("postbag_deferred_total", "attempts for a recipient that will be tried again, by the code of RFC 3463", "status"),
		failed:    set.Counters("postbag_bounced_total", "recipients who never get the letter, by the code of RFC 3463", "status"),
		logins:    set.Counters("postbag_logins_total", "logins", "proto", "method", "result"),
		commit:    set.Histogram("postbag_commit_seconds", "time from the end of a letter until it is durable and its 250 may go", CommitBounds()...),
	}
}

// CommitBounds are the buckets for what waits for a disk.
func CommitBounds() []time.Duration {
	const ms = time.Millisecond
	return []time.Duration{ms / 4, ms / 2, ms, 2 * ms, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 1000 * ms, 5000 * ms}
}

// enhancedOf is the code of RFC 3463 in "550 5.1.1".
func enhancedOf(code string) string { return code[strings.LastIndexByte(code, ' ')+1:] }

// placeOf tells mailboxes of this host from other hosts.
func placeOf(where string) string {
	if strings.HasPrefix(where, "/") {
		return "mailbox"
	}
	return "remote"
}
