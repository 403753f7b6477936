package queue

import (
	"strings"
	"testing"
	"time"

	"postbag/internal/spool"
)

// RFC 4865: a letter for later is not tried before its time, however near its
// recipient is, and all that is counted of it counts from there.
func TestALetterForLaterWaits(t *testing.T) {
	w := newWorld(t)
	w.runner.Lifetime, w.runner.DelayWarning = time.Hour, time.Minute
	arrived := w.now
	w.take(&spool.Envelope{From: addr("bob@here.example"), UID: -1, Arrived: arrived, NotBefore: arrived.Add(48 * time.Hour), To: []spool.Recipient{{Address: addr("ann@here.example")}}})
	w.take(&spool.Envelope{From: addr("bob@here.example"), UID: -1, Arrived: arrived, NotBefore: arrived.Add(48 * time.Hour), Release: "for;172800", To: []spool.Recipient{{Address: addr("wait@far.example")}}})
	w.now = arrived.Add(48*time.Hour - time.Second)
	w.once()
	if len(w.box("ann")) != 0 || len(w.box("bob")) != 0 || len(w.queued()) != 2 {
		t.Fatalf("before its time: %d letters, %d reports, %d queued", len(w.box("ann")), len(w.box("bob")), len(w.queued()))
	}
	w.now = arrived.Add(48 * time.Hour)
	w.once()
	if len(w.box("ann")) != 1 || len(w.box("bob")) != 0 || len(w.queued()) != 1 {
		t.Errorf("at its time: %d letters, %d reports, %d queued", len(w.box("ann")), len(w.box("bob")), len(w.queued()))
	}
	w.now = arrived.Add(50 * time.Hour)
	w.once()
	if len(w.box("bob")) == 0 || len(w.queued()) != 0 {
		t.Errorf("after its life: %d reports, %d queued", len(w.box("bob")), len(w.queued()))
	}
	for _, text := range w.box("bob") { // section 5.1.2
		if !strings.Contains(text, "\nArrival-Date: ") || !strings.Contains(text, "\nFuture-Release-Request: for;172800\n") {
			t.Errorf("the report does not tell what was asked for:\n%s", text)
		}
	}
}
