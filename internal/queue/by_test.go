package queue

import (
	"strings"
	"testing"
	"time"

	"postbag/internal/spool"
)

// by queues a letter that shall be delivered in some time.
func (w *world) by(d time.Duration, mode, to, notify string) {
	w.t.Helper()
	w.take(&spool.Envelope{From: addr("bob@here.example"), UID: -1, Arrived: w.now, By: w.now.Add(d), ByMode: mode,
		To: []spool.Recipient{{Address: addr(to), Notify: notify}}})
}

// lookedAtInTime queues a letter with ten minutes, and has it tried after eight, for
// the last time before they have passed.
func (w *world) lookedAtInTime(mode string) (arrived time.Time) {
	w.t.Helper()
	w.by(10*time.Minute, mode, "wait@far.example", "")
	arrived = w.now
	w.now = arrived.Add(8 * time.Minute) // it would be tried again in eight minutes
	w.once()
	if q := w.queued(); len(q) != 1 || q[0].Progress.Next.Sub(arrived).Round(time.Millisecond) != 10*time.Minute {
		w.t.Fatalf("%d queued, want one that is looked at when its time has passed", len(q))
	}
	return arrived
}

// RFC 2852: what is to be back by a time is not tried any more from then on.
func TestALetterWhoseTimeHasPassedIsReturned(t *testing.T) {
	w := newWorld(t)
	arrived := w.lookedAtInTime("R")
	w.now = arrived.Add(10 * time.Minute)
	w.once()
	w.once()
	got := w.box("bob")
	if len(got) != 1 || len(w.queued()) != 0 {
		t.Fatalf("%d reports, %d queued", len(got), len(w.queued()))
	}
	for _, want := range []string{"Action: failed\n", "Status: 5.4.7\n", "\nDeliver-By-Date: "} {
		if !strings.Contains(got[0], want) {
			t.Errorf("the report has no %q:\n%s", want, got[0])
		}
	}
	if len(w.remote.mails) != 1 {
		t.Errorf("%d attempts, want that of before its time", len(w.remote.mails))
	}
}

func TestTheSenderIsToldWhenTheTimeHasPassed(t *testing.T) {
	for name, c := range map[string]struct {
		by     time.Duration
		notify string
		told   time.Duration // 0: never
	}{
		"at its time":                   {10 * time.Minute, "", 10 * time.Minute},
		"one who wants to hear of that": {10 * time.Minute, "DELAY", 10 * time.Minute},
		"not one who does not":          {10 * time.Minute, "FAILURE", 0},
		"later than others":             {20 * time.Hour, "", 20 * time.Hour},
		"as others when it was late":    {-time.Second, "", 4 * time.Hour},
	} {
		w := newWorld(t)
		w.runner.DelayWarning = 4 * time.Hour
		status := "Status: 4.2.0\n" // as the host has said
		if c.told == c.by {
			status = "Status: 4.4.7\n" // RFC 2852 section 4.1.3
		}
		w.by(c.by, "N", "wait@far.example", c.notify)
		arrived, told := w.now, time.Duration(0)
		for at := time.Duration(0); at < 24*time.Hour; at += 10 * time.Minute {
			w.now = arrived.Add(at)
			w.once()
			if len(w.box("bob")) > 0 && told == 0 {
				told = at
			}
		}
		if got := w.box("bob"); told != c.told || c.told > 0 && (len(got) != 1 || !strings.Contains(got[0], "Action: delayed\n"+status)) {
			t.Errorf("%s: told after %v, want %v; %d reports", name, told, c.told, len(got))
		}
		if len(w.queued()) != 1 {
			t.Errorf("%s: it is not tried any more", name)
		}
	}
}

// RFC 2852 section 4.1.4: who follows the way of a letter hears of each host, others
// of hosts that do not know by when it shall be delivered.
func TestTheSenderHearsOfRelaying(t *testing.T) {
	for name, c := range map[string]struct {
		mode, to, notify string
		want             int
	}{
		"to a host that knows no time":             {"N", "eve@far.example", "", 1},
		"to a host that does":                      {"N", "timely@far.example", "", 0},
		"to such a host, when the way is followed": {"NT", "timely@far.example", "", 1},
		"and when it would be returned":            {"RT", "timely@far.example", "FAILURE", 1},
		"not one who wants to hear nothing":        {"NT", "eve@far.example", "NEVER", 0},
		"once, with success":                       {"NT", "eve@far.example", "SUCCESS", 1},
		"nothing of Maildirs":                      {"NT", "team@here.example", "", 0},
		"nothing when it is late":                  {"N-", "eve@far.example", "", 0},
		"but of the way":                           {"NT-", "eve@far.example", "", 1},
	} {
		w := newWorld(t)
		mode, late := strings.CutSuffix(c.mode, "-")
		left := time.Hour
		if late {
			left = -time.Hour
		}
		w.by(left, mode, c.to, c.notify)
		w.once()
		w.once()
		got := 0
		for _, text := range w.box("bob") {
			if strings.Contains(text, "Action: relayed\n") {
				got++
			}
		}
		if got != c.want || len(w.queued()) != 0 {
			t.Errorf("%s: %d reports, want %d; %d queued", name, got, c.want, len(w.queued()))
		}
	}
}

func TestALetterIsLookedAtWhenItsTimeHasPassed(t *testing.T) {
	newWorld(t).lookedAtInTime("N")
}
